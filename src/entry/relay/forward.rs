//! One request through the broker's proxy, with the broker's token in place of the run's credential.
//!
//! Nothing else of it is changed: heads and bodies go through as they are, and are only read as far as
//! it takes to know where they end. That matters, because every request of a connection carries the
//! credential and every one must leave with the token instead.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Peer, broker_error, is_empty};
use crate::authority::Authority;
use crate::http1::body::BodyReader;
use crate::http1::chunked::Piece;
use crate::http1::fields::write_field;
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, ResponseHead, Version};
use crate::http1::respond::After;
use crate::log_event;
use crate::net::channel::Channel;
use crate::net::duplex::{self, Course, Direction, Fault, Passed, Step, Until};
use crate::net::tcp::TcpChannel;
use crate::net::tunnel;
use crate::proxy::CLIENT_ROOTS;
use crate::proxy::reasons::Kind;
use crate::secret::Secret;
use crate::sys::ready;

/// Longest silence in an exchange or a tunnel. The broker's own bounds are shorter where they should be;
/// this one only keeps a vanished broker from holding a thread for ever.
pub(super) const IDLE: Duration = Duration::from_secs(30 * 60);

/// How an attempt ended.
enum Outcome {
    /// The response went through to its end.
    Complete(After),
    /// The broker's proxy refused the token; its answer is still unread.
    Rejected(TcpChannel),
    /// The broker went away before it answered a byte.
    Unanswered(io::Error),
    /// The client is gone, or the response was cut: there is nothing left to say.
    Lost,
}

/// Serves one proxy request of an admitted client; whether its connection goes on.
pub(super) fn serve(peer: &mut Peer, head: &RequestHead, framing: Framing) -> After {
    let relay = std::sync::Arc::clone(&peer.relay);
    let mut token = relay.token.current();
    // A request whose body is on its way cannot be sent twice. After a refusal any other can; after
    // silence, when it may have been acted on, only what means the same twice (RFC 9110 §9.2.2).
    let can_repeat = is_empty(framing);
    let means_the_same_twice =
        matches!(head.method(), "CONNECT" | "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE");
    let mut reused = peer.upstream.take().filter(is_idle);
    let mut may_reread = can_repeat;
    let mut patience = relay.ingress.outage.patience();
    loop {
        let is_reused = reused.is_some();
        let upstream = match reused.take().map_or_else(|| relay.ingress.dial(&mut patience), Ok) {
            Ok(upstream) => upstream,
            Err(error) => return unreachable(peer, head, framing, &error),
        };
        let outgoing = rewritten(head, &token, &relay.vault);
        match attempt(peer, upstream, head, framing, Some(&outgoing), may_reread) {
            Outcome::Complete(after) => return after,
            Outcome::Lost => return After::Close,
            Outcome::Unanswered(_) if is_reused && can_repeat && means_the_same_twice => {}
            // A CONNECT by itself does nothing that the next one does not do.
            Outcome::Unanswered(_) if !is_reused && head.method() == "CONNECT" && patience.lasts() => {}
            Outcome::Unanswered(error) => return unreachable(peer, head, framing, &error),
            Outcome::Rejected(upstream) => match relay.token.other_than(&token) {
                Some(other) => {
                    token = other;
                    may_reread = false;
                }
                // The token is what it is: the child gets the broker's own words.
                None => {
                    return match attempt(peer, upstream, head, framing, None, false) {
                        Outcome::Complete(after) => after,
                        _ => After::Close,
                    };
                }
            },
        }
    }
}

