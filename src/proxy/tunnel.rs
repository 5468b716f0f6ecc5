//! CONNECT: yes to the client, then what the first byte says the tunnel carries.
//!
//! Most tunnels are terminated here, with a leaf for the name the client asks for, so that exchanges
//! inside get their credential. A host that no service mentions is passed through untouched when the
//! client is known to trust public roots: the vault does not read what it has no business with.

use std::io;
use std::time::Duration;

use super::error::Error;
use super::gate::Presented;
use super::reasons::Kind;
use super::record::Record;
use super::route::Route;
use super::traffic::OpenTunnel;
use super::{Clients, Proxy};
use crate::authority::Authority;
use crate::http1::head::RequestHead;
use crate::http1::respond::After;
use crate::log_event;
use crate::net::Deadline;
use crate::net::channel::Channel;
use crate::net::duplex::Passed;
use crate::net::tcp::TcpChannel;
use crate::net::tunnel;
use crate::vault::Scheme;
use crate::vault::scope::Scope;

/// Our 200, the client's first byte, its handshake (contract B.10).
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Longest silence in a tunnel that is passed through.
pub(super) const UNTOUCHED_IDLE: Duration = Duration::from_secs(10 * 60);
/// First byte of a TLS record that begins a handshake (RFC 8446 §5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// The field by which a relay of ours says that its client trusts public roots beside the vault's own.
pub(crate) const CLIENT_ROOTS: &str = "X-Agent-Vault-Client-Roots";

/// The inside of a CONNECT.
pub(super) struct Tunnel {
    pub(super) channel: Box<dyn Channel>,
    pub(super) scheme: Scheme,
    pub(super) target: Authority,
    pub(super) presented: Presented,
    _open: OpenTunnel,
}

impl Tunnel {
    /// Says yes to a CONNECT and takes up what comes: TLS, or plain HTTP, which some clients tunnel too.
    pub(super) fn open(
        proxy: &Proxy,
        mut client: TcpChannel,
        target: Authority,
        presented: Presented,
    ) -> Option<Self> {
        let deadline = Deadline::after(HANDSHAKE_TIME);
        say_yes(&mut client, deadline).and_then(|()| await_byte(&mut client, deadline)).ok()?;
        let (channel, scheme): (Box<dyn Channel>, Scheme) = match client.received().first() {
            Some(&TLS_HANDSHAKE) => match proxy.acceptor.accept(client, target.host(), deadline) {
                Ok(channel) => (Box::new(channel), Scheme::Https),
                Err(error) => {
                    proxy.counters.count(Kind::ClientTls);
                    log_event!(Warn, "mitm TLS handshake failed", host = target, err = error);
                    return None;
                }
            },
            Some(byte) if byte.is_ascii_uppercase() => (Box::new(client), Scheme::Http),
            Some(_) => {
                proxy.counters.count(Kind::UnknownTunnel);
                log_event!(Warn, "tunnel carries neither TLS nor HTTP; closed", host = target);
                return None;
            }
            None => return None,
        };
        proxy.traffic.terminated.add();
        let _open = OpenTunnel::new(&proxy.traffic);
        Some(Self { channel, scheme, target, presented, _open })
    }
}

/// Whether a tunnel to this target is none of the vault's business.
pub(super) fn is_untouched(
    proxy: &Proxy,
    head: &RequestHead,
    target: &Authority,
    scope: &Scope,
) -> Result<bool, Error> {
    let is_of_our_run = proxy.clients == Clients::OfOneRun;
    let trusts_public_roots = is_of_our_run || head.fields().lists(CLIENT_ROOTS, "public");
    // Where we trust roots of the operator's own, a client without them could not do its handshake.
    let may_be = trusts_public_roots && !proxy.upstreams.has_own_roots();
    if !may_be && !is_of_our_run {
        return Ok(false);
    }
    let snapshot = proxy.directory.snapshot(scope).map_err(Error::Rules)?;
    if is_of_our_run && snapshot.is_closed_to(target) {
        return Err(Error::NoMatch);
    }
    Ok(may_be && snapshot.is_indifferent_to(target))
}

/// Dials for a tunnel that is passed through, before the client is told yes, so that a refusal still has an
/// answer. The one record there is of the tunnel says which host was called, nothing more; it is written
/// now, since the tunnel may stay open for hours.
pub(super) fn dial(proxy: &Proxy, head: &RequestHead, route: &Route<'_>) -> Result<TcpChannel, Error> {
    let mut record = Record::start(head, route);
    let dialled = proxy.upstreams.dial(route.target);
    let error = dialled.as_ref().err();
    record.finish(proxy, error.map_or(200, Error::status), error);
    let upstream = dialled?;
    log_event!(Debug, "tunnel passed through", host = route.target);
    Ok(upstream)
}

/// A tunnel that is passed through, byte for byte.
pub(super) struct Untouched {
    pub(super) client: TcpChannel,
    pub(super) upstream: TcpChannel,
    _open: OpenTunnel,
}

impl Untouched {
    /// Says yes to a CONNECT whose upstream has been reached.
    pub(super) fn open(proxy: &Proxy, mut client: TcpChannel, upstream: TcpChannel) -> Option<Self> {
        say_yes(&mut client, Deadline::after(HANDSHAKE_TIME)).ok()?;
        proxy.traffic.untouched.add();
        Some(Self { client, upstream, _open: OpenTunnel::new(&proxy.traffic) })
    }

    /// Carries bytes until both sides have finished, or a silence lets it rest.
    pub(super) fn carry_on(&mut self) -> After {
        match tunnel::pass_on(&mut self.client, &mut self.upstream, UNTOUCHED_IDLE) {
            Ok(Passed::SoFar) => After::KeepAlive,
            // However it ends, both connections end with it.
            Ok(Passed::All) | Err(_) => After::Close,
        }
    }
}

fn say_yes(client: &mut TcpChannel, deadline: Deadline) -> io::Result<()> {
    client.send(b"HTTP/1.1 200 Connection Established\r\n\r\n")?;
    client.flush_by(deadline)
}

/// Waits for the first byte; one may have come behind the CONNECT already.
fn await_byte(client: &mut TcpChannel, deadline: Deadline) -> io::Result<()> {
    if client.received().is_empty() { client.receive_by(deadline).map(drop) } else { Ok(()) }
}
