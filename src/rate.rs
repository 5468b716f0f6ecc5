//! How often is too often: sliding windows, token buckets and slots, each by key.
//!
//! Pure state with time as an argument; callers wrap it in a lock of their own. Every limiter is bounded:
//! past [`MAX_KEYS`] the idle keys go first, then the longest unseen. An empty key is never limited, since
//! it stands for nobody (contract A.2).

mod failures;

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use failures::Failures;

/// Keys one limiter remembers.
pub const MAX_KEYS: usize = 10_000;

/// A refusal: what the limit is, and when to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany {
    pub limit: u32,
    pub retry_after: Duration,
}

impl TooMany {
    /// Whole seconds for `Retry-After`, at least one.
    pub fn retry_after_secs(&self) -> u64 {
        u64::try_from(self.retry_after.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1)
    }
}

/// At most `max` events in any span of `span`.
#[derive(Debug)]
pub struct Windows {
    max: u32,
    span: Duration,
    keys: HashMap<String, VecDeque<Instant>>,
}

impl Windows {
    pub fn new(max: u32, span: Duration) -> Self {
        Self { max, span, keys: HashMap::new() }
    }

    /// Whether another event of this key would be too many; records nothing.
    pub fn look(&self, key: &str, now: Instant) -> Result<(), TooMany> {
        let Some(events) = self.keys.get(key) else { return Ok(()) };
        let is_recent = |at: &&Instant| now.saturating_duration_since(**at) < self.span;
        let recent = events.iter().filter(is_recent).count();
        match events.iter().find(is_recent) {
            Some(oldest) if recent >= self.max as usize => Err(TooMany {
                limit: self.max,
                retry_after: (*oldest + self.span).saturating_duration_since(now),
            }),
            _ => Ok(()),
        }
    }

    /// Records an event, whatever the count is.
    pub fn record(&mut self, key: &str, now: Instant) {
        if key.is_empty() {
            return;
        }
        let span = self.span;
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            make_room(&mut self.keys, |events| events.back().copied(), |last| now >= last + span);
        }
        let events = self.keys.entry(key.to_owned()).or_default();
        while events.front().is_some_and(|at| now.saturating_duration_since(*at) >= span) {
            events.pop_front();
        }
        // One more than the maximum tells as much as a thousand more.
        if events.len() <= self.max as usize {
            events.push_back(now);
        }
    }

    /// Looks, and records the event if it is let through.
    pub fn admit(&mut self, key: &str, now: Instant) -> Result<(), TooMany> {
        self.look(key, now)?;
        self.record(key, now);
        Ok(())
    }
}

/// `burst` at once, refilled at `per_second`.
#[derive(Debug)]
pub struct Buckets {
    per_second: f64,
    burst: u32,
    keys: HashMap<String, (f64, Instant)>,
}

impl Buckets {
    pub fn new(per_second: f64, burst: u32) -> Self {
        Self { per_second, burst, keys: HashMap::new() }
    }

    /// Takes one token.
    pub fn take(&mut self, key: &str, now: Instant) -> Result<(), TooMany> {
        if key.is_empty() {
            return Ok(());
        }
        let full = f64::from(self.burst);
        let refill = Duration::from_secs_f64((full / self.per_second).min(86_400.0));
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            make_room(&mut self.keys, |(_, at)| Some(*at), |at| now >= at + refill);
        }
        let (tokens, at) = self.keys.entry(key.to_owned()).or_insert((full, now));
        let gained = now.saturating_duration_since(*at).as_secs_f64() * self.per_second;
        *tokens = (*tokens + gained).min(full);
        *at = now;
        if *tokens >= 1.0 {
            *tokens -= 1.0;
            return Ok(());
        }
        let wait = ((1.0 - *tokens) / self.per_second).min(86_400.0);
        Err(TooMany { limit: self.burst, retry_after: Duration::from_secs_f64(wait) })
    }
}

/// At most so many at the same time, by key; those who come late wait a bounded time.
#[derive(Debug)]
pub struct Slots<K> {
    each: u32,
    taken: Mutex<HashMap<K, u32>>,
    freed: Condvar,
}

