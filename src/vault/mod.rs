//! The rules: who may use a vault, which service a request belongs to, what is attached to it.
//!
//! Pure: no I/O of any kind, no clock, no environment. The broker and standalone mode build a
//! [`Snapshot`] from what they hold; the proxy asks it for a [`Verdict`] and never sees a database.

pub mod attach;
pub mod matcher;
pub mod oauth;
pub mod path;
pub mod proposal;
pub mod request_log;
pub mod scope;
pub mod service;
pub mod sigv4;
pub mod substitute;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::authority::Authority;
use crate::secret::Secret;
use attach::{AttachError, Attachment, InjectedField};
use matcher::{Found, Matcher};
use oauth::{Stale, Token, Tokens};
use service::{Auth, Service};
use substitute::Substitutions;

/// What teaches an agent to work behind the proxy: served by a broker, and installed by `run` for agents it knows.
pub const SKILL: &str = include_str!("../../docs/agent-skill.md");

/// What happens to a request no service matches (contract D.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnmatchedPolicy {
    /// Forward it, attach nothing.
    #[default]
    Passthrough,
    /// Refuse it with 403.
    Deny,
}

/// How the client asked for the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// The port a URL of this scheme has when it names none.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// A vault's rules, ready to use; swapped whole when the vault changes.
#[derive(Debug)]
pub struct Snapshot {
    matcher: Matcher,
    services: Vec<Compiled>,
    policy: UnmatchedPolicy,
    has_tokens: bool,
}

/// A service and what it does to a request.
#[derive(Debug)]
pub struct Compiled {
    service: Arc<Service>,
    prepared: Result<Prepared, AttachError>,
    tokens: Tokens,
}

/// What is done to a request, ready to be written.
#[derive(Debug, Default)]
pub struct Prepared {
    pub attachment: Attachment,
    pub substitutions: Substitutions,
}

impl Prepared {
    /// What is done to a request that no service matches.
    pub const NOTHING: Self =
        Self { attachment: Attachment::Fields(Vec::new()), substitutions: Substitutions::NONE };

    /// The header fields to set.
    pub fn fields(&self) -> &[InjectedField] {
        match &self.attachment {
            Attachment::Fields(fields) => fields,
            Attachment::Query { .. } | Attachment::Signature(_) => &[],
        }
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Verdict<'s> {
    /// This service's fields are set.
    Attach(&'s Compiled),
    /// No service matches and the vault forwards such requests as they are.
    Pass,
    Refuse(Refusal<'s>),
}

/// Why a request does not go out.
#[derive(Debug)]
pub enum Refusal<'s> {
    /// Only disabled services match.
    Disabled(&'s Compiled),
    /// No service matches and the vault denies such requests.
    NoMatch,
    /// The path can be read in two ways and a rule depends on it.
    AmbiguousPath,
    /// The credential would travel in the clear.
    PlainHttp(&'s Compiled),
}

impl Snapshot {
    /// Compiles services (in declaration order) and opened credentials into a snapshot.
    pub fn new(
        services: Vec<Service>,
        credentials: &HashMap<String, Secret>,
        policy: UnmatchedPolicy,
    ) -> Self {
        let matcher = Matcher::new(&services);
        let services = services
            .into_iter()
            .map(|service| Compiled {
                prepared: prepare(&service, credentials),
                service: Arc::new(service),
                tokens: Tokens::default(),
            })
            .collect();
        Self { matcher, services, policy, has_tokens: false }
    }

    /// Says which of the credentials are OAuth access tokens, and what is known of them.
    #[must_use]
    pub fn with_tokens(mut self, tokens: &HashMap<String, Token>) -> Self {
        self.has_tokens = !tokens.is_empty();
        for compiled in &mut self.services {
            let keys = compiled.service.credential_keys().into_iter();
            let known = keys.filter_map(|key| Some((key.to_owned(), tokens.get(key)?.clone())));
            compiled.tokens = Tokens::new(known.collect());
            if let Some(key) = compiled.tokens.unconnected() {
                compiled.prepared = Err(AttachError::NotConnected(key.to_owned()));
            }
        }
        self
    }

    /// Whether any credential of the vault is an OAuth access token: most vaults have none, and are not
    /// asked further.
    pub fn has_tokens(&self) -> bool {
        self.has_tokens
    }

    /// Whether nothing is ever done to a request to this target, whatever its path: no service, enabled or
    /// not, mentions it, and such requests are forwarded.
    pub fn is_indifferent_to(&self, target: &Authority) -> bool {
        self.policy == UnmatchedPolicy::Passthrough && !self.matcher.mentions(target)
    }

    /// Whether every request to this host is refused, whatever its port and path: no service has it, and
    /// such requests are denied.
    pub fn is_closed_to(&self, target: &Authority) -> bool {
        self.policy == UnmatchedPolicy::Deny && self.matcher.of_host(target).next().is_none()
    }

    /// The services whose host is the target's, also those that do not match its port or a path.
    pub fn services_of_host(&self, target: &Authority) -> Vec<&Service> {
        self.matcher.of_host(target).map(|number| &*self.services[number].service).collect()
    }

    /// Decides about a request to `target` for a raw path without its query.
    pub fn judge(&self, target: &Authority, scheme: Scheme, raw_path: &str) -> Verdict<'_> {
        let Ok(found) = self.matcher.find(target, raw_path) else {
            return Verdict::Refuse(Refusal::AmbiguousPath);
        };
        match (found, self.policy) {
            (Found::Service(number), _) => {
                let compiled = &self.services[number];
                if scheme == Scheme::Http && compiled.needs_tls() {
                    Verdict::Refuse(Refusal::PlainHttp(compiled))
                } else {
                    Verdict::Attach(compiled)
                }
            }
            (Found::Disabled(number), _) => Verdict::Refuse(Refusal::Disabled(&self.services[number])),
            (Found::Nothing, UnmatchedPolicy::Passthrough) => Verdict::Pass,
            (Found::Nothing, UnmatchedPolicy::Deny) => Verdict::Refuse(Refusal::NoMatch),
        }
    }
}

impl Compiled {
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// What to do to the request, or why it cannot be done.
    pub fn prepared(&self) -> Result<&Prepared, &AttachError> {
        self.prepared.as_ref()
    }

    /// The access tokens it uses that are to be renewed before they are sent.
    pub fn expiring(&self, now: SystemTime) -> Vec<Stale> {
        self.tokens.expiring(now)
    }

    /// Whether an access token it uses is past its end, though it could have been renewed.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.tokens.has_expired(now)
    }

    /// The access tokens it uses that can be renewed.
    pub fn refreshable(&self) -> Vec<Stale> {
        self.tokens.refreshable()
    }

    /// A credential goes over plain http only where the operator wrote the port, which is how such a
    /// service says that it means it (design 7).
    fn needs_tls(&self) -> bool {
        let is_secret = self.service.auth != Auth::Passthrough || !self.service.substitutions.is_empty();
        is_secret && self.service.port.is_none()
    }
}

/// Substitution keys are resolved before auth keys (contract D.5).
fn prepare(service: &Service, credentials: &HashMap<String, Secret>) -> Result<Prepared, AttachError> {
    let substitutions = Substitutions::new(&service.substitutions, credentials)?;
    Ok(Prepared { attachment: attach::attachment(service, credentials)?, substitutions })
}
