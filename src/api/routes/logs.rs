//! A vault's request log (contract A.13).

use serde_json::Value;

use super::super::Call;
use super::super::caller::InVault;
use super::super::refusal::{Refusal, Reply};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::store::request_logs::{Entry, Filter, Outcome, Page};

/// Rows of a page when none or something else than a number is asked for, and the most there are.
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

pub(super) fn list(call: &Call<'_>, inside: &InVault) -> Reply {
    let (before, after) = (cursor(call, "before"), cursor(call, "after"));
    let page = match (before, after) {
        (Some(_), Some(_)) => return Err(Refusal::error(400, "before and after cannot be used together")),
        (Some(id), None) => Page::Before(id),
        (None, Some(id)) => Page::After(id),
        (None, None) => Page::Newest,
    };
    let asked = call.request.query("limit").and_then(|text| text.parse().ok());
    let limit = asked.filter(|limit| *limit > 0).unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT);
    let filter =
        Filter { ingress: text(call, "ingress"), service: text(call, "service"), outcome: outcome(call)? };
    let entries = call.store().request_logs(&inside.vault.id, &filter, page, limit)?;
    let is_full = entries.len() == limit as usize;
    let next = entries.last().filter(|_| is_full && after.is_none()).map(|entry| entry.id);
    let latest = entries.first().map(|entry| entry.id).or(after).unwrap_or(0);
    let logs: Vec<Value> = entries.iter().map(shown).collect();
    Ok(Answer::json(200, &json!({"logs": logs, "next_cursor": next, "latest_id": latest})))
}

/// A cursor that is not a number is as good as none.
fn cursor(call: &Call<'_>, name: &str) -> Option<i64> {
    call.request.query(name)?.parse().ok()
}

fn text(call: &Call<'_>, name: &str) -> Option<String> {
    call.request.query(name).filter(|text| !text.is_empty())
}

fn outcome(call: &Call<'_>) -> Result<Option<Outcome>, Refusal> {
    match text(call, "status_bucket").as_deref() {
        None => Ok(None),
        Some("2xx") => Ok(Some(Outcome::Hundred(2))),
        Some("3xx") => Ok(Some(Outcome::Hundred(3))),
        Some("4xx") => Ok(Some(Outcome::Hundred(4))),
        Some("5xx") => Ok(Some(Outcome::Hundred(5))),
        Some("err") => Ok(Some(Outcome::Error)),
        Some(_) => Err(Refusal::error(400, "status_bucket must be one of 2xx, 3xx, 4xx, 5xx, err")),
    }
}

fn shown(entry: &Entry) -> Value {
    // What was written is an array; what is not one is shown as none.
    let keys: Value = serde_json::from_str(&entry.credential_keys).unwrap_or_else(|_| json!([]));
    json!({
        "id": entry.id,
        "ingress": entry.ingress,
        "method": entry.method,
        "host": entry.host,
        "path": entry.path,
        "matched_service": entry.matched_service,
        "credential_keys": keys,
        "status": entry.status,
        "latency_ms": entry.latency_ms,
        "error_code": entry.error_code,
        "actor_type": entry.actor_type,
        "actor_id": entry.actor_id,
        "actor_name": entry.actor_name,
        "created_at": entry.created_at.rfc3339(),
    })
}
