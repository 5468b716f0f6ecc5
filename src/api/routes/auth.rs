//! Accounts and logins.

use std::sync::PoisonError;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::caller::{self, COOKIE, Who};
use super::super::refusal::{Refusal, Reply};
use super::super::{Api, Call};
use crate::http1::respond::Answer;
use crate::secret::Secret;
use crate::store::accounts::{Device, InstanceRole, NewToken};
use crate::store::password::{self, PasswordHash};
use crate::store::sessions::Holder;

/// Shortest password, in bytes (contract A.6).
const MIN_PASSWORD_BYTES: usize = 8;

/// Longest device label, in characters.
const MAX_DEVICE_CHARS: usize = 64;

/// The cookie lives as long as the login it carries.
const COOKIE_SECONDS: u64 = 365 * 24 * 3600;

#[derive(Deserialize)]
struct Credentials {
    email: Option<String>,
    password: Option<String>,
    device_label: Option<String>,
}

/// Makes the first account. Everyone after the owner needs an invitation.
pub(super) fn register(call: &Call<'_>) -> Reply {
    let ip = call.client_ip().to_string();
    call.api.admit_attempt(&format!("ip:{ip}"), "Too many requests, try again later")?;
    let form: Credentials = call.request.json()?;
    let email = normal_email(&form.email.unwrap_or_default())
        .ok_or_else(|| Refusal::error(400, "Invalid email address"))?;
    let password = chosen_password(form.password)?;
    let closed = || Refusal::error(403, "Registration is by invitation only");
    if call.api.is_initialized()? {
        return Err(closed());
    }
    let hash = hash(call.api, &password)?;
    let label = form.device_label.map(|label| device_label(&label));
    let device =
        Device { label: label.as_deref(), ip: Some(&ip), user_agent: call.request.field("user-agent") };
    let login = call.store().register_owner(&email, &hash, device, call.now)?.ok_or_else(closed)?;
    let token = text_of(&login);
    let body = json!({
        "email": email,
        "role": InstanceRole::Owner.as_str(),
        "requires_verification": false,
        "email_sent": false,
        "authenticated": true,
        "message": "Owner account created.",
        "token": token,
        "expires_at": login.expires_at.rfc3339(),
    });
    Ok(with_cookie(call, Answer::json(201, &body), token, COOKIE_SECONDS.cast_signed()))
}

pub(super) fn login(call: &Call<'_>) -> Reply {
    let form: Credentials = call.request.json()?;
    let email = form.email.unwrap_or_default();
    let password = Secret::from(form.password.unwrap_or_default());
    let ip = call.client_ip().to_string();
    let too_many = "Too many login attempts, try again later";
    call.api.admit_attempt(&format!("ip:{ip}"), too_many)?;
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
    let user = user
        .filter(|user| is_right && user.is_active)
        .ok_or_else(|| Refusal::error(401, "Invalid email or password"))?;
    let label = form.device_label.map(|label| device_label(&label));
    let device =
        Device { label: label.as_deref(), ip: Some(&ip), user_agent: call.request.field("user-agent") };
    let login = call.store().create_login(&user.id, device, call.now)?;
    let token = text_of(&login);
    let body = json!({"token": token, "expires_at": login.expires_at.rfc3339()});
    Ok(with_cookie(call, Answer::json(200, &body), token, COOKIE_SECONDS.cast_signed()))
}

/// Ends the login that is named, if one is; logging out twice is no error.
pub(super) fn logout(call: &Call<'_>) -> Reply {
    let key = format!("ip:{}", call.client_ip());
    call.api.admit_attempt(&key, "Too many requests, try again later")?;
    if let Some(token) = caller::token(call.request) {
        call.store().end_session(&token)?;
    }
    Ok(with_cookie(call, Answer::json(200, &json!({"status": "ok"})), "", -1))
}

pub(super) fn me(_: &Call<'_>, who: &Who) -> Reply {
    let (kind, name_key, name, role) = match &who.0 {
        Holder::User { email, role, .. } => ("user", "email", email, role),
        Holder::Agent { name, role, .. } => ("agent", "agent_name", name, role),
        Holder::Scoped { .. } => return Err(Refusal::error(401, "Not authenticated")),
    };
    let mut body = Map::new();
    body.insert("type".to_owned(), kind.into());
    body.insert(name_key.to_owned(), name.as_str().into());
    body.insert("role".to_owned(), role.as_str().into());
    body.insert("is_owner".to_owned(), (*role == InstanceRole::Owner).into());
    Ok(Answer::json(200, &Value::Object(body)))
}

/// An address as it is stored and compared: trimmed and in lower case. `None` when it is none.
pub(crate) fn normal_email(text: &str) -> Option<String> {
    /// RFC 5321 §4.5.3.1.3, less the angle brackets.
    const MAX_BYTES: usize = 254;
    let email = text.trim().to_lowercase();
    let (local, domain) = email.split_once('@')?;
    let is_clean = |part: &str| {
        !part.is_empty() && !part.chars().any(|c| c.is_whitespace() || c.is_control() || "@<>,;".contains(c))
    };
    let is_email = email.len() <= MAX_BYTES
        && is_clean(local)
        && is_clean(domain)
        && !domain.starts_with('.')
        && !domain.ends_with('.');
    is_email.then_some(email)
}

/// Trimmed, without control characters, cut to its limit between characters.
fn device_label(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(MAX_DEVICE_CHARS).collect()
}

/// A password somebody chose, long enough.
pub(super) fn chosen_password(text: Option<String>) -> Result<Secret, Refusal> {
    let password = Secret::from(text.unwrap_or_default());
    if password.len() < MIN_PASSWORD_BYTES {
        return Err(Refusal::error(400, "Password must be at least 8 characters"));
    }
    Ok(password)
}

pub(super) fn hash(api: &Api, password: &Secret) -> Result<PasswordHash, Refusal> {
    Ok(derive(api, || PasswordHash::new(password))?)
}

/// Runs a key derivation while no other runs.
fn derive<T>(
    api: &Api,
    work: impl FnOnce() -> Result<T, crate::store::Error>,
) -> Result<T, crate::store::Error> {
    let _turn = api.derivation.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// A token just made, as text: it is made of ASCII.
fn text_of(login: &NewToken) -> &str {
    login.token.expose_str().unwrap_or_default()
}

fn with_cookie(call: &Call<'_>, answer: Answer, token: &str, max_age: i64) -> Answer {
    let secure = if call.api.settings.base_url.starts_with("https://") { "; Secure" } else { "" };
    answer.with(
        "Set-Cookie",
        format!("{COOKIE}={token}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_folded_and_nonsense_is_refused() {
        assert_eq!(normal_email(" Ann@Example.COM ").as_deref(), Some("ann@example.com"));
        for text in ["", "a", "@b", "a@", "a b@c", "a@b@c", "a@.b", "a@b\nc", "<a@b>"] {
            assert_eq!(normal_email(text), None, "{text}");
        }
    }

    #[test]
    fn device_labels_are_cut_between_characters() {
        assert_eq!(device_label(" a\nb\u{7} "), "ab");
        assert_eq!(device_label(&"é".repeat(65)).chars().count(), 64);
        assert_eq!(device_label(&"é".repeat(33)), "é".repeat(33));
    }
}
