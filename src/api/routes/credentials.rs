//! Credentials: their keys for any role, their values for members and admins only.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Call;
use super::super::caller::{InVault, Who};
use super::super::refusal::{Refusal, Reply};
use super::oauth;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::secret::Secret;
use crate::vault::scope::Role;
use crate::vault::service::is_credential_key;

pub(super) fn list(call: &Call<'_>, who: &Who) -> Reply {
    let wants_values = call.request.query("reveal").as_deref() == Some("true");
    let needed = if wants_values { Role::Member } else { Role::Proxy };
    let vault = call.request.query("vault");
    let inside = who.clone().enter_named(call, vault.as_deref(), needed)?;
    let mut stored = call.store().credential_keys(&inside.vault.id)?;
    if let Some(key) = call.request.query("key").filter(|key| wants_values && !key.is_empty()) {
        stored.retain(|(known, _)| *known == key);
        if stored.is_empty() {
            return Err(Refusal::error(404, &format!("Credential {key:?} not found")));
        }
    }
    let keys: Vec<&str> = stored.iter().map(|(key, _)| key.as_str()).collect();
    let mut body = Map::new();
    body.insert("keys".to_owned(), keys.into());
    if inside.role >= Role::Member {
        let records = call.store().oauth_records(&inside.vault.id)?;
        let entries: Result<Vec<Value>, Refusal> = stored
            .iter()
            .map(|(key, kind)| {
                let mut entry = entry(call, &inside, key, kind, wants_values)?;
                if let Some(record) = records.get(key) {
                    oauth::describe(record, &mut entry);
                }
                Ok(Value::Object(entry))
            })
            .collect();
        body.insert("credentials".to_owned(), Value::Array(entries?));
    }
    Ok(Answer::json(200, &Value::Object(body)))
}

fn entry(
    call: &Call<'_>,
    inside: &InVault,
    key: &str,
    kind: &str,
    with_value: bool,
) -> Result<Map<String, Value>, Refusal> {
    let mut entry = Map::new();
    entry.insert("key".to_owned(), key.into());
    entry.insert("type".to_owned(), kind.into());
    if with_value && let Some(value) = call.store().credential(&inside.vault.id, key)? {
        // Values came in as JSON text, so they are UTF-8.
        entry.insert("value".to_owned(), value.expose_str().unwrap_or_default().into());
    }
    Ok(entry)
}

#[derive(Deserialize)]
struct Values {
    vault: Option<String>,
    credentials: Option<BTreeMap<String, Secret>>,
}

/// Stores values; every key and value is checked before anything is written.
pub(super) fn set(call: &Call<'_>, who: &Who) -> Reply {
    let form: Values = call.request.json()?;
    let values = form.credentials.unwrap_or_default();
    if values.is_empty() {
        return Err(Refusal::error(400, "Credentials map is required"));
    }
    for (key, value) in &values {
        check_key(key)?;
        check_value(key, value.expose())?;
    }
    let inside = who.clone().enter_named(call, form.vault.as_deref(), Role::Member)?;
    call.store().set_credentials(&inside.vault.id, &values, call.now)?;
    let keys: Vec<&String> = values.keys().collect();
    Ok(Answer::json(200, &json!({"set": keys})))
}

pub(super) fn check_key(key: &str) -> Result<(), Refusal> {
    if is_credential_key(key) {
        return Ok(());
    }
    let text = format!("Invalid credential key {key:?}: must be UPPER_SNAKE_CASE (e.g. STRIPE_KEY)");
    Err(Refusal::error(400, &text))
}

/// A trailing line break would break every header the value is put into, at the first request instead of
/// here (design 7).
pub(super) fn check_value(key: &str, value: &[u8]) -> Result<(), Refusal> {
    if !value.ends_with(b"\n") && !value.ends_with(b"\r") {
        return Ok(());
    }
    let text = format!("Credential {key:?} ends with a line break; remove it and set it again");
    Err(Refusal::error(400, &text))
}

#[derive(Deserialize)]
struct Keys {
    vault: Option<String>,
    keys: Option<Vec<String>>,
}

pub(super) fn delete(call: &Call<'_>, who: &Who) -> Reply {
    let form: Keys = call.request.json()?;
    let keys = form.keys.unwrap_or_default();
    if keys.is_empty() {
        return Err(Refusal::error(400, "Keys list is required"));
    }
    let inside = who.clone().enter_named(call, form.vault.as_deref(), Role::Member)?;
    match call.store().delete_credentials(&inside.vault.id, &keys)? {
        Ok(()) => Ok(Answer::json(200, &json!({"deleted": keys}))),
        Err(missing) => Err(Refusal::error(404, &format!("Credential {missing:?} not found"))),
    }
}
