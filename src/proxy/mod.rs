//! The credential-attaching proxy.
//!
//! Here is what all its connections share, and the listener that makes a [`client::Client`] of each. From
//! there on a connection is to be read top to bottom: the gate, the tunnel, one exchange after the other.

mod awaited;
mod aws_chunked;
mod body;
mod client;
mod egress;
mod error;
mod exchange;
pub mod explain;
mod gate;
pub mod journal;
mod judge;
mod meter;
mod permits;
mod pool;
pub mod reasons;
mod record;
mod refusal;
mod renewal;
mod resign;
mod rewrite;
mod route;
mod tiers;
mod token_endpoint;
mod traffic;
mod tunnel;
mod upload;
mod upstream;
mod websocket;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::http1::head::RequestHead;
use crate::http1::respond::Answer;
use crate::net::reactor::{self, Connection, Service};
use crate::net::tcp::TcpChannel;
use crate::peer::conversation;
use crate::rate::tiers::Rates;
use crate::secret::Secret;
use crate::tls::Acceptor;
use crate::vault::request_log::RequestLog;
use crate::vault::scope::Directory;
use client::Client;
pub use egress::Egress;
pub(crate) use gate::read_credential;
use permits::Permits;
pub use permits::Shares;
use reasons::{Counters, Kind};
use tiers::Tiers;
pub use token_endpoint::TokenClient;
use traffic::Traffic;
pub(crate) use tunnel::CLIENT_ROOTS;
pub use upstream::Outward;
use upstream::Upstreams;

/// Bounds on what passes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub max_request_bytes: u64,
    /// `None` is no limit.
    pub max_response_bytes: Option<u64>,
    /// Longest wait for a response's head while nothing moves.
    pub response_time: Duration,
    /// `None` switches the rate tiers off.
    pub rates: Option<Rates>,
    pub shares: Shares,
}

impl Default for Limits {
    /// Contract H.2: 1 GiB up, no limit down; B.10: five minutes, since a model may think.
    fn default() -> Self {
        Self {
            max_request_bytes: 1024 * 1024 * 1024,
            max_response_bytes: None,
            response_time: Duration::from_secs(5 * 60),
            rates: Some(Rates::default()),
            shares: Shares::of(reactor::Limits::default().max_connections),
        }
    }
}

/// What is known of those who use the proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    /// Nothing; a relay of ours may say more of its own.
    #[default]
    Any,
    /// They are processes of one run. They trust public roots beside the proxy's own, which may vouch for no
    /// host but those of services: a tunnel to any other is refused while it can still be said why.
    OfOneRun,
}

/// Lends the client of an accepted connection that shows no credential the one it may use, if any.
pub type Lend = dyn Fn(BorrowedFd<'_>) -> Option<Secret> + Send + Sync;

/// Answers a request that asks the proxy itself for something.
pub type OwnAnswers = dyn Fn(&RequestHead) -> Answer + Send + Sync;

/// What all connections of the proxy share.
pub struct Proxy {
    directory: Arc<dyn Directory>,
    acceptor: Acceptor,
    upstreams: Upstreams,
    limits: Limits,
    tiers: Tiers,
    permits: Permits,
    base_url: Option<String>,
    log: Option<Arc<dyn RequestLog>>,
    clients: Clients,
    own_answers: Option<Box<OwnAnswers>>,
    lend: Option<Box<Lend>>,
    counters: Counters,
    traffic: Arc<Traffic>,
}

impl Proxy {
    /// `base_url` is where the help texts send a reader: empty when it is not known, `None` when there is no
    /// control API.
    pub fn new(
        directory: Arc<dyn Directory>,
        acceptor: Acceptor,
        outward: Outward,
        limits: Limits,
        base_url: Option<&str>,
    ) -> Self {
        let upstreams = Upstreams::new(outward);
        let tiers = Tiers::new(limits.rates);
        Self {
            directory,
            acceptor,
            upstreams,
            limits,
            tiers,
            permits: Permits::new(limits.shares),
            base_url: base_url.map(str::to_owned),
            log: None,
            clients: Clients::Any,
            own_answers: None,
            lend: None,
            counters: Counters::new(),
            traffic: Arc::default(),
        }
    }

    /// Gives every request of an authenticated client to this log.
    #[must_use]
    pub fn with_log(self, log: Arc<dyn RequestLog>) -> Self {
        Self { log: Some(log), ..self }
    }

    /// Serves clients of whom this is known.
    #[must_use]
    pub fn with_clients(self, clients: Clients) -> Self {
        Self { clients, ..self }
    }

    /// Asks this for a client that shows no credential, once for its connection.
    #[must_use]
    pub fn with_lent_credentials(self, lend: Box<Lend>) -> Self {
        Self { lend: Some(lend), ..self }
    }

    /// Answers requests with a path for their target, which are addressed to the listener itself; without
    /// this they are refused.
    #[must_use]
    pub fn with_own_answers(self, answers: Box<OwnAnswers>) -> Self {
        Self { own_answers: Some(answers), ..self }
    }

    /// Closes upstream connections that have been idle too long; when to call again.
    pub fn purge(&self, now: Instant) -> Option<Instant> {
        self.upstreams.purge(now)
    }

    /// Changes the rate tiers at once; `None` switches them off.
    pub fn set_rates(&self, rates: Option<Rates>) {
        self.tiers.set(rates);
    }

    /// Name and number of every reason for which requests were refused since the start.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counters.all()
    }
}

/// The listener's side: a connection for each client, a 503 when there is no room.
pub struct Ingress(pub Arc<Proxy>);

impl Service for Ingress {
    fn connect(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(Client::new(Arc::clone(&self.0), TcpChannel::new(stream)?, peer.ip())))
    }

    fn refuse(&self, stream: TcpStream) {
        self.0.counters.count(Kind::TooManyConnections);
        conversation::turn_away(stream, &no_room());
    }
}

/// What a client is told when every permit is taken.
pub(crate) fn no_room() -> Answer {
    let reason = Kind::TooManyConnections.reason();
    Answer::text(reason.status(), "too many connections")
        .with("Retry-After", "1")
        .with("X-Agent-Vault-Reason", reason.name)
}
