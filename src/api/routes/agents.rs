//! Agents in the instance (contract A.10); what they may do in a vault is in `grants`.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Call;
use super::super::caller::Actor;
use super::super::refusal::{Refusal, Reply};
use super::vaults::FirstGrant;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::store::Timestamp;
use crate::store::accounts::InstanceRole;
use crate::store::agents::{Agent, NewAgent, Outcome};
use crate::store::rotation::Token;
use crate::vault::scope::Role;
use crate::vault::service::name;

/// Longest time old tokens may stay valid after a rotation: a day is enough for any deployment to roll.
const MAX_GRACE_SECONDS: u64 = 86_400;

const OWNERS_ONLY: &str = "Only instance owners can manage owner-role agents";

#[derive(Deserialize)]
struct NewForm {
    name: Option<String>,
    role: Option<String>,
    vaults: Option<Vec<FirstGrant>>,
}

pub(super) fn create(call: &Call<'_>, actor: &Actor) -> Reply {
    let form: NewForm = call.request.json()?;
    let name = form.name.unwrap_or_default();
    name::check(&name).map_err(|error| Refusal::error(400, &format!("Invalid agent {error}")))?;
    let role = match form.role.as_deref().filter(|role| !role.is_empty()) {
        None => InstanceRole::NoAccess,
        Some(text) => instance_role(text)?,
    };
    if role == InstanceRole::Owner && !actor.is_owner() {
        return Err(Refusal::error(403, OWNERS_ONLY));
    }
    let mut grants = Vec::new();
    let mut shown = Vec::new();
    for grant in form.vaults.unwrap_or_default() {
        let vault_name = grant.vault_name.unwrap_or_default();
        let role = vault_role(grant.vault_role.as_deref())?;
        let vault = call
            .store()
            .vault(&vault_name)?
            .ok_or_else(|| Refusal::error(404, &format!("Vault {vault_name:?} not found")))?;
        actor.require_admin_of(call, &vault)?;
        shown.push(json!({"vault_name": vault.name, "vault_role": role.as_str()}));
        grants.push((vault.id, role));
    }
    let warrant = actor.warrant_over(call, grants.iter().map(|(id, _)| id.as_str()));
    let new =
        NewAgent { name: &name, role, created_by: &actor.actor, vaults: &grants, warrant: warrant.as_ref() };
    let token = call
        .store()
        .create_agent(&new, call.now)?
        .ok_or_else(|| Refusal::error(409, &format!("Agent {name:?} already exists")))?;
    let body = json!({
        "av_agent_token": token.expose_str(),
        "name": name,
        "role": role.as_str(),
        "vaults": shown,
        "created_at": call.now.rfc3339(),
    });
    Ok(Answer::json(201, &body))
}

pub(super) fn list(call: &Call<'_>, actor: &Actor) -> Reply {
    let own = own_vaults(call, actor)?;
    let mut agents = call.store().agents(call.now)?;
    agents.retain(|agent| is_visible(actor, &own, agent));
    let agents: Vec<Value> = agents.iter().map(|agent| Value::Object(to_json(agent))).collect();
    Ok(Answer::json(200, &json!({"agents": agents})))
}

pub(super) fn show(call: &Call<'_>, actor: &Actor) -> Reply {
    let agent = find_visible(call, actor)?;
    let mut body = to_json(&agent);
    body.insert("created_by".to_owned(), agent.created_by.as_str().into());
    body.insert("updated_at".to_owned(), agent.updated_at.rfc3339().into());
    body.insert("active_tokens".to_owned(), agent.tokens.len().into());
    body.insert("tokens".to_owned(), agent.tokens.iter().map(token_to_json).collect());
    Ok(Answer::json(200, &Value::Object(body)))
}

/// Revokes: the tokens end, the record stays.
pub(super) fn revoke(call: &Call<'_>, actor: &Actor) -> Reply {
    let agent = find_manageable(call, actor)?;
    match call.store().revoke_agent(&agent.id, call.now)? {
        Outcome::Done => {}
        Outcome::Unchanged => return Err(Refusal::error(409, "Agent is already revoked")),
        Outcome::LastOwner => return Err(Refusal::error(409, "Cannot revoke the last owner")),
    }
    Ok(Answer::json(200, &json!({"message": format!("Agent {:?} revoked", agent.name)})))
}