/// One taken slot; free again when dropped.
#[derive(Debug)]
pub struct Slot<K: Eq + Hash + Clone> {
    of: Arc<Slots<K>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Slots<K> {
    pub fn new(each: u32) -> Self {
        Self { each, taken: Mutex::new(HashMap::new()), freed: Condvar::new() }
    }

    /// Takes a slot, waiting at most until `until`.
    pub fn take(self: &Arc<Self>, key: &K, until: Instant) -> Result<Slot<K>, TooMany> {
        let mut taken = self.lock();
        loop {
            let count = taken.get(key).copied().unwrap_or(0);
            if count < self.each {
                taken.insert(key.clone(), count + 1);
                return Ok(Slot { of: Arc::clone(self), key: key.clone() });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TooMany { limit: self.each, retry_after: Duration::from_secs(1) });
            }
            taken = self.freed.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A count is consistent after each statement, so a poisoned lock is usable.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, u32>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        match taken.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.key)),
        }
        drop(taken);
        self.of.freed.notify_all();
    }
}

/// Forgets the idle keys; if none is, the one unseen for longest.
fn make_room<V>(
    keys: &mut HashMap<String, V>,
    last_seen: impl Fn(&V) -> Option<Instant>,
    is_idle: impl Fn(Instant) -> bool,
) {
    keys.retain(|_, value| last_seen(value).is_some_and(|at| !is_idle(at)));
    if keys.len() >= MAX_KEYS {
        let oldest = keys.iter().min_by_key(|(_, value)| last_seen(value)).map(|(key, _)| key.clone());
        oldest.and_then(|oldest| keys.remove(&oldest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_window_refuses_the_one_too_many_until_the_oldest_leaves() {
        let (mut windows, start) = (Windows::new(3, 5 * SECOND), Instant::now());
        for n in 0..3 {
            assert_eq!(windows.admit("a", start + n * SECOND), Ok(()));
        }
        let refused = windows.admit("a", start + 3 * SECOND);
        assert_eq!(refused, Err(TooMany { limit: 3, retry_after: 2 * SECOND }));
        assert_eq!(windows.admit("b", start + 3 * SECOND), Ok(()));
        assert_eq!(windows.look("a", start + 3 * SECOND), refused);
        assert_eq!(windows.admit("a", start + 5 * SECOND), Ok(()));
    }

    #[test]
    fn looking_records_nothing_and_nobody_is_never_limited() {
        let (mut windows, now) = (Windows::new(1, SECOND), Instant::now());
        for _ in 0..3 {
            assert_eq!(windows.look("a", now), Ok(()));
            assert_eq!(windows.admit("", now), Ok(()));
        }
    }

    #[test]
    fn a_bucket_refills_at_its_rate() {
        let (mut buckets, start) = (Buckets::new(2.0, 3), Instant::now());
        for _ in 0..3 {
            assert_eq!(buckets.take("a", start), Ok(()));
        }
        let refused = buckets.take("a", start).unwrap_err();
        assert_eq!((refused.limit, refused.retry_after_secs()), (3, 1));
        assert_eq!(buckets.take("a", start + SECOND / 2), Ok(()));
        assert!(buckets.take("a", start + SECOND / 2).is_err());
        assert_eq!(buckets.take("b", start), Ok(()));
    }

    #[test]
    fn keys_are_bounded() {
        let (mut windows, now) = (Windows::new(1, SECOND), Instant::now());
        for n in 0..MAX_KEYS + 100 {
            windows.record(&n.to_string(), now);
        }
        assert!(windows.keys.len() <= MAX_KEYS);
        assert!(windows.look(&(MAX_KEYS + 99).to_string(), now).is_err(), "the newest is remembered");
        windows.record("later", now + SECOND);
        assert_eq!(windows.keys.len(), 1, "idle keys go first");
    }

    #[test]
    fn slots_are_freed_by_dropping_them() {
        let slots = Arc::new(Slots::new(1));
        let first = slots.take(&"a", Instant::now()).unwrap();
        assert!(slots.take(&"a", Instant::now()).is_err());
        assert!(slots.take(&"b", Instant::now()).is_ok());
        let waiting = Arc::clone(&slots);
        let waiter = std::thread::Builder::new()
            .spawn(move || waiting.take(&"a", Instant::now() + 20 * SECOND).is_ok())
            .unwrap();
        drop(first);
        assert!(waiter.join().unwrap());
    }
}
