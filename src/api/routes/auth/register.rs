//! Getting an account. The first one owns the instance; those after it are proved with a code.

use serde::Deserialize;

use super::super::super::Call;
use super::super::super::refusal::{Refusal, Reply};
use super::{Origin, TOO_MANY, admit, chosen_password, codes, cookie, hash, normal_email, text_of};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::secret::Secret;
use crate::store::accounts::InstanceRole;
use crate::store::logins::NewToken;
use crate::store::password::PasswordHash;
use crate::store::signup::SignUp;

#[derive(Deserialize)]
struct Form {
    email: Option<String>,
    password: Option<Secret>,
    device_label: Option<String>,
}

pub(in super::super) fn register(call: &Call<'_>) -> Reply {
    admit(call, TOO_MANY)?;
    let form: Form = call.request.json()?;
    let email = normal_email(&form.email.unwrap_or_default())
        .ok_or_else(|| Refusal::error(400, "Invalid email address"))?;
    let password = chosen_password(form.password)?;
    let is_first = !call.api.is_initialized()?;
    if !is_first {
        check_admission(call, &email)?;
    }
    // Derived even when nothing will be stored: an address in use takes as long as a new one.
    let hash = hash(call.api, &password)?;
    if is_first {
        let origin = Origin::of(call, form.device_label.as_deref());
        if let Some(login) = call.store().register_owner(&email, &hash, origin.device(call), call.now)? {
            return Ok(owner_created(call, &email, &login));
        }
        // Another registration was first after all.
        check_admission(call, &email)?;
    }
    sign_up(call, &email, &hash)
}

/// Whether people may come by themselves, and with this address.
fn check_admission(call: &Call<'_>, email: &str) -> Result<(), Refusal> {
    let admission = call.store().admission()?;
    if !admission.allows(email) {
        let domains = admission.allowed_email_domains.join(", ");
        return Err(Refusal::error(403, &format!("Registration is open to these domains only: {domains}")));
    }
    if admission.invite_only {
        return Err(Refusal::error(403, "Registration is by invitation only"));
    }
    Ok(())
}

fn owner_created(call: &Call<'_>, email: &str, login: &NewToken) -> Answer {
    let body = json!({
        "email": email,
        "role": InstanceRole::Owner.as_str(),
        "requires_verification": false,
        "email_sent": false,
        "authenticated": true,
        "message": "Owner account created.",
        "token": text_of(login),
        "expires_at": login.expires_at.rfc3339(),
    });
    cookie::set(call, Answer::json(201, &body), login)
}

/// Answers alike whether the address is new, waits for its code or is in use.
fn sign_up(call: &Call<'_>, email: &str, hash: &PasswordHash) -> Reply {
    match call.store().sign_up(email, hash, call.now)? {
        SignUp::AwaitsCode(code) => codes::hand_out(call.api, codes::VERIFICATION, email, &code),
        SignUp::IsActive => {}
        SignUp::TooManyCodes => return Err(Refusal::error(429, "Too many pending verification codes")),
    }
    let body = json!({
        "email": email,
        "requires_verification": true,
        "email_sent": false,
        "message": "Verify the address with its code; this server sends no e-mail, its operator reads the \
                    code in the server's log.",
    });
    Ok(Answer::json(201, &body))
}
