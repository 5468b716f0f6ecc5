//! Vaults themselves: made, listed, joined and left, renamed, configured, deleted.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Call;
use super::super::caller::{Actor, InVault, Who};
use super::super::refusal::{Refusal, Reply};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::store::members::Membership;
use crate::store::vaults::{DEFAULT_ID, Vault, policy_text};
use crate::vault::UnmatchedPolicy;
use crate::vault::scope::Role;
use crate::vault::service::name;

/// A path below `/v1/vaults` that an old client takes for something else.
const RESERVED: &str = "users";

/// A vault that somebody new is to have from the start.
#[derive(Deserialize)]
pub(super) struct FirstGrant {
    pub(super) vault_name: Option<String>,
    pub(super) vault_role: Option<String>,
}

#[derive(Deserialize)]
struct Name {
    name: Option<String>,
}

impl Name {
    /// A name a vault can have.
    fn checked(self) -> Result<String, Refusal> {
        let name = self.name.unwrap_or_default();
        name::check(&name).map_err(|error| Refusal::error(400, &format!("Invalid vault {error}")))?;
        if name == RESERVED {
            return Err(Refusal::error(400, "This vault name is reserved"));
        }
        Ok(name)
    }
}

pub(super) fn create(call: &Call<'_>, actor: &Actor) -> Reply {
    let form: Name = call.request.json()?;
    let name = form.checked()?;
    let vault = call
        .store()
        .create_vault(&name, &actor.actor, actor.warrant(call).as_ref(), call.now)?
        .ok_or_else(|| taken(&name))?;
    let body = json!({"id": vault.id, "name": vault.name, "created_at": vault.created_at.rfc3339()});
    Ok(Answer::json(201, &body))
}

/// Owners see every vault; others the ones they were granted.
pub(super) fn list(call: &Call<'_>, actor: &Actor) -> Reply {
    let mut vaults = Vec::new();
    let pending = call.store().pending_proposals()?;
    for (vault, role) in call.store().vaults(&actor.actor.id)? {
        if role.is_none() && !actor.is_owner() {
            continue;
        }
        let mut object = Map::new();
        let pending = pending.get(&vault.id).copied().unwrap_or_default();
        object.insert("id".to_owned(), vault.id.into());
        object.insert("name".to_owned(), vault.name.into());
        if let Some(role) = role {
            object.insert("role".to_owned(), role.as_str().into());
        }
        let membership = if role.is_some() { "explicit" } else { "implicit" };
        object.insert("membership".to_owned(), membership.into());
        object.insert("created_at".to_owned(), vault.created_at.rfc3339().into());
        object.insert("pending_proposals".to_owned(), pending.into());
        vaults.push(Value::Object(object));
    }
    Ok(Answer::json(200, &json!({"vaults": vaults})))
}

/// Every vault, for those who look after the instance; what is in them stays closed.
pub(super) fn list_all(call: &Call<'_>, actor: &Actor) -> Reply {
    let vaults = call.store().vaults(&actor.actor.id)?;
    let vaults: Vec<Value> = vaults
        .into_iter()
        .map(|(vault, _)| {
            json!({
                "id": vault.id,
                "name": vault.name,
                "is_default": vault.id == DEFAULT_ID,
                "created_at": vault.created_at.rfc3339(),
            })
        })
        .collect();
    Ok(Answer::json(200, &json!({"vaults": vaults})))
}

pub(super) fn delete(call: &Call<'_>, actor: &Actor) -> Reply {
    let vault = find(call)?;
    actor.require_admin_of(call, &vault)?;
    if vault.id == DEFAULT_ID {
        return Err(Refusal::error(400, "The default vault cannot be deleted"));
    }
    call.store().delete_vault(&vault.id)?;
    Ok(Answer::json(200, &json!({"name": vault.name, "deleted": true})))
}

