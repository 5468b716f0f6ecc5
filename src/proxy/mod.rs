//! The credential-attaching proxy: one client connection, top to bottom.
//!
//! A connection is a function to be read from its first line: read a head, ask the gate, serve one
//! exchange, again. `CONNECT` turns it into a tunnel whose target never changes; whatever is inside is
//! served by the same exchange. The scope is looked up for every request, so a revoked token stops
//! working on tunnels that are already open. Between requests a quiet connection is parked.

mod awaited;
mod aws_chunked;
mod body;
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

use std::cell::OnceCell;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::authority::Authority;
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;
use crate::http1::respond::{After, Answer};
use crate::net::Deadline;
use crate::net::channel::Channel;
use crate::net::reactor::{self, Connection, Service};
use crate::net::tcp::TcpChannel;
use crate::peer::conversation::{self, Conversation, Served};
use crate::peer::{self, ReadError};
use crate::rate::tiers::Rates;
use crate::secret::Secret;
use crate::tls::Acceptor;
use crate::vault::Scheme;
use crate::vault::request_log::RequestLog;
use crate::vault::scope::{Directory, Scope};
pub use egress::Egress;
use error::{Error, Tier};
use gate::{Ask, Peer};
pub(crate) use gate::{Presented, read_credential};
pub use permits::Shares;
use permits::{Permit, Permits};
use reasons::{Counters, Kind};
use refusal::Refused;
use route::Route;
use tiers::Tiers;
pub use token_endpoint::TokenClient;
use traffic::Traffic;
pub(crate) use tunnel::CLIENT_ROOTS;
use tunnel::{Tunnel, Untouched};
pub use upstream::Outward;
use upstream::Upstreams;

/// A request's head (contract B.10).
const HEAD_TIME: Duration = Duration::from_secs(10);

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
        let channel = TcpChannel::new(stream)?;
        let head = Box::new(RequestHead::default());
        let phase = Phase::Listener(channel);
        let proxy = Arc::clone(&self.0);
        Ok(Box::new(Served::new(Client {
            proxy,
            peer: peer.ip(),
            phase,
            lent: OnceCell::new(),
            permit: None,
            head,
        })))
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

/// One client connection.
struct Client {
    proxy: Arc<Proxy>,
    peer: IpAddr,
    phase: Phase,
    /// The credential of a client that shows none.
    lent: OnceCell<Option<Secret>>,
    /// Held from the first request on whose sender is known.
    permit: Option<Permit>,
    head: Box<RequestHead>,
}

/// What the connection is. A state that has been left is gone.
enum Phase {
    /// Speaks to the listener itself: CONNECT or absolute-form.
    Listener(TcpChannel),
    Tunnel(Tunnel),
    /// Carries what is none of the vault's business.
    Untouched(Untouched),
    Over,
}

impl Conversation for Client {
    fn channel(&self) -> &dyn Channel {
        match &self.phase {
            Phase::Listener(channel) => channel,
            Phase::Tunnel(tunnel) => &*tunnel.channel,
            Phase::Untouched(tunnel) => &tunnel.client,
            Phase::Over => unreachable!("a connection that is over is neither served nor parked"),
        }
    }

    fn other_end(&self) -> Option<&dyn Channel> {
        match &self.phase {
            Phase::Untouched(tunnel) => Some(&tunnel.upstream),
            _ => None,
        }
    }

    fn idle_time(&self) -> Duration {
        match &self.phase {
            Phase::Untouched(_) => tunnel::UNTOUCHED_IDLE,
            _ => conversation::IDLE_TIME,
        }
    }

    /// Reads a head and does what it asks.
    fn serve_one(&mut self) -> After {
        if let Phase::Untouched(tunnel) = &mut self.phase {
            return tunnel.carry_on();
        }
        let mut head = std::mem::take(&mut *self.head);
        let read = peer::read_request(self.channel_mut(), &mut head, Deadline::after(HEAD_TIME));
        let after = match read {
            Ok(()) => match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Listener(channel) => self.serve_listener(channel, &head),
                Phase::Tunnel(tunnel) => self.serve_tunnel(tunnel, &head),
                Phase::Untouched(_) | Phase::Over => After::Close,
            },
            Err(ReadError::Malformed(error)) => self.refuse(&Error::Malformed(error)),
            Err(_) => After::Close,
        };
        *self.head = head;
        after
    }

    fn release(&mut self) {
        self.channel_mut().release();
        if let Phase::Untouched(tunnel) = &mut self.phase {
            tunnel.upstream.release();
        }
    }
}

impl Client {
    fn channel_mut(&mut self) -> &mut dyn Channel {
        match &mut self.phase {
            Phase::Listener(channel) => channel,
            Phase::Tunnel(tunnel) => &mut *tunnel.channel,
            Phase::Untouched(tunnel) => &mut tunnel.client,
            Phase::Over => unreachable!("a connection that is over is not served"),
        }
    }

    fn refuse(&mut self, error: &Error) -> After {
        let proxy = Arc::clone(&self.proxy);
        let on = Refused { target: None, vault: "", method: "", after: After::Close };
        refusal::refuse(&proxy, self.channel_mut(), error, &on)
    }

    /// Counts the connection for this scope. On the listener, one client may speak for several in turn.
    fn hold(&mut self, scope: &Scope) -> Result<(), Error> {
        if !self.permit.as_ref().is_some_and(|permit| permit.is_for(scope)) {
            self.permit = None;
            self.permit = Some(self.proxy.permits.take(scope)?);
        }
        Ok(())
    }

