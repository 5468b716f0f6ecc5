//! A vault's services (contract A.8).

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::Call;
use super::super::caller::InVault;
use super::super::refusal::{Refusal, Reply};
use crate::http1::respond::Answer;
use crate::vault::service::list::{self, Found};
use crate::vault::service::{Invalid, Service};

pub(super) fn list(call: &Call<'_>, inside: &InVault) -> Reply {
    let services = call.store().services(&inside.vault.id)?;
    Ok(Answer::json(200, &json!({"vault": inside.vault.name, "services": list::to_json(&services)})))
}

/// Adds or replaces by name; a nameless entry may take the name of its one twin.
pub(super) fn upsert(call: &Call<'_>, inside: &InVault) -> Reply {
    let values = call.request.services()?;
    if values.is_empty() {
        return Err(Refusal::error(400, "At least one service is required"));
    }
    let mut drafts = list::read(&values).map_err(|error| invalid(&error))?;
    let outcome = call.store().edit_services(&inside.vault.id, call.now, |stored| {
        list::adopt_names(&mut drafts, stored);
        let incoming = list::check(drafts, call.api.settings.internal_names)?;
        let names: Vec<String> = incoming.iter().map(|service| service.name.clone()).collect();
        list::upsert(stored, incoming);
        Ok((names, stored.len()))
    })?;
    let (names, count) = outcome.map_err(|error| invalid(&error))?;
    let body = json!({"vault": inside.vault.name, "upserted": names, "services_count": count});
    Ok(Answer::json(200, &body))
}

/// Replaces the whole list; an empty one is allowed.
pub(super) fn replace(call: &Call<'_>, inside: &InVault) -> Reply {
    let values = call.request.services()?;
    let services = list::read(&values)
        .and_then(|drafts| list::check(drafts, call.api.settings.internal_names))
        .map_err(|error| invalid(&error))?;
    let count = services.len();
    call.store().edit_services(&inside.vault.id, call.now, |stored| {
        *stored = services;
        Ok::<_, Refusal>(())
    })??;
    Ok(Answer::json(200, &json!({"vault": inside.vault.name, "services_count": count})))
}

#[derive(Deserialize)]
struct Switch {
    enabled: Option<bool>,
}

pub(super) fn enable(call: &Call<'_>, inside: &InVault) -> Reply {
    let form: Switch = call.request.json()?;
    let enabled = form.enabled.ok_or_else(|| Refusal::error(400, "enabled is required"))?;
    let service = call.store().edit_services(&inside.vault.id, call.now, |stored| {
        let at = locate(stored, call.param(1))?;
        stored[at].enabled = Some(enabled);
        Ok::<_, Refusal>(stored[at].clone())
    })??;
    let body = json!({
        "vault": inside.vault.name,
        "name": service.name,
        "host": service.joined_host(),
        "enabled": enabled,
    });
    Ok(Answer::json(200, &body))
}

pub(super) fn remove(call: &Call<'_>, inside: &InVault) -> Reply {
    let (removed, count) = call.store().edit_services(&inside.vault.id, call.now, |stored| {
        let at = locate(stored, call.param(1))?;
        let removed = stored.remove(at);
        Ok::<_, Refusal>((removed, stored.len()))
    })??;
    let body = json!({
        "vault": inside.vault.name,
        "removed": removed.name,
        "removed_host": removed.joined_host(),
        "services_count": count,
    });
    Ok(Answer::json(200, &body))
}

pub(super) fn clear(call: &Call<'_>, inside: &InVault) -> Reply {
    call.store().edit_services(&inside.vault.id, call.now, |stored| {
        stored.clear();
        Ok::<_, Refusal>(())
    })??;
    Ok(Answer::json(200, &json!({"vault": inside.vault.name, "cleared": true})))
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
        .map(candidate)
        .collect();
    Ok(Answer::json(200, &json!({"services": services})))
}

fn locate(services: &[Service], reference: &str) -> Result<usize, Refusal> {
    match list::find(services, reference) {
        Found::One(at) => Ok(at),
        Found::None => Err(Refusal::error(404, &format!("Service not found for {reference:?}"))),
        Found::Ambiguous(all) => {
            let candidates: Vec<Value> = all.iter().map(|at| candidate(&services[*at])).collect();
            let text = format!("Several services match {reference:?}; name one of the candidates");
            Err(Answer::json(409, &json!({"error": text, "candidates": candidates})).into())
        }
    }
}

fn candidate(service: &Service) -> Value {
    json!({"name": service.name, "host": service.joined_host()})
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
