//! Renewing access tokens: one call to an endpoint at a time for each, shared by all who wait for it.
//!
//! A refresh token may be good for one use only, so two calls at once would cost the connection. Whoever
//! comes first makes the call, on its own thread and to its end, whether or not its client is still there;
//! the others wait for what comes of it. Who comes later finds in the row that the token has changed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Occasion;
use crate::log_event;
use crate::store::{Error, Store, Timestamp, lock};
use crate::vault::oauth::Stale;
use crate::vault::oauth::call::{Fault, Grant};
use crate::vault::scope::{RefreshFailed, Scope};

/// Longest wait for another request's call: what a call may take (contract G.3), and room for its result
/// to be written.
const SHARED_TIME: Duration = Duration::from_secs(45);

type Outcome = Result<(), RefreshFailed>;

/// A vault and a key in it.
type Place = (Arc<str>, String);

/// The calls under way.
#[derive(Default)]
pub(in crate::store) struct Flights(Mutex<HashMap<Place, Arc<Flight>>>);

#[derive(Default)]
struct Flight {
    outcome: Mutex<Option<Outcome>>,
    landed: Condvar,
}

/// Ends a flight whatever becomes of its call.
struct Landing<'f> {
    flights: &'f Flights,
    place: Place,
    flight: Arc<Flight>,
    outcome: Outcome,
}

impl Flights {
    /// Runs `call`, or waits for the one that is under way.
    fn share(&self, place: Place, call: impl FnOnce() -> Outcome) -> Outcome {
        let (flight, is_first) = match lock(&self.0).entry(place.clone()) {
            Entry::Occupied(entry) => (Arc::clone(entry.get()), false),
            Entry::Vacant(entry) => (Arc::clone(entry.insert(Arc::default())), true),
        };
        if !is_first {
            return flight.wait(Instant::now() + SHARED_TIME);
        }
        let mut landing = Landing { flights: self, place, flight, outcome: Err(RefreshFailed) };
        landing.outcome = call();
        landing.outcome
    }
}

impl Flight {
    fn wait(&self, until: Instant) -> Outcome {
        let mut outcome = lock(&self.outcome);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match *outcome {
                Some(outcome) => return outcome,
                None if left.is_zero() => return Err(RefreshFailed),
                None => {
                    let waited = self.landed.wait_timeout(outcome, left);
                    outcome = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        lock(&self.flights.0).remove(&self.place);
        *lock(&self.flight.outcome) = Some(self.outcome);
        self.flight.landed.notify_all();
    }
}

impl Store {
    /// Renews every one of these tokens that has not been renewed already.
    pub(in crate::store) fn refresh_all(&self, scope: &Scope, stale: &[Stale]) -> Outcome {
        let mut all = Ok(());
        for token in stale {
            let place = (Arc::clone(&scope.vault_id), token.key.clone());
            all = all.and(self.flights.share(place, || self.refresh_one(scope, token)));
        }
        all
    }

    fn refresh_one(&self, scope: &Scope, stale: &Stale) -> Outcome {
        self.try_refresh(scope, stale).unwrap_or_else(|error| {
            log_event!(Error, "oauth refresh failed", vault = scope.vault_name, key = stale.key, err = error);
            Err(RefreshFailed)
        })
    }

    fn try_refresh(&self, scope: &Scope, stale: &Stale) -> Result<Outcome, Error> {
        let (vault_id, key) = (&*scope.vault_id, stale.key.as_str());
        let Some(stored) = self.stored(vault_id, key)? else { return Ok(Err(RefreshFailed)) };
        if stored.revision != stale.revision {
            return Ok(Ok(()));
        }
        let Some(refresh_token) = &stored.refresh_token else { return Ok(Err(RefreshFailed)) };
        let answered = self.ask_for_tokens(&stored.client, &Grant::Refresh(refresh_token));
        let now = Timestamp::now();
        match answered {
            Ok(granted) => {
                let came_of_it = (granted, Occasion::Refresh);
                if !self.keep_granted(vault_id, key, stored.revision, came_of_it, now)? {
                    log_event!(
                        Info,
                        "oauth tokens changed during a refresh",
                        vault = scope.vault_name,
                        key = key
                    );
                }
                Ok(Ok(()))
            }
            Err(fault) => {
                warn(scope, key, &fault);
                self.keep_fault(vault_id, key, stored.revision, &fault, now)?;
                Ok(Err(RefreshFailed))
            }
        }
    }
}

/// The fault holds nothing the provider wrote.
fn warn(scope: &Scope, key: &str, fault: &Fault) {
    log_event!(
        Warn,
        "oauth refresh failed",
        vault = scope.vault_name,
        key = key,
        err = fault,
        permanent = fault.is_permanent()
    );
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    fn place(key: &str) -> Place {
        ("v".into(), key.to_owned())
    }

    /// A call that goes on until so many others wait for it.
    fn until_awaited(flights: &Flights, key: &str, others: usize) {
        let end = Instant::now() + Duration::from_secs(20);
        let flight = Arc::clone(&lock(&flights.0)[&place(key)]);
        // The map, the leader and this function hold it too.
        while Arc::strong_count(&flight) < others + 3 {
            assert!(Instant::now() < end, "only {} wait", Arc::strong_count(&flight) - 3);
            thread::yield_now();
        }
    }

    #[test]
    fn those_who_wait_share_one_call_of_their_key() {
        let (flights, calls) = (Flights::default(), AtomicUsize::new(0));
        thread::scope(|threads| {
            let flown: Vec<_> = (0..20)
                .map(|number| {
                    let key = if number % 2 == 0 { "A" } else { "B" };
                    let (flights, calls) = (&flights, &calls);
                    let fly = move || {
                        calls.fetch_add(1, Ordering::Relaxed);
                        until_awaited(flights, key, 9);
                        if key == "A" { Ok(()) } else { Err(RefreshFailed) }
                    };
                    (key, threads.spawn(move || flights.share(place(key), fly)))
                })
                .collect();
            for (key, outcome) in flown {
                assert_eq!(outcome.join().unwrap().is_ok(), key == "A");
            }
        });
        assert_eq!(calls.into_inner(), 2);
        assert!(lock(&flights.0).is_empty());
    }

    #[test]
    fn a_panic_lands_too() {
        let flights = Flights::default();
        let panicked = thread::scope(|threads| {
            threads.spawn(|| flights.share(place("A"), || panic!("a test's own"))).join()
        });
        assert!(panicked.is_err());
        assert_eq!(flights.share(place("A"), || Ok(())), Ok(()));
    }
}
