//! Proposals as agents make and follow them, and the link that goes with one (contract A.11).

use serde_json::Value;

use super::super::Call;
use super::super::caller::{self, Who};
use super::super::refusal::{Refusal, Reply};
use super::credentials::check_value;
use super::{auth, discover, services};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::secret::Secret;
use crate::store::Timestamp;
use crate::store::grants::{ActorKind, ActorRef};
use crate::store::proposals::{Linked, Stored, Submission};
use crate::store::sessions::Holder;
use crate::vault::proposal::{Draft, Inventory, Problem, Status};
use crate::vault::scope::Role;

pub(super) fn create(call: &Call<'_>, who: &Who) -> Reply {
    let (vault_id, vault_name) = discover::vault_of(call, who)?;
    let draft: Draft = call.request.json()?;
    let store = call.store();
    let stored = store.services(&vault_id)?;
    let keys: Vec<String> = store.credential_keys(&vault_id)?.into_iter().map(|(key, _)| key).collect();
    let inventory = Inventory { services: &stored, keys: &keys, internal: call.api.settings.internal_names };
    let (proposal, values) = draft.check(&inventory).map_err(refused)?;
    for (key, value) in &values {
        check_value(key, value.expose())?;
    }
    let by = author(who);
    let submission =
        Submission { vault_id: &vault_id, by: by.as_ref(), proposal: &proposal, values: &values };
    let Some((id, token)) = store.submit(&submission, call.now)? else {
        return Err(Refusal::error(429, "Too many pending proposals (max 20)"));
    };
    let base_url = &call.api.settings.base_url;
    let url = format!("{base_url}/approve/{id}?token={}", token.expose_str().unwrap_or_default());
    let body = json!({
        "id": id,
        "status": Status::Pending.as_str(),
        "vault": vault_name,
        "approval_url": url,
        "message": format!("Proposal created. Approve here: {url}"),
    });
    Ok(Answer::json(201, &body).with("Cache-Control", "no-store"))
}

/// Who makes it: for a scoped token, whoever minted that.
fn author(who: &Who) -> Option<ActorRef> {
    let actor = |kind, id: &String| Some(ActorRef { kind, id: id.clone() });
    match &who.0 {
        Holder::Agent { id, .. } => actor(ActorKind::Agent, id),
        Holder::User { id, .. } => actor(ActorKind::User, id),
        Holder::Scoped { minted_by, .. } => minted_by.clone(),
    }
}

fn refused(problem: Problem) -> Refusal {
    match problem {
        Problem::Invalid(invalid) => Refusal::error(400, &invalid.to_string()),
        Problem::Unknown(host) => Refusal::error(404, &format!("Service not found for {host:?}")),
        Problem::Ambiguous(ambiguity) => services::ambiguous(
            &format!("Several services match {:?}; name one of the candidates", ambiguity.reference),
            &ambiguity.candidates,
        ),
    }
}

pub(super) fn show(call: &Call<'_>, who: &Who) -> Reply {
    let (vault_id, _) = discover::vault_of(call, who)?;
    let id = number(call)?;
    let stored = call.store().proposal(&vault_id, id)?;
    let stored = stored.ok_or_else(|| Refusal::error(404, &format!("Proposal {id} not found")))?;
    let body = json!({
        "id": stored.id,
        "status": stored.status.as_str(),
        "services": stored.proposal.services_json(),
        "credentials": stored.proposal.credentials_json(),
        "message": stored.proposal.message,
        "review_note": stored.review_note,
        "reviewed_at": stored.reviewed_at.map(Timestamp::rfc3339),
        "created_at": stored.created_at.rfc3339(),
    });
    Ok(Answer::json(200, &body))
}

pub(super) fn list(call: &Call<'_>, who: &Who) -> Reply {
    let (vault_id, _) = discover::vault_of(call, who)?;
    let proposals = call.store().proposals(&vault_id, wanted_status(call)?)?;
    let one = |stored: &Stored| {
        json!({
            "id": stored.id,
            "status": stored.status.as_str(),
            "message": stored.proposal.message,
            "created_at": stored.created_at.rfc3339(),
        })
    };
    let proposals: Vec<Value> = proposals.iter().map(one).collect();
    Ok(Answer::json(200, &json!({"proposals": proposals})))
}

