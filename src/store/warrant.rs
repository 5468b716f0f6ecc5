//! On whose word a change is made, asked again in the change's own transaction.
//!
//! Between the check of a caller and the change they asked for, the caller may have been removed, rotated or
//! put out of the vault. What they leave behind ends with them, but only what was there by then: a token
//! that is minted a moment later would live on. So whatever makes something that opens doors looks, where
//! nothing can come between, whether its caller still is what they were.

use rusqlite::Transaction;

use super::accounts::InstanceRole;
use super::sessions::{self, Holder};
use super::{Error, Timestamp, fresh, grants};
use crate::secret::Secret;
use crate::vault::scope::Role;

/// A caller's token, and what it was good for when the call was let in.
#[derive(Clone, Debug)]
pub struct Warrant {
    token_id: String,
    instance: Option<InstanceRole>,
    /// Vault id and role.
    vaults: Vec<(String, Role)>,
}

impl Warrant {
    pub fn of(token: &Secret) -> Self {
        Self { token_id: fresh::token_id(token), instance: None, vaults: Vec::new() }
    }

    /// Good only while its holder has at least this role in the instance.
    #[must_use]
    pub fn as_instance(self, role: InstanceRole) -> Self {
        Self { instance: Some(role), ..self }
    }

    /// Good only while its holder has at least this role in the vault.
    #[must_use]
    pub fn in_vault(mut self, vault_id: &str, role: Role) -> Self {
        self.vaults.push((vault_id.to_owned(), role));
        self
    }

    /// Whether it is good still.
    pub(super) fn check(&self, transaction: &Transaction<'_>, now: Timestamp) -> Result<(), Error> {
        let row = sessions::find(transaction, &self.token_id)?;
        let row = row.filter(|row| !row.limits.are_passed(now)).ok_or(Error::Withdrawn)?;
        let (actor, instance) = match row.holder {
            Holder::User { id, role, .. } | Holder::Agent { id, role, .. } => (id, role),
            // It has one role in one vault for as long as it lives.
            Holder::Scoped { .. } => return Ok(()),
        };
        if self.instance.is_some_and(|needed| instance < needed) {
            return Err(Error::Withdrawn);
        }
        for (vault_id, needed) in &self.vaults {
            if grants::read_grant(transaction, &actor, vault_id)? < Some(*needed) {
                return Err(Error::Withdrawn);
            }
        }
        Ok(())
    }
}

/// Checks the warrant of a change that has one; without one it is the operator's own.
pub(super) fn check(
    warrant: Option<&Warrant>,
    transaction: &Transaction<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    warrant.map_or(Ok(()), |warrant| warrant.check(transaction, now))
}
