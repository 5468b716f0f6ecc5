//! Why a call is not answered with success: the error shapes of contract A.1.

use super::Request;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::log_event;
use crate::rate::TooMany;
use crate::store::{self, Trouble};

/// What a route's function gives.
pub(super) type Reply = Result<Answer, Refusal>;

/// A call that ends in an error.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The contract says what the client reads.
    Answer(Box<Answer>),
    /// Something of ours failed: the client learns that, the log learns what. Boxed: a refusal is handed on
    /// in hundreds of places, each with code for all that it holds.
    Store(Box<store::Error>),
}

impl Refusal {
    /// `{"error":"…"}`.
    pub(super) fn error(status: u16, text: &str) -> Self {
        error_answer(status, text).into()
    }

    pub(super) fn into_answer(self, request: &Request) -> Answer {
        match self {
            Self::Answer(answer) => *answer,
            Self::Store(error) => {
                log_event!(
                    Error,
                    "control request failed",
                    method = request.method,
                    path = loggable(&request.path),
                    err = error
                );
                match error.trouble() {
                    None => error_answer(500, "Internal server error"),
                    Some(Trouble::Busy) => {
                        error_answer(503, "the storage is busy: nothing was changed, try again")
                            .with("Retry-After", "1")
                    }
                    Some(Trouble::Full) => error_answer(507, "the storage is full: nothing was changed"),
                    Some(Trouble::Unusable) => error_answer(503, "the storage fails: nothing was changed"),
                }
            }
        }
    }
}

impl From<Answer> for Refusal {
    fn from(answer: Answer) -> Self {
        Self::Answer(Box::new(answer))
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Withdrawn => {
                Self::error(403, "Your access was withdrawn meanwhile: nothing was changed")
            }
            error => Self::Store(Box::new(error)),
        }
    }
}

/// A path without the tokens that links carry in it: who reads the log could use them.
fn loggable(path: &str) -> String {
    let shown = |segment| if str::starts_with(segment, "av_") { "***" } else { segment };
    path.split('/').map(shown).collect::<Vec<_>>().join("/")
}

pub(super) fn error_answer(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({"error": text}))
}

pub(super) fn not_initialized() -> Refusal {
    Answer::json(
        503,
        &json!({
            "error": "not_initialized",
            "message": "No owner account exists. Run 'agent-vault auth register' to create the first account."
        }),
    )
    .into()
}

pub(super) fn too_many(message: &str, refused: TooMany) -> Refusal {
    Answer::json(429, &json!({"error": "too_many_requests", "message": message}))
        .with("Retry-After", refused.retry_after_secs().to_string())
        .with("X-RateLimit-Limit", refused.limit.to_string())
        .with("X-RateLimit-Remaining", "0")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is an answer to the caller, not a fault of ours to be logged and counted.
    #[test]
    fn access_that_was_withdrawn_meanwhile_is_refused() {
        let Refusal::Answer(answer) = store::Error::Withdrawn.into() else { panic!("a fault of the store") };
        assert_eq!(answer.status, 403);
    }

    #[test]
    fn a_token_in_a_path_is_not_logged() {
        assert_eq!(loggable("/v1/users/invites/av_uinv_0a/accept"), "/v1/users/invites/***/accept");
        assert_eq!(loggable("/v1/vaults/default/users"), "/v1/vaults/default/users");
    }
}
