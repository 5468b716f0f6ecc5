//! Vaults: their names, their services, their settings.

use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::grants::{self, ActorRef};
use super::{Error, Stale, Store, Timestamp, Warrant, fresh, is_duplicate, warrant};
use crate::vault::UnmatchedPolicy;
use crate::vault::scope::Role;
use crate::vault::service::{Service, list};

/// The vault every store has from the start (contract C.2).
pub const DEFAULT_ID: &str = "00000000-0000-0000-0000-000000000000";

const POLICY_KEY: &str = "unmatched_host_policy";

/// A vault's name and age.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vault {
    pub id: String,
    pub name: String,
    pub created_at: Timestamp,
}

impl Store {
    /// Makes a vault whose creator is its admin; `None` when the name is taken.
    pub fn create_vault(
        &self,
        name: &str,
        by: &ActorRef,
        warrant: Option<&Warrant>,
        now: Timestamp,
    ) -> Result<Option<Vault>, Error> {
        self.change(Stale::Tokens, |transaction| {
            warrant::check(warrant, transaction, now)?;
            let vault = Vault { id: fresh::uuid()?, name: name.to_owned(), created_at: now };
            let inserted = transaction.execute(
                "INSERT INTO vaults (id, name, created_at, updated_at) VALUES (?1, ?2, ?3, ?3)",
                (&vault.id, name, now),
            );
            match inserted {
                Err(error) if is_duplicate(&error) => return Ok(None),
                other => other?,
            };
            grants::write_grant(transaction, by, &vault.id, Role::Admin, now)?;
            Ok(Some(vault))
        })
    }

    pub fn vault(&self, name: &str) -> Result<Option<Vault>, Error> {
        self.read(|connection| {
            let vault = connection
                .prepare_cached("SELECT id, name, created_at FROM vaults WHERE name = ?1")?
                .query_row([name], vault_from)
                .optional()?;
            Ok(vault)
        })
    }

    /// Every vault with the actor's role in it, by name.
    pub fn vaults(&self, actor_id: &str) -> Result<Vec<(Vault, Option<Role>)>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT v.id, v.name, v.created_at, g.role
                 FROM vaults v LEFT JOIN vault_grants g ON g.vault_id = v.id AND g.actor_id = ?1
                 ORDER BY v.name",
            )?;
            let rows = statement.query_map([actor_id], |row| Ok((vault_from(row)?, row.get(3)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Gives a vault another name; not one that is taken.
    pub fn rename_vault(&self, id: &str, name: &str, now: Timestamp) -> Result<bool, Error> {
        self.change(Stale::Tokens, |transaction| {
            let sql = "UPDATE vaults SET name = ?2, updated_at = ?3 WHERE id = ?1";
            match transaction.execute(sql, (id, name, now)) {
                Err(error) if is_duplicate(&error) => Ok(false),
                renamed => Ok(renamed.map(|_| true)?),
            }
        })
    }

    /// Deletes a vault and everything in it; whether there was one.
    pub fn delete_vault(&self, id: &str) -> Result<bool, Error> {
        self.change(Stale::Everything, |transaction| {
            Ok(transaction.execute("DELETE FROM vaults WHERE id = ?1", [id])? > 0)
        })
    }

    pub fn services(&self, vault_id: &str) -> Result<Vec<Service>, Error> {
        self.read(|connection| read_services(connection, vault_id))
    }

    /// Edits a vault's services: `edit` sees what is stored and nothing can come between. Its refusal
    /// leaves everything as it was.
    pub fn edit_services<T, R>(
        &self,
        vault_id: &str,
        now: Timestamp,
        edit: impl FnOnce(&mut Vec<Service>) -> Result<T, R>,
    ) -> Result<Result<T, R>, Error> {
        self.change(Stale::Vault(vault_id), |transaction| {
            let mut services = read_services(transaction, vault_id)?;
            let outcome = match edit(&mut services) {
                Ok(outcome) => outcome,
                Err(refusal) => return Ok(Err(refusal)),
            };
            write_services(transaction, vault_id, &services, now)?;
            Ok(Ok(outcome))
        })
    }

    pub fn policy(&self, vault_id: &str) -> Result<UnmatchedPolicy, Error> {
        self.read(|connection| read_policy(connection, vault_id))
    }

    /// Sets what happens to requests no service matches; `None` is the default again.
    pub fn set_policy(
        &self,
        vault_id: &str,
        policy: Option<UnmatchedPolicy>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.change(Stale::Vault(vault_id), |transaction| {
            match policy {
                Some(policy) => transaction.execute(
                    "INSERT INTO vault_settings (vault_id, key, value, updated_at) VALUES (?1, ?2, ?3, ?4)
                     ON CONFLICT (vault_id, key) DO UPDATE
                     SET value = excluded.value, updated_at = excluded.updated_at",
                    (vault_id, POLICY_KEY, policy_text(policy), now),
                )?,
                None => transaction.execute(
                    "DELETE FROM vault_settings WHERE vault_id = ?1 AND key = ?2",
                    (vault_id, POLICY_KEY),
                )?,
            };
            Ok(())
        })
    }
}

/// The policy as settings show it.
pub fn policy_text(policy: UnmatchedPolicy) -> &'static str {
    match policy {
        UnmatchedPolicy::Passthrough => "passthrough",
        UnmatchedPolicy::Deny => "deny",
    }
}

pub(super) fn read_services(connection: &Connection, vault_id: &str) -> Result<Vec<Service>, Error> {
    let json: Option<String> = connection
        .prepare_cached("SELECT services_json FROM broker_configs WHERE vault_id = ?1")?
        .query_row([vault_id], |row| row.get(0))
        .optional()?;
    match json {
        Some(json) => list::from_stored(&json).map_err(|_| Error::Corrupt("services of a vault")),
        None => Ok(Vec::new()),
    }
}

pub(super) fn write_services(
    transaction: &Transaction<'_>,
    vault_id: &str,
    services: &[Service],
    now: Timestamp,
) -> Result<(), Error> {
    transaction.execute(
        "INSERT INTO broker_configs (vault_id, services_json, updated_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (vault_id) DO UPDATE
         SET services_json = excluded.services_json, updated_at = excluded.updated_at",
        (vault_id, list::to_json(services).to_string(), now),
    )?;
    Ok(())
}

/// An absent value is the default; one that is neither word is not guessed at.
pub(super) fn read_policy(connection: &Connection, vault_id: &str) -> Result<UnmatchedPolicy, Error> {
    let value: Option<String> = connection
        .prepare_cached("SELECT value FROM vault_settings WHERE vault_id = ?1 AND key = ?2")?
        .query_row((vault_id, POLICY_KEY), |row| row.get(0))
        .optional()?;
    match value.as_deref() {
        None | Some("passthrough") => Ok(UnmatchedPolicy::Passthrough),
        Some("deny") => Ok(UnmatchedPolicy::Deny),
        Some(_) => Err(Error::Corrupt("unmatched host policy of a vault")),
    }
}

fn vault_from(row: &Row<'_>) -> rusqlite::Result<Vault> {
    Ok(Vault { id: row.get(0)?, name: row.get(1)?, created_at: row.get(2)? })
}
