//! Agent mode's loopback listener: the per-run credential comes in, the broker's token goes out.
//!
//! The child is given a credential that is good for this listener only. A proxy request that carries it
//! goes on to the broker's proxy with the real token in its place ([`forward`]); what the child asks of
//! the control API is a short list ([`api`]). The token is added here and nowhere else, so no child ever
//! holds it. "It is local" admits nobody: containers of one pod share loopback. A client that cannot
//! authenticate to a proxy is admitted when its socket belongs to a process of this run.

mod api;
mod forward;
mod ingress;
mod outage;
mod secure;

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::admission::Admission;
use super::preflight::Broker;
use super::token::Token;
use crate::client::Client;
use crate::http1::fields::Fields;
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;
use crate::http1::respond::{After, Answer};
use crate::json::json;
use crate::net::Deadline;
use crate::net::channel::Channel;
use crate::net::reactor::{Connection, Service};
use crate::net::tcp::TcpChannel;
use crate::peer::conversation::{self, Conversation, Served};
use crate::peer::{self, ReadError};
use crate::proxy::reasons::Kind;
use crate::proxy::{no_room, read_credential};
use crate::secret::Secret;
use crate::tls::Connector;
use ingress::Ingress;

/// A request's head, as the broker itself has it (contract B.10).
const HEAD_TIME: Duration = Duration::from_secs(10);
/// How long a client may take to take an answer of ours.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long the rest of an unread request is waited out after an answer.
const UNREAD_TIME: Duration = Duration::from_secs(2);

/// What all connections of the relay share.
pub(super) struct Relay {
    credential: Secret,
    admission: Admission,
    token: Token,
    vault: String,
    ingress: Ingress,
    /// The control API, without a token: each call brings the current one.
    client: Client,
    ca_pem: Vec<u8>,
    /// Made when the first child asks for it: few do, and it costs time at the start.
    connector: OnceLock<Option<Connector>>,
}

impl Relay {
    pub(super) fn new(credential: Secret, broker: Broker) -> Arc<Self> {
        let Broker { client, token, vault, proxy, ca_pem, retry, .. } = broker;
        let ingress = Ingress::new(proxy, retry);
        let admission = Admission::default();
        Arc::new(Self {
            credential,
            admission,
            token,
            vault,
            ingress,
            client,
            ca_pem,
            connector: OnceLock::new(),
        })
    }

    /// Has the token read again before it is used the next time; does no I/O itself.
    pub(super) fn reload(&self) {
        self.token.read_again();
    }

    /// Does TLS inside a tunnel as the child would: with the vault's CA and the public roots.
    fn connector(&self) -> Option<&Connector> {
        self.connector.get_or_init(|| Connector::new(std::slice::from_ref(&self.ca_pem)).ok()).as_ref()
    }

    /// Checks `Proxy-Authorization` as the broker would check a token scoped to the run's vault; without
    /// one it matters whether the client is of this run.
    fn admit(&self, fields: &Fields, is_of_this_run: impl FnOnce() -> bool) -> Result<(), Answer> {
        let refuse = |kind: Kind, text: &str| {
            let reason = kind.reason();
            Answer::text(reason.status(), text).with("X-Agent-Vault-Reason", reason.name)
        };
        let ask = |answer: Answer| answer.with("Proxy-Authenticate", "Basic realm=\"agent-vault\"");
        let Some(presented) = read_credential(fields) else {
            let has_none = fields.first("proxy-authorization").is_none();
            return if has_none && is_of_this_run() {
                Ok(())
            } else {
                Err(ask(refuse(Kind::AuthorizationRequired, "Proxy-Authorization required")))
            };
        };
        if presented.token != self.credential {
            return Err(ask(refuse(Kind::InvalidToken, "invalid or expired session")));
        }
        match presented.vault_hint {
            Some(vault) if vault != self.vault => Err(refuse(Kind::VaultForbidden, "forbidden")),
            _ => Ok(()),
        }
    }
}

