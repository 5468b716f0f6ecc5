//! From a token to what it may touch.
//!
//! The proxy knows no database: it asks a [`Directory`], answered by the store in the broker and by the
//! configuration document in standalone mode. A scope is looked up again for every request, so a
//! revoked token stops working on tunnels that are already open.

use std::sync::Arc;

use crate::secret::Secret;
use crate::vault::Snapshot;
use crate::vault::oauth::Stale;

/// What an actor may do in a vault, in rising order (contract B.2). Any role may use the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Proxy,
    Member,
    Admin,
}

impl Role {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "proxy" => Some(Self::Proxy),
            "member" => Some(Self::Member),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Member => "member",
            Self::Admin => "admin",
        }
    }
}

/// Who is behind a token.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    Agent(Arc<str>),
    User(Arc<str>),
    /// A token minted by another scoped token: it names no actor, so limits key on its own id.
    Minted(Arc<str>),
}

/// What a token may touch: one vault, in one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub actor: Actor,
    pub vault_id: Arc<str>,
    pub vault_name: Arc<str>,
    pub role: Role,
}

/// Why a token and a vault hint give no scope (contract B.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeError {
    /// Unknown, empty or expired token.
    InvalidToken,
    /// The token is good and the vault is not its own.
    Forbidden,
    /// The vault does not exist.
    VaultNotFound,
    /// The token may use several vaults, or none, and no hint says which.
    VaultUnclear,
    /// The lookup itself failed: nothing may go out.
    Unavailable,
}

/// Why there are no rules to judge by: the request is refused (contract D.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotUnavailable {
    /// What is stored cannot be understood.
    Corrupt,
    /// It could not be read.
    Unreadable,
}

/// An access token could not be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshFailed;

/// Answers who a token is and what its vault allows.
pub trait Directory: Send + Sync {
    /// Resolves a token and an optional vault name (contract B.6).
    fn scope(&self, token: &Secret, vault_hint: Option<&str>) -> Result<Arc<Scope>, ScopeError>;

    /// Returns the rules of the scope's vault as they are now.
    fn snapshot(&self, scope: &Scope) -> Result<Arc<Snapshot>, SnapshotUnavailable>;

    /// Renews OAuth access tokens and returns the rules with the new ones. Requests that want the same
    /// token renewed share one call to its endpoint. May take as long as such a call does.
    fn refresh(&self, _scope: &Scope, _stale: &[Stale]) -> Result<Arc<Snapshot>, RefreshFailed> {
        // A directory without OAuth credentials has none to renew.
        Err(RefreshFailed)
    }
}
