//! Looking out for what other processes changed in the same state.
//!
//! A change of our own is seen at once; one of another replica, or of a command that works on the state
//! directly, within the span named here. An idle broker wakes for it once a second and asks one question
//! that is answered from memory.

use std::time::{Duration, Instant};

use crate::api::Api;
use crate::log_event;
use crate::store::{self, Store};

/// Half of what the contract grants for a change to be noticed (case J 4).
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// When to look again, and whether the last look failed.
pub(super) struct Lookout {
    next: Instant,
    is_blind: bool,
}

impl Lookout {
    pub(super) fn new() -> Self {
        Self { next: Instant::now() + LOOK_EVERY, is_blind: false }
    }

    /// Looks if it is time; when it will be again.
    pub(super) fn look(&mut self, store: &Store, api: &Api, now: Instant) -> Instant {
        if now >= self.next {
            self.next = now + LOOK_EVERY;
            let looked = store.catch_up().and_then(
                |was_behind| {
                    if was_behind { api.apply_settings() } else { Ok(()) }
                },
            );
            self.tell(looked.err().as_ref());
        }
        self.next
    }

    /// Says when sight is lost and when it is back, not every second between.
    fn tell(&mut self, error: Option<&store::Error>) {
        match error {
            Some(error) if !self.is_blind => {
                log_event!(Error, "changes made by other processes are not seen", err = error);
            }
            None if self.is_blind => log_event!(Info, "changes made by other processes are seen again"),
            _ => {}
        }
        self.is_blind = error.is_some();
    }
}
