//! Connections to upstreams: pooled and alive, or judged, dialled and verified afresh.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::egress::Egress;
use super::error::Error;
use super::traffic::Count;
use crate::authority::Authority;
use crate::log_event;
use crate::net::Deadline;
use crate::net::channel::Channel;
use crate::net::dial::dial;
use crate::net::guard::{Guard, Refusal};
use crate::net::tcp::TcpChannel;
use crate::tls::{Connector, HandshakeFailure};
use crate::vault::Scheme;

/// Limits of contract B.10.
const CONNECT_TIME: Duration = Duration::from_secs(10);
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const IDLE_TIME: Duration = Duration::from_secs(90);
/// Idle connections kept to one upstream: as many agents of one vault may use it at once and pause.
const IDLE_PER_KEY: usize = 64;
/// An idle connection keeps its buffers this long.
const LEAN_AFTER: Duration = Duration::from_secs(1);
/// Idle connections kept in all.
const IDLE_TOTAL: usize = 512;

/// All that makes two connections differ. The vault is part of it, so that a connection an upstream
/// knows by anything a request said on it never serves another vault.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) scheme: Scheme,
    pub(super) target: Authority,
    pub(super) vault_id: Arc<str>,
}

/// A connection to send a request on.
pub(super) struct Upstream {
    pub(super) channel: Box<dyn Channel>,
    /// Whether it has served before: then it may have died unnoticed, and a request may be replayed.
    pub(super) is_reused: bool,
}

/// An idle connection.
struct Kept {
    channel: Box<dyn Channel>,
    since: Instant,
    /// Whether it has given its buffers back.
    is_lean: bool,
}

/// How upstreams are reached: whom we may dial, whom we trust, through what.
#[derive(Clone)]
pub struct Outward {
    pub guard: Guard,
    pub connector: Connector,
    /// A proxy of the site's own.
    pub egress: Option<Egress>,
}

/// Opens connections and keeps the idle ones.
pub(super) struct Upstreams {
    outward: Outward,
    idle: Mutex<Idle>,
    reused: Count,
    dialled: Count,
}

/// What the pool has seen so far.
pub(super) struct Counts {
    pub(super) idle: usize,
    pub(super) reused: u64,
    pub(super) dialled: u64,
}

#[derive(Default)]
struct Idle {
    by_key: HashMap<Key, Vec<Kept>>,
    total: usize,
}

/// How a target is reached.
pub(super) enum Way<'e> {
    /// At one of these addresses; all of them are judged.
    Direct(Vec<SocketAddr>),
    Through(&'e Egress),
}

/// Judges the target's addresses and chooses the way.
pub(super) fn way<'e>(
    guard: &Guard,
    egress: Option<&'e Egress>,
    target: &Authority,
) -> Result<Way<'e>, Refusal> {
    let judged = guard.resolve(target);
    match (egress, judged) {
        // Behind a proxy of the site's own, outside names often resolve only there; a name that does
        // resolve here is judged all the same.
        (Some(egress), Ok(_) | Err(Refusal::Unresolved(_))) if egress.serves(target) => {
            Ok(Way::Through(egress))
        }
        (_, judged) => judged.map(Way::Direct),
    }
}

/// What the guard's refusal is to a client.
pub(super) fn refused(refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Forbidden(_) => Error::Blocked,
        Refusal::Unresolved(_) => Error::Unresolved,
    }
}

impl Upstreams {
    pub(super) fn new(outward: Outward) -> Self {
        Self { outward, idle: Mutex::default(), reused: Count::default(), dialled: Count::default() }
    }

    pub(super) fn has_own_roots(&self) -> bool {
        self.outward.connector.has_own_roots()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { idle: self.lock().total, reused: self.reused.get(), dialled: self.dialled.get() }
    }

    /// A pooled connection if one is alive, else a fresh one.
    pub(super) fn checkout(&self, key: &Key) -> Result<Upstream, Error> {
        while let Some(channel) = self.pop(key, Instant::now()) {
            if channel.is_quiet() {
                self.reused.add();
                return Ok(Upstream { channel, is_reused: true });
            }
        }
        self.open(key)
    }

