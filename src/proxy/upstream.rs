//! Connections to upstreams: pooled and alive, or judged, dialled and verified afresh.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::egress::Egress;
use super::error::Error;
use super::pool::{Key, Pool};
use super::traffic::Count;
use crate::authority::Authority;
use crate::log_event;
use crate::net::Deadline;
use crate::net::channel::Channel;
use crate::net::dial::dial;
use crate::net::guard::{Guard, Refusal};
use crate::net::tcp::TcpChannel;
use crate::tls::{Connector, HandshakeFailure};
use crate::vault::Scheme;

/// Limits of contract B.10.
const CONNECT_TIME: Duration = Duration::from_secs(10);
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// A connection to send a request on.
pub(super) struct Upstream {
    pub(super) channel: Box<dyn Channel>,
    /// Whether it has served before: then it may have died unnoticed, and a request may be replayed.
    pub(super) is_reused: bool,
}

/// How upstreams are reached: whom we may dial, whom we trust, through what.
#[derive(Clone)]
pub struct Outward {
    pub guard: Guard,
    pub connector: Connector,
    /// A proxy of the site's own.
    pub egress: Option<Egress>,
}

/// Opens connections and keeps the idle ones.
pub(super) struct Upstreams {
    outward: Outward,
    pool: Pool,
    reused: Count,
    dialled: Count,
}

/// What the pool has seen so far.
pub(super) struct Counts {
    pub(super) idle: usize,
    pub(super) reused: u64,
    pub(super) dialled: u64,
}

/// How a target is reached.
pub(super) enum Way<'e> {
    /// At one of these addresses; all of them are judged.
    Direct(Vec<SocketAddr>),
    Through(&'e Egress),
}

/// Judges the target's addresses and chooses the way.
pub(super) fn way<'e>(
    guard: &Guard,
    egress: Option<&'e Egress>,
    target: &Authority,
) -> Result<Way<'e>, Refusal> {
    let judged = guard.resolve(target);
    match (egress, judged) {
        // Behind a proxy of the site's own, outside names often resolve only there; a name that does
        // resolve here is judged all the same.
        (Some(egress), Ok(_) | Err(Refusal::Unresolved(_))) if egress.serves(target) => {
            Ok(Way::Through(egress))
        }
        (_, judged) => judged.map(Way::Direct),
    }
}

/// What the guard's refusal is to a client.
pub(super) fn refused(refusal: &Refusal) -> Error {
    match refusal {
        Refusal::Forbidden(_) => Error::Blocked,
        Refusal::Unresolved(_) => Error::Unresolved,
    }
}

impl Upstreams {
    pub(super) fn new(outward: Outward) -> Self {
        Self { outward, pool: Pool::default(), reused: Count::default(), dialled: Count::default() }
    }

    pub(super) fn has_own_roots(&self) -> bool {
        self.outward.connector.has_own_roots()
    }

    pub(super) fn counts(&self) -> Counts {
        Counts { idle: self.pool.len(), reused: self.reused.get(), dialled: self.dialled.get() }
    }

    /// A pooled connection if one is alive, else a fresh one.
    pub(super) fn checkout(&self, key: &Key) -> Result<Upstream, Error> {
        while let Some(channel) = self.pool.take(key, Instant::now()) {
            if channel.is_quiet() {
                self.reused.add();
                return Ok(Upstream { channel, is_reused: true });
            }
        }
        self.open(key)
    }

    /// Opens a fresh connection: resolve, judge every address, dial a judged one, verify.
    pub(super) fn open(&self, key: &Key) -> Result<Upstream, Error> {
        let target = &key.target;
        self.dialled.add();
        let tcp = self.dial(target)?;
        let channel: Box<dyn Channel> = match key.scheme {
            Scheme::Http => Box::new(tcp),
            Scheme::Https => {
                let deadline = Deadline::after(HANDSHAKE_TIME);
                let tls = self.outward.connector.connect(tcp, target.host(), deadline).map_err(|error| {
                    // rustls names certificates and alerts, never bytes of the stream.
                    log_event!(Warn, "upstream TLS handshake failed", target_host = target, error = error);
                    Error::UpstreamTls(HandshakeFailure::of(&error))
                })?;
                Box::new(tls)
            }
        };
        Ok(Upstream { channel, is_reused: false })
    }

    /// Connects to a judged address of the target, or through the site's own proxy.
    pub(super) fn dial(&self, target: &Authority) -> Result<TcpChannel, Error> {
        let deadline = Deadline::after(CONNECT_TIME);
        let Outward { guard, egress, .. } = &self.outward;
        let addresses = match way(guard, egress.as_ref(), target) {
            Ok(Way::Direct(addresses)) => addresses,
            Ok(Way::Through(egress)) => return egress.connect(target, deadline),
            Err(refusal) => {
                log_event!(Debug, "upstream refused", target_host = target, error = refusal);
                return Err(refused(&refusal));
            }
        };
        dial(&addresses, deadline).map_err(|error| {
            log_event!(Debug, "upstream request failed", target_host = target, error = error);
            if error.kind() == io::ErrorKind::TimedOut { Error::UpstreamTimeout } else { Error::Unreachable }
        })
    }

    /// Keeps a connection whose exchange ended exactly where its framing said.
    pub(super) fn checkin(&self, key: Key, channel: Box<dyn Channel>, now: Instant) {
        self.pool.keep(key, channel, now);
    }

    /// Closes idle connections that are too old or too many; when to call again.
    pub(super) fn purge(&self, now: Instant) -> Option<Instant> {
        self.pool.purge(now)
    }
}
