//! What agents may do in a vault (contract A.10).

use serde::Deserialize;
use serde_json::Value;

use super::super::Call;
use super::super::caller::InVault;
use super::super::refusal::{Refusal, Reply};
use super::agents::{find, status, vault_role};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::store::agents::Agent;
use crate::store::grants::{ActorKind, ActorRef};
use crate::store::members::Membership;

pub(super) fn list(call: &Call<'_>, inside: &InVault) -> Reply {
    let agents: Vec<Value> = call
        .store()
        .vault_agents(&inside.vault.id)?
        .iter()
        .map(|grant| {
            json!({
                "name": grant.name,
                "agent_id": grant.agent_id,
                "vault_role": grant.role.as_str(),
                "status": status(grant.is_active),
            })
        })
        .collect();
    Ok(Answer::json(200, &json!({"agents": agents})))
}

#[derive(Deserialize)]
struct MemberForm {
    name: Option<String>,
    role: Option<String>,
}

pub(super) fn add(call: &Call<'_>, inside: &InVault) -> Reply {
    let form: MemberForm = call.request.json()?;
    let role = vault_role(form.role.as_deref())?;
    let agent = find(call, &form.name.unwrap_or_default())?;
    if !agent.is_active {
        return Err(Refusal::error(409, &format!("Agent {:?} is revoked", agent.name)));
    }
    if !call.store().add_member(
        &actor_of(&agent),
        &inside.vault.id,
        role,
        inside.warrant(call).as_ref(),
        call.now,
    )? {
        return Err(Refusal::error(409, &format!("Agent {:?} is already in this vault", agent.name)));
    }
    let text = format!("Agent {:?} added to vault {:?} as {}", agent.name, inside.vault.name, role.as_str());
    Ok(Answer::json(201, &json!({"message": text})))
}

pub(super) fn remove(call: &Call<'_>, inside: &InVault) -> Reply {
    let agent = find(call, call.param(1))?;
    match call.store().remove_member(&agent.id, &inside.vault.id)? {
        Membership::Changed => {}
        Membership::Absent => return Err(not_in_vault(&agent.name)),
        Membership::LastAdmin => return Err(Refusal::error(409, "Cannot remove the last vault admin")),
    }
    let text = format!("Agent {:?} removed from vault {:?}", agent.name, inside.vault.name);
    Ok(Answer::json(200, &json!({"message": text})))
}

pub(super) fn set_role(call: &Call<'_>, inside: &InVault) -> Reply {
    let form: MemberForm = call.request.json()?;
    if form.role.as_deref().is_none_or(str::is_empty) {
        return Err(Refusal::error(400, "role is required"));
    }
    let role = vault_role(form.role.as_deref())?;
    let agent = find(call, call.param(1))?;
    let old = call.store().grant(&agent.id, &inside.vault.id)?.ok_or_else(|| not_in_vault(&agent.name))?;
    match call.store().set_member_role(&actor_of(&agent), &inside.vault.id, role, call.now)? {
        Membership::Changed => {}
        Membership::Absent => return Err(not_in_vault(&agent.name)),
        Membership::LastAdmin => return Err(Refusal::error(409, "Cannot demote the last vault admin")),
    }
    let body = json!({
        "message": format!("Agent {:?} is now {}", agent.name, role.as_str()),
        "old_role": old.as_str(),
        "new_role": role.as_str(),
    });
    Ok(Answer::json(200, &body))
}

fn actor_of(agent: &Agent) -> ActorRef {
    ActorRef { kind: ActorKind::Agent, id: agent.id.clone() }
}

fn not_in_vault(name: &str) -> Refusal {
    Refusal::error(404, &format!("Agent {name:?} is not in this vault"))
}
