//! How often is too often: sliding windows, token buckets and slots, each by key.
//!
//! Windows and buckets are pure state with time as an argument; callers wrap them in a lock of their own. Every limiter is bounded:
//! past [`MAX_KEYS`] the idle keys go first, then the longest unseen. An empty key is never limited, since
//! it stands for nobody (contract A.2). Limits may change while a limiter works; what it has counted stays.
//! [`tiers`] says which limits there are and who sets them.

pub mod span;
pub mod tiers;

mod failures;
mod slots;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

pub use failures::{Exhausted, Failures};
pub use slots::{Slot, Slots};

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

/// What a bucket says to who is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    pub limit: u32,
    pub remaining: u32,
}

/// At most `max` events in any span of `span`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    pub max: u32,
    pub span: Duration,
}

/// `burst` at once, refilled at `rate` per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    pub rate: f64,
    pub burst: u32,
}

/// Events of each key in a [`Window`].
#[derive(Debug)]
pub struct Windows {
    limit: Window,
    keys: HashMap<String, VecDeque<Instant>>,
}

impl Windows {
    pub fn new(limit: Window) -> Self {
        Self { limit, keys: HashMap::new() }
    }

    pub fn set(&mut self, limit: Window) {
        self.limit = limit;
    }

    /// Whether another event of this key would be too many; records nothing.
    pub fn look(&self, key: &str, now: Instant) -> Result<(), TooMany> {
        let Window { max, span } = self.limit;
        let Some(events) = self.keys.get(key) else { return Ok(()) };
        let is_recent = |at: &&Instant| now.saturating_duration_since(**at) < span;
        let recent = events.iter().filter(is_recent).count();
        match events.iter().find(is_recent) {
            Some(oldest) if recent >= max as usize => {
                Err(TooMany { limit: max, retry_after: (*oldest + span).saturating_duration_since(now) })
            }
            _ => Ok(()),
        }
    }

    /// Records an event, whatever the count is.
    pub fn record(&mut self, key: &str, now: Instant) {
        if key.is_empty() {
            return;
        }
        let Window { max, span } = self.limit;
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            make_room(&mut self.keys, |events| events.back().copied(), |last| now >= last + span);
        }
        let events = self.keys.entry(key.to_owned()).or_default();
        while events.front().is_some_and(|at| now.saturating_duration_since(*at) >= span) {
            events.pop_front();
        }
        // One more than the maximum tells as much as a thousand more.
        if events.len() <= max as usize {
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

/// A bucket with a [`Flow`] for each key.
#[derive(Debug)]
pub struct Buckets {
    limit: Flow,
    keys: HashMap<String, (f64, Instant)>,
}

impl Buckets {
    pub fn new(limit: Flow) -> Self {
        Self { limit, keys: HashMap::new() }
    }

    pub fn set(&mut self, limit: Flow) {
        self.limit = limit;
    }

    /// Takes one token; nothing is said of what is left to nobody.
    pub fn take(&mut self, key: &str, now: Instant) -> Result<Option<Left>, TooMany> {
        if key.is_empty() {
            return Ok(None);
        }
        let Flow { rate, burst } = self.limit;
        let full = f64::from(burst);
        let refill = Duration::from_secs_f64((full / rate).min(86_400.0));
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            make_room(&mut self.keys, |(_, at)| Some(*at), |at| now >= at + refill);
        }
        let (tokens, at) = self.keys.entry(key.to_owned()).or_insert((full, now));
        let gained = now.saturating_duration_since(*at).as_secs_f64() * rate;
        *tokens = (*tokens + gained).min(full);
        *at = now;
        if *tokens >= 1.0 {
            *tokens -= 1.0;
            return Ok(Some(Left { limit: burst, remaining: whole(*tokens) }));
        }
        let wait = ((1.0 - *tokens) / rate).min(86_400.0);
        Err(TooMany { limit: burst, retry_after: Duration::from_secs_f64(wait) })
    }
}

/// Whole tokens of a bucket, which never holds more than a [`Flow::burst`].
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between nothing and u32::MAX")]
fn whole(tokens: f64) -> u32 {
    tokens as u32
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
        let (mut windows, start) = (Windows::new(Window { max: 3, span: 5 * SECOND }), Instant::now());
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
        let (mut windows, now) = (Windows::new(Window { max: 1, span: SECOND }), Instant::now());
        for _ in 0..3 {
            assert_eq!(windows.look("a", now), Ok(()));
            assert_eq!(windows.admit("", now), Ok(()));
        }
    }

    #[test]
    fn a_bucket_refills_at_its_rate() {
        let (mut buckets, start) = (Buckets::new(Flow { rate: 2.0, burst: 3 }), Instant::now());
        for remaining in [2, 1, 0] {
            assert_eq!(buckets.take("a", start), Ok(Some(Left { limit: 3, remaining })));
        }
        let refused = buckets.take("a", start).unwrap_err();
        assert_eq!((refused.limit, refused.retry_after_secs()), (3, 1));
        assert!(buckets.take("a", start + SECOND / 2).is_ok());
        assert!(buckets.take("a", start + SECOND / 2).is_err());
        assert!(buckets.take("b", start).is_ok());
        assert_eq!(buckets.take("", start), Ok(None));
    }

    #[test]
    fn limits_change_and_counts_stay() {
        let (mut windows, now) = (Windows::new(Window { max: 5, span: SECOND }), Instant::now());
        let mut buckets = Buckets::new(Flow { rate: 1.0, burst: 10 });
        for _ in 0..3 {
            windows.record("a", now);
            assert!(buckets.take("a", now).is_ok());
        }
        windows.set(Window { max: 3, span: SECOND });
        assert!(windows.look("a", now).is_err());
        windows.set(Window { max: 4, span: SECOND });
        assert!(windows.admit("a", now).is_ok() && windows.look("a", now).is_err());
        buckets.set(Flow { rate: 1.0, burst: 2 });
        assert_eq!(buckets.take("a", now), Ok(Some(Left { limit: 2, remaining: 1 })));
        buckets.set(Flow { rate: 1.0, burst: 10 });
        assert_eq!(buckets.take("a", now), Ok(Some(Left { limit: 10, remaining: 0 })), "no gift");
    }

    #[test]
    fn keys_are_bounded() {
        let (mut windows, now) = (Windows::new(Window { max: 1, span: SECOND }), Instant::now());
        for n in 0..MAX_KEYS + 100 {
            windows.record(&n.to_string(), now);
        }
        assert!(windows.keys.len() <= MAX_KEYS);
        assert!(windows.look(&(MAX_KEYS + 99).to_string(), now).is_err(), "the newest is remembered");
        windows.record("later", now + SECOND);
        assert_eq!(windows.keys.len(), 1, "idle keys go first");
    }
}
