//! The agent protocol: the few questions a child may ask the control API through the relay.
//!
//! `GET /discover` and proposals, nothing else: the real token could do more, and the child does not hold
//! it. A path is passed on only if it cannot be read in two ways.

use serde_json::Value;

use super::{Peer, Relay, after_unread, broker_error};
use crate::client::{Cause, Error, Reply};
use crate::entry::front::bears;
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;
use crate::http1::respond::{After, Answer};
use crate::json::json;
use crate::log_event;
use crate::net::Deadline;
use crate::net::channel::Channel as _;
use crate::peer::{self, ReadError};
use crate::proxy::reasons::Kind;
use crate::secret::Secret;

/// Largest body the control API reads (contract A.1 of the control plane).
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// What may be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question<'t> {
    Get(&'t str),
    Post(&'t str),
}

/// Serves one request of the agent protocol; whether its connection goes on.
pub(super) fn serve(peer: &mut Peer, head: &RequestHead, framing: Framing) -> After {
    let Some(question) = question(head.method(), head.target()) else {
        return peer.answer(&error(404, "Not found"), head.method(), after_unread(head, framing));
    };
    if !bears(head.fields(), &peer.relay.credential) {
        let refusal = error(401, "Invalid or expired session");
        return peer.answer(&refusal, head.method(), after_unread(head, framing));
    }
    let body = match read_body(peer, head, framing) {
        Ok(body) => body,
        Err(ReadError::BodyTooLarge | ReadError::Malformed(_)) => {
            return peer.answer(&error(400, "Invalid request body"), head.method(), After::Close);
        }
        Err(_) => return After::Close,
    };
    let answer = match question {
        Question::Get(path) => ask(&peer.relay, |client| client.get(path)),
        Question::Post(path) => match serde_json::from_slice::<Value>(&body) {
            Ok(body) => ask(&peer.relay, |client| client.post(path, &body)),
            Err(_) => error(400, "Invalid request body"),
        },
    };
    let after = if head.wants_keep_alive() { After::KeepAlive } else { After::Close };
    peer.answer(&answer, head.method(), after)
}

/// Reads the route table: two paths, and plain segments behind the second.
fn question<'t>(method: &str, target: &'t str) -> Option<Question<'t>> {
    let path = target.split('?').next().unwrap_or_default();
    let is_plain = |segment: &str| {
        !segment.is_empty() && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let is_proposals = path.strip_prefix("/v1/proposals").is_some_and(|rest| {
        rest.is_empty() || rest.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_plain))
    });
    match method {
        "GET" if path == "/discover" || is_proposals => Some(Question::Get(target)),
        "POST" if is_proposals => Some(Question::Post(target)),
        _ => None,
    }
}

fn read_body(peer: &mut Peer, head: &RequestHead, framing: Framing) -> Result<Vec<u8>, ReadError> {
    let deadline = Deadline::after(super::HEAD_TIME);
    if head.fields().lists("expect", "100-continue") && !super::is_empty(framing) {
        peer.channel.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        peer.channel.flush_by(deadline)?;
    }
    peer::read_body(&mut peer.channel, framing, MAX_BODY_BYTES, deadline)
}

/// Asks the broker with the real token, once more if the token has been replaced meanwhile.
fn ask(relay: &Relay, call: impl Fn(&crate::client::Client) -> Result<Reply, Error>) -> Answer {
    let with = |token: &Secret| {
        let client = relay.client.clone().with_token(token.clone()).with_vault(&relay.vault);
        let mut patience = relay.ingress.outage.patience();
        loop {
            match call(&client) {
                // Nothing of the question has gone out.
                Err(Error::Transport(Cause::Refused | Cause::Unresolved)) if patience.lasts() => {}
                outcome => {
                    if matches!(outcome, Ok(_) | Err(Error::Status { .. })) {
                        relay.ingress.outage.is_over();
                    }
                    return outcome;
                }
            }
        }
    };
    let token = relay.token.current();
    let mut outcome = with(&token);
    if matches!(outcome, Err(Error::Status { code: 401, .. }))
        && let Some(other) = relay.token.other_than(&token)
    {
        outcome = with(&other);
    }
    match outcome {
        Ok(reply) => verbatim(reply.status(), reply.body()),
        Err(Error::Status { code, body }) => verbatim(code, &body),
        Err(cause) => {
            let address = relay.client.address();
            log_event!(Warn, "broker unreachable", address = address, cause = cause);
            let message = format!("The Agent Vault broker at {address} cannot be reached: {cause}");
            broker_error(Kind::BrokerUnreachable, &message)
        }
    }
}

/// The broker's answer: JSON on every route there is here.
fn verbatim(status: u16, body: &[u8]) -> Answer {
    Answer { status, fields: vec![("Content-Type", "application/json".to_owned())], body: body.to_vec() }
}

fn error(status: u16, text: &str) -> Answer {
    Answer::json(status, &json!({ "error": text }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_discover_and_proposals_is_passed_on() {
        let get = |target| Some(Question::Get(target));
        let cases = [
            ("GET", "/discover", get("/discover")),
            ("GET", "/discover?x=1", get("/discover?x=1")),
            ("GET", "/v1/proposals?status=pending", get("/v1/proposals?status=pending")),
            ("GET", "/v1/proposals/7", get("/v1/proposals/7")),
            ("POST", "/v1/proposals", Some(Question::Post("/v1/proposals"))),
            ("POST", "/discover", None),
            ("DELETE", "/v1/proposals/7", None),
            ("GET", "/v1/proposalsx", None),
            ("GET", "/v1/proposals/", None),
            ("GET", "/v1/proposals/../credentials", None),
            ("GET", "/v1/proposals/%2e%2e/credentials", None),
            ("GET", "/v1/proposals//x", None),
            ("GET", "/v1/credentials?vault=v&reveal=true", None),
            ("GET", "/discover/", None),
            ("GET", "//discover", None),
            ("GET", "/", None),
            ("OPTIONS", "*", None),
        ];
        for (method, target, expected) in cases {
            assert_eq!(question(method, target), expected, "{method} {target}");
        }
    }
}
