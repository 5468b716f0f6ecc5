//! What is remembered of a request: names, a status and a duration, never a value.
//!
//! The proxy knows no database: it hands a [`Row`] to a [`RequestLog`], as it asks a
//! [`Directory`](super::scope::Directory) whom a token belongs to. A row has no field that could hold a
//! query, a header value, a body or an address of a client (contract F.1).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::scope::Actor;
use super::service::Service;
use crate::authority::Authority;

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
        let fields = [
            ("time", json!(time)),
            ("msg", json!("proxy_request")),
            ("vault_id", json!(&*self.vault_id)),
            ("actor_type", json!(actor_type)),
            ("actor_id", json!(actor_id)),
            ("ingress", json!(INGRESS)),
            ("method", json!(self.method)),
            ("host", json!(self.target.to_string())),
            ("path", json!(self.path)),
            ("matched_service", json!(self.matched_service())),
            ("matched_host", json!(matched_host)),
            ("matched_path", json!(matched_path)),
            ("matched_port", json!(matched_port)),
            ("credential_keys", json!(self.credential_keys())),
            ("status", json!(self.status)),
            ("latency_ms", json!(self.latency_ms())),
            ("error_code", json!(self.error_code)),
            ("reason", json!(self.reason)),
            ("passthrough", json!(self.service.is_none())),
        ];
        Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
    }
}
