//! What stands behind a run's listener and has credentials attached: here, or at the broker.

use std::sync::Arc;

use ring::rand::{self, SystemRandom};

use super::environment::placeholders;
use super::host::Host;
use super::preflight::Broker;
use super::relay::Relay;
use super::standalone::reload::Keeper;
use super::standalone::{self, Settings, Standalone};
use crate::authority::Authority;
use crate::failure::Failure;
use crate::http1::fields::Fields;
use crate::net::reactor::Service;
use crate::secret::Secret;

/// A run's listener, as its child sees it.
pub(super) struct Front {
    /// Serves the child's connections.
    pub(super) service: Arc<dyn Service>,
    /// What the child presents to it.
    pub(super) credential: Secret,
    pub(super) vault: String,
    /// The CA that vouches for what the child reaches through it.
    pub(super) ca_pem: Vec<u8>,
    /// The proxy a person is told of; without one it is the listener itself.
    pub(super) proxy: Option<Authority>,
    /// Variables, and what the child finds in them, if it would find nothing.
    pub(super) placeholders: Vec<(String, String)>,
    /// Keeps the rules current, where they are ours.
    pub(super) keeper: Option<Keeper>,
    /// Looks at once for a new token, where there is one to look for.
    pub(super) reload: Option<Box<dyn Fn()>>,
}

impl Front {
    /// A relay to the broker's proxy.
    pub(super) fn relay(broker: Broker) -> Result<Self, Failure> {
        let credential = fresh_credential()?;
        let placeholders = placeholders(&broker.keys);
        let (vault, ca_pem, proxy) = (broker.vault.clone(), broker.ca_pem.clone(), broker.proxy.clone());
        let relay = Relay::new(credential.clone(), broker);
        let service = Arc::new(Arc::clone(&relay));
        let reload: Box<dyn Fn()> = Box::new(move || relay.reload());
        Ok(Self {
            service,
            credential,
            vault,
            ca_pem,
            proxy: Some(proxy),
            placeholders,
            keeper: None,
            reload: Some(reload),
        })
    }

    /// A proxy of our own.
    pub(super) fn standalone(settings: &Settings, host: &mut Host) -> Result<Self, Failure> {
        let Standalone { service, credential, vault, ca_pem, placeholders, keeper } =
            standalone::open(settings, host)?;
        Ok(Self {
            service,
            credential,
            vault,
            ca_pem,
            proxy: None,
            placeholders,
            keeper: Some(keeper),
            reload: None,
        })
    }
}

/// Whether `Authorization` carries the run's credential; the scheme is spelled exactly so.
pub(super) fn bears(fields: &Fields, credential: &Secret) -> bool {
    fields
        .first("authorization")
        .and_then(|value| value.strip_prefix(b"Bearer "))
        .is_some_and(|token| Secret::new(token.to_vec()) == *credential)
}

/// The credential of one run, shaped like the session token it stands for.
pub(super) fn fresh_credential() -> Result<Secret, Failure> {
    Ok(format!("av_sess_{}", fresh_hex::<32>()?).into())
}

/// Names what belongs to one run.
pub(super) fn fresh_run_id() -> Result<String, Failure> {
    fresh_hex::<8>()
}

fn fresh_hex<const N: usize>() -> Result<String, Failure> {
    let bytes: rand::Random<[u8; N]> = rand::generate(&SystemRandom::new())
        .map_err(|_| Failure::new("the system has no randomness to give"))?;
    Ok(bytes.expose().iter().map(|byte| format!("{byte:02x}")).collect())
}
