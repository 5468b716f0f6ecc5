//! The control API on a socket: a connection is heads and bodies in, answers out.
//!
//! Every phase has its deadline (contract A.1), a body is read into memory up to its limit and not
//! beyond, and between requests a quiet connection is parked.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use zeroize::{Zeroize as _, Zeroizing};

use super::request::MAX_BODY_BYTES;
use super::{Api, Request, refusal};
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;
use crate::http1::respond::{After, Answer};
use crate::net::Deadline;
use crate::net::channel::Channel;
use crate::net::reactor::{Connection, Service};
use crate::net::tcp::TcpChannel;
use crate::peer::conversation::{self, Conversation, Served};
use crate::peer::{self, ReadError};

/// Contract A.1.
const HEAD_TIME: Duration = Duration::from_secs(10);
const REQUEST_TIME: Duration = Duration::from_secs(30);
const WRITE_TIME: Duration = Duration::from_secs(60);

/// How long a client may keep sending a body that is not read, so that it sees the answer.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The listener's side of the API.
pub struct Control(pub Arc<Api>);

impl Service for Control {
    fn connect(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<Box<dyn Connection>> {
        let channel = TcpChannel::new(stream)?;
        // A v4 client of a dual-stack listener is known by its v4 address.
        let peer = peer.ip().to_canonical();
        let api = Arc::clone(&self.0);
        Ok(Box::new(Served::new(Client { api, channel, peer, head: Box::default() })))
    }

    fn refuse(&self, stream: TcpStream) {
        conversation::turn_away(
            stream,
            &refusal::error_answer(503, "too many connections").with("Retry-After", "1"),
        );
    }
}

/// One client connection.
struct Client {
    api: Arc<Api>,
    channel: TcpChannel,
    peer: IpAddr,
    head: Box<RequestHead>,
}

impl Conversation for Client {
    fn channel(&self) -> &dyn Channel {
        &self.channel
    }

    fn release(&mut self) {
        self.channel.release();
    }

    /// Reads one request and answers it.
    fn serve_one(&mut self) -> After {
        let deadline = Deadline::after(REQUEST_TIME);
        match peer::read_request(&mut self.channel, &mut self.head, deadline.or_sooner(HEAD_TIME)) {
            Ok(()) => {}
            Err(ReadError::Malformed(error)) => return self.refuse(error.status(), &error.to_string()),
            Err(_) => return After::Close,
        }
        let framing = match self.head.check_host().and_then(|()| Framing::of_request(&self.head)) {
            Ok(framing) => framing,
            Err(error) => return self.refuse(error.status(), &error.to_string()),
        };
        let body = match self.read_body(framing, deadline) {
            Ok(body) => Some(body),
            Err(ReadError::BodyTooLarge) => None,
            Err(ReadError::Malformed(error)) => return self.refuse(error.status(), &error.to_string()),
            Err(_) => return After::Close,
        };
        // A body that was not read to its end leaves the connection in the middle of a message.
        let after = match &body {
            Some(_) if self.head.wants_keep_alive() => After::KeepAlive,
            _ => After::Close,
        };
        let was_read = body.is_some();
        let request = request_from(&self.head, body, self.peer);
        let mut answer = self.api.handle(&request);
        let after = self.send(&answer, &request.method, after);
        // It may have held a token or a credential.
        answer.body.zeroize();
        if !was_read {
            peer::linger(&mut self.channel, Deadline::after(DRAIN_TIME));
        }
        after
    }
}

impl Client {
    fn read_body(&mut self, framing: Framing, deadline: Deadline) -> Result<Zeroizing<Vec<u8>>, ReadError> {
        if let Framing::Length(length) = framing
            && length > MAX_BODY_BYTES as u64
        {
            return Err(ReadError::BodyTooLarge);
        }
        if framing != Framing::Empty && self.head.fields().lists("expect", "100-continue") {
            self.channel.send(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            self.channel.flush_by(deadline)?;
        }
        peer::read_body(&mut self.channel, framing, MAX_BODY_BYTES, deadline).map(Zeroizing::new)
    }

    fn refuse(&mut self, status: u16, text: &str) -> After {
        let answer = super::secured(refusal::error_answer(status, text));
        self.send(&answer, "", After::Close)
    }

    fn send(&mut self, answer: &Answer, method: &str, after: After) -> After {
        let bytes = Zeroizing::new(answer.to_bytes(method, after));
        let sent =
            self.channel.send(&bytes).and_then(|()| self.channel.flush_by(Deadline::after(WRITE_TIME)));
        if sent.is_ok() { after } else { After::Close }
    }
}

fn request_from(head: &RequestHead, body: Option<Zeroizing<Vec<u8>>>, peer: IpAddr) -> Request {
    let target = origin_form(head.target());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let fields = head
        .fields()
        .iter()
        .map(|(name, value)| (name.to_owned(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    Request {
        method: head.method().to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        fields,
        body,
        peer,
    }
}

/// The path and query of a target; a server has to understand the absolute form too (RFC 9112 §3.2.2).
fn origin_form(target: &str) -> &str {
    match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_absolute_form_is_reduced_to_its_path() {
        for (target, expected) in
            [("/a?b", "/a?b"), ("http://x:1/a?b", "/a?b"), ("http://x", "/"), ("*", "*")]
        {
            assert_eq!(origin_form(target), expected);
        }
    }
}
