//! Invites: people are asked to join, with vaults to begin with, by a link that works once.
//!
//! The link's token is in the path of four routes, so whoever has the link has the invite; it is kept
//! as a hash, and no list shows it. No mail is sent from here: the answer holds the link.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use super::super::Call;
use super::super::caller::Actor;
use super::super::refusal::{Refusal, Reply};
use super::auth::{self, normal_email};
use super::vaults::FirstGrant;
use super::{members, users};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::secret::Secret;
use crate::store::accounts::InstanceRole;
use crate::store::invites::{Acceptance, Hurdle, Invite, InviteVault, NewInvite, Status};
use crate::store::logins::NewToken;
use crate::store::settings::Admission;
use crate::vault::scope::Role;

#[derive(Deserialize)]
struct NewForm {
    email: Option<String>,
    role: Option<String>,
    vaults: Option<Vec<FirstGrant>>,
}

/// Invites somebody. The checks are in the contract's order (A.12).
pub(super) fn create(call: &Call<'_>, actor: &Actor) -> Reply {
    let form: NewForm = call.request.json()?;
    let email = normal_email(&form.email.unwrap_or_default())
        .ok_or_else(|| Refusal::error(400, "Invalid email address"))?;
    let role = match form.role.as_deref().filter(|role| !role.is_empty()) {
        None => InstanceRole::Member,
        Some(text) => InstanceRole::parse(text).ok_or_else(|| Refusal::error(400, users::ROLES))?,
    };
    let wanted = form.vaults.unwrap_or_default().into_iter().map(wanted_vault);
    let wanted: Vec<(String, Role)> = wanted.collect::<Result<_, _>>()?;
    require_owner_for(actor, role)?;
    let admission = call.store().admission()?;
    if let Some(hurdle) = call.store().invite_hurdle(&email, &admission, call.now)? {
        return Err(stopped_by(hurdle, &email, &admission));
    }
    let vaults = find_vaults(call, actor, wanted)?;
    let warrant = actor.warrant_over(call, vaults.iter().map(|vault| vault.id.as_str()));
    let new = NewInvite {
        email: &email,
        role,
        created_by: &actor.actor.id,
        vaults: &vaults,
        warrant: warrant.as_ref(),
    };
    let link = call
        .store()
        .create_invite(&new, &admission, call.now)?
        .map_err(|hurdle| stopped_by(hurdle, &email, &admission))?;
    let mut body = issued(call, &email, &link);
    body["role"] = role.as_str().into();
    body["vaults"] = vaults_json(&vaults);
    Ok(Answer::json(201, &body))
}

fn wanted_vault(grant: FirstGrant) -> Result<(String, Role), Refusal> {
    let role = members::role_or_member(grant.vault_role.as_deref())?;
    Ok((grant.vault_name.unwrap_or_default(), role))
}

/// The vaults by name, each once; whoever invites to one has to be its admin, unless an owner.
fn find_vaults(
    call: &Call<'_>,
    actor: &Actor,
    wanted: Vec<(String, Role)>,
) -> Result<Vec<InviteVault>, Refusal> {
    let mut seen = BTreeSet::new();
    let mut vaults = Vec::new();
    for (name, role) in wanted {
        let vault = call
            .store()
            .vault(&name)?
            .ok_or_else(|| Refusal::error(404, &format!("Vault {name:?} not found")))?;
        actor.require_admin_of(call, &vault)?;
        if !seen.insert(vault.id.clone()) {
            return Err(Refusal::error(400, &format!("vaults names {name:?} twice")));
        }
        vaults.push(InviteVault { id: vault.id, name: vault.name, role });
    }
    Ok(vaults)
}

fn require_owner_for(actor: &Actor, role: InstanceRole) -> Result<(), Refusal> {
    if role == InstanceRole::Owner && !actor.is_owner() {
        return Err(Refusal::error(403, "Only instance owners can invite owners"));
    }
    Ok(())
}

