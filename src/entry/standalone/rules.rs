//! The rules in force: who may use the proxy, and what it does. Swapped whole.
//!
//! A request asks for the rules once and keeps what it was given to its end; the next one, also in a
//! tunnel that is open already, gets what is in force then.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use serde_json::Value;

use super::document::Document;
use crate::entry::front;
use crate::http1::head::RequestHead;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::secret::Secret;
use crate::vault::Snapshot;
use crate::vault::scope::{Actor, Directory, Role, Scope, ScopeError, SnapshotUnavailable};

/// The rules of a run.
pub(super) struct Rules {
    /// What the child presents, to the proxy and to what else answers here.
    credential: Secret,
    scope: Arc<Scope>,
    now: RwLock<Arc<InForce>>,
}

/// One document's rules.
pub(super) struct InForce {
    snapshot: Arc<Snapshot>,
    /// The answer to `/discover`.
    discovery: Value,
}

impl InForce {
    pub(super) fn new(document: &Document, values: &HashMap<String, Secret>) -> Self {
        let services: Vec<Value> = document
            .services
            .iter()
            .map(|service| json!({"name": service.name, "host": service.joined_host()}))
            .collect();
        let keys = Vec::from_iter(document.keys());
        let discovery = json!({"vault": document.vault, "services": services, "available_credentials": keys});
        let snapshot = Snapshot::new(document.services.clone(), values, document.policy);
        Self { snapshot: Arc::new(snapshot), discovery }
    }
}

impl Rules {
    pub(super) fn new(credential: Secret, vault: &str, in_force: InForce) -> Self {
        let scope = Scope {
            actor: Actor::Agent("run".into()),
            vault_id: vault.into(),
            vault_name: vault.into(),
            role: Role::Proxy,
        };
        Self { credential, scope: Arc::new(scope), now: RwLock::new(Arc::new(in_force)) }
    }

    /// Puts other rules in force.
    pub(super) fn swap(&self, in_force: InForce) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(in_force);
    }

    fn now(&self) -> Arc<InForce> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Answers what the child asks the listener itself: the agent protocol, as far as it needs no broker.
    pub(super) fn answer(&self, head: &RequestHead) -> Answer {
        let path = head.target().split('?').next().unwrap_or_default();
        let is_about_proposals =
            path.strip_prefix("/v1/proposals").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_about_proposals {
            return error(
                404,
                "Proposals need a broker, and this run has none: ask whoever keeps its configuration",
            );
        }
        match (head.method(), path) {
            ("GET", "/discover") if front::bears(head.fields(), &self.credential) => {
                Answer::json(200, &self.now().discovery)
            }
            ("GET", "/discover") => error(401, "Invalid or expired session"),
            _ => error(404, "Not found"),
        }
    }
}

impl Directory for Rules {
    fn scope(&self, token: &Secret, vault_hint: Option<&str>) -> Result<Arc<Scope>, ScopeError> {
        if *token != self.credential {
            return Err(ScopeError::InvalidToken);
        }
        match vault_hint {
            Some(vault) if *vault != *self.scope.vault_name => Err(ScopeError::Forbidden),
            _ => Ok(Arc::clone(&self.scope)),
        }
    }

    fn snapshot(&self, _: &Scope) -> Result<Arc<Snapshot>, SnapshotUnavailable> {
        Ok(Arc::clone(&self.now().snapshot))
    }
}

fn error(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({ "error": text }))
}
