//! Proving an address with a code; and for every kind of code, handing it out and counting wrong ones.

use std::time::Instant;

use serde::Deserialize;

use super::super::super::refusal::{self, Refusal, Reply};
use super::super::super::{Api, Call};
use super::{Origin, TOO_MANY, admit, cookie, normal_email, text_of};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::log;
use crate::rate::{Exhausted, Failures};
use crate::secret::Secret;
use crate::store::signup::Verification;

/// What codes are called in the line that hands them out.
pub(super) const VERIFICATION: &str = "Verification";
pub(super) const RESET: &str = "Password reset";

#[derive(Deserialize)]
struct Form {
    email: Option<String>,
    code: Option<Secret>,
    device_label: Option<String>,
}

pub(in super::super) fn verify(call: &Call<'_>) -> Reply {
    admit(call, TOO_MANY)?;
    let form: Form = call.request.json()?;
    let (email, code) = (form.email.unwrap_or_default(), read(form.code.as_ref()));
    if email.is_empty() || code.is_empty() {
        return Err(Refusal::error(400, "Email and code are required"));
    }
    let email = normal_email(&email).unwrap_or_default();
    begin_guess(call.api, &email)?;
    let origin = Origin::of(call, form.device_label.as_deref());
    let login = match call.store().verify(&email, &code, origin.device(call), call.now)? {
        Verification::Proved(login) => login,
        Verification::WrongCode => {
            return Err(Refusal::error(400, "Invalid or expired verification code"));
        }
        Verification::IsActive => {
            wrong_codes(call.api, |failures| failures.take_back(&email));
            return Err(Refusal::error(409, "Account is already verified"));
        }
        Verification::NoAccount => {
            wrong_codes(call.api, |failures| failures.take_back(&email));
            return Err(Refusal::error(404, "Account not found"));
        }
    };
    forget_guesses(call.api, &email);
    let body = json!({
        "email": email,
        "authenticated": true,
        "message": "Account verified.",
        "token": text_of(&login),
        "expires_at": login.expires_at.rfc3339(),
    });
    Ok(cookie::set(call, Answer::json(200, &body), &login))
}

/// Makes another code for an account that waits for one, and answers everybody alike.
pub(in super::super) fn resend(call: &Call<'_>) -> Reply {
    let email = wanted_by(call)?;
    if let Some(email) = normal_email(&email)
        && let Some(code) = call.store().renew_code(&email, call.now)?
    {
        hand_out(call.api, VERIFICATION, &email, &code);
    }
    let body = json!({
        "message": "If this address waits for verification, a new code is in the server's log.",
        "email_sent": false,
    });
    Ok(Answer::json(200, &body))
}

/// The address somebody wants a code for.
pub(super) fn wanted_by(call: &Call<'_>) -> Result<String, Refusal> {
    #[derive(Deserialize)]
    struct Form {
        email: Option<String>,
    }
    admit(call, TOO_MANY)?;
    let email = call.request.json::<Form>()?.email.unwrap_or_default();
    if email.trim().is_empty() {
        return Err(Refusal::error(400, "Email is required"));
    }
    Ok(email)
}

/// A code as it was typed or pasted.
pub(super) fn read(code: Option<&Secret>) -> Secret {
    let typed = code.map_or(&b""[..], Secret::expose);
    Secret::new(typed.trim_ascii().to_vec())
}

/// Gives a code to the operator, who knows the person: this broker sends no e-mail (contract F.8). With a
/// new code the address may be guessed at again.
pub(super) fn hand_out(api: &Api, kind: &str, email: &str, code: &Secret) {
    renew_guesses(api, email);
    log::line(&format!("{kind} code for {email}: {}", code.expose_str().unwrap_or_default()));
}

/// Lets a guess at a code begin; past the limit of wrong ones none does. It counts as wrong until it has
/// turned out otherwise.
pub(super) fn begin_guess(api: &Api, email: &str) -> Result<(), Refusal> {
    wrong_codes(api, |failures| failures.begin(email, Instant::now())).unwrap_or(Ok(())).map_err(
        |exhausted| match exhausted {
            Exhausted::UntilRenewed(refused) => {
                refusal::too_many("Too many wrong codes, ask for a new one", refused)
            }
            Exhausted::ForTheDay(refused) => {
                refusal::too_many("Too many wrong codes for this address today, try again later", refused)
            }
        },
    )
}

/// A guess was right.
pub(super) fn forget_guesses(api: &Api, email: &str) {
    wrong_codes(api, |failures| failures.forget(email));
}

/// There is a new code to guess, or might be.
pub(super) fn renew_guesses(api: &Api, email: &str) {
    wrong_codes(api, |failures| failures.renew(email));
}

/// Asks the counter of wrong codes, unless limits are off.
fn wrong_codes<T>(api: &Api, ask: impl FnOnce(&mut Failures) -> T) -> Option<T> {
    api.limits.wrong_codes().map(|mut failures| ask(&mut failures))
}
