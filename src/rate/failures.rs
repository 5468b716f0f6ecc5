//! How often something may go wrong: a count by key that only a success clears.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{MAX_KEYS, TooMany, make_room};

/// At most `max` failures of a key. Nothing but a success, or a new thing to try, makes room again.
#[derive(Debug)]
pub struct Failures {
    max: u32,
    keys: HashMap<String, (u32, Instant)>,
}

impl Failures {
    /// A key that has not been tried for so long may make room for others.
    const IDLE: Duration = Duration::from_secs(3600);

    pub fn new(max: u32) -> Self {
        Self { max, keys: HashMap::new() }
    }

    pub fn set(&mut self, max: u32) {
        self.max = max;
    }

    /// Lets a try begin. It counts as failed until it is taken back or forgotten, so that of many at the
    /// same time no more are let in than may fail.
    pub fn begin(&mut self, key: &str, now: Instant) -> Result<(), TooMany> {
        if key.is_empty() {
            return Ok(());
        }
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            make_room(&mut self.keys, |(_, at)| Some(*at), |at| now >= at + Self::IDLE);
        }
        let (failed, at) = self.keys.entry(key.to_owned()).or_insert((0, now));
        *at = now;
        if *failed >= self.max {
            // Time alone changes nothing: whoever has something new to try may come at once.
            return Err(TooMany { limit: self.max, retry_after: Duration::from_secs(1) });
        }
        *failed += 1;
        Ok(())
    }

    /// What was tried could neither succeed nor fail.
    pub fn take_back(&mut self, key: &str) {
        if let Some((failed, _)) = self.keys.get_mut(key) {
            *failed = failed.saturating_sub(1);
        }
    }

    /// A try succeeded, or there is something new to try.
    pub fn forget(&mut self, key: &str) {
        self.keys.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract J 101.
    #[test]
    fn failures_are_counted_until_a_success() {
        let (mut failures, now) = (Failures::new(2), Instant::now());
        for key in ["a", "a", "b"] {
            assert_eq!(failures.begin(key, now), Ok(()));
        }
        let later = now + Duration::from_secs(24 * 3600);
        assert_eq!(failures.begin("a", later).map_err(|refused| refused.limit), Err(2));
        assert_eq!(failures.begin("b", later), Ok(()));
        failures.take_back("b");
        assert_eq!(failures.begin("b", later), Ok(()));
        assert!(failures.begin("b", later).is_err());
        failures.forget("a");
        assert_eq!(failures.begin("a", later), Ok(()));
    }
}
