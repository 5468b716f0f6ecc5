//! The control API's own tiers (contract A.2): attempts, wrong codes, actors, and everything together.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::caller::Who;
use super::refusal::{self, Refusal};
use crate::rate::tiers::Rates;
use crate::rate::{Buckets, Failures, Left, Slot, Slots, Windows};
use crate::store::grants::{ActorKind, ActorRef};
use crate::store::sessions::Holder;

/// Longest wait for a slot of all requests.
const SLOT_TIME: Duration = Duration::from_millis(500);

/// All requests share one bucket and one number of slots.
const EVERYONE: &str = "all";

/// The limiters. Their numbers may change; what they have counted stays.
pub(super) struct Limits {
    is_on: AtomicBool,
    attempts: Mutex<Windows>,
    wrong_codes: Mutex<Failures>,
    actors: Mutex<Buckets>,
    all: Mutex<Buckets>,
    in_flight: Arc<Slots<()>>,
}

impl Limits {
    /// With the default numbers, until [`Self::set`] says otherwise.
    pub(super) fn new() -> Self {
        let numbers = Rates::default();
        Self {
            is_on: AtomicBool::new(true),
            attempts: Mutex::new(Windows::new(numbers.auth)),
            wrong_codes: Mutex::new(Failures::new(numbers.wrong_codes)),
            actors: Mutex::new(Buckets::new(numbers.authed)),
            all: Mutex::new(Buckets::new(numbers.global)),
            in_flight: Arc::new(Slots::new(numbers.global_in_flight)),
        }
    }

    /// Changes the numbers at once; `None` switches the limiters off.
    pub(super) fn set(&self, rates: Option<Rates>) {
        if let Some(numbers) = rates {
            lock(&self.attempts).set(numbers.auth);
            lock(&self.wrong_codes).set(numbers.wrong_codes);
            lock(&self.actors).set(numbers.authed);
            lock(&self.all).set(numbers.global);
            self.in_flight.set(numbers.global_in_flight);
        }
        self.is_on.store(rates.is_some(), Ordering::Relaxed);
    }

    /// Tier GLOBAL: lets a request in; the slot is held until it is answered.
    pub(super) fn admit_any(&self) -> Result<Option<Slot<()>>, Refusal> {
        if !self.is_on() {
            return Ok(None);
        }
        let now = Instant::now();
        let taken = lock(&self.all).take(EVERYONE, now);
        taken.map_err(|refused| refusal::too_many("Server busy, try again shortly", refused))?;
        let slot = self.in_flight.take(&(), now + SLOT_TIME);
        slot.map(Some).map_err(|refused| refusal::too_many("Server at capacity, try again shortly", refused))
    }

    /// Tier AUTHED: counts a request of whoever presented a token; what is left to them.
    pub(super) fn admit_actor(&self, who: &Who) -> Result<Option<Left>, Refusal> {
        if !self.is_on() {
            return Ok(None);
        }
        let taken = lock(&self.actors).take(&key(who), Instant::now());
        taken.map_err(|refused| refusal::too_many("Too many requests, try again later", refused))
    }

    /// Tier AUTH: counts an attempt to prove an identity against a key.
    pub(super) fn admit_attempt(&self, key: &str, message: &str) -> Result<(), Refusal> {
        if !self.is_on() {
            return Ok(());
        }
        let admitted = lock(&self.attempts).admit(key, Instant::now());
        admitted.map_err(|refused| refusal::too_many(message, refused))
    }

    /// Tier VERIFY_FAIL: wrong codes, by address; `None` when limits are off.
    pub(super) fn wrong_codes(&self) -> Option<MutexGuard<'_, Failures>> {
        self.is_on().then(|| lock(&self.wrong_codes))
    }

    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }
}

/// Whose request it is. A scoped token counts as its minter's, or, without one, for itself: one key for all
/// of them would let one client use up what every other has.
fn key(who: &Who) -> String {
    match &who.0 {
        Holder::User { id, .. } => format!("user:{id}"),
        Holder::Agent { id, .. } => format!("agent:{id}"),
        Holder::Scoped { minted_by: Some(ActorRef { kind: ActorKind::User, id }), .. } => {
            format!("user:{id}")
        }
        Holder::Scoped { minted_by: Some(ActorRef { kind: ActorKind::Agent, id }), .. } => {
            format!("agent:{id}")
        }
        Holder::Scoped { minted_by: None, token_id, .. } => format!("minted:{token_id}"),
    }
}

/// Every statement under the lock leaves the counts whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
