//! A broker that is away: how long a request waits for it, and when it does not.
//!
//! A broker that is being restarted is back within a moment, and a request that has not gone out can wait
//! that long. So the first request that finds it away starts a clock, and all of them try again until it
//! has run out; after that each is told at once, until the broker has answered again. Waiting is bounded
//! twice: by the outage, so that a broker that stays away costs nobody time, and by the request, so that
//! one that comes and goes does not hold a request for ever.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// First and longest pause between two attempts. Connecting in vain to a host that is up costs
/// microseconds.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));

/// A failure this long ago says nothing about now.
const STALE: Duration = Duration::from_secs(10);

/// Whether the broker is away, and since when.
pub(super) struct Outage {
    patience: Duration,
    away: Mutex<Option<Away>>,
}

#[derive(Clone, Copy)]
struct Away {
    since: Instant,
    /// The last vain attempt.
    seen: Instant,
}

impl Outage {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, away: Mutex::new(None) }
    }

    /// The broker has answered.
    pub(super) fn is_over(&self) {
        *self.away() = None;
    }

    /// Whether everybody has waited long enough for a broker that was away just now.
    pub(super) fn is_known(&self, now: Instant) -> bool {
        self.away().is_some_and(|away| now < away.seen + STALE && now >= away.since + self.patience)
    }

    /// A request's patience, from now on.
    pub(super) fn patience(&self) -> Patience<'_> {
        Patience { outage: self, until: Instant::now() + self.patience, pause: PAUSES.0 }
    }

    /// Takes note of a vain attempt; until when the broker is waited for.
    fn failed(&self, now: Instant) -> Instant {
        let mut away = self.away();
        let since = away.filter(|away| now < away.seen + STALE).map_or(now, |away| away.since);
        *away = Some(Away { since, seen: now });
        since + self.patience
    }

    fn away(&self) -> MutexGuard<'_, Option<Away>> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How much longer one request waits.
pub(super) struct Patience<'o> {
    outage: &'o Outage,
    until: Instant,
    pause: Duration,
}

impl Patience<'_> {
    /// After a vain attempt: false when it was the last one, else true after a pause.
    pub(super) fn lasts(&mut self) -> bool {
        let now = Instant::now();
        let Some(pause) = self.next_pause(now) else { return false };
        // Nobody unparks this thread; a spurious wake-up only makes the next attempt earlier.
        thread::park_timeout(pause);
        true
    }

    fn next_pause(&mut self, now: Instant) -> Option<Duration> {
        let until = self.outage.failed(now).min(self.until);
        let left = until.checked_duration_since(now).filter(|left| !left.is_zero())?;
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(PAUSES.1);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_waits_and_those_who_come_later_do_not() {
        let outage = Outage::new(Duration::from_secs(2));
        let begin = Instant::now();
        let at = |millis: u64| begin + Duration::from_millis(millis);
        let request = |millis: u64| Patience { until: at(millis + 2000), ..outage.patience() };
        let millis = |pause: Option<Duration>| pause.map(|pause| pause.as_millis());

        let mut first = request(0);
        let pauses: Vec<_> =
            [0, 10, 30, 70, 150, 310, 510].map(|now| millis(first.next_pause(at(now)))).into();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 200, 200].map(Some));
        assert!(!outage.is_known(at(510)));
        // Who comes in between waits with it, and not longer than it.
        let mut second = request(1995);
        assert_eq!(millis(second.next_pause(at(1995))), Some(5));
        assert_eq!((first.next_pause(at(2000)), second.next_pause(at(2000))), (None, None));
        assert!(outage.is_known(at(2000)));
        assert_eq!(request(9000).next_pause(at(9000)), None);
        // Nobody has tried for a while: that it was away says nothing any more.
        assert!(!outage.is_known(at(19_000)));
        assert_eq!(millis(request(19_000).next_pause(at(19_000))), Some(10));
        // It has answered: the next outage is another one.
        outage.is_over();
        let mut third = request(20_000);
        assert_eq!(millis(third.next_pause(at(20_000))), Some(10));
        outage.is_over();
        // A broker that comes and goes uses up the patience of a request.
        assert_eq!(third.next_pause(at(22_000)), None);
    }

    #[test]
    fn without_patience_there_is_one_attempt() {
        let outage = Outage::new(Duration::ZERO);
        let now = Instant::now();
        assert_eq!(outage.patience().next_pause(now), None);
        assert!(outage.is_known(now));
    }
}
