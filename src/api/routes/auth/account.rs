//! Who one is, and being so no longer.

use serde_json::{Map, Value};

use super::super::super::Call;
use super::super::super::caller::{Person, Who};
use super::super::super::refusal::{Refusal, Reply};
use super::cookie;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::store::accounts::{Departure, InstanceRole};
use crate::store::sessions::Holder;

pub(in super::super) fn me(_: &Call<'_>, who: &Who) -> Reply {
    let (kind, name_key, name, role) = match &who.0 {
        Holder::User { email, role, .. } => ("user", "email", email, role),
        Holder::Agent { name, role, .. } => ("agent", "agent_name", name, role),
        Holder::Scoped { .. } => return Err(Refusal::error(401, "Not authenticated")),
    };
    let mut body = Map::new();
    body.insert("type".to_owned(), kind.into());
    body.insert(name_key.to_owned(), name.as_str().into());
    body.insert("role".to_owned(), role.as_str().into());
    body.insert("is_owner".to_owned(), (*role == InstanceRole::Owner).into());
    Ok(Answer::json(200, &Value::Object(body)))
}

/// Deletes the caller's own account.
pub(in super::super) fn delete(call: &Call<'_>, person: &Person) -> Reply {
    match call.store().delete_own_account(&person.id)? {
        Departure::Gone => {
            let body = json!({"status": "deleted", "email": person.email});
            Ok(cookie::clear(call, Answer::json(200, &body)))
        }
        Departure::IsOwner => Err(Refusal::error(
            409,
            "Owners cannot delete their own account; hand over ownership of the instance first",
        )),
    }
}
