//! How often something may go wrong: a count by key that a success clears, and that something new to try
//! clears for a while.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::{MAX_KEYS, TooMany, make_room};

/// At most `max` failures of a key until it succeeds or has something new to try; and over a day no more than
/// [`Self::RENEWALS`] times that, since who may ask for something new may do so again and again.
#[derive(Debug)]
pub struct Failures {
    max: u32,
    keys: HashMap<String, Count>,
}

/// The failures of a key.
#[derive(Debug)]
struct Count {
    since_renewal: u32,
    in_day: u32,
    day_began: Instant,
}

/// Why a try may not begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// Something new to try makes room at once.
    UntilRenewed(TooMany),
    /// Nothing but time does.
    ForTheDay(TooMany),
}

impl Failures {
    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// How many times over a key may fail in a day.
    pub const RENEWALS: u32 = 3;

    pub fn new(max: u32) -> Self {
        Self { max, keys: HashMap::new() }
    }

    pub fn set(&mut self, max: u32) {
        self.max = max;
    }

    /// Lets a try begin. It counts as failed until it is taken back or forgotten, so that of many at the
    /// same time no more are let in than may fail.
    pub fn begin(&mut self, key: &str, now: Instant) -> Result<(), Exhausted> {
        if key.is_empty() {
            return Ok(());
        }
        if self.keys.len() >= MAX_KEYS && !self.keys.contains_key(key) {
            make_room(&mut self.keys, |count| Some(count.day_began), |began| now >= began + Self::DAY);
        }
        let fresh = Count { since_renewal: 0, in_day: 0, day_began: now };
        let count = self.keys.entry(key.to_owned()).or_insert(fresh);
        if now >= count.day_began + Self::DAY {
            (count.in_day, count.day_began) = (0, now);
        }
        let limit = self.max.saturating_mul(Self::RENEWALS);
        if count.in_day >= limit {
            let retry_after = (count.day_began + Self::DAY).saturating_duration_since(now);
            return Err(Exhausted::ForTheDay(TooMany { limit, retry_after }));
        }
        if count.since_renewal >= self.max {
            // Whoever has something new to try may come at once.
            let retry_after = Duration::from_secs(1);
            return Err(Exhausted::UntilRenewed(TooMany { limit: self.max, retry_after }));
        }
        count.since_renewal += 1;
        count.in_day += 1;
        Ok(())
    }

    /// What was tried could neither succeed nor fail.
    pub fn take_back(&mut self, key: &str) {
        let Some(count) = self.keys.get_mut(key) else { return };
        count.since_renewal = count.since_renewal.saturating_sub(1);
        count.in_day = count.in_day.saturating_sub(1);
        if count.in_day == 0 && count.since_renewal == 0 {
            self.keys.remove(key);
        }
    }

    /// There is something new to try.
    pub fn renew(&mut self, key: &str) {
        if let Some(count) = self.keys.get_mut(key) {
            count.since_renewal = 0;
        }
    }

    /// A try succeeded.
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
        let later = now + Duration::from_secs(24 * 3600 - 1);
        let refused = TooMany { limit: 2, retry_after: Duration::from_secs(1) };
        assert_eq!(failures.begin("a", later), Err(Exhausted::UntilRenewed(refused)));
        assert_eq!(failures.begin("a", later + Failures::DAY), Err(Exhausted::UntilRenewed(refused)));
        assert_eq!(failures.begin("b", later), Ok(()));
        failures.take_back("b");
        assert_eq!(failures.begin("b", later), Ok(()));
        assert!(failures.begin("b", later).is_err());
        failures.forget("a");
        assert_eq!(failures.begin("a", later), Ok(()));
    }

    #[test]
    fn what_is_tried_anew_may_fail_three_times_over_in_a_day() {
        let (mut failures, start) = (Failures::new(2), Instant::now());
        for _ in 0..3 {
            assert_eq!((failures.begin("a", start), failures.begin("a", start)), (Ok(()), Ok(())));
            assert!(failures.begin("a", start).is_err());
            failures.renew("a");
        }
        let an_hour_before = start + Failures::DAY - Duration::from_secs(3600);
        let refused = TooMany { limit: 6, retry_after: Duration::from_secs(3600) };
        assert_eq!(failures.begin("a", an_hour_before), Err(Exhausted::ForTheDay(refused)));
        assert_eq!(failures.begin("b", an_hour_before), Ok(()));
        assert_eq!(failures.begin("a", start + Failures::DAY), Ok(()), "the next day");
    }
}