fn stopped_by(hurdle: Hurdle, email: &str, admission: &Admission) -> Refusal {
    match hurdle {
        Hurdle::HasAccount => Refusal::error(409, &format!("User {email:?} already has an account")),
        Hurdle::IsInvited => Refusal::error(409, &format!("A pending invite for {email:?} exists already")),
        Hurdle::WrongDomain => wrong_domain(admission),
        Hurdle::TooManyPending => Refusal::error(429, "Too many pending invites"),
    }
}

fn wrong_domain(admission: &Admission) -> Refusal {
    let domains = admission.allowed_email_domains.join(", ");
    Refusal::error(403, &format!("Only addresses of these domains may join: {domains}"))
}

/// Owners see every invite; others their own and those for vaults they are admin of.
pub(super) fn list(call: &Call<'_>, actor: &Actor) -> Reply {
    let status = match call.request.query("status").filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => Some(Status::parse(&text).ok_or_else(|| {
            Refusal::error(400, "status must be one of: pending, accepted, expired, revoked")
        })?),
    };
    let administered = administered(call, actor)?;
    let mut invites = call.store().invites(call.now)?;
    invites.retain(|invite| {
        status.is_none_or(|status| status == invite.status) && is_concerned(actor, &administered, invite)
    });
    let row = |invite: &Invite| {
        json!({
            "email": invite.email,
            "role": invite.role.as_str(),
            "token": "",
            "status": invite.status.as_str(),
            "created_by": invite.created_by,
            "vaults": vaults_json(&invite.vaults),
            "expires_at": invite.expires_at.rfc3339(),
            "created_at": invite.created_at.rfc3339(),
        })
    };
    let invites: Vec<Value> = invites.iter().map(row).collect();
    Ok(Answer::json(200, &json!({"invites": invites})))
}

pub(super) fn revoke(call: &Call<'_>, actor: &Actor) -> Reply {
    let invite = find_manageable(call, actor)?;
    if !call.store().revoke_invite(&invite.id, call.now)? {
        return Err(Refusal::error(404, "No pending invite has this token"));
    }
    Ok(Answer::json(200, &json!({"message": "Invite revoked"})))
}

/// The same invite again with another link; the old one ends.
pub(super) fn reissue(call: &Call<'_>, actor: &Actor) -> Reply {
    let invite = find_manageable(call, actor)?;
    require_owner_for(actor, invite.role)?;
    let link = call
        .store()
        .reissue_invite(&invite, actor.warrant(call).as_ref(), call.now)?
        .ok_or_else(|| Refusal::error(409, &format!("The invite is {}", invite.status.as_str())))?;
    Ok(Answer::json(201, &issued(call, &invite.email, &link)))
}

/// What whoever has the link may know before taking it up. A dead link is no error to a page that has to
/// show it.
pub(super) fn details(call: &Call<'_>) -> Reply {
    let token = admitted_token(call)?;
    let invite = find(call, &token)?;
    if let Some((title, message)) = why_closed(invite.status) {
        let body = json!({"error": true, "error_title": title, "error_message": message});
        return Ok(Answer::json(200, &body));
    }
    let body = json!({
        "email": invite.email,
        "role": invite.role.as_str(),
        "vaults": vaults_json(&invite.vaults),
        "needs_account": call.store().needs_account(&invite.email)?,
    });
    Ok(Answer::json(200, &body))
}

#[derive(Default, Deserialize)]
struct AcceptForm {
    password: Option<Secret>,
}

