//! What would become of a request, without sending it.
//!
//! Asks the same judges as an exchange does: the method, the vault's rules, the network guard. Names are
//! told, values never.

use serde_json::Value;

use super::egress::Egress;
use super::error::{Circumstances, Error};
use super::gate;
use super::judge::{self, Judged};
use super::upstream::{self, Way};
use crate::http1::fields::is_token;
use crate::json::json;
use crate::net::guard::{Guard, Refusal};
use crate::vault::attach::{AttachError, Attachment};
use crate::vault::service::Service;
use crate::vault::{Prepared, Snapshot};

/// Answers for the proxy, also where none is running.
#[derive(Debug)]
pub struct Explainer {
    /// How the network would be judged; without it names are not resolved and it is not judged.
    pub network: Option<(Guard, Option<Egress>)>,
    pub base_url: String,
}

/// A request somebody thinks of.
#[derive(Clone, Copy, Debug)]
pub struct Imagined<'r> {
    pub vault: &'r str,
    pub method: &'r str,
    pub url: &'r str,
}

impl Explainer {
    /// What would happen, or what is wrong with the question.
    pub fn explain(&self, snapshot: &Snapshot, request: Imagined<'_>) -> Result<Value, &'static str> {
        if !is_token(request.method.as_bytes()) {
            return Err("method must be an HTTP method such as GET");
        }
        let absolute = gate::absolute(request.url);
        let (scheme, target, path) =
            absolute.map_err(|_| "url must be an http:// or https:// URL with a host")?;
        let raw_path = judge::raw_path(path);
        let judged = judge::target(snapshot, &target, scheme, raw_path);
        let way = self.network.as_ref();
        let way = way.map(|(guard, egress)| upstream::way(guard, egress.as_ref(), &target));
        let service = judged.compiled.map(|compiled| &**compiled.service());
        let missing = judged.compiled.and_then(|compiled| compiled.prepared().err());
        let of_host = snapshot.services_of_host(&target);
        let network = way.as_ref().map(network);
        let at =
            Circumstances { target: Some(&target), vault: request.vault, base_url: Some(&self.base_url) };
        let sets = judged.outcome.as_ref().ok().copied().flatten().map(attached).unwrap_or_default();
        let refusal = refusal(request.method, &judged, way.and_then(Result::err));
        Ok(json!({
            "vault": request.vault,
            "method": request.method,
            "target": target.to_string(),
            "path": raw_path,
            "outcome": match (&refusal, service) {
                (Some(_), _) => "refuse",
                (None, Some(_)) => "attach",
                (None, None) => "forward",
            },
            "refusal": refusal.as_ref().map(|error| told(error, &at)),
            "service": service.map(|service| service_json(service, missing, &sets)),
            "services_of_host": of_host.iter().map(|one| &one.name).collect::<Vec<_>>(),
            "network": network,
        }))
    }
}

/// The first judge that refuses, in the order of an exchange.
fn refusal(method: &str, judged: &Judged<'_>, blocked: Option<Refusal>) -> Option<Error> {
    let by_method = judge::method(method).err();
    by_method
        .or_else(|| judged.outcome.as_ref().err().cloned())
        .or_else(|| blocked.map(|refusal| upstream::refused(&refusal)))
}

fn told(error: &Error, at: &Circumstances<'_>) -> Value {
    let reason = error.kind().reason();
    json!({
        "status": error.status(),
        "reason": reason.name,
        "message": error.message(at),
        "remedy": reason.remedy,
    })
}

/// What is set on the request: a place and a name each.
fn attached(prepared: &Prepared) -> Vec<Value> {
    let header = |name: &str| json!({"in": "header", "name": name});
    match &prepared.attachment {
        Attachment::Fields(fields) => fields.iter().map(|field| header(&field.name)).collect(),
        Attachment::Query { name, .. } => vec![json!({"in": "query", "name": name})],
        Attachment::Signature(keys) => {
            let token = keys.session_token.as_ref().map(|_| header("X-Amz-Security-Token"));
            [header("Authorization")].into_iter().chain(token).collect()
        }
    }
}

fn service_json(service: &Service, missing: Option<&AttachError>, sets: &[Value]) -> Value {
    let substitutions: Vec<Value> = service
        .substitutions
        .iter()
        .map(|one| {
            let surfaces: Vec<&str> = one.surfaces.iter().map(|surface| surface.as_str()).collect();
            json!({"placeholder": one.placeholder, "credential": one.key, "in": surfaces})
        })
        .collect();
    json!({
        "name": service.name,
        "host": service.joined_host(),
        "auth_type": service.auth.type_name(),
        "credentials": service.credential_keys(),
        "missing_credential": missing.and_then(|error| match error {
            AttachError::CredentialNotFound(key) => Some(key),
            AttachError::NotConnected(_) | AttachError::UnsafeValue(_) => None,
        }),
        "sets": sets,
        "substitutions": substitutions,
    })
}

/// What the guard says of the addresses, as they are now.
fn network(way: &Result<Way<'_>, Refusal>) -> Value {
    match way {
        Ok(Way::Direct(addresses)) => {
            let addresses: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
            json!({"verdict": "allowed", "addresses": addresses})
        }
        Ok(Way::Through(_)) => json!({"verdict": "upstream_proxy", "addresses": json!([])}),
        Err(Refusal::Forbidden(ip)) => json!({"verdict": "blocked", "addresses": [ip.to_string()]}),
        Err(Refusal::Unresolved(_)) => json!({"verdict": "unresolved", "addresses": json!([])}),
    }
}