impl Service for Arc<Relay> {
    fn connect(&self, stream: TcpStream, _peer: SocketAddr) -> io::Result<Box<dyn Connection>> {
        let channel = TcpChannel::new(stream)?;
        let peer = Peer {
            relay: Self::clone(self),
            channel,
            of_this_run: OnceLock::new(),
            upstream: None,
            tunnel: None,
            head: Box::default(),
        };
        Ok(Box::new(Served::new(peer)))
    }

    fn refuse(&self, stream: TcpStream) {
        conversation::turn_away(stream, &no_room());
    }
}

/// One connection of the child.
struct Peer {
    relay: Arc<Relay>,
    channel: TcpChannel,
    /// Whether a process of this run is at the other end; looked up when first asked.
    of_this_run: OnceLock<bool>,
    /// The connection to the broker's proxy that served the last absolute-form request.
    upstream: Option<TcpChannel>,
    /// The connection this one is a tunnel with, from its 200 on.
    tunnel: Option<TcpChannel>,
    head: Box<RequestHead>,
}

impl Conversation for Peer {
    fn channel(&self) -> &dyn Channel {
        &self.channel
    }

    fn other_end(&self) -> Option<&dyn Channel> {
        self.tunnel.as_ref().map(|tunnel| tunnel as &dyn Channel)
    }

    fn idle_time(&self) -> Duration {
        if self.tunnel.is_some() { forward::IDLE } else { conversation::IDLE_TIME }
    }

    fn release(&mut self) {
        self.channel.release();
        for other in self.upstream.iter_mut().chain(&mut self.tunnel) {
            other.release();
        }
    }

    /// Reads a head and does what it asks.
    fn serve_one(&mut self) -> After {
        if self.tunnel.is_some() {
            return forward::carry_on(self);
        }
        let mut head = std::mem::take(&mut *self.head);
        let read = peer::read_request(&mut self.channel, &mut head, Deadline::after(HEAD_TIME));
        let checked = read.and_then(|()| {
            head.check_host()?;
            Ok(Framing::of_request(&head)?)
        });
        let after = match checked {
            Ok(framing) => self.dispatch(&head, framing),
            Err(ReadError::Malformed(error)) => {
                self.answer(&Answer::text(error.status(), &error.to_string()), "", After::Close)
            }
            Err(_) => After::Close,
        };
        *self.head = head;
        after
    }
}

impl Peer {
    fn dispatch(&mut self, head: &RequestHead, framing: Framing) -> After {
        let is_absolute = !head.target().starts_with('/') && head.target().contains("://");
        if head.method() != "CONNECT" && !is_absolute {
            return api::serve(self, head, framing);
        }
        let is_of_this_run =
            || *self.of_this_run.get_or_init(|| self.relay.admission.admits(self.channel.socket()));
        match self.relay.admit(head.fields(), is_of_this_run) {
            Ok(()) => match secure::target(head) {
                Some((to, path)) => secure::serve(self, head, framing, &to, path),
                None => forward::serve(self, head, framing),
            },
            // Some clients ask once without credentials and then, on the same connection, with them.
            Err(refusal) => self.answer(&refusal, head.method(), after_unread(head, framing)),
        }
    }

    /// Sends an answer of ours; whether the connection goes on.
    fn answer(&mut self, answer: &Answer, method: &str, after: After) -> After {
        let sent = peer::answer(&mut self.channel, answer, method, after, Deadline::after(ANSWER_TIME));
        if sent.is_err() {
            return After::Close;
        }
        if after == After::Close {
            peer::linger(&mut self.channel, Deadline::after(UNREAD_TIME));
        }
        after
    }
}

/// A connection goes on after an answer only if no byte of a body is left unread on it.
fn after_unread(head: &RequestHead, framing: Framing) -> After {
    if head.wants_keep_alive() && is_empty(framing) { After::KeepAlive } else { After::Close }
}

fn is_empty(framing: Framing) -> bool {
    matches!(framing, Framing::Empty | Framing::Length(0))
}

/// A broker error of ours (contract B.9): SDKs tell it from the upstream's by its field.
fn broker_error(kind: Kind, message: &str) -> Answer {
    let reason = kind.reason();
    Answer::json(reason.status(), &json!({ "error": reason.name, "message": message }))
        .with("X-Agent-Vault-Proxy-Error", "true")
        .with("X-Agent-Vault-Reason", reason.name)
}
