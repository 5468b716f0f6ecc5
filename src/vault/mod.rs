//! The rules: who may use a vault, which service a request belongs to, what is attached to it.
//!
//! Pure: no I/O of any kind, no clock, no environment. The broker and standalone mode build a
//! [`Snapshot`] from what they hold; the proxy asks it for a [`Verdict`] and never sees a database.

pub mod scope;
pub mod service;

use std::collections::HashMap;

use crate::secret::Secret;
use service::Service;

/// What happens to a request no service matches (contract D.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnmatchedPolicy {
    /// Forward it, attach nothing.
    #[default]
    Passthrough,
    /// Refuse it with 403.
    Deny,
}

/// A vault's rules, ready to use; swapped whole when the vault changes.
#[derive(Debug)]
pub struct Snapshot {
    services: Vec<Service>,
    credentials: HashMap<String, Secret>,
    policy: UnmatchedPolicy,
}

impl Snapshot {
    /// Compiles services (in declaration order) and opened credentials into a snapshot.
    pub fn new(
        services: Vec<Service>,
        credentials: HashMap<String, Secret>,
        policy: UnmatchedPolicy,
    ) -> Self {
        Self { services, credentials, policy }
    }
}
