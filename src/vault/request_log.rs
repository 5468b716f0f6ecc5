//! What is remembered of a request: names, a status and a duration, never a value.
//!
//! The proxy knows no database: it hands a [`Row`] to a [`RequestLog`], as it asks a
//! [`Directory`](super::scope::Directory) whom a token belongs to. A row has no field that could hold a
//! query, a header value, a body or an address of a client (contract F.1).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::scope::Actor;
use super::service::Service;
use crate::authority::Authority;
use crate::json::json;

/// How requests reach the proxy; rows of older brokers may say `explicit`.
pub const INGRESS: &str = "mitm";

/// One request of an authenticated client, at its end.
#[derive(Clone, Debug)]
pub struct Row {
    pub at: SystemTime,
    pub vault_id: Arc<str>,
    pub actor: Actor,
    pub method: String,
    pub target: Authority,
    /// Decoded, without the query, as the client sent it: before any substitution.
    pub path: String,
    /// The service that matched, whether or not its credential went out.
    pub service: Option<Arc<Service>>,
    /// What the client got; 101 for a WebSocket.
    pub status: u16,
    pub latency: Duration,
    /// Empty when nothing went wrong.
    pub error_code: &'static str,
    /// The machine-readable reason of a refusal, finer than the code; empty when there is none.
    pub reason: &'static str,
    pub client_auth: Option<ClientAuth>,
}

/// How the client tried to authenticate to the upstream by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAuth {
    pub scheme: &'static str,
    pub header: &'static str,
}

/// Where rows go. Must not block: the proxy does not wait for it.
pub trait RequestLog: Send + Sync {
    fn record(&self, row: Row);
}

impl Row {
    /// Type and id of the actor; both empty for a minted token that names none.
    pub fn actor(&self) -> (&'static str, &str) {
        match &self.actor {
            Actor::Agent(id) => ("agent", id),
            Actor::User(id) => ("user", id),
            Actor::Minted(_) => ("", ""),
        }
    }

    pub fn matched_service(&self) -> &str {
        self.service.as_ref().map_or("", |service| &service.name)
    }

    /// The keys the service names, also when they could not be resolved.
    pub fn credential_keys(&self) -> Vec<&str> {
        self.service.as_ref().map(|service| service.credential_keys()).unwrap_or_default()
    }

    /// The matcher of the service: host, path, port; empty and 0 where it has none.
    pub fn matched(&self) -> (String, &str, u16) {
        match &self.service {
            Some(service) => (service.host_name(), &service.path, service.port.unwrap_or(0)),
            None => (String::new(), "", 0),
        }
    }

    pub fn latency_ms(&self) -> u64 {
        u64::try_from(self.latency.as_millis()).unwrap_or(u64::MAX)
    }

    /// The row for programs that read a log. `time` comes from the caller, who knows its form.
    pub fn to_json(&self, time: &str) -> Value {
        let (actor_type, actor_id) = self.actor();
        let (matched_host, matched_path, matched_port) = self.matched();
        json!({
            "time": time,
            "msg": "proxy_request",
            "vault_id": self.vault_id,
            "actor_type": actor_type,
            "actor_id": actor_id,
            "ingress": INGRESS,
            "method": self.method,
            "host": self.target.to_string(),
            "path": self.path,
            "matched_service": self.matched_service(),
            "matched_host": matched_host,
            "matched_path": matched_path,
            "matched_port": matched_port,
            "credential_keys": self.credential_keys(),
            "status": self.status,
            "latency_ms": self.latency_ms(),
            "error_code": self.error_code,
            "reason": self.reason,
            "passthrough": self.service.is_none(),
        })
    }
}
