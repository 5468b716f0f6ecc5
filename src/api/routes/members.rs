//! People in a vault: listed with those who are invited, added, given a role, removed.

use serde::Deserialize;
use serde_json::Value;

use super::super::Call;
use super::super::caller::InVault;
use super::super::refusal::{Refusal, Reply};
use super::users;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::store::grants::{ActorKind, ActorRef};
use crate::store::members::Membership;
use crate::store::users::Person;
use crate::vault::scope::Role;

#[derive(Deserialize)]
struct Form {
    email: Option<String>,
    role: Option<String>,
}

pub(super) fn list(call: &Call<'_>, inside: &InVault) -> Reply {
    let members = call.store().members(&inside.vault.id, call.now)?;
    let users: Vec<Value> = members
        .iter()
        .map(|member| {
            let status = if member.is_pending { "pending" } else { "active" };
            json!({"email": member.email, "role": member.role.as_str(), "status": status})
        })
        .collect();
    Ok(Answer::json(200, &json!({"users": users})))
}

pub(super) fn add(call: &Call<'_>, inside: &InVault) -> Reply {
    let form: Form = call.request.json()?;
    let email = form.email.filter(|email| !email.is_empty());
    let email = email.ok_or_else(|| Refusal::error(400, "email is required"))?;
    let role = role_or_member(form.role.as_deref())?;
    let person = users::find(call, &email)?;
    if !call.store().add_member(
        &actor_of(&person),
        &inside.vault.id,
        role,
        inside.warrant(call).as_ref(),
        call.now,
    )? {
        return Err(Refusal::error(409, &format!("User {:?} is already in this vault", person.email)));
    }
    Ok(Answer::json(201, &json!({"email": person.email, "role": role.as_str()})))
}

pub(super) fn remove(call: &Call<'_>, inside: &InVault) -> Reply {
    let person = users::find(call, call.param(1))?;
    match call.store().remove_member(&person.id, &inside.vault.id)? {
        Membership::Changed => {}
        Membership::Absent => return Err(not_in_vault(&person)),
        Membership::LastAdmin => return Err(Refusal::error(409, "Cannot remove the last vault admin")),
    }
    let text = format!("User {:?} removed from vault {:?}", person.email, inside.vault.name);
    Ok(Answer::json(200, &json!({"message": text})))
}

pub(super) fn set_role(call: &Call<'_>, inside: &InVault) -> Reply {
    let form: Form = call.request.json()?;
    if form.role.as_deref().is_none_or(str::is_empty) {
        return Err(Refusal::error(400, "role is required"));
    }
    let role = role_or_member(form.role.as_deref())?;
    let person = users::find(call, call.param(1))?;
    match call.store().set_member_role(&actor_of(&person), &inside.vault.id, role, call.now)? {
        Membership::Changed => {}
        Membership::Absent => return Err(not_in_vault(&person)),
        Membership::LastAdmin => return Err(Refusal::error(409, "Cannot demote the last vault admin")),
    }
    let text = format!("User {:?} is now {}", person.email, role.as_str());
    Ok(Answer::json(200, &json!({"email": person.email, "role": role.as_str(), "message": text})))
}

/// A role people can have in a vault; none given is `member`. `proxy` is for agents alone.
pub(super) fn role_or_member(text: Option<&str>) -> Result<Role, Refusal> {
    match text.filter(|text| !text.is_empty()) {
        None => Ok(Role::Member),
        Some(text) => match Role::parse(text) {
            Some(role @ (Role::Member | Role::Admin)) => Ok(role),
            _ => Err(Refusal::error(400, "role must be one of: member, admin")),
        },
    }
}

fn actor_of(person: &Person) -> ActorRef {
    ActorRef { kind: ActorKind::User, id: person.id.clone() }
}

fn not_in_vault(person: &Person) -> Refusal {
    Refusal::error(404, &format!("User {:?} is not in this vault", person.email))
}