/// One exchange over `upstream`: sends `outgoing`, then moves both directions.
fn attempt(
    peer: &mut Peer,
    mut upstream: TcpChannel,
    head: &RequestHead,
    framing: Framing,
    outgoing: Option<&[u8]>,
    hold_rejection: bool,
) -> Outcome {
    if let Some(outgoing) = outgoing
        && let Err(error) = upstream.send(outgoing)
    {
        return Outcome::Unanswered(error);
    }
    let mut request = Request(BodyReader::new(framing));
    let mut reply = Reply::new(head.method(), hold_rejection);
    let mut up = Direction::new(&mut request);
    let mut down = Direction::new(&mut reply);
    let run = duplex::run(&mut peer.channel, &mut upstream, &mut up, &mut down, Until::DownDone, IDLE);
    let is_sent = up.is_done();
    if !matches!(reply.state, State::Head) {
        peer.relay.ingress.outage.is_over();
    }
    match (run, reply.state) {
        (Ok(_), State::Rejected) => Outcome::Rejected(upstream),
        (Ok(_), State::Upgraded) => {
            peer.tunnel = Some(upstream);
            Outcome::Complete(carry_on(peer))
        }
        (Ok(_), _) if is_sent && reply.keeps_alive && head.wants_keep_alive() => {
            peer.upstream = Some(upstream);
            Outcome::Complete(After::KeepAlive)
        }
        (Ok(_), _) => Outcome::Complete(After::Close),
        (Err(Fault::Second(error)), State::Head) if !reply.has_begun => Outcome::Unanswered(error),
        (Err(_), _) => Outcome::Lost,
    }
}

/// Carries bytes through the tunnel until both sides have finished, or a silence lets it rest.
pub(super) fn carry_on(peer: &mut Peer) -> After {
    let Some(upstream) = &mut peer.tunnel else { return After::Close };
    match tunnel::pass_on(&mut peer.channel, upstream, IDLE) {
        Ok(Passed::SoFar) => After::KeepAlive,
        Ok(Passed::All) => After::Close,
        Err(fault) => {
            // A tunnel may end like this at any time; both sockets are closed and both sides see it.
            log_event!(Debug, "tunnel ended early", cause = format_args!("{fault:?}"));
            After::Close
        }
    }
}

pub(super) fn unreachable(peer: &mut Peer, head: &RequestHead, framing: Framing, error: &io::Error) -> After {
    let proxy = peer.relay.ingress.authority().clone();
    log_event!(Warn, "broker unreachable", proxy = proxy, cause = error);
    let message = format!("The Agent Vault broker's proxy at {proxy} cannot be reached: {error}");
    let answer = broker_error(Kind::BrokerUnreachable, &message);
    peer.answer(&answer, head.method(), super::after_unread(head, framing))
}

/// Whether a kept connection to the broker can carry another request.
fn is_idle(upstream: &TcpChannel) -> bool {
    upstream.received().is_empty() && ready::is_quiet(upstream.socket())
}

/// The request's head as it came, with the broker's token in the one field that is ours. Wiped after use.
fn rewritten(head: &RequestHead, token: &Secret, vault: &str) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(4096));
    let version = match head.version() {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
    };
    out.extend_from_slice(format!("{} {} {version}\r\n", head.method(), head.target()).as_bytes());
    for (name, value) in head.fields().iter() {
        if !is_ours(name) {
            write_field(&mut out, name, value);
        }
    }
    write_token(&mut out, token, vault);
    if head.method() == "CONNECT" {
        // The child's bundle holds the public roots too, so a tunnel need not be opened for its sake.
        write_field(&mut out, CLIENT_ROOTS, b"public");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// A CONNECT of the relay's own.
pub(super) fn connect_head(to: &Authority, token: &Secret, vault: &str) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(512));
    out.extend_from_slice(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").as_bytes());
    write_token(&mut out, token, vault);
    out.extend_from_slice(b"\r\n");
    out
}

fn write_token(out: &mut Vec<u8>, token: &Secret, vault: &str) {
    let pair = Zeroizing::new([token.expose(), b":", vault.as_bytes()].concat());
    let encoded = Zeroizing::new(STANDARD.encode(&*pair));
    let value = Zeroizing::new([b"Basic ", encoded.as_bytes()].concat());
    write_field(out, "Proxy-Authorization", &value);
}

/// Fields the relay writes itself, whatever the child says.
fn is_ours(name: &str) -> bool {
    name.eq_ignore_ascii_case("proxy-authorization") || name.eq_ignore_ascii_case(CLIENT_ROOTS)
}

