//! A person's own logins: where they are, and ending one.

use serde_json::{Map, Value};

use super::super::super::Call;
use super::super::super::caller::Person;
use super::super::super::refusal::{Refusal, Reply};
use super::cookie;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::store::logins::{Ended, Login};

pub(in super::super) fn list(call: &Call<'_>, person: &Person) -> Reply {
    let logins = call.store().logins(&person.id, &person.token, call.now)?;
    let sessions: Vec<Value> = logins.iter().map(shown).collect();
    Ok(Answer::json(200, &json!({"sessions": sessions})))
}

/// A login without what is not known of it.
fn shown(login: &Login) -> Value {
    let times = [("last_used_at", login.last_used_at), ("expires_at", login.expires_at)];
    let texts = [
        ("device_label", &login.device_label),
        ("last_ip", &login.last_ip),
        ("last_user_agent", &login.last_user_agent),
    ];
    let mut object = Map::new();
    object.insert("id".to_owned(), login.public_id.as_str().into());
    for (key, text) in texts {
        if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
            object.insert(key.to_owned(), text.into());
        }
    }
    object.insert("created_at".to_owned(), login.created_at.rfc3339().into());
    for (key, time) in times {
        if let Some(time) = time {
            object.insert(key.to_owned(), time.rfc3339().into());
        }
    }
    object.insert("current".to_owned(), login.is_current.into());
    Value::Object(object)
}

/// Ends one of the caller's logins. A browser that ends its own forgets it too.
pub(in super::super) fn revoke(call: &Call<'_>, person: &Person) -> Reply {
    let ended = call.store().end_login(&person.id, call.param(0), &person.token)?;
    let body = json!({"status": "revoked", "current": ended == Ended::Current});
    match ended {
        Ended::Current => Ok(cookie::clear(call, Answer::json(200, &body))),
        Ended::Other => Ok(Answer::json(200, &body)),
        Ended::Unknown => Err(Refusal::error(404, "Session not found")),
    }
}
