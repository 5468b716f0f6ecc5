//! People in the instance: listed, shown, given a role, removed.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Call;
use super::super::caller::Actor;
use super::super::refusal::{Refusal, Reply};
use super::auth::normal_email;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::store::accounts::InstanceRole;
use crate::store::grants::ActorKind;
use crate::store::users::{OwnerChange, Person};

/// Stands for the caller's own address.
const SELF: &str = "me";

pub(super) const ROLES: &str = "role must be one of: owner, member, no-access";

/// Who uses which vault is for owners to know.
pub(super) fn list(call: &Call<'_>, actor: &Actor) -> Reply {
    let row = |person: &Person| {
        let mut object = Map::new();
        object.insert("email".to_owned(), person.email.as_str().into());
        object.insert("role".to_owned(), person.role.as_str().into());
        object.insert("created_at".to_owned(), person.created_at.rfc3339().into());
        if actor.is_owner() {
            let vaults = person
                .vaults
                .iter()
                .map(|(name, role)| json!({"vault_name": name, "vault_role": role.as_str()}));
            object.insert("vaults".to_owned(), vaults.collect());
        }
        Value::Object(object)
    };
    let users: Vec<Value> = call.store().people()?.iter().map(row).collect();
    Ok(Answer::json(200, &json!({"users": users})))
}

/// One person: anyone to owners, oneself to everybody. The vaults are names only.
pub(super) fn show(call: &Call<'_>, actor: &Actor) -> Reply {
    let person = match call.param(0) {
        SELF if actor.actor.kind == ActorKind::Agent => {
            return Err(Refusal::error(400, "An agent has no user profile"));
        }
        SELF => call.store().person(&actor.actor.id)?,
        email => call.store().person_by_email(&folded(email))?,
    };
    let is_self = person.as_ref().is_some_and(|person| person.id == actor.actor.id);
    if !is_self && !actor.is_owner() {
        return Err(Refusal::error(403, "Instance owner role required"));
    }
    let person = person.ok_or_else(|| unknown(call.param(0)))?;
    let vaults: Vec<&str> = person.vaults.iter().map(|(name, _)| name.as_str()).collect();
    let body = json!({
        "email": person.email,
        "role": person.role.as_str(),
        "vaults": vaults,
        "created_at": person.created_at.rfc3339(),
    });
    Ok(Answer::json(200, &body))
}

pub(super) fn remove(call: &Call<'_>, _: &Actor) -> Reply {
    let person = find(call, call.param(0))?;
    if call.store().remove_person(&person.id)? == OwnerChange::LastOwner {
        return Err(Refusal::error(409, "Cannot remove the last owner"));
    }
    Ok(Answer::json(200, &json!({"status": "removed", "email": person.email})))
}

#[derive(Deserialize)]
struct RoleForm {
    role: Option<String>,
}

pub(super) fn set_role(call: &Call<'_>, _: &Actor) -> Reply {
    let form: RoleForm = call.request.json()?;
    let role = InstanceRole::parse(&form.role.unwrap_or_default());
    let role = role.ok_or_else(|| Refusal::error(400, ROLES))?;
    let person = find(call, call.param(0))?;
    if call.store().set_instance_role(&person.id, role, call.now)? == OwnerChange::LastOwner {
        return Err(Refusal::error(409, "Cannot demote the last owner"));
    }
    Ok(Answer::json(200, &json!({"email": person.email, "role": role.as_str()})))
}

/// A person by the address a path or a body names.
pub(super) fn find(call: &Call<'_>, email: &str) -> Result<Person, Refusal> {
    call.store().person_by_email(&folded(email))?.ok_or_else(|| unknown(email))
}

/// An address as accounts have it; what is no address is nobody's.
fn folded(email: &str) -> String {
    normal_email(email).unwrap_or_default()
}

fn unknown(email: &str) -> Refusal {
    Refusal::error(404, &format!("User {email:?} not found"))
}
