//! A sliding window of events per key.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Keys remembered at once (contract A.2).
const MAX_KEYS: usize = 10_000;

/// Lets `max` events through per `span` and key.
#[derive(Debug)]
pub(super) struct Window {
    max: usize,
    span: Duration,
    events: HashMap<String, VecDeque<Instant>>,
}

impl Window {
    pub(super) fn new(max: usize, span: Duration) -> Self {
        Self { max, span, events: HashMap::new() }
    }

    /// Counts an event, or says how long until there is room for one.
    pub(super) fn admit(&mut self, key: String, now: Instant) -> Result<(), Duration> {
        let span = self.span;
        let is_over = |at: &Instant| now.saturating_duration_since(*at) >= span;
        if self.events.len() >= MAX_KEYS && !self.events.contains_key(&key) {
            self.events.retain(|_, times| times.back().is_some_and(|last| !is_over(last)));
            if self.events.len() >= MAX_KEYS {
                self.forget_coldest();
            }
        }
        let times = self.events.entry(key).or_default();
        while times.front().is_some_and(is_over) {
            times.pop_front();
        }
        match times.front() {
            Some(oldest) if times.len() >= self.max => {
                Err(self.span.saturating_sub(now.saturating_duration_since(*oldest)))
            }
            _ => {
                times.push_back(now);
                Ok(())
            }
        }
    }

    fn forget_coldest(&mut self) {
        let coldest = self.events.iter().min_by_key(|(_, times)| times.back().copied());
        if let Some(key) = coldest.map(|(key, _)| key.clone()) {
            self.events.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut window = Window::new(2, Duration::from_secs(10));
        let mut admit = |key: &str, now| window.admit(key.to_owned(), now);
        assert_eq!(admit("a", at(0)), Ok(()));
        assert_eq!(admit("a", at(4)), Ok(()));
        assert_eq!(admit("a", at(5)), Err(Duration::from_secs(5)));
        assert_eq!(admit("b", at(5)), Ok(()));
        // The refused attempt was not counted, the first one has left.
        assert_eq!(admit("a", at(10)), Ok(()));
        assert_eq!(admit("a", at(11)), Err(Duration::from_secs(3)));
    }

    #[test]
    fn keys_are_bounded() {
        let mut window = Window::new(1, Duration::from_secs(10));
        let now = Instant::now();
        for number in 0..MAX_KEYS + 50 {
            assert_eq!(window.admit(number.to_string(), now), Ok(()));
        }
        assert!(window.events.len() <= MAX_KEYS);
    }
}
