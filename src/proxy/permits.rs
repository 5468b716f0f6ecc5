//! How many connections one actor and one vault may hold, so that nobody can take all of them.
//!
//! The reactor bounds all connections together, before anyone is known. Once a client has said who it
//! is, its connection counts for its actor and its vault for as long as it is open, parked or not.

use std::sync::Arc;
use std::time::Instant;

use super::error::{Error, Tier};
use crate::rate::{Slot, Slots};
use crate::vault::scope::{Actor, Scope};

/// The most that one of them may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub per_actor: u32,
    pub per_vault: u32,
}

impl Shares {
    /// Half of all for one actor and three quarters for one vault: room for any one of them, and never
    /// for one alone.
    pub fn of(max_connections: usize) -> Self {
        let all = u32::try_from(max_connections).unwrap_or(u32::MAX);
        Self { per_actor: (all / 2).max(1), per_vault: (all - all / 4).max(1) }
    }
}

/// Counts connections.
pub(super) struct Permits {
    actors: Arc<Slots<Actor>>,
    vaults: Arc<Slots<Arc<str>>>,
}

/// The right of one connection to be open; given back when dropped.
pub(super) struct Permit {
    actor: Actor,
    vault_id: Arc<str>,
    _slots: (Slot<Actor>, Slot<Arc<str>>),
}

impl Permits {
    pub(super) fn new(shares: Shares) -> Self {
        Self {
            actors: Arc::new(Slots::new(shares.per_actor)),
            vaults: Arc::new(Slots::new(shares.per_vault)),
        }
    }

    /// Connections that count.
    pub(super) fn count(&self) -> u64 {
        self.actors.count()
    }

    /// Lets a connection of this scope be open, or says at once that there are too many.
    pub(super) fn take(&self, scope: &Scope) -> Result<Permit, Error> {
        let now = Instant::now();
        let of_actor = self.actors.take(&scope.actor, now);
        let of_actor = of_actor.map_err(|too_many| Error::TooMany(Tier::ActorConnections, too_many))?;
        let of_vault = self.vaults.take(&scope.vault_id, now);
        let of_vault = of_vault.map_err(|too_many| Error::TooMany(Tier::VaultConnections, too_many))?;
        Ok(Permit {
            actor: scope.actor.clone(),
            vault_id: Arc::clone(&scope.vault_id),
            _slots: (of_actor, of_vault),
        })
    }
}

impl Permit {
    /// Whether it counts for this scope.
    pub(super) fn is_for(&self, scope: &Scope) -> bool {
        self.vault_id == scope.vault_id && self.actor == scope.actor
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::scope::Role;

    fn scope(actor: &str, vault: &str) -> Scope {
        Scope {
            actor: Actor::Agent(actor.into()),
            vault_id: vault.into(),
            vault_name: vault.into(),
            role: Role::Proxy,
        }
    }

    #[test]
    fn an_actor_has_its_share_and_a_vault_has_its_own() {
        let permits = Permits::new(Shares { per_actor: 2, per_vault: 3 });
        let take = |actor: &str, vault: &str| permits.take(&scope(actor, vault));
        let refused = |actor: &str, vault: &str| match take(actor, vault) {
            Err(Error::TooMany(tier, too_many)) => Some((tier, too_many.limit)),
            _ => None,
        };
        let held = [take("a", "v").ok(), take("a", "v").ok()];
        assert_eq!(refused("a", "v"), Some((Tier::ActorConnections, 2)));
        assert_eq!(refused("a", "w"), Some((Tier::ActorConnections, 2)));
        let third = take("b", "v").ok();
        assert_eq!(refused("b", "v"), Some((Tier::VaultConnections, 3)));
        assert!(take("b", "w").is_ok(), "what was refused by the vault is not held by the actor");
        drop(third);
        assert!(take("b", "v").is_ok());
        drop(held);
        assert!(take("a", "v").is_ok());
    }

    #[test]
    fn a_share_is_never_all_and_never_nothing() {
        assert_eq!(Shares::of(16_384), Shares { per_actor: 8_192, per_vault: 12_288 });
        assert_eq!(Shares::of(1), Shares { per_actor: 1, per_vault: 1 });
    }
}