    /// Opens a fresh connection: resolve, judge every address, dial a judged one, verify.
    pub(super) fn open(&self, key: &Key) -> Result<Upstream, Error> {
        let target = &key.target;
        self.dialled.add();
        let tcp = self.dial(target)?;
        let channel: Box<dyn Channel> = match key.scheme {
            Scheme::Http => Box::new(tcp),
            Scheme::Https => {
                let deadline = Deadline::after(HANDSHAKE_TIME);
                let tls = self.outward.connector.connect(tcp, target.host(), deadline).map_err(|error| {
                    // rustls names certificates and alerts, never bytes of the stream.
                    log_event!(Warn, "upstream TLS handshake failed", target_host = target, error = error);
                    Error::UpstreamTls(HandshakeFailure::of(&error))
                })?;
                Box::new(tls)
            }
        };
        Ok(Upstream { channel, is_reused: false })
    }

    /// Connects to a judged address of the target, or through the site's own proxy.
    pub(super) fn dial(&self, target: &Authority) -> Result<TcpChannel, Error> {
        let deadline = Deadline::after(CONNECT_TIME);
        let Outward { guard, egress, .. } = &self.outward;
        let addresses = match way(guard, egress.as_ref(), target) {
            Ok(Way::Direct(addresses)) => addresses,
            Ok(Way::Through(egress)) => return egress.connect(target, deadline),
            Err(refusal) => {
                log_event!(Debug, "upstream refused", target_host = target, error = refusal);
                return Err(refused(&refusal));
            }
        };
        dial(&addresses, deadline).map_err(|error| {
            log_event!(Debug, "upstream request failed", target_host = target, error = error);
            if error.kind() == io::ErrorKind::TimedOut { Error::UpstreamTimeout } else { Error::Unreachable }
        })
    }

    /// Keeps a connection whose exchange ended exactly where its framing said.
    ///
    /// Its buffers stay with it for a while: under load it is taken again at once.
    pub(super) fn checkin(&self, key: Key, channel: Box<dyn Channel>, now: Instant) {
        let mut idle = self.lock();
        let full =
            idle.total >= IDLE_TOTAL || idle.by_key.get(&key).is_some_and(|kept| kept.len() >= IDLE_PER_KEY);
        if !full {
            idle.total += 1;
            idle.by_key.entry(key).or_default().push(Kept { channel, since: now, is_lean: false });
        }
    }

    /// Closes what has been idle too long and gives back the buffers of what is idle at all; when to call
    /// again.
    pub(super) fn purge(&self, now: Instant) -> Option<Instant> {
        let mut expired = Vec::new();
        let mut next = None;
        let mut idle = self.lock();
        for kept in idle.by_key.values_mut() {
            // Pushed at the end, so the oldest stand in front.
            let count = kept.iter().take_while(|kept| now >= kept.since + IDLE_TIME).count();
            expired.extend(kept.drain(..count));
            for kept in kept.iter_mut() {
                if !kept.is_lean && now >= kept.since + LEAN_AFTER {
                    kept.channel.release();
                    kept.is_lean = true;
                }
                let due = kept.since + if kept.is_lean { IDLE_TIME } else { LEAN_AFTER };
                next = Some(next.map_or(due, |next: Instant| next.min(due)));
            }
        }
        idle.by_key.retain(|_, kept| !kept.is_empty());
        idle.total -= expired.len();
        drop(idle);
        drop(expired);
        next
    }

    fn pop(&self, key: &Key, now: Instant) -> Option<Box<dyn Channel>> {
        let mut idle = self.lock();
        let kept = idle.by_key.get_mut(key)?.pop()?;
        idle.total -= 1;
        // The most recent one is the most likely to be alive; if it is too old, so are the others.
        (now < kept.since + IDLE_TIME).then_some(kept.channel)
    }

    /// Nothing inside the lock can panic half way.
    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