/// The number of a proposal, from the path.
pub(super) fn number(call: &Call<'_>) -> Result<u32, Refusal> {
    let text = call.param(0);
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or_else(|| Refusal::error(400, "Invalid proposal id"))
}

/// The status a list is asked for; none is all of them.
pub(super) fn wanted_status(call: &Call<'_>) -> Result<Option<Status>, Refusal> {
    let Some(text) = call.request.query("status").filter(|text| !text.is_empty()) else { return Ok(None) };
    let known = Status::ALL.map(Status::as_str).join(", ");
    Status::parse(&text)
        .map(Some)
        .ok_or_else(|| Refusal::error(400, &format!("Invalid status {text:?} (known are {known})")))
}

/// What the holder of an approval link may read. Approving takes a login.
pub(super) fn approve_details(call: &Call<'_>) -> Reply {
    auth::admit(call, auth::TOO_MANY)?;
    let token = call.request.query("token").filter(|token| !token.is_empty());
    let token = Secret::from(token.ok_or_else(|| Refusal::error(400, "Missing token"))?);
    auth::admit_link(call, &token)?;
    let linked = call.store().linked_proposal(&token)?;
    let linked = linked.ok_or_else(|| Refusal::error(404, "Invalid or expired approval link"))?;
    if call.request.query("id").is_none_or(|id| id != linked.stored.id.to_string()) {
        return Err(Refusal::error(400, "Proposal ID mismatch"));
    }
    if call.now > linked.expires_at {
        return Err(Refusal::error(410, "Approval link has expired"));
    }
    let body = match linked.stored.status {
        Status::Pending => details(call, &linked)?,
        decided => json!({
            "error": true,
            "error_title": "Nothing to approve",
            "error_message": format!("Proposal {} is already {}", linked.stored.id, decided.as_str()),
        }),
    };
    Ok(Answer::json(200, &body).with("Cache-Control", "no-store"))
}

fn details(call: &Call<'_>, linked: &Linked) -> Result<Value, Refusal> {
    // A link is good without a login, so a login that is none is no error here.
    let who = caller::identify(call).ok().map(|Who(holder)| holder);
    let (actor_id, email) = match &who {
        Some(Holder::User { id, email, .. }) => (Some(id), email.as_str()),
        Some(Holder::Agent { id, .. }) => (Some(id), ""),
        Some(Holder::Scoped { .. }) | None => (None, ""),
    };
    let role = match actor_id {
        Some(id) => call.store().grant(id, &linked.vault_id)?,
        None => None,
    };
    let stored = &linked.stored;
    Ok(json!({
        "proposal_id": stored.id,
        "vault": linked.vault_name,
        "status": stored.status.as_str(),
        "user_message": stored.proposal.user_message,
        "message": stored.proposal.message,
        "services": stored.proposal.services_json(),
        "credentials": stored.proposal.credentials_json(),
        "created_at": stored.created_at.rfc3339(),
        "agent_name": stored.author,
        "authenticated": actor_id.is_some(),
        "can_approve": role >= Some(Role::Member),
        "user_email": email,
    }))
}

/// Where an approval link leads in a browser: it says how to approve, and nothing of the proposal.
pub(super) fn approval_page(call: &Call<'_>) -> Reply {
    let id = number(call).map_err(|_| Refusal::error(404, "Not found"))?;
    let text = format!(
        "An agent asks for proposal {id} to be approved. A member or admin of its vault, logged in with\n\
         'agent-vault auth login', looks at it and decides with\n\n  \
         agent-vault vault proposal approve {id}\n\n\
         Add --vault NAME if it is not in the vault in use."
    );
    Ok(Answer::text(200, &text).with("Cache-Control", "no-store"))
}
