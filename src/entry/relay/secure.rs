//! An `https://` URL in absolute form: the child leaves the TLS to its proxy, as some HTTP libraries do.
//!
//! On loopback nobody overhears it (design 7). The relay opens the tunnel the child should have opened,
//! does the TLS the child left out, trusting the vault's CA, and sends the request inside.

use std::io;
use std::time::Duration;

use super::forward::{Reply, Request, connect_head, unreachable};
use super::{Peer, Relay, broker_error};
use crate::authority::Authority;
use crate::http1::body::BodyReader;
use crate::http1::fields::write_field;
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, ResponseHead};
use crate::http1::respond::{After, Answer};
use crate::net::Deadline;
use crate::net::channel::Channel as _;
use crate::net::duplex::{self, Direction, Until};
use crate::net::tcp::TcpChannel;
use crate::peer;
use crate::proxy::reasons::Kind;

/// The broker's answer to CONNECT, its handshake.
const OPEN_TIME: Duration = Duration::from_secs(15);
/// Longest silence in an exchange; the broker's own bounds are shorter where they should be.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// Largest refusal of the broker that is passed on.
const MAX_REFUSAL_BYTES: usize = 64 * 1024;

/// The target and the path with query of an `https` request in absolute form.
pub(super) fn target(head: &RequestHead) -> Option<(Authority, &str)> {
    let (scheme, rest) = head.target().split_once("://")?;
    if head.method() == "CONNECT" || !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some((Authority::parse_or(authority, 443).ok()?, path))
}

/// Serves the request; its connection ends with it, since the tunnel behind it is of one use.
pub(super) fn serve(
    peer: &mut Peer,
    head: &RequestHead,
    framing: Framing,
    to: &Authority,
    path: &str,
) -> After {
    let answer = match open(&peer.relay, to) {
        Ok(Ok(upstream)) => return exchange(peer, upstream, head, framing, to, path),
        Ok(Err(refusal)) => refusal,
        Err(error) => return unreachable(peer, head, framing, &error),
    };
    peer.answer(&answer, head.method(), After::Close)
}

/// Opens the tunnel: ready for TLS, or the broker's refusal, or no broker.
fn open(relay: &Relay, to: &Authority) -> io::Result<Result<TcpChannel, Answer>> {
    let mut patience = relay.ingress.outage.patience();
    loop {
        // A CONNECT that was not answered has done nothing that the next one does not do.
        match ask(relay, relay.ingress.dial(&mut patience)?, to) {
            Err(_) if patience.lasts() => {}
            outcome => return outcome,
        }
    }
}

fn ask(relay: &Relay, mut upstream: TcpChannel, to: &Authority) -> io::Result<Result<TcpChannel, Answer>> {
    let deadline = Deadline::after(OPEN_TIME);
    upstream.send(&connect_head(to, &relay.token.current(), &relay.vault))?;
    upstream.flush_by(deadline)?;
    let mut head = ResponseHead::default();
    let cut = |_| io::Error::from(io::ErrorKind::UnexpectedEof);
    peer::read_response(&mut upstream, &mut head, deadline).map_err(cut)?;
    relay.ingress.outage.is_over();
    if (200..300).contains(&head.status()) {
        return Ok(Ok(upstream));
    }
    let framing = Framing::of_response(&head, "GET").unwrap_or(Framing::Empty);
    let body = peer::read_body(&mut upstream, framing, MAX_REFUSAL_BYTES, deadline).map_err(cut)?;
    let mut answer = Answer { status: head.status(), fields: Vec::new(), body };
    for name in [
        "Content-Type",
        "Proxy-Authenticate",
        "Retry-After",
        "X-Agent-Vault-Proxy-Error",
        "X-Agent-Vault-Reason",
    ] {
        let value = head.fields().first(name).and_then(|value| std::str::from_utf8(value).ok());
        answer.fields.extend(value.map(|value| (name, value.to_owned())));
    }
    Ok(Err(answer))
}

fn exchange(
    peer: &mut Peer,
    upstream: TcpChannel,
    head: &RequestHead,
    framing: Framing,
    to: &Authority,
    path: &str,
) -> After {
    let deadline = Deadline::after(OPEN_TIME);
    let relay = std::sync::Arc::clone(&peer.relay);
    let connected = match relay.connector() {
        Some(connector) => connector.connect(upstream, to.host(), deadline),
        None => Err(io::Error::other("the broker's CA is not a certificate")),
    };
    let mut upstream = match connected {
        Ok(upstream) => upstream,
        Err(error) => {
            let message = format!("The TLS handshake with the Agent Vault broker for {to} failed: {error}");
            return peer.answer(&broker_error(Kind::BrokerTls, &message), head.method(), After::Close);
        }
    };
    if upstream.send(&inner_head(head, to, path)).is_err() {
        return After::Close;
    }
    let (mut request, mut reply) = (Request(BodyReader::new(framing)), Reply::new(head.method(), false));
    let (mut up, mut down) = (Direction::new(&mut request), Direction::new(&mut reply));
    let done = duplex::run(&mut peer.channel, &mut upstream, &mut up, &mut down, Until::DownDone, IDLE);
    if done.is_ok() {
        peer::linger(&mut peer.channel, Deadline::after(Duration::ZERO));
    }
    After::Close
}

/// The request as it is inside the tunnel.
fn inner_head(head: &RequestHead, to: &Authority, path: &str) -> Vec<u8> {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut out = format!("{} {slash}{path} HTTP/1.1\r\n", head.method()).into_bytes();
    write_field(&mut out, "Host", to.host_field(443).as_bytes());
    for (name, value) in head.fields().iter() {
        let is_replaced = ["host", "proxy-authorization", "proxy-connection", "connection"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name));
        if !is_replaced {
            write_field(&mut out, name, value);
        }
    }
    write_field(&mut out, "Connection", b"close");
    out.extend_from_slice(b"\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(start: &str) -> RequestHead {
        let mut head = RequestHead::default();
        let text = format!("{start} HTTP/1.1\r\nHost: other\r\nproxy-authorization: x\r\nX-Mine: 1\r\n\r\n");
        head.parse(text.as_bytes(), &mut 0).unwrap().unwrap();
        head
    }

    #[test]
    fn only_https_in_absolute_form_is_for_here() {
        let found = |start: &str| target(&head(start)).map(|(to, path)| format!("{to} {path}"));
        assert_eq!(found("GET https://api.test/x?y").as_deref(), Some("api.test:443 /x?y"));
        assert_eq!(found("GET HTTPS://u@api.test:8443").as_deref(), Some("api.test:8443 "));
        for other in ["GET http://api.test/", "CONNECT api.test:443", "GET /discover", "GET https:///x"] {
            assert_eq!(found(other), None, "{other}");
        }
    }

    #[test]
    fn the_credential_of_the_run_stays_outside_the_tunnel() {
        let to = Authority::parse("api.test:443").unwrap();
        let inner = String::from_utf8(inner_head(&head("GET https://api.test/x"), &to, "/x")).unwrap();
        assert_eq!(inner, "GET /x HTTP/1.1\r\nHost: api.test\r\nX-Mine: 1\r\nConnection: close\r\n\r\n");
    }
}
