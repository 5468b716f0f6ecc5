//! Idle connections to upstreams, kept for the next request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::authority::Authority;
use crate::net::channel::Channel;
use crate::vault::Scheme;

/// Contract B.10.
const IDLE_TIME: Duration = Duration::from_secs(90);
/// Whoever is busy takes a connection again within this time. Until then it keeps its buffers, and there may be
/// as many to one upstream as were in use at once.
const BUSY_TIME: Duration = Duration::from_secs(1);
/// Connections to one upstream that are kept for longer: as many agents of one vault may pause at once.
const LASTING_PER_KEY: usize = 64;
/// Connections kept in all.
const TOTAL: usize = 1024;

/// All that makes two connections differ. The vault is part of it, so that a connection an upstream
/// knows by anything a request said on it never serves another vault.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) scheme: Scheme,
    pub(super) target: Authority,
    pub(super) vault_id: Arc<str>,
}

/// The idle connections, the latest of each key last.
#[derive(Default)]
pub(super) struct Pool(Mutex<Idle>);

#[derive(Default)]
struct Idle {
    by_key: HashMap<Key, Vec<Kept>>,
    total: usize,
}

struct Kept {
    channel: Box<dyn Channel>,
    since: Instant,
    /// Whether it has given its buffers back.
    is_lean: bool,
}

impl Pool {
    pub(super) fn len(&self) -> usize {
        self.lock().total
    }

    /// The latest connection, which is the most likely to be alive: if it is too old, so are the others.
    pub(super) fn take(&self, key: &Key, now: Instant) -> Option<Box<dyn Channel>> {
        let mut idle = self.lock();
        let kept = idle.by_key.get_mut(key)?.pop()?;
        idle.total -= 1;
        (now < kept.since + IDLE_TIME).then_some(kept.channel)
    }

    /// Keeps a connection, if there is room.
    pub(super) fn keep(&self, key: Key, channel: Box<dyn Channel>, now: Instant) {
        let mut idle = self.lock();
        if idle.total < TOTAL {
            idle.total += 1;
            idle.by_key.entry(key).or_default().push(Kept { channel, since: now, is_lean: false });
        }
    }

    /// Closes what has been idle for too long, and what is too much once nobody is busy; when to call again.
    pub(super) fn purge(&self, now: Instant) -> Option<Instant> {
        let mut closed = Vec::new();
        let mut next: Option<Instant> = None;
        let mut idle = self.lock();
        for kept in idle.by_key.values_mut() {
            // The oldest stand in front, the latest are the ones to keep.
            let count = |span| kept.iter().take_while(|kept| now >= kept.since + span).count();
            let (expired, paused) = (count(IDLE_TIME), count(BUSY_TIME));
            let surplus = kept.len().saturating_sub(LASTING_PER_KEY).min(paused);
            let gone = expired.max(surplus);
            closed.extend(kept.drain(..gone));
            for paused in &mut kept[..paused - gone] {
                if !paused.is_lean {
                    paused.channel.release();
                    paused.is_lean = true;
                }
            }
            let due = |kept: &Kept| kept.since + if kept.is_lean { IDLE_TIME } else { BUSY_TIME };
            next = kept.iter().map(due).chain(next).min();
        }
        idle.by_key.retain(|_, kept| !kept.is_empty());
        idle.total -= closed.len();
        drop(idle);
        // Closing takes a call each; nobody has to wait for that.
        drop(closed);
        next
    }

    /// Nothing inside the lock can panic half way.
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::tcp::TcpChannel;

    fn key(host: &str) -> Key {
        let target = Authority::new(host, 443).unwrap();
        Key { scheme: Scheme::Https, target, vault_id: "v".into() }
    }

    /// A pool with so many connections to one upstream, all put there at that moment.
    fn pool(count: usize, now: Instant) -> Pool {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pool = Pool::default();
        for _ in 0..count {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            drop(listener.accept().unwrap());
            pool.keep(key("a.example"), Box::new(TcpChannel::new(stream).unwrap()), now);
        }
        pool
    }

    #[test]
    fn as_many_as_were_busy_are_kept_for_a_moment_and_some_for_longer() {
        let start = Instant::now();
        let pool = pool(100, start);
        assert_eq!(pool.purge(start), Some(start + BUSY_TIME));
        assert_eq!(pool.len(), 100);
        assert_eq!(pool.purge(start + BUSY_TIME), Some(start + IDLE_TIME));
        assert_eq!(pool.len(), LASTING_PER_KEY);
        assert_eq!(pool.purge(start + IDLE_TIME), None);
        assert_eq!(pool.len(), 0);
    }

    #[test]
    fn the_latest_ones_stay() {
        let start = Instant::now();
        let later = start + BUSY_TIME / 2;
        let pool = pool(LASTING_PER_KEY, start);
        let one = pool.take(&key("a.example"), start).unwrap();
        pool.keep(key("a.example"), one, later);
        for _ in 0..2 {
            let one = self::pool(1, start).take(&key("a.example"), start).unwrap();
            pool.keep(key("a.example"), one, later);
        }
        // Two too many: the oldest are the ones that are past their moment.
        assert_eq!(pool.purge(start + BUSY_TIME), Some(later + BUSY_TIME));
        assert_eq!(pool.len(), LASTING_PER_KEY);
        let at_the_end = start + IDLE_TIME;
        pool.purge(at_the_end);
        assert_eq!(pool.len(), 3);
        assert!(pool.take(&key("a.example"), at_the_end).is_some());
        assert!(pool.take(&key("a.example"), later + IDLE_TIME).is_none(), "too old");
        assert!(pool.take(&key("b.example"), at_the_end).is_none());
    }
}