/// Takes an invite up; the password is for the account it makes, if there is none yet.
pub(super) fn accept(call: &Call<'_>) -> Reply {
    let token = admitted_token(call)?;
    // Who has an account already may send no body at all.
    let form: AcceptForm = call.request.json().unwrap_or_default();
    let invite = find(call, &token)?;
    if invite.status != Status::Pending {
        return Err(gone(invite.status));
    }
    let admission = call.store().admission()?;
    if !admission.allows(&invite.email) {
        return Err(wrong_domain(&admission));
    }
    let hash = match call.store().needs_account(&invite.email)? {
        true => Some(auth::hash(call.api, &auth::chosen_password(form.password)?)?),
        false => None,
    };
    let message = match call.store().accept_invite(&token, hash.as_ref(), call.now)? {
        Acceptance::Joined => "Account created. You can log in now.",
        Acceptance::Granted => "Invite accepted.",
        Acceptance::PasswordNeeded => return Err(Refusal::error(400, "password is required")),
        Acceptance::Closed(status) => return Err(gone(status)),
        Acceptance::Unknown => return Err(unknown()),
    };
    Ok(Answer::json(200, &json!({"email": invite.email, "message": message})))
}

/// The token of the path, once the caller has not tried too often (contract A.2).
fn admitted_token(call: &Call<'_>) -> Result<Secret, Refusal> {
    let token = Secret::from(call.param(0));
    auth::admit(call, auth::TOO_MANY)?;
    auth::admit_link(call, &token)?;
    Ok(token)
}

fn find(call: &Call<'_>, token: &Secret) -> Result<Invite, Refusal> {
    call.store().invite(token, call.now)?.ok_or_else(unknown)
}

/// An invite is managed by owners, by whoever made it, and by the admins of its vaults. Who has lost the
/// link names the address; to everybody else no invite of that address exists.
fn find_manageable(call: &Call<'_>, actor: &Actor) -> Result<Invite, Refusal> {
    let administered = administered(call, actor)?;
    if let Some(email) = normal_email(call.param(0)) {
        let invite = call.store().pending_invite(&email, call.now)?;
        return invite.filter(|invite| is_concerned(actor, &administered, invite)).ok_or_else(unknown);
    }
    let invite = find(call, &Secret::from(call.param(0)))?;
    if !is_concerned(actor, &administered, &invite) {
        let text = "Only the invite's creator, an admin of its vaults or an instance owner can do this";
        return Err(Refusal::error(403, text));
    }
    Ok(invite)
}

fn is_concerned(actor: &Actor, administered: &[String], invite: &Invite) -> bool {
    actor.is_owner()
        || invite.created_by == actor.actor.id
        || invite.vaults.iter().any(|vault| administered.contains(&vault.id))
}

/// Ids of the vaults the caller is admin of; owners see every invite anyway.
fn administered(call: &Call<'_>, actor: &Actor) -> Result<Vec<String>, Refusal> {
    if actor.is_owner() {
        return Ok(Vec::new());
    }
    let vaults = call.store().vaults(&actor.actor.id)?;
    let is_admin = |role: &Option<Role>| *role == Some(Role::Admin);
    Ok(vaults.into_iter().filter(|(_, role)| is_admin(role)).map(|(vault, _)| vault.id).collect())
}

/// What is said of a link just made, the only time it is known.
fn issued(call: &Call<'_>, email: &str, link: &NewToken) -> Value {
    let base_url = &call.api.settings.base_url;
    json!({
        "email": email,
        "email_sent": false,
        "expires_at": link.expires_at.rfc3339(),
        "invite_link": format!("{base_url}/invite/{}", link.token.expose_str().unwrap_or_default()),
    })
}

fn vaults_json(vaults: &[InviteVault]) -> Value {
    vaults.iter().map(|vault| json!({"vault_name": vault.name, "vault_role": vault.role.as_str()})).collect()
}

/// Title and text for a link that no longer works; `None` while it does.
fn why_closed(status: Status) -> Option<(&'static str, &'static str)> {
    Some(match status {
        Status::Pending => return None,
        Status::Accepted => ("Already Accepted", "This invite has been accepted already. You can log in."),
        Status::Expired => ("Invite Expired", "This invite has expired. Ask for another one."),
        Status::Revoked => ("Invite Revoked", "This invite was revoked. Ask for another one."),
    })
}

fn gone(status: Status) -> Refusal {
    Refusal::error(410, why_closed(status).map_or("This invite is not open", |(_, message)| message))
}

fn unknown() -> Refusal {
    Refusal::error(404, "Invite not found")
}
