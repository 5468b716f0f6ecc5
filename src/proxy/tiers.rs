//! The proxy's rate tiers (contract B.8): failed authentications by address, requests by actor and vault.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::error::{Error, Tier};
use crate::rate::tiers::Rates;
use crate::rate::{Buckets, Slot, Slots, TooMany, Windows};
use crate::vault::scope::{Actor, Scope};

/// Longest wait for a slot.
const SLOT_TIME: Duration = Duration::from_secs(2);

/// The tiers at work. Their numbers may change; what they have counted stays.
pub(super) struct Tiers {
    /// Read without a lock, so that a proxy without limits pays nothing for them.
    is_on: AtomicBool,
    auth: Mutex<Windows>,
    rate: Mutex<Buckets>,
    in_flight: Arc<Slots<String>>,
}

impl Tiers {
    /// `None` is a proxy whose limiters are off.
    pub(super) fn new(rates: Option<Rates>) -> Self {
        let numbers = rates.unwrap_or_default();
        Self {
            is_on: AtomicBool::new(rates.is_some()),
            auth: Mutex::new(Windows::new(numbers.auth)),
            rate: Mutex::new(Buckets::new(numbers.proxy)),
            in_flight: Arc::new(Slots::new(numbers.proxy_in_flight)),
        }
    }

    pub(super) fn set(&self, rates: Option<Rates>) {
        if let Some(numbers) = rates {
            lock(&self.auth).set(numbers.auth);
            lock(&self.rate).set(numbers.proxy);
            self.in_flight.set(numbers.proxy_in_flight);
        }
        self.is_on.store(rates.is_some(), Ordering::Relaxed);
    }

    /// Requests that hold a slot.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.count()
    }

    /// Counts a failed authentication of this address; the error to answer with. Successes are never
    /// counted and never refused, so one bad client does not lock out those who share its address.
    /// Loopback is exempt.
    pub(super) fn failed(&self, peer: IpAddr, tier: Tier, failure: Error) -> Error {
        if !self.is_on.load(Ordering::Relaxed) || peer.to_canonical().is_loopback() {
            return failure;
        }
        match lock(&self.auth).admit(&peer.to_string(), Instant::now()) {
            Ok(()) => failure,
            Err(too_many) => Error::TooMany(tier, too_many),
        }
    }

    /// Lets a request of this scope in; the slot is held until it is dropped.
    pub(super) fn admit(&self, scope: &Scope) -> Result<Option<Slot<String>>, Error> {
        if !self.is_on.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let key = key(scope);
        let now = Instant::now();
        let taken = lock(&self.rate).take(&key, now);
        taken.map_err(|too_many: TooMany| Error::TooMany(Tier::RequestRate, too_many))?;
        let slot = self.in_flight.take(&key, now + SLOT_TIME);
        slot.map(Some).map_err(|too_many| Error::TooMany(Tier::InFlight, too_many))
    }
}

/// Every statement under the lock leaves the counts whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Actor and vault; a minted token that names no actor stands for itself.
fn key(scope: &Scope) -> String {
    let (kind, id) = match &scope.actor {
        Actor::Agent(id) => ("agent", id),
        Actor::User(id) => ("user", id),
        Actor::Minted(id) => ("minted", id),
    };
    format!("{kind}:{id}:{}", scope.vault_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Window;

    fn failures(max: u32) -> Rates {
        Rates { auth: Window { max, span: Duration::from_secs(60) }, ..Rates::default() }
    }

    #[test]
    fn loopback_is_exempt_in_every_form() {
        let tiers = Tiers::new(Some(failures(1)));
        for peer in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            for _ in 0..3 {
                let answered =
                    tiers.failed(peer.parse().unwrap(), Tier::Connects, Error::AuthorizationRequired);
                assert_eq!(answered, Error::AuthorizationRequired, "{peer}");
            }
        }
    }

    #[test]
    fn an_address_that_keeps_failing_is_told_to_wait() {
        let tiers = Tiers::new(Some(failures(3)));
        let fail =
            |peer: &str| tiers.failed(peer.parse().unwrap(), Tier::Connects, Error::AuthorizationRequired);
        for _ in 0..3 {
            assert_eq!(fail("10.0.0.5"), Error::AuthorizationRequired);
        }
        assert!(matches!(fail("10.0.0.5"), Error::TooMany(Tier::Connects, _)));
        assert_eq!(fail("2001:db8::1"), Error::AuthorizationRequired);
        // Off and on again, the counts are as they were.
        tiers.set(None);
        assert_eq!(fail("10.0.0.5"), Error::AuthorizationRequired);
        tiers.set(Some(failures(3)));
        assert!(matches!(fail("10.0.0.5"), Error::TooMany(Tier::Connects, _)));
        tiers.set(Some(failures(4)));
        assert_eq!(fail("10.0.0.5"), Error::AuthorizationRequired);
        let off = Tiers::new(None);
        for _ in 0..100 {
            let answered =
                off.failed("10.0.0.5".parse().unwrap(), Tier::Connects, Error::AuthorizationRequired);
            assert_eq!(answered, Error::AuthorizationRequired);
        }
    }
}
