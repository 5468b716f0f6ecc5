//! Proposals as people review them (contract A.11).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Call;
use super::super::caller::{InVault, Who};
use super::super::refusal::{Refusal, Reply};
use super::credentials::check_value;
use super::proposals::{number, wanted_status};
use super::services;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::secret::Secret;
use crate::store::proposals::{NotApproved, Stored};
use crate::vault::proposal::{Conflict, Status};
use crate::vault::scope::Role;

/// A vault's proposals. Looking at them ends those that have waited too long, wherever they are.
pub(super) fn list(call: &Call<'_>, who: &Who) -> Reply {
    let inside = enter(call, who)?;
    let status = match inside.role {
        Role::Proxy => Some(Status::Pending),
        Role::Member | Role::Admin => wanted_status(call)?,
    };
    call.store().expire_proposals(call.now)?;
    let proposals = call.store().proposals(&inside.vault.id, status)?;
    let proposals: Vec<Value> = proposals.iter().map(|stored| Value::Object(summary(stored))).collect();
    Ok(Answer::json(200, &json!({"proposals": proposals})))
}

pub(super) fn show(call: &Call<'_>, who: &Who) -> Reply {
    let inside = enter(call, who)?;
    let id = number(call)?;
    let stored = call.store().proposal(&inside.vault.id, id)?;
    let stored = stored.ok_or_else(|| unknown(id, &inside))?;
    if inside.role == Role::Proxy && stored.status != Status::Pending {
        return Err(Refusal::error(403, "Member role required"));
    }
    let mut object = summary(&stored);
    object.insert("user_message".to_owned(), stored.proposal.user_message.into());
    object.insert("review_note".to_owned(), stored.review_note.into());
    object.insert("agent_name".to_owned(), stored.author.into());
    Ok(Answer::json(200, &Value::Object(object)))
}

/// Services and slots are texts that hold JSON: that is how clients of this route read them.
fn summary(stored: &Stored) -> Map<String, Value> {
    let note = Some(stored.review_note.as_str()).filter(|note| !note.is_empty());
    let fields: [(&str, Option<Value>); 8] = [
        ("id", Some(stored.id.into())),
        ("status", Some(stored.status.as_str().into())),
        ("message", Some(stored.proposal.message.as_str().into())),
        ("services_json", Some(stored.proposal.services_json().to_string().into())),
        ("credentials_json", Some(stored.proposal.credentials_json().to_string().into())),
        ("review_note", note.map(Value::from)),
        ("reviewed_at", stored.reviewed_at.map(|at| at.rfc3339().into())),
        ("created_at", Some(stored.created_at.rfc3339().into())),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[derive(Deserialize)]
struct Approval {
    vault: Option<String>,
    credentials: Option<BTreeMap<String, Secret>>,
}

pub(super) fn approve(call: &Call<'_>, who: &Who) -> Reply {
    let form: Approval = call.request.json()?;
    let given = form.credentials.unwrap_or_default();
    let inside = enter_to_decide(call, who, form.vault)?;
    let id = number(call)?;
    for (key, value) in &given {
        check_value(key, value.expose())?;
    }
    let warrant = inside.warrant(call);
    let refusal =
        match call.store().approve_proposal(&inside.vault.id, id, &given, warrant.as_ref(), call.now)? {
            Ok(()) => return Ok(decided(id, Status::Applied)),
            Err(refusal) => refusal,
        };
    Err(match refusal {
        NotApproved::Unknown => unknown(id, &inside),
        NotApproved::NotPending(status) => already(id, status),
        NotApproved::Missing(key) => Refusal::error(400, &format!("Missing value for credential {key:?}")),
        NotApproved::Empty(key) => Refusal::error(400, &format!("Credential {key:?} cannot be empty")),
        NotApproved::Foreign(key) => {
            Refusal::error(400, &format!("Credential {key:?} is not part of proposal {id}"))
        }
        NotApproved::Conflict(conflict) => match &conflict {
            Conflict::Ambiguous(ambiguity) => {
                services::ambiguous(&conflict.to_string(), &ambiguity.candidates)
            }
            Conflict::Gone(_) => Refusal::error(409, &conflict.to_string()),
        },
    })
}

#[derive(Deserialize)]
struct Rejection {
    vault: Option<String>,
    reason: Option<String>,
}

pub(super) fn reject(call: &Call<'_>, who: &Who) -> Reply {
    let form: Rejection = call.request.json()?;
    let inside = enter_to_decide(call, who, form.vault)?;
    let id = number(call)?;
    let reason = form.reason.unwrap_or_default();
    match call.store().reject_proposal(&inside.vault.id, id, &reason, call.now)? {
        Ok(()) => Ok(decided(id, Status::Rejected)),
        Err(Some(status)) => Err(already(id, status)),
        Err(None) => Err(unknown(id, &inside)),
    }
}

fn enter(call: &Call<'_>, who: &Who) -> Result<InVault, Refusal> {
    who.clone().enter_named(call, call.request.query("vault").as_deref(), Role::Proxy)
}

/// Deciding takes a member; a scoped token, behind which nobody stands, takes an admin.
fn enter_to_decide(call: &Call<'_>, who: &Who, vault: Option<String>) -> Result<InVault, Refusal> {
    let vault = vault.or_else(|| call.request.query("vault"));
    let inside = who.clone().enter_named(call, vault.as_deref(), Role::Proxy)?;
    match (&inside.actor, inside.role) {
        (_, Role::Admin) | (Some(_), Role::Member) => Ok(inside),
        (None, _) => Err(Refusal::error(403, "Admin role required")),
        (Some(_), Role::Proxy) => Err(Refusal::error(403, "Member role required")),
    }
}

fn decided(id: u32, status: Status) -> Answer {
    Answer::json(200, &json!({"id": id, "status": status.as_str()}))
}

fn already(id: u32, status: Status) -> Refusal {
    Refusal::error(409, &format!("Proposal {id} is already {}", status.as_str()))
}

fn unknown(id: u32, inside: &InVault) -> Refusal {
    Refusal::error(404, &format!("Proposal #{id} not found in vault {:?}", inside.vault.name))
}
