//! One client connection, top to bottom.
//!
//! A connection is a function to be read from its first line: read a head, ask the gate, serve one
//! exchange, again. `CONNECT` turns it into a tunnel whose target never changes; whatever is inside is
//! served by the same exchange. The scope is looked up for every request, so a revoked token stops
//! working on tunnels that are already open. Between requests a quiet connection is parked.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::error::{Error, Tier};
use super::gate::{self, Ask, Peer, Presented};
use super::permits::Permit;
use super::refusal::{self, Refused};
use super::route::Route;
use super::tunnel::{self, Tunnel, Untouched};
use super::{Proxy, exchange};
use crate::authority::Authority;
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;
use crate::http1::respond::After;
use crate::net::Deadline;
use crate::net::channel::Channel;
use crate::net::tcp::TcpChannel;
use crate::peer::conversation::{self, Conversation, Served};
use crate::peer::{self, ReadError};
use crate::secret::Secret;
use crate::vault::Scheme;
use crate::vault::scope::Scope;

/// A request's head (contract B.10).
const HEAD_TIME: Duration = Duration::from_secs(10);

/// One client connection.
pub(super) struct Client {
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

impl Client {
    /// A client of the listener, ready to be served.
    pub(super) fn new(proxy: Arc<Proxy>, channel: TcpChannel, peer: IpAddr) -> Served<Self> {
        let head = Box::new(RequestHead::default());
        let phase = Phase::Listener(channel);
        Served::new(Self { proxy, peer, phase, lent: OnceCell::new(), permit: None, head })
    }
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
