//! Telling a client no: the answer, the count, and whether its connection goes on.

use std::time::Duration;

use super::Proxy;
use super::error::{Circumstances, Error};
use crate::authority::Authority;
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;
use crate::http1::respond::{After, Answer};
use crate::net::Deadline;
use crate::net::channel::Channel;
use crate::peer;

/// How long a client may take to take an answer of ours.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long the rest of an unread request is waited out after an answer.
pub(super) const LINGER_TIME: Duration = Duration::from_secs(2);

/// Whether a connection goes on after a request that was refused: one without a body has been read to
/// its end, and one that could not be read says nothing about what follows it.
pub(super) fn after_refusal(head: &RequestHead, error: &Error) -> After {
    if matches!(error, Error::Malformed(_)) { After::Close } else { after_unread(head) }
}

/// Whether a connection goes on after an answer to a request of which the head alone has been read.
pub(super) fn after_unread(head: &RequestHead) -> After {
    let is_read = matches!(Framing::of_request(head), Ok(Framing::Empty | Framing::Length(0)));
    if is_read && head.wants_keep_alive() { After::KeepAlive } else { After::Close }
}

/// What is refused.
pub(super) struct Refused<'r> {
    pub(super) target: Option<&'r Authority>,
    /// Empty where no scope exists yet.
    pub(super) vault: &'r str,
    pub(super) method: &'r str,
    /// Whether the connection may go on.
    pub(super) after: After,
}

/// Counts an error of ours and sends it; whether the connection goes on.
pub(super) fn refuse(proxy: &Proxy, client: &mut dyn Channel, error: &Error, on: &Refused<'_>) -> After {
    proxy.counters.count(error.kind());
    if *error == Error::ClientGone {
        return After::Close;
    }
    let at = Circumstances { target: on.target, vault: on.vault, base_url: proxy.base_url.as_deref() };
    send(client, &error.answer(&at), on.method, on.after)
}

/// Sends an answer of ours; whether the connection goes on.
pub(super) fn send(client: &mut dyn Channel, answer: &Answer, method: &str, after: After) -> After {
    let sent = peer::answer(client, answer, method, after, Deadline::after(ANSWER_TIME));
    if sent.is_ok() && after == After::Close {
        peer::linger(client, Deadline::after(LINGER_TIME));
    }
    if sent.is_ok() { after } else { After::Close }
}
