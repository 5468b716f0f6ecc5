//! Approval: everything a proposal asks for, or nothing (contract F.4).
//!
//! One transaction reads the proposal, the values and the services as they are, and writes services,
//! credentials and the decision; whatever speaks against it is found before the first write.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction};

use super::{Status, Stored, decide, find, place};
use crate::secret::Secret;
use crate::store::oauth::{Config, Edit, MANUAL, Place};
use crate::store::seal::Sealed;
use crate::store::vaults::{read_services, write_services};
use crate::store::{Error, Stale, Store, Timestamp, Warrant, credentials, warrant};
use crate::vault::proposal::{self, Conflict, Filling, OauthClient};

/// Why a proposal was not applied. Nothing has changed.
#[derive(Debug, PartialEq, Eq)]
pub enum NotApproved {
    Conflict(Conflict),
    Empty(String),
    /// A value was given for a key that is no slot of the proposal.
    Foreign(String),
    Missing(String),
    NotPending(Status),
    Unknown,
}

impl Store {
    /// Applies a pending proposal. `given` are the reviewer's values; they go before the agent's.
    pub fn approve_proposal(
        &self,
        vault_id: &str,
        id: u32,
        given: &BTreeMap<String, Secret>,
        warrant: Option<&Warrant>,
        now: Timestamp,
    ) -> Result<Result<(), NotApproved>, Error> {
        self.change(Stale::Vault(vault_id), |transaction| {
            warrant::check(warrant, transaction, now)?;
            let stored = match find(transaction, vault_id, id)? {
                Some(stored) if stored.status == Status::Pending => stored,
                Some(stored) => return Ok(Err(NotApproved::NotPending(stored.status))),
                None => return Ok(Err(NotApproved::Unknown)),
            };
            let values = match self.values(transaction, vault_id, &stored, given)? {
                Ok(values) => values,
                Err(refused) => return Ok(Err(refused)),
            };
            let entries = &stored.proposal.entries;
            let mut services = read_services(transaction, vault_id)?;
            if let Err(conflict) = proposal::merge(entries, &mut services) {
                return Ok(Err(NotApproved::Conflict(conflict)));
            }
            if !entries.is_empty() {
                write_services(transaction, vault_id, &services, now)?;
            }
            for (key, value) in &values {
                self.write_credential(transaction, (vault_id, key), value, now)?;
            }
            for slot in &stored.proposal.slots {
                match &slot.filling {
                    Filling::Nothing => credentials::erase(transaction, vault_id, &slot.key)?,
                    Filling::Value { .. } => {}
                    Filling::Oauth(client) => {
                        let place = Place { vault_id, key: &slot.key };
                        self.write_config(transaction, &place, &config(client), Edit::Keep, now)?;
                    }
                }
            }
            decide(transaction, (vault_id, id), (Status::Applied, ""), now)?;
            Ok(Ok(()))
        })
    }

    /// A value for every slot that takes one.
    fn values(
        &self,
        transaction: &Transaction<'_>,
        vault_id: &str,
        stored: &Stored,
        given: &BTreeMap<String, Secret>,
    ) -> Result<Result<BTreeMap<String, Secret>, NotApproved>, Error> {
        let slots = &stored.proposal.slots;
        if let Some(key) = given.keys().find(|key| !slots.iter().any(|slot| slot.key == **key)) {
            return Ok(Err(NotApproved::Foreign(key.clone())));
        }
        let mut values = BTreeMap::new();
        for slot in slots.iter().filter(|slot| matches!(slot.filling, Filling::Value { .. })) {
            let value = match given.get(&slot.key) {
                Some(value) => Some(value.clone()),
                None => self.brought(transaction, vault_id, stored.id, &slot.key)?,
            };
            match value {
                Some(value) if value.is_empty() => return Ok(Err(NotApproved::Empty(slot.key.clone()))),
                Some(value) => drop(values.insert(slot.key.clone(), value)),
                None => return Ok(Err(NotApproved::Missing(slot.key.clone()))),
            }
        }
        Ok(Ok(values))
    }

    /// The value the agent brought along for a slot.
    fn brought(
        &self,
        transaction: &Transaction<'_>,
        vault_id: &str,
        id: u32,
        key: &str,
    ) -> Result<Option<Secret>, Error> {
        let sealed = transaction
            .prepare_cached(
                "SELECT ciphertext, nonce FROM proposal_credentials
                 WHERE vault_id = ?1 AND proposal_id = ?2 AND key = ?3",
            )?
            .query_row((vault_id, id, key), |row| Ok(Sealed { ciphertext: row.get(0)?, nonce: row.get(1)? }))
            .optional()?;
        sealed.map(|sealed| self.seal.open(&place(vault_id, id, key), &sealed)).transpose()
    }
}

/// The configuration a person will connect the account with.
fn config(client: &OauthClient) -> Config {
    Config {
        authorization_url: client.authorization_url.clone(),
        token_url: client.token_url.clone(),
        client_id: client.client_id.clone().unwrap_or_else(|| MANUAL.to_owned()),
        scopes: client.scopes.clone(),
        scope_separator: client.scope_separator.clone().unwrap_or_else(|| " ".to_owned()),
        disable_pkce: client.disable_pkce,
        client_auth: client.token_auth_method.unwrap_or_default(),
    }
}