    /// A request to the listener itself.
    fn serve_listener(&mut self, mut channel: TcpChannel, head: &RequestHead) -> After {
        let proxy = Arc::clone(&self.proxy);
        if let Some(answers) = &proxy.own_answers
            && head.target().starts_with('/')
            && head.check_host().is_ok()
            && Framing::of_request(head).is_ok()
        {
            let after = refusal::after_unread(head);
            let after = refusal::send(&mut channel, &answers(head), head.method(), after);
            self.phase = Phase::Listener(channel);
            return after;
        }
        let lent = || {
            let lend = proxy.lend.as_deref()?;
            let token = self.lent.get_or_init(|| lend(channel.socket())).clone()?;
            Some(Presented { token, vault_hint: None })
        };
        let admitted =
            head.check_host().map_err(Error::Malformed).and_then(|()| admit(&proxy, self.peer, head, lent));
        let admitted = admitted.and_then(|admitted| self.hold(&admitted.2).map(|()| admitted));
        let after = match admitted {
            Ok((Ask::Tunnel(target), presented, scope)) => {
                return self.serve_connect(channel, head, (target, presented, scope));
            }
            Ok((Ask::Forward(scheme, target, path), _, scope)) => {
                let route = Route { target: &target, scheme, path, scope: &scope };
                exchange::serve(&proxy, &mut channel, head, &route)
            }
            Err(error) => {
                // Some clients ask once without a credential and then, on the same connection, with it.
                let may_ask_again = error.status() == 407;
                let after = if may_ask_again { refusal::after_refusal(head, &error) } else { After::Close };
                let on = Refused { target: None, vault: "", method: head.method(), after };
                refusal::refuse(&proxy, &mut channel, &error, &on)
            }
        };
        self.phase = Phase::Listener(channel);
        after
    }

    /// A CONNECT that was let in.
    fn serve_connect(
        &mut self,
        mut channel: TcpChannel,
        head: &RequestHead,
        admitted: (Authority, Presented, Arc<Scope>),
    ) -> After {
        let proxy = Arc::clone(&self.proxy);
        let (target, presented, scope) = admitted;
        let dialled = match tunnel::is_untouched(&proxy, head, &target, &scope) {
            Ok(false) => {
                let Some(tunnel) = Tunnel::open(&proxy, channel, target, presented) else {
                    return After::Close;
                };
                self.phase = Phase::Tunnel(tunnel);
                return After::KeepAlive;
            }
            Ok(true) => {
                let route = Route { target: &target, scheme: Scheme::Https, path: "", scope: &scope };
                tunnel::dial(&proxy, head, &route)
            }
            Err(error) => Err(error),
        };
        match dialled {
            Ok(upstream) => {
                let Some(mut tunnel) = Untouched::open(&proxy, channel, upstream) else {
                    return After::Close;
                };
                let after = tunnel.carry_on();
                self.phase = Phase::Untouched(tunnel);
                after
            }
            Err(error) => {
                let on = Refused {
                    target: Some(&target),
                    vault: &scope.vault_name,
                    method: head.method(),
                    after: After::Close,
                };
                refusal::refuse(&proxy, &mut channel, &error, &on)
            }
        }
    }

    /// A request inside a tunnel. `Host` cannot move it: the target is the one of the CONNECT.
    fn serve_tunnel(&mut self, mut tunnel: Tunnel, head: &RequestHead) -> After {
        let proxy = Arc::clone(&self.proxy);
        let Presented { token, vault_hint } = &tunnel.presented;
        let admitted =
            head.check_host().map_err(Error::Malformed).and_then(|()| gate::inner_path(head)).and_then(
                |path| {
                    let scope = proxy.directory.scope(token, vault_hint.as_deref()).map_err(Error::Scope)?;
                    Ok((path, scope))
                },
            );
        let after = match admitted {
            Ok((path, scope)) => {
                let route = Route { target: &tunnel.target, scheme: tunnel.scheme, path, scope: &scope };
                exchange::serve(&proxy, &mut *tunnel.channel, head, &route)
            }
            Err(error) => {
                let on = Refused {
                    target: Some(&tunnel.target),
                    vault: "",
                    method: head.method(),
                    after: After::Close,
                };
                refusal::refuse(&proxy, &mut *tunnel.channel, &error, &on)
            }
        };
        self.phase = Phase::Tunnel(tunnel);
        after
    }
}

/// The gate for a request to the listener: its target, then its token (contract B.3, B.4), or the one that is
/// lent to a client without.
fn admit<'h>(
    proxy: &Proxy,
    peer: IpAddr,
    head: &'h RequestHead,
    lent: impl FnOnce() -> Option<Presented>,
) -> Result<(Ask<'h>, Presented, Arc<Scope>), Error> {
    let nearby = if peer.to_canonical().is_loopback() { Peer::Loopback } else { Peer::Elsewhere };
    let ask = gate::ask(head, nearby)?;
    let authenticate = || {
        let presented = match head.fields().first("proxy-authorization") {
            Some(_) => gate::presented(head.fields())?,
            None => lent().ok_or(Error::AuthorizationRequired)?,
        };
        let scope = proxy.directory.scope(&presented.token, presented.vault_hint.as_deref());
        scope.map(|scope| (presented, scope)).map_err(Error::Scope)
    };
    let (presented, scope) = authenticate().map_err(|failure| {
        let tier = if matches!(ask, Ask::Tunnel(_)) { Tier::Connects } else { Tier::Requests };
        proxy.tiers.failed(peer, tier, failure)
    })?;
    Ok((ask, presented, scope))
}
