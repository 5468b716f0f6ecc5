//! Who belongs to a vault: people and agents come in, change roles and go, and its last admin stays.

use super::grants::{self, ActorRef};
use super::owners::is_last_admin;
use super::{Error, Stale, Store, Timestamp, Warrant, warrant};
use crate::vault::scope::Role;

/// A person in a vault, or one who was invited to it.
#[derive(Debug)]
pub struct Member {
    pub email: String,
    pub role: Role,
    /// Invited, and not there yet.
    pub is_pending: bool,
}

/// What came of a change to a membership.
#[derive(Debug, PartialEq, Eq)]
pub enum Membership {
    Changed,
    /// There is no grant to change.
    Absent,
    /// The vault would be left without an admin.
    LastAdmin,
}

impl Store {
    /// The people of a vault and those invited to it, by address.
    pub fn members(&self, vault_id: &str, now: Timestamp) -> Result<Vec<Member>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT u.email, g.role, 0
                 FROM vault_grants g JOIN users u ON u.id = g.actor_id
                 WHERE g.vault_id = ?1
                 UNION ALL
                 SELECT i.email, v.vault_role, 1
                 FROM user_invite_vaults v JOIN user_invites i ON i.id = v.user_invite_id
                 WHERE v.vault_id = ?1 AND i.status = 'pending' AND i.expires_at >= ?2
                     AND NOT EXISTS (SELECT 1 FROM vault_grants g JOIN users u ON u.id = g.actor_id
                                     WHERE g.vault_id = ?1 AND u.email = i.email)
                 ORDER BY 1",
            )?;
            let rows = statement.query_map((vault_id, now), |row| {
                Ok(Member { email: row.get(0)?, role: row.get(1)?, is_pending: row.get(2)? })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Gives an actor a role in a vault; not when it has one.
    pub fn add_member(
        &self,
        actor: &ActorRef,
        vault_id: &str,
        role: Role,
        warrant: Option<&Warrant>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        self.change(Stale::Tokens, |transaction| {
            warrant::check(warrant, transaction, now)?;
            if grants::read_grant(transaction, &actor.id, vault_id)?.is_some() {
                return Ok(false);
            }
            grants::write_grant(transaction, actor, vault_id, role, now)?;
            Ok(true)
        })
    }

    /// Gives a member another role.
    pub fn set_member_role(
        &self,
        actor: &ActorRef,
        vault_id: &str,
        role: Role,
        now: Timestamp,
    ) -> Result<Membership, Error> {
        self.change(Stale::Tokens, |transaction| {
            if grants::read_grant(transaction, &actor.id, vault_id)?.is_none() {
                return Ok(Membership::Absent);
            }
            if role != Role::Admin && is_last_admin(transaction, &actor.id, vault_id)? {
                return Ok(Membership::LastAdmin);
            }
            grants::write_grant(transaction, actor, vault_id, role, now)?;
            Ok(Membership::Changed)
        })
    }

    /// Takes a vault from a member, and with it the tokens they minted for it.
    pub fn remove_member(&self, actor_id: &str, vault_id: &str) -> Result<Membership, Error> {
        self.change(Stale::Tokens, |transaction| {
            if is_last_admin(transaction, actor_id, vault_id)? {
                return Ok(Membership::LastAdmin);
            }
            let had_one = grants::delete_grant(transaction, actor_id, vault_id)?;
            Ok(if had_one { Membership::Changed } else { Membership::Absent })
        })
    }
}
