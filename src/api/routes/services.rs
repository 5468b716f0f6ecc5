//! A vault's services (contract A.8).
//!
//! Beyond the contract, every answer that knows the whole list names its revision in `ETag`, and an edit may
//! ask in `If-Match` that the list still be the one its caller read: of two operators who edit at once, the
//! second is answered 412 instead of undoing what the first did. Without the field nothing changes.

use serde::Deserialize;
use serde_json::Value;

use super::super::Call;
use super::super::caller::InVault;
use super::super::refusal::{Refusal, Reply};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::vault::service::list::{self, Found};
use crate::vault::service::{Invalid, Service};

pub(super) fn list(call: &Call<'_>, inside: &InVault) -> Reply {
    let services = call.store().services(&inside.vault.id)?;
    let body = json!({"vault": inside.vault.name, "services": list::to_json(&services)});
    Ok(at_revision(Answer::json(200, &body), &services))
}

/// Adds or replaces by name; a nameless entry may take the name of its one twin.
pub(super) fn upsert(call: &Call<'_>, inside: &InVault) -> Reply {
    let values = call.request.services()?;
    if values.is_empty() {
        return Err(Refusal::error(400, "At least one service is required"));
    }
    let mut drafts = list::read(&values).map_err(|error| invalid(&error))?;
    edit(call, inside, |stored| {
        list::adopt_names(&mut drafts, stored);
        let incoming =
            list::check(drafts, call.api.settings.internal_names).map_err(|error| invalid(&error))?;
        let names: Vec<String> = incoming.iter().map(|service| service.name.clone()).collect();
        list::upsert(stored, incoming);
        Ok(json!({"vault": inside.vault.name, "upserted": names, "services_count": stored.len()}))
    })
}

/// Replaces the whole list; an empty one is allowed.
pub(super) fn replace(call: &Call<'_>, inside: &InVault) -> Reply {
    let values = call.request.services()?;
    let services = list::read(&values)
        .and_then(|drafts| list::check(drafts, call.api.settings.internal_names))
        .map_err(|error| invalid(&error))?;
    edit(call, inside, |stored| {
        *stored = services;
        Ok(json!({"vault": inside.vault.name, "services_count": stored.len()}))
    })
}

#[derive(Deserialize)]
struct Switch {
    enabled: Option<bool>,
}

pub(super) fn enable(call: &Call<'_>, inside: &InVault) -> Reply {
    let form: Switch = call.request.json()?;
    let enabled = form.enabled.ok_or_else(|| Refusal::error(400, "enabled is required"))?;
    edit(call, inside, |stored| {
        let at = locate(stored, call.param(1))?;
        let service = &mut stored[at];
        service.enabled = Some(enabled);
        Ok(json!({
            "vault": inside.vault.name,
            "name": service.name,
            "host": service.joined_host(),
            "enabled": enabled,
        }))
    })
}

pub(super) fn remove(call: &Call<'_>, inside: &InVault) -> Reply {
    edit(call, inside, |stored| {
        let at = locate(stored, call.param(1))?;
        let removed = stored.remove(at);
        Ok(json!({
            "vault": inside.vault.name,
            "removed": removed.name,
            "removed_host": removed.joined_host(),
            "services_count": stored.len(),
        }))
    })
}

pub(super) fn clear(call: &Call<'_>, inside: &InVault) -> Reply {
    edit(call, inside, |stored| {
        stored.clear();
        Ok(json!({"vault": inside.vault.name, "cleared": true}))
    })
}

/// Edits the list under the vault's lock, if it is the one the caller means; the closure gives the body.
fn edit(
    call: &Call<'_>,
    inside: &InVault,
    change: impl FnOnce(&mut Vec<Service>) -> Result<Value, Refusal>,
) -> Reply {
    call.store().edit_services(&inside.vault.id, call.now, |stored| {
        if !is_meant(call.request.field("if-match"), stored) {
            return Err(Refusal::error(
                412,
                "The services have changed since they were read; read them again and repeat the edit",
            ));
        }
        let body = change(stored)?;
        Ok(at_revision(Answer::json(200, &body), stored))
    })?
}

/// Whether a list is one of those that `If-Match` names (RFC 9110, 13.1.1).
fn is_meant(condition: Option<&str>, services: &[Service]) -> bool {
    let Some(condition) = condition else { return true };
    let current = tag(services);
    condition.split(',').map(str::trim).any(|named| named == "*" || named == current)
}

fn at_revision(answer: Answer, services: &[Service]) -> Answer {
    answer.with("ETag", tag(services))
}

fn tag(services: &[Service]) -> String {
    format!("\"{}\"", list::revision(services))
}

/// Which services refer to a credential, in auth or substitutions.
pub(super) fn credential_usage(call: &Call<'_>, inside: &InVault) -> Reply {
    let key = call.request.query("key").filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| Refusal::error(400, "key is required"))?;
    let services: Vec<Value> = call
        .store()
        .services(&inside.vault.id)?
        .iter()
        .filter(|service| service.credential_keys().contains(&key.as_str()))
        .map(|service| json!({"name": service.name, "host": service.joined_host()}))
        .collect();
    Ok(Answer::json(200, &json!({"services": services})))
}

fn locate(services: &[Service], reference: &str) -> Result<usize, Refusal> {
    match list::find(services, reference) {
        Found::One(at) => Ok(at),
        Found::None => Err(Refusal::error(404, &format!("Service not found for {reference:?}"))),
        Found::Ambiguous(all) => {
            let named = |at: &usize| (services[*at].name.clone(), services[*at].joined_host());
            let text = format!("Several services match {reference:?}; name one of the candidates");
            Err(ambiguous(&text, &all.iter().map(named).collect::<Vec<_>>()))
        }
    }
}

/// A reference by host that several services answer to: their names and joined hosts.
pub(super) fn ambiguous(text: &str, candidates: &[(String, String)]) -> Refusal {
    let candidates: Vec<Value> =
        candidates.iter().map(|(name, host)| json!({"name": name, "host": host})).collect();
    Answer::json(409, &json!({"error": text, "candidates": candidates})).into()
}

/// The place is in the text already when the whole list is to blame (contract D.1).
fn invalid(error: &Invalid) -> Refusal {
    let text = error.to_string();
    if text.starts_with("services[") {
        Refusal::error(400, &text)
    } else {
        Refusal::error(400, &format!("Invalid services: {text}"))
    }
}
