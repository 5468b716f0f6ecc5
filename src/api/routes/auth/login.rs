//! Logging in and out.

use serde::Deserialize;

use super::super::super::Call;
use super::super::super::caller;
use super::super::super::refusal::{Refusal, Reply};
use super::{Origin, TOO_MANY, admit, cookie, derive, normal_email, text_of};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::secret::Secret;
use crate::store::password;

#[derive(Deserialize)]
struct Form {
    email: Option<String>,
    password: Option<Secret>,
    device_label: Option<String>,
}

/// Says the same, after the same time, to an unknown address, a wrong password and an account that is not
/// active.
pub(in super::super) fn login(call: &Call<'_>) -> Reply {
    let form: Form = call.request.json()?;
    let email = form.email.unwrap_or_default();
    let password = form.password.unwrap_or_else(|| Secret::from(""));
    let too_many = "Too many login attempts, try again later";
    admit(call, too_many)?;
    if email.is_empty() || password.is_empty() {
        return Err(Refusal::error(400, "Email and password are required"));
    }
    let email = normal_email(&email).unwrap_or_default();
    call.api.admit_attempt(&format!("email:{email}"), too_many)?;
    let user = call.store().user_by_email(&email)?;
    let is_right = derive(call.api, || match &user {
        Some(user) => user.password.matches(&password),
        None => password::spend_a_check(&password).map(|()| false),
    })?;
    let refused = || Refusal::error(401, "Invalid email or password");
    let user = user.filter(|user| is_right && user.is_active).ok_or_else(refused)?;
    let origin = Origin::of(call, form.device_label.as_deref());
    let login = call.store().create_login(&user, origin.device(call), call.now)?.ok_or_else(refused)?;
    let body = json!({"token": text_of(&login), "expires_at": login.expires_at.rfc3339()});
    Ok(cookie::set(call, Answer::json(200, &body), &login))
}

/// Ends the login that is named, if one is; logging out twice is no error.
pub(in super::super) fn logout(call: &Call<'_>) -> Reply {
    admit(call, TOO_MANY)?;
    if let Some(token) = caller::token(call.request) {
        call.store().end_session(&token)?;
    }
    Ok(cookie::clear(call, Answer::json(200, &json!({"status": "ok"}))))
}
