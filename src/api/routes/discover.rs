//! What a token can reach: the route `run` checks a token with (contract A.4, B.5).

use serde_json::Value;

use super::super::Call;
use super::super::caller::Who;
use super::super::refusal::{Refusal, Reply};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::store::sessions::Holder;

pub(super) fn discover(call: &Call<'_>, who: &Who) -> Reply {
    let (vault_id, vault_name) = vault_of(call, who)?;
    let services: Vec<Value> = call
        .store()
        .services(&vault_id)?
        .iter()
        .map(|service| json!({"name": service.name, "host": service.joined_host()}))
        .collect();
    let keys: Vec<String> =
        call.store().credential_keys(&vault_id)?.into_iter().map(|(key, _)| key).collect();
    let body = json!({"vault": vault_name, "services": services, "available_credentials": keys});
    Ok(Answer::json(200, &body))
}

/// Id and name of the vault of an agent's call: a scoped token's own whatever the request says, an agent's by `X-Vault`.
pub(super) fn vault_of(call: &Call<'_>, who: &Who) -> Result<(String, String), Refusal> {
    let agent = match &who.0 {
        Holder::Scoped { vault_id, vault_name, .. } => return Ok((vault_id.clone(), vault_name.clone())),
        Holder::User { .. } => return Err(Refusal::error(403, "Session requires vault scope")),
        Holder::Agent { id, .. } => id,
    };
    let Some(name) = call.request.field("x-vault").filter(|name| !name.is_empty()) else {
        return Err(Refusal::error(400, "Agent tokens require X-Vault header to specify which vault to use"));
    };
    let Some(vault) = call.store().vault(name)? else {
        return Err(Refusal::error(404, &format!("Vault not found: {name}")));
    };
    if call.store().grant(agent, &vault.id)?.is_none() {
        return Err(Refusal::error(403, &format!("Agent does not have access to vault: {name}")));
    }
    Ok((vault.id, vault.name))
}
