//! A new password: for who forgot the old one, and for who knows it.

use serde::Deserialize;

use super::super::super::Call;
use super::super::super::caller::Person;
use super::super::super::refusal::{Refusal, Reply};
use super::{Origin, TOO_MANY, admit, chosen_password, codes, cookie, derive, hash, normal_email, text_of};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::secret::Secret;
use crate::store::recovery::{Reset, ResetCode};

/// Makes a code for whoever forgot the password, and answers everybody alike.
pub(in super::super) fn forgot(call: &Call<'_>) -> Reply {
    let email = codes::wanted_by(call)?;
    if let Some(email) = normal_email(&email) {
        match call.store().forget_password(&email, call.now)? {
            ResetCode::For(code) => codes::hand_out(call.api, codes::RESET, &email, &code),
            // The limit of wrong codes must not tell who has an account either.
            ResetCode::ForNobody => codes::renew_guesses(call.api, &email),
            ResetCode::TooMany => {}
        }
    }
    let body = json!({
        "message": "If this address has an account, a reset code is in the server's log.",
        "email_sent": false,
    });
    Ok(Answer::json(200, &body))
}

#[derive(Deserialize)]
struct ResetForm {
    email: Option<String>,
    code: Option<Secret>,
    new_password: Option<Secret>,
    device_label: Option<String>,
}

/// Sets a new password with a code. The token goes into the cookie only: whoever resets does so in a
/// browser, and a page must not see it.
pub(in super::super) fn reset(call: &Call<'_>) -> Reply {
    admit(call, TOO_MANY)?;
    let form: ResetForm = call.request.json()?;
    let (email, code) = (form.email.unwrap_or_default(), codes::read(form.code.as_ref()));
    if email.is_empty() || code.is_empty() || form.new_password.as_ref().is_none_or(Secret::is_empty) {
        return Err(Refusal::error(400, "Email, code and new password are required"));
    }
    let password = chosen_password(form.new_password)?;
    let email = normal_email(&email).unwrap_or_default();
    codes::begin_guess(call.api, &email)?;
    let wrong = || Refusal::error(400, "Invalid or expired reset code");
    // Looked at before it is used, since a guess must not cost a key derivation.
    if !call.store().is_reset_code(&email, &code, call.now)? {
        return Err(wrong());
    }
    let reset = Reset { email: &email, code: &code, password: &hash(call.api, &password)? };
    let origin = Origin::of(call, form.device_label.as_deref());
    let login = call.store().reset_password(&reset, origin.device(call), call.now)?.ok_or_else(wrong)?;
    codes::forget_guesses(call.api, &email);
    let body = json!({
        "message": "Password reset successfully.",
        "authenticated": true,
        "expires_at": login.expires_at.rfc3339(),
    });
    Ok(cookie::set(call, Answer::json(200, &body), &login))
}

#[derive(Deserialize)]
struct ChangeForm {
    current_password: Option<Secret>,
    new_password: Option<Secret>,
}

pub(in super::super) fn change(call: &Call<'_>, person: &Person) -> Reply {
    let form: ChangeForm = call.request.json()?;
    let current = form.current_password.filter(|password| !password.is_empty());
    let current = current.ok_or_else(|| Refusal::error(400, "Current password is required"))?;
    if form.new_password.as_ref().is_none_or(Secret::is_empty) {
        return Err(Refusal::error(400, "New password is required"));
    }
    let password = chosen_password(form.new_password)?;
    let ended = || Refusal::error(401, "Invalid or expired session");
    let user = call.store().user_by_email(&person.email)?.ok_or_else(ended)?;
    if !derive(call.api, || user.password.matches(&current))? {
        return Err(Refusal::error(401, "Current password is incorrect"));
    }
    let hash = hash(call.api, &password)?;
    let origin = Origin::of(call, None);
    let login = call
        .store()
        .change_password(&person.token, &hash, origin.device(call), call.now)?
        .ok_or_else(ended)?;
    let body = json!({"token": text_of(&login), "expires_at": login.expires_at.rfc3339()});
    Ok(cookie::set(call, Answer::json(200, &body), &login))
}
