//! The proxy's rate tiers (contract B.8): failed authentications by address, requests by actor and vault.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::{Error, Tier};
use crate::rate::{Buckets, Slot, Slots, TooMany, Windows};
use crate::vault::scope::{Actor, Scope};

/// Longest wait for a slot.
const SLOT_TIME: Duration = Duration::from_secs(2);

/// Numbers of the tiers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Failed authentications of one address in `auth_window`.
    pub auth_max: u32,
    pub auth_window: Duration,
    /// Requests of one actor in one vault: per second, at once, in flight.
    pub proxy_rate: f64,
    pub proxy_burst: u32,
    pub proxy_in_flight: u32,
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            auth_max: 50,
            auth_window: Duration::from_secs(5 * 60),
            proxy_rate: 20.0,
            proxy_burst: 200,
            proxy_in_flight: 64,
        }
    }
}

/// The tiers at work; `None` inside is a limiter that is off.
pub(super) struct Tiers(Option<Limiters>);

struct Limiters {
    auth: Mutex<Windows>,
    rate: Mutex<Buckets>,
    in_flight: Arc<Slots<String>>,
}

impl Tiers {
    pub(super) fn new(rates: Option<Rates>) -> Self {
        Self(rates.map(|rates| Limiters {
            auth: Mutex::new(Windows::new(rates.auth_max, rates.auth_window)),
            rate: Mutex::new(Buckets::new(rates.proxy_rate, rates.proxy_burst)),
            in_flight: Arc::new(Slots::new(rates.proxy_in_flight)),
        }))
    }

    /// Counts a failed authentication of this address; the error to answer with. Successes are never
    /// counted and never refused, so one bad client does not lock out those who share its address.
    /// Loopback is exempt.
    pub(super) fn failed(&self, peer: IpAddr, tier: Tier, failure: Error) -> Error {
        let Some(limiters) = self.0.as_ref().filter(|_| !peer.to_canonical().is_loopback()) else {
            return failure;
        };
        let mut auth = limiters.auth.lock().unwrap_or_else(PoisonError::into_inner);
        match auth.admit(&peer.to_string(), Instant::now()) {
            Ok(()) => failure,
            Err(too_many) => Error::TooMany(tier, too_many),
        }
    }

    /// Lets a request of this scope in; the slot is held until it is dropped.
    pub(super) fn admit(&self, scope: &Scope) -> Result<Option<Slot<String>>, Error> {
        let Some(limiters) = &self.0 else { return Ok(None) };
        let key = key(scope);
        let now = Instant::now();
        let taken = limiters.rate.lock().unwrap_or_else(PoisonError::into_inner).take(&key, now);
        taken.map_err(|too_many: TooMany| Error::TooMany(Tier::RequestRate, too_many))?;
        let slot = limiters.in_flight.take(&key, now + SLOT_TIME);
        slot.map(Some).map_err(|too_many| Error::TooMany(Tier::InFlight, too_many))
    }
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

    #[test]
    fn loopback_is_exempt_in_every_form() {
        let tiers = Tiers::new(Some(Rates { auth_max: 1, ..Rates::default() }));
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
        let tiers = Tiers::new(Some(Rates { auth_max: 3, ..Rates::default() }));
        let fail =
            |peer: &str| tiers.failed(peer.parse().unwrap(), Tier::Connects, Error::AuthorizationRequired);
        for _ in 0..3 {
            assert_eq!(fail("10.0.0.5"), Error::AuthorizationRequired);
        }
        assert!(matches!(fail("10.0.0.5"), Error::TooMany(Tier::Connects, _)));
        assert_eq!(fail("2001:db8::1"), Error::AuthorizationRequired);
        let off = Tiers::new(None);
        for _ in 0..100 {
            let answered =
                off.failed("10.0.0.5".parse().unwrap(), Tier::Connects, Error::AuthorizationRequired);
            assert_eq!(answered, Error::AuthorizationRequired);
        }
    }
}
