//! Bytes and time; no HTTP, no TLS.
//!
//! The contract of the room: where one side speaks, a thread blocks with a [`Deadline`]; where both
//! sides may speak, it polls both ([`duplex`], and [`tunnel`] where all bytes are the same). Sockets are
//! non-blocking throughout, so a deadline holds for a phase as a whole and not for a single read. Idle
//! connections wait in the main thread's poll ([`reactor`]) and cost no thread.

pub mod buffer;
pub mod channel;
pub mod dial;
pub mod duplex;
pub mod guard;
pub mod reactor;
pub mod tcp;
pub mod tunnel;

use std::time::{Duration, Instant};

/// The end of a phase: a moment, not a span, so that ten reads cannot take ten times as long as one.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    pub fn after(span: Duration) -> Self {
        Self(Instant::now() + span)
    }

    pub fn at(moment: Instant) -> Self {
        Self(moment)
    }

    pub fn moment(self) -> Instant {
        self.0
    }

    pub fn has_passed(self, now: Instant) -> bool {
        now >= self.0
    }

    /// What is left of the phase; zero once it is over.
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// The earlier of the two: a step may not outlive the phase it belongs to.
    #[must_use]
    pub fn or_sooner(self, span: Duration) -> Self {
        Self(self.0.min(Instant::now() + span))
    }
}