pub(super) fn delete(call: &Call<'_>, actor: &Actor) -> Reply {
    let agent = find_manageable(call, actor)?;
    match call.store().delete_agent(&agent.id)? {
        Outcome::Done => {}
        Outcome::Unchanged => return Err(not_found(&agent.name)),
        Outcome::LastOwner => return Err(Refusal::error(409, "Cannot remove the last owner")),
    }
    Ok(Answer::json(200, &json!({"message": format!("Agent {:?} deleted", agent.name)})))
}

/// Gives a new token. The old ones end at once, or after `grace_seconds`, so that a deployment can roll.
pub(super) fn rotate(call: &Call<'_>, actor: &Actor) -> Reply {
    let agent = find_manageable(call, actor)?;
    let grace = grace(call)?;
    let rotated = call.store().rotate_agent(&agent.id, grace, actor.warrant(call).as_ref(), call.now)?;
    let mut body = json!({
        "av_agent_token": rotated.token.expose_str(),
        "name": agent.name,
        "rotated_at": call.now.rfc3339(),
    });
    if let Some(until) = rotated.old_tokens_valid_until {
        body["old_tokens_valid_until"] = until.rfc3339().into();
    }
    Ok(Answer::json(200, &body))
}

/// A body is optional: clients of old send none.
fn grace(call: &Call<'_>) -> Result<Option<Duration>, Refusal> {
    #[derive(Deserialize)]
    struct Form {
        grace_seconds: Option<Value>,
    }
    if call.request.body.as_ref().is_some_and(|body| body.trim_ascii().is_empty()) {
        return Ok(None);
    }
    let Some(asked) = call.request.json::<Form>()?.grace_seconds else { return Ok(None) };
    match asked.as_u64() {
        Some(0) => Ok(None),
        Some(seconds) if seconds <= MAX_GRACE_SECONDS => Ok(Some(Duration::from_secs(seconds))),
        _ => {
            let text = format!("grace_seconds must be a whole number from 0 to {MAX_GRACE_SECONDS}");
            Err(Refusal::error(400, &text))
        }
    }
}

#[derive(Deserialize)]
struct RenameForm {
    name: Option<String>,
}

pub(super) fn rename(call: &Call<'_>, actor: &Actor) -> Reply {
    let agent = find_manageable(call, actor)?;
    let name = call.request.json::<RenameForm>()?.name.unwrap_or_default();
    name::check(&name).map_err(|error| Refusal::error(400, &format!("Invalid agent {error}")))?;
    if !call.store().rename_agent(&agent.id, &name, call.now)? {
        return Err(Refusal::error(409, &format!("Agent {name:?} already exists")));
    }
    let body = json!({
        "message": format!("Agent {:?} renamed to {name:?}", agent.name),
        "old_name": agent.name,
        "new_name": name,
    });
    Ok(Answer::json(200, &body))
}

#[derive(Deserialize)]
struct RoleForm {
    role: Option<String>,
}

/// Changes the role in the instance.
pub(super) fn set_role(call: &Call<'_>, _: &Actor) -> Reply {
    let role = call.request.json::<RoleForm>()?.role.unwrap_or_default();
    let role = instance_role(&role)?;
    let agent = find(call, call.param(0))?;
    match call.store().set_agent_role(&agent.id, role, call.now)? {
        Outcome::Done => {}
        Outcome::Unchanged => {
            return Err(Refusal::error(409, &format!("Agent {:?} is revoked", agent.name)));
        }
        Outcome::LastOwner => return Err(Refusal::error(409, "Cannot demote the last owner")),
    }
    let body = json!({"agent": agent.name, "old_role": agent.role.as_str(), "new_role": role.as_str()});
    Ok(Answer::json(200, &body))
}