/// A request's body, unchanged.
pub(super) struct Request(pub(super) BodyReader);

impl Course for Request {
    fn step(&mut self, from: &mut dyn Channel, ended: bool, to: &mut dyn Channel) -> io::Result<Step> {
        pass(&mut self.0, from, ended, to)
    }
}

/// A response, unchanged: interim heads, the head, the body.
pub(super) struct Reply<'h> {
    method: &'h str,
    /// Leave a 407 unread, so that the request can be sent again with another token.
    hold_rejection: bool,
    head: ResponseHead,
    scanned: usize,
    state: State,
    /// Whether the client has been sent a byte.
    has_begun: bool,
    keeps_alive: bool,
}

#[derive(Clone, Copy)]
enum State {
    Head,
    Body(BodyReader),
    /// What follows is no longer HTTP, or not ours to read.
    Upgraded,
    Rejected,
}

impl<'h> Reply<'h> {
    pub(super) fn new(method: &'h str, hold_rejection: bool) -> Self {
        Self {
            method,
            hold_rejection,
            head: ResponseHead::default(),
            scanned: 0,
            state: State::Head,
            has_begun: false,
            keeps_alive: false,
        }
    }

    /// What follows the head that was just read.
    fn after_head(&mut self) -> Result<State, crate::http1::Error> {
        let status = self.head.status();
        if status == 101 || (self.method == "CONNECT" && (200..300).contains(&status)) {
            return Ok(State::Upgraded);
        }
        if status < 200 {
            return Ok(State::Head);
        }
        let framing = Framing::of_response(&self.head, self.method)?;
        self.keeps_alive = self.head.wants_keep_alive() && framing != Framing::UntilClose;
        Ok(State::Body(BodyReader::new(framing)))
    }
}

impl Course for Reply<'_> {
    fn step(&mut self, from: &mut dyn Channel, ended: bool, to: &mut dyn Channel) -> io::Result<Step> {
        loop {
            match &mut self.state {
                State::Body(reader) => return pass(reader, from, ended, to),
                State::Upgraded | State::Rejected => return Ok(Step::Done),
                State::Head => {}
            }
            let Some(taken) = self.head.parse(from.received(), &mut self.scanned).map_err(invalid)? else {
                return if ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Step::More) };
            };
            self.scanned = 0;
            if self.head.status() == 407 && self.hold_rejection {
                self.state = State::Rejected;
                return Ok(Step::Done);
            }
            self.state = self.after_head().map_err(invalid)?;
            to.send(&from.received()[..taken])?;
            from.consume(taken);
            self.has_begun = true;
        }
    }
}

/// Moves what there is of a body, framing included.
fn pass(
    reader: &mut BodyReader,
    from: &mut dyn Channel,
    ended: bool,
    to: &mut dyn Channel,
) -> io::Result<Step> {
    loop {
        let (count, step) = match reader.next(from.received(), ended).map_err(invalid)? {
            Piece::Incomplete => return Ok(Step::More),
            Piece::Framing(count) | Piece::Data(count) => (count, Step::More),
            Piece::End(count) => (count, Step::Done),
        };
        if count > 0 {
            to.send(&from.received()[..count])?;
            from.consume(count);
        }
        if step == Step::Done {
            return Ok(step);
        }
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_credential_is_replaced() {
        let mut head = RequestHead::default();
        let input = b"GET http://a/x?y HTTP/1.1\r\nHost: a\r\nproxy-authorization: Basic b2xk\r\n\
            X-Thing: 1\r\nPROXY-Authorization: Bearer old\r\nAuthorization: mine\r\n\r\n";
        head.parse(input, &mut 0).unwrap().unwrap();
        let out = rewritten(&head, &Secret::from("tok"), "v");
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            "GET http://a/x?y HTTP/1.1\r\nHost: a\r\nX-Thing: 1\r\nAuthorization: mine\r\n\
             Proxy-Authorization: Basic dG9rOnY=\r\n\r\n"
        );
    }
}