pub(super) fn rename(call: &Call<'_>, actor: &Actor) -> Reply {
    let vault = find(call)?;
    actor.require_admin_of(call, &vault)?;
    if vault.id == DEFAULT_ID {
        return Err(Refusal::error(400, "The default vault cannot be renamed"));
    }
    let name = call.request.json::<Name>()?.checked()?;
    if !call.store().rename_vault(&vault.id, &name, call.now)? {
        return Err(taken(&name));
    }
    let body = json!({
        "message": format!("Vault {:?} is now {name:?}", vault.name),
        "old_name": vault.name,
        "new_name": name,
    });
    Ok(Answer::json(200, &body))
}

/// An owner becomes admin of a vault, one nobody looks after any more for instance.
pub(super) fn join(call: &Call<'_>, actor: &Actor) -> Reply {
    let vault = find(call)?;
    if !call.store().add_member(
        &actor.actor,
        &vault.id,
        Role::Admin,
        actor.warrant(call).as_ref(),
        call.now,
    )? {
        return Err(Refusal::error(409, "You are already a member of this vault"));
    }
    Ok(Answer::json(200, &json!({"vault": vault.name, "role": Role::Admin.as_str(), "joined": true})))
}

/// Anyone may leave but the last admin. An owner without a grant sees the vault and has nothing to leave;
/// to anybody else it is closed.
pub(super) fn leave(call: &Call<'_>, actor: &Actor) -> Reply {
    let vault = find(call)?;
    match call.store().remove_member(&actor.actor.id, &vault.id)? {
        Membership::Changed => {}
        Membership::Absent if actor.is_owner() => {
            return Err(Refusal::error(409, "You are not an explicit member of this vault"));
        }
        Membership::Absent => return Err(Refusal::error(403, "No access to this vault")),
        Membership::LastAdmin => return Err(Refusal::error(409, "The last admin cannot leave the vault")),
    }
    Ok(Answer::json(200, &json!({"message": format!("You have left vault {:?}", vault.name)})))
}

/// The caller's own role in a vault; an owner without a grant has none.
pub(super) fn context(call: &Call<'_>, who: &Who) -> Reply {
    let vault = find(call)?;
    let (role, _) = who.clone().role_in(call, &vault)?;
    let role = role.ok_or_else(|| Refusal::error(403, "No vault access"))?;
    Ok(Answer::json(200, &json!({"vault_name": vault.name, "vault_role": role.as_str()})))
}

pub(super) fn settings(call: &Call<'_>, inside: &InVault) -> Reply {
    let policy = call.store().policy(&inside.vault.id)?;
    let body = json!({"unmatched_host_policy": policy_text(policy), "infisical_available": false});
    Ok(Answer::json(200, &body))
}

#[derive(Deserialize)]
struct Settings {
    unmatched_host_policy: Option<String>,
}

/// Sets what is given; an empty policy is the default again.
pub(super) fn set_settings(call: &Call<'_>, actor: &Actor) -> Reply {
    let vault = find(call)?;
    actor.require_admin_of(call, &vault)?;
    let form: Settings = call.request.json()?;
    if let Some(text) = form.unmatched_host_policy {
        let policy = match text.as_str() {
            "" => None,
            "passthrough" => Some(UnmatchedPolicy::Passthrough),
            "deny" => Some(UnmatchedPolicy::Deny),
            _ => {
                return Err(Refusal::error(
                    400,
                    &format!("Invalid unmatched_host_policy {text:?} (expected \"passthrough\" or \"deny\")"),
                ));
            }
        };
        call.store().set_policy(&vault.id, policy, call.now)?;
    }
    let policy = call.store().policy(&vault.id)?;
    Ok(Answer::json(200, &json!({"unmatched_host_policy": policy_text(policy)})))
}

fn find(call: &Call<'_>) -> Result<Vault, Refusal> {
    call.store().vault(call.param(0))?.ok_or_else(|| Refusal::error(404, "Vault not found"))
}

fn taken(name: &str) -> Refusal {
    Refusal::error(409, &format!("Vault {name:?} already exists"))
}