pub(super) fn find(call: &Call<'_>, name: &str) -> Result<Agent, Refusal> {
    call.store().agent(name, call.now)?.ok_or_else(|| not_found(name))
}

/// An agent the caller may not see does not exist for them.
fn find_visible(call: &Call<'_>, actor: &Actor) -> Result<Agent, Refusal> {
    let agent = find(call, call.param(0))?;
    if is_visible(actor, &own_vaults(call, actor)?, &agent) { Ok(agent) } else { Err(not_found(&agent.name)) }
}

/// An agent is managed by owners and by whoever made it; an owner-role agent by owners alone.
fn find_manageable(call: &Call<'_>, actor: &Actor) -> Result<Agent, Refusal> {
    let agent = find_visible(call, actor)?;
    if actor.is_owner() {
        return Ok(agent);
    }
    if agent.role == InstanceRole::Owner {
        return Err(Refusal::error(403, OWNERS_ONLY));
    }
    if agent.created_by != actor.actor.id {
        return Err(Refusal::error(403, "Only the agent's creator or an instance owner can do this"));
    }
    Ok(agent)
}

/// Names of the vaults the caller was granted; owners see every agent anyway.
fn own_vaults(call: &Call<'_>, actor: &Actor) -> Result<Vec<String>, Refusal> {
    if actor.is_owner() {
        return Ok(Vec::new());
    }
    let vaults = call.store().vaults(&actor.actor.id)?;
    Ok(vaults.into_iter().filter(|(_, role)| role.is_some()).map(|(vault, _)| vault.name).collect())
}

fn is_visible(actor: &Actor, own_vaults: &[String], agent: &Agent) -> bool {
    actor.is_owner()
        || agent.created_by == actor.actor.id
        || agent.vaults.iter().any(|(name, _)| own_vaults.contains(name))
}

fn instance_role(text: &str) -> Result<InstanceRole, Refusal> {
    InstanceRole::parse(text)
        .ok_or_else(|| Refusal::error(400, "role must be one of: owner, member, no-access"))
}

pub(super) fn vault_role(text: Option<&str>) -> Result<Role, Refusal> {
    match text.filter(|text| !text.is_empty()) {
        None => Ok(Role::Proxy),
        Some(text) => {
            Role::parse(text).ok_or_else(|| Refusal::error(400, "role must be one of: proxy, member, admin"))
        }
    }
}

fn not_found(name: &str) -> Refusal {
    Refusal::error(404, &format!("Agent {name:?} not found"))
}

pub(super) fn status(is_active: bool) -> &'static str {
    if is_active { "active" } else { "revoked" }
}

fn to_json(agent: &Agent) -> Map<String, Value> {
    let vaults: Vec<Value> = agent
        .vaults
        .iter()
        .map(|(name, role)| json!({"vault_name": name, "vault_role": role.as_str()}))
        .collect();
    let mut object = Map::new();
    object.insert("name".to_owned(), agent.name.as_str().into());
    object.insert("role".to_owned(), agent.role.as_str().into());
    object.insert("status".to_owned(), status(agent.is_active).into());
    object.insert("vaults".to_owned(), Value::Array(vaults));
    object.insert("created_at".to_owned(), agent.created_at.rfc3339().into());
    let moments = [
        ("revoked_at", agent.revoked_at),
        ("last_used_at", agent.last_used_at()),
        ("token_expires_at", agent.token_expires_at()),
    ];
    insert_moments(&mut object, moments);
    object
}

fn token_to_json(token: &Token) -> Value {
    let mut object = Map::new();
    object.insert("id".to_owned(), token.public_id.as_str().into());
    let moments = [
        ("created_at", Some(token.created_at)),
        ("last_used_at", token.last_used_at),
        ("expires_at", token.expires_at),
    ];
    insert_moments(&mut object, moments);
    Value::Object(object)
}

/// Moments that have not come are left out.
fn insert_moments(object: &mut Map<String, Value>, moments: [(&str, Option<Timestamp>); 3]) {
    for (key, moment) in moments {
        if let Some(moment) = moment {
            object.insert(key.to_owned(), moment.rfc3339().into());
        }
    }
}
