//! Looking for a credential's value where its name belongs, in a service as somebody wrote it.
//!
//! A document of services holds names, and whoever reads one says what is wrong with it. A message must
//! not repeat what may be a secret, so this is asked before the checks that quote what they refuse.

use serde_json::Value;

use super::is_credential_key;

/// Fields of a service's `auth` that name a credential.
const KEY_FIELDS: [&str; 7] =
    ["token", "username", "password", "key", "access_key", "secret_key", "session_token"];

/// Parts of a header's name that say its value is a credential.
const SECRET_HEADERS: [&str; 6] = ["auth", "cookie", "key", "password", "secret", "token"];

/// Fails with the place of the first value that may be a secret.
pub fn names_no_secret(service: &Value) -> Result<(), String> {
    let is_key = |value: &Value| value.as_str().is_none_or(|text| text.is_empty() || is_credential_key(text));
    let told = |place: &str| format!("{place}: not the name of a credential, which is like STRIPE_KEY");
    let auth = &service["auth"];
    for field in KEY_FIELDS {
        if !is_key(&auth[field]) {
            return Err(told(&format!("auth.{field}")));
        }
    }
    for one in service["substitutions"].as_array().into_iter().flatten() {
        if !is_key(&one["key"]) {
            return Err(told("substitutions: key"));
        }
    }
    for (header, value) in auth["headers"].as_object().into_iter().flatten() {
        let folded = header.to_ascii_lowercase();
        let is_secret = SECRET_HEADERS.iter().any(|part| folded.contains(part));
        if is_secret && value.as_str().is_some_and(|text| !text.contains("{{")) {
            return Err(format!(
                "auth.headers.{header}: names no credential; write {{{{ KEY }}}} for its value"
            ));
        }
    }
    Ok(())
}
