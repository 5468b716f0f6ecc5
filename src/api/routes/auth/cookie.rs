//! The cookie that carries a browser's login (contract A.1).

use super::super::super::Call;
use super::super::super::caller::COOKIE;
use super::text_of;
use crate::http1::respond::Answer;
use crate::store::logins::NewToken;

/// The cookie lives as long as the login it carries.
const LIFE_SECONDS: i64 = 365 * 24 * 3600;

/// Gives the browser the login that has begun.
pub(super) fn set(call: &Call<'_>, answer: Answer, login: &NewToken) -> Answer {
    with(call, answer, text_of(login), LIFE_SECONDS)
}

/// Takes the login back that has ended.
pub(super) fn clear(call: &Call<'_>, answer: Answer) -> Answer {
    with(call, answer, "", -1)
}

fn with(call: &Call<'_>, answer: Answer, token: &str, max_age: i64) -> Answer {
    let secure = if call.api.settings.base_url.starts_with("https://") { "; Secure" } else { "" };
    answer.with(
        "Set-Cookie",
        format!("{COOKIE}={token}; Path=/; Max-Age={max_age}; HttpOnly; SameSite=Strict{secure}"),
    )
}
