//! Calls to OAuth token endpoints, by the proxy's own way out: the same guard, the same trust, the same
//! site proxy (contract E, G.3).
//!
//! Each call has a connection of its own: they are rare, and what an authorization server knows a
//! connection by is nobody else's business.

use std::time::Duration;

use zeroize::Zeroizing;

use super::error::Error;
use super::pool::Key;
use super::upstream::{Outward, Upstreams};
use crate::http1::fields::write_field;
use crate::http1::framing::Framing;
use crate::http1::head::ResponseHead;
use crate::net::Deadline;
use crate::net::channel::Channel;
use crate::peer::{self, ReadError};
use crate::vault::oauth::TokenEndpoint;
use crate::vault::oauth::call::{Answer, Call, Fault};

/// A whole call (contract G.3).
const CALL_TIME: Duration = Duration::from_secs(30);
/// Largest answer: tokens are a few kilobytes, the largest known ones a few dozen.
const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Speaks to token endpoints.
pub struct TokenClient(Upstreams);

impl TokenClient {
    pub fn new(outward: Outward) -> Self {
        Self(Upstreams::new(outward))
    }
}

impl TokenEndpoint for TokenClient {
    fn post(&self, call: &Call) -> Result<Answer, Fault> {
        let deadline = Deadline::after(CALL_TIME);
        let url = &call.url;
        let key = Key { scheme: url.scheme(), target: url.target().clone(), vault_id: "".into() };
        let mut channel = self.0.open(&key).map_err(|error| unanswered(not_reached(&error)))?.channel;
        let sent = channel.send(&request(call)).and_then(|()| channel.flush_by(deadline));
        sent.map_err(|_| unanswered("it closed the connection"))?;
        read_answer(&mut *channel, deadline).map_err(|error| unanswered(not_read(&error)))
    }
}

/// The request on the wire.
fn request(call: &Call) -> Zeroizing<Vec<u8>> {
    let Call { url, authorization, form } = call;
    let mut out = Zeroizing::new(Vec::with_capacity(1024 + form.len()));
    out.extend_from_slice(format!("POST {} HTTP/1.1\r\n", url.path()).as_bytes());
    let host = url.target().host_field(url.scheme().default_port());
    write_field(&mut out, "Host", host.as_bytes());
    write_field(&mut out, "User-Agent", concat!("agent-vault/", env!("CARGO_PKG_VERSION")).as_bytes());
    write_field(&mut out, "Accept", b"application/json");
    if let Some(authorization) = authorization {
        write_field(&mut out, "Authorization", authorization.expose());
    }
    write_field(&mut out, "Content-Type", b"application/x-www-form-urlencoded");
    write_field(&mut out, "Content-Length", form.len().to_string().as_bytes());
    write_field(&mut out, "Connection", b"close");
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(form.expose());
    out
}

fn read_answer(channel: &mut dyn Channel, deadline: Deadline) -> Result<Answer, ReadError> {
    let mut head = ResponseHead::default();
    loop {
        peer::read_response(channel, &mut head, deadline)?;
        if head.status() >= 200 {
            break;
        }
    }
    let framing = Framing::of_response(&head, "POST")?;
    let body = peer::read_body(channel, framing, MAX_ANSWER_BYTES, deadline)?;
    Ok(Answer { status: head.status(), body: Zeroizing::new(body) })
}

fn unanswered(cause: impl Into<String>) -> Fault {
    Fault::Unanswered(cause.into())
}

fn not_reached(error: &Error) -> String {
    match error {
        Error::Blocked => "its address is blocked by the network policy".to_owned(),
        Error::Unresolved => "its name cannot be resolved".to_owned(),
        Error::UpstreamTls(failure) => format!("the TLS handshake failed: {failure}"),
        Error::UpstreamProxy => "the configured upstream proxy opened no tunnel".to_owned(),
        Error::UpstreamTimeout => "no connection in time".to_owned(),
        _ => "no connection".to_owned(),
    }
}

fn not_read(error: &ReadError) -> &'static str {
    match error {
        ReadError::TimedOut => "no answer in time",
        ReadError::Malformed(_) => "its answer is malformed",
        ReadError::BodyTooLarge => "its answer is too long",
        ReadError::Closed | ReadError::Cut | ReadError::Io(_) => "it closed the connection",
    }
}
