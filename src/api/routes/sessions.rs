//! Scoped tokens: minted for one vault, listed without their value, revoked by their public id.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Call;
use super::super::caller::Who;
use super::super::refusal::{Refusal, Reply};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::store::sessions::{Mint, Minted};
use crate::vault::scope::Role;

/// Contract A.5.
const TTL_SECONDS: std::ops::RangeInclusive<i64> = 300..=604_800;
const DEFAULT_TTL_SECONDS: i64 = 86_400;
const MAX_LABEL_CHARS: usize = 100;

#[derive(Deserialize)]
struct Form {
    vault: Option<String>,
    ttl_seconds: Option<i64>,
    vault_role: Option<String>,
    label: Option<String>,
}

/// Mints a token. The answer is 200, which existing clients insist on.
pub(super) fn mint(call: &Call<'_>, who: &Who) -> Reply {
    let vault_required = || Refusal::error(400, "Vault is required");
    let form: Form = call.request.json_or(vault_required)?;
    let name = form.vault.filter(|name| !name.is_empty()).ok_or_else(vault_required)?;
    if !matches!(form.vault_role.as_deref(), None | Some("" | "proxy")) {
        return Err(Refusal::error(400, "vault_role must be 'proxy'"));
    }
    let ttl = form.ttl_seconds.unwrap_or(DEFAULT_TTL_SECONDS);
    if !TTL_SECONDS.contains(&ttl) {
        return Err(Refusal::error(400, "ttl_seconds must be between 300 and 604800"));
    }
    let label: String = form.label.unwrap_or_default().trim().chars().filter(|c| !c.is_control()).collect();
    if label.chars().count() > MAX_LABEL_CHARS {
        return Err(Refusal::error(400, "label must be at most 100 characters"));
    }
    let inside = who.clone().enter_named(call, Some(&name), Role::Member)?;
    let warrant = inside.warrant(call);
    let mint = Mint {
        vault_id: &inside.vault.id,
        label: Some(label.as_str()).filter(|label| !label.is_empty()),
        created_by: inside.actor.as_ref(),
        life: Duration::from_secs(ttl.unsigned_abs()),
        warrant: warrant.as_ref(),
    };
    let minted = call.store().mint(&mint, call.now)?;
    let body = json!({
        "token": minted.token.expose_str(),
        "expires_at": minted.expires_at.rfc3339(),
        "av_addr": call.api.settings.base_url,
    });
    Ok(Answer::json(200, &body))
}

pub(super) fn list(call: &Call<'_>, who: &Who) -> Reply {
    let inside = who.clone().enter_named(call, Some(&vault_of(call)?), Role::Member)?;
    let minted = call.store().minted(&inside.vault.id, call.now)?;
    let sessions: Vec<Value> = minted.iter().map(to_json).collect();
    Ok(Answer::json(200, &json!({"sessions": sessions})))
}

pub(super) fn revoke(call: &Call<'_>, who: &Who) -> Reply {
    let inside = who.clone().enter_named(call, Some(&vault_of(call)?), Role::Member)?;
    if !call.store().revoke_minted(&inside.vault.id, call.param(0))? {
        return Err(Refusal::error(404, "Session not found"));
    }
    Ok(Answer::json(200, &json!({"status": "revoked"})))
}

fn vault_of(call: &Call<'_>) -> Result<String, Refusal> {
    let name = call.request.query("vault").filter(|name| !name.is_empty());
    name.ok_or_else(|| Refusal::error(400, "vault is required"))
}

fn to_json(minted: &Minted) -> Value {
    let mut object = Map::new();
    object.insert("id".to_owned(), minted.public_id.as_str().into());
    if let Some(label) = &minted.label {
        object.insert("label".to_owned(), label.as_str().into());
    }
    object.insert("vault_role".to_owned(), minted.role.as_str().into());
    if let Some((actor, name)) = &minted.created_by {
        let creator = json!({"id": actor.id, "type": actor.kind.as_str(), "display_name": name});
        object.insert("created_by".to_owned(), creator);
    }
    object.insert("created_at".to_owned(), minted.created_at.rfc3339().into());
    object.insert("expires_at".to_owned(), minted.expires_at.rfc3339().into());
    Value::Object(object)
}
