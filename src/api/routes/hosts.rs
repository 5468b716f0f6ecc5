//! Hosts that are called and have no service yet (contract A.13).

use serde_json::{Map, Value};

use super::super::Call;
use super::super::caller::InVault;
use super::super::refusal::Reply;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::store::hosts::Discovered;

/// Hosts shown when nothing, or something else than a number, is asked for, and the most there are.
const DEFAULT_LIMIT: usize = 5;
const MAX_LIMIT: usize = 100;

pub(super) fn discovered(call: &Call<'_>, inside: &InVault) -> Reply {
    let asked: Option<usize> = call.request.query("limit").and_then(|text| text.parse().ok());
    let limit = asked.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let hosts = call.store().discovered_hosts(&inside.vault.id)?;
    let shown: Vec<Value> = hosts.iter().take(limit).map(to_json).collect();
    Ok(Answer::json(200, &json!({"hosts": shown, "total": hosts.len()})))
}

fn to_json(host: &Discovered) -> Value {
    let mut object = Map::new();
    object.insert("host".to_owned(), host.host.as_str().into());
    object.insert("request_count".to_owned(), host.requests.into());
    object.insert("last_seen".to_owned(), host.last_seen.rfc3339().into());
    for (key, hint) in [("auth_scheme", &host.auth_scheme), ("auth_header", &host.auth_header)] {
        if !hint.is_empty() {
            object.insert(key.to_owned(), hint.as_str().into());
        }
    }
    Value::Object(object)
}
