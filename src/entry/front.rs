//! What stands behind a run's listener and has credentials attached: here, or at the broker.

use std::sync::Arc;

use ring::rand::{self, SystemRandom};

use super::preflight::Broker;
use super::relay::Relay;
use crate::authority::Authority;
use crate::failure::Failure;
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
    /// The proxy a person is told of.
    pub(super) proxy: Authority,
}

impl Front {
    /// A relay to the broker's proxy.
    pub(super) fn relay(broker: Broker) -> Result<Self, Failure> {
        let credential = fresh_credential()?;
        let (vault, ca_pem, proxy) = (broker.vault.clone(), broker.ca_pem.clone(), broker.proxy.clone());
        let service = Arc::new(Relay::new(credential.clone(), broker));
        Ok(Self { service, credential, vault, ca_pem, proxy })
    }
}

/// The credential of one run, shaped like the session token it stands for.
fn fresh_credential() -> Result<Secret, Failure> {
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
