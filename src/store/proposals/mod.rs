//! Proposals: made by agents, kept until somebody decides, and for the record afterwards.
//!
//! Values an agent brought along are sealed for their place in the proposal and go when it is decided.
//! The proposing actor is kept by its id and the approval link's token as its hash, so that nothing here
//! opens anything.

mod approve;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params};

use super::grants::ActorRef;
use super::{Error, Stale, Store, Timestamp, fresh};
use crate::secret::Secret;
use crate::vault::proposal::{Proposal, Status};
pub use approve::NotApproved;

/// Pending proposals a vault may have (contract A.11).
const MAX_PENDING: u32 = 20;

/// How long a proposal stays pending, and how long its approval link works (contract F.5).
const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const LINK_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A proposal to keep.
#[derive(Debug)]
pub struct Submission<'a> {
    pub vault_id: &'a str,
    pub by: Option<&'a ActorRef>,
    pub proposal: &'a Proposal,
    pub values: &'a BTreeMap<String, Secret>,
}

/// A proposal as it is kept.
#[derive(Debug)]
pub struct Stored {
    pub id: u32,
    pub status: Status,
    pub proposal: Proposal,
    pub review_note: String,
    pub reviewed_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// Name of the agent, or address of the person, that made it; empty when there is none any more.
    pub author: String,
}

/// What an approval link leads to.
#[derive(Debug)]
pub struct Linked {
    pub vault_id: String,
    pub vault_name: String,
    pub expires_at: Timestamp,
    pub stored: Stored,
}

impl Store {
    /// Keeps a proposal: its number and the token of its approval link; `None` when too many are pending.
    pub fn submit(
        &self,
        submission: &Submission<'_>,
        now: Timestamp,
    ) -> Result<Option<(u32, Secret)>, Error> {
        let token = fresh::token(fresh::TokenKind::Approval)?;
        let Submission { vault_id, by, proposal, values } = *submission;
        let id = self.change(Stale::Nothing, |transaction| {
            let pending: u32 = transaction.query_row(
                "SELECT COUNT(*) FROM proposals WHERE vault_id = ?1 AND status = 'pending'",
                [vault_id],
                |row| row.get(0),
            )?;
            if pending >= MAX_PENDING {
                return Ok(None);
            }
            let id: u32 = transaction.query_row(
                "SELECT COALESCE(MAX(id), 0) + 1 FROM proposals WHERE vault_id = ?1",
                [vault_id],
                |row| row.get(0),
            )?;
            transaction.execute(
                "INSERT INTO proposals (vault_id, id, actor_type, actor_id, services_json, credentials_json,
                     message, user_message, approval_token_hash, approval_token_expires_at, created_at,
                     updated_at)
                 VALUES (:vault, :id, :kind, :actor, :services, :credentials, :message, :user_message, :hash,
                     :expires, :now, :now)",
                named_params! {
                    ":vault": vault_id,
                    ":id": id,
                    ":kind": by.map_or("", |actor| actor.kind.as_str()),
                    ":actor": by.map_or("", |actor| actor.id.as_str()),
                    ":services": proposal.stored_services().to_string(),
                    ":credentials": proposal.credentials_json().to_string(),
                    ":message": proposal.message,
                    ":user_message": proposal.user_message,
                    ":hash": fresh::token_id(&token),
                    ":expires": now.plus(LINK_LIFE),
                    ":now": now,
                },
            )?;
            for (key, value) in values {
                let sealed = self.seal.seal(&place(vault_id, id, key), value)?;
                transaction.execute(
                    "INSERT INTO proposal_credentials (vault_id, proposal_id, key, ciphertext, nonce)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    (vault_id, id, key, sealed.ciphertext, sealed.nonce),
                )?;
            }
            Ok(Some(id))
        })?;
        Ok(id.map(|id| (id, token)))
    }

    pub fn proposal(&self, vault_id: &str, id: u32) -> Result<Option<Stored>, Error> {
        self.read(|connection| find(connection, vault_id, id))
    }

    /// A vault's proposals, newest first; of one status if one is named.
    pub fn proposals(&self, vault_id: &str, status: Option<Status>) -> Result<Vec<Stored>, Error> {
        self.read(|connection| {
            let sql = format!(
                "{SELECT} WHERE p.vault_id = ?1 AND (?2 IS NULL OR p.status = ?2) ORDER BY p.id DESC"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map((vault_id, status), columns_from)?;
            rows.map(|columns| columns?.into_stored()).collect()
        })
    }

    /// How many proposals are pending, by vault.
    pub fn pending_proposals(&self) -> Result<HashMap<String, u32>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT vault_id, COUNT(*) FROM proposals WHERE status = 'pending' GROUP BY vault_id",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// The proposal an approval link leads to.
    pub fn linked_proposal(&self, token: &Secret) -> Result<Option<Linked>, Error> {
        self.read(|connection| {
            let found: Option<(String, String, u32, Timestamp)> = connection
                .prepare_cached(
                    "SELECT v.id, v.name, p.id, p.approval_token_expires_at
                     FROM proposals p JOIN vaults v ON v.id = p.vault_id WHERE p.approval_token_hash = ?1",
                )?
                .query_row([fresh::token_id(token)], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                })
                .optional()?;
            let Some((vault_id, vault_name, id, expires_at)) = found else { return Ok(None) };
            let stored = find(connection, &vault_id, id)?;
            Ok(stored.map(|stored| Linked { vault_id, vault_name, expires_at, stored }))
        })
    }

    /// Ends what has been pending for too long, in every vault.
    pub fn expire_proposals(&self, now: Timestamp) -> Result<(), Error> {
        let due: Vec<(String, u32)> = self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT vault_id, id FROM proposals WHERE status = 'pending' AND created_at < ?1",
            )?;
            let rows = statement.query_map([now.minus(LIFE)], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        if due.is_empty() {
            return Ok(());
        }
        self.change(Stale::Nothing, |transaction| {
            for (vault_id, id) in due {
                // Somebody may have decided it meanwhile.
                let updated = transaction.execute(
                    "UPDATE proposals SET status = 'expired', updated_at = ?3
                     WHERE vault_id = ?1 AND id = ?2 AND status = 'pending'",
                    (&vault_id, id, now),
                )?;
                if updated > 0 {
                    erase_values(transaction, &vault_id, id)?;
                }
            }
            Ok(())
        })
    }

    /// Rejects a pending proposal; otherwise the status it has, `None` when it does not exist.
    pub fn reject_proposal(
        &self,
        vault_id: &str,
        id: u32,
        reason: &str,
        now: Timestamp,
    ) -> Result<Result<(), Option<Status>>, Error> {
        self.change(Stale::Nothing, |transaction| {
            match find(transaction, vault_id, id)?.map(|stored| stored.status) {
                Some(Status::Pending) => {}
                other => return Ok(Err(other)),
            }
            decide(transaction, (vault_id, id), (Status::Rejected, reason), now)?;
            Ok(Ok(()))
        })
    }
}

/// Writes a decision; the agent's values have done their service.
fn decide(
    transaction: &Transaction<'_>,
    (vault_id, id): (&str, u32),
    (status, note): (Status, &str),
    now: Timestamp,
) -> Result<(), Error> {
    transaction.execute(
        "UPDATE proposals SET status = ?3, review_note = ?4, reviewed_at = ?5, updated_at = ?5
         WHERE vault_id = ?1 AND id = ?2",
        (vault_id, id, status, note, now),
    )?;
    erase_values(transaction, vault_id, id)
}

fn erase_values(transaction: &Transaction<'_>, vault_id: &str, id: u32) -> Result<(), Error> {
    transaction.execute(
        "DELETE FROM proposal_credentials WHERE vault_id = ?1 AND proposal_id = ?2",
        (vault_id, id),
    )?;
    Ok(())
}

const SELECT: &str = "SELECT p.id, p.status, p.services_json, p.credentials_json, p.message, p.user_message,
    p.review_note, p.reviewed_at, p.created_at, COALESCE(a.name, u.email, '')
    FROM proposals p LEFT JOIN agents a ON p.actor_type = 'agent' AND a.id = p.actor_id
    LEFT JOIN users u ON p.actor_type = 'user' AND u.id = p.actor_id";

/// A row of [`SELECT`], its documents not yet read.
struct Columns {
    services: String,
    credentials: String,
    stored: Stored,
}

impl Columns {
    fn into_stored(self) -> Result<Stored, Error> {
        let Proposal { message, user_message, .. } = self.stored.proposal;
        let documents = (self.services.as_str(), self.credentials.as_str());
        let proposal = Proposal::from_stored(documents, message, user_message)
            .map_err(|_| Error::Corrupt("a proposal"))?;
        Ok(Stored { proposal, ..self.stored })
    }
}

fn columns_from(row: &Row<'_>) -> rusqlite::Result<Columns> {
    let proposal =
        Proposal { entries: Vec::new(), slots: Vec::new(), message: row.get(4)?, user_message: row.get(5)? };
    let stored = Stored {
        id: row.get(0)?,
        status: row.get(1)?,
        proposal,
        review_note: row.get(6)?,
        reviewed_at: row.get(7)?,
        created_at: row.get(8)?,
        author: row.get(9)?,
    };
    Ok(Columns { services: row.get(2)?, credentials: row.get(3)?, stored })
}

fn find(connection: &Connection, vault_id: &str, id: u32) -> Result<Option<Stored>, Error> {
    let sql = format!("{SELECT} WHERE p.vault_id = ?1 AND p.id = ?2");
    let columns = connection.prepare_cached(&sql)?.query_row((vault_id, id), columns_from).optional()?;
    columns.map(Columns::into_stored).transpose()
}

/// Binds a value to its vault, proposal and key. No part can hold the separator.
fn place(vault_id: &str, id: u32, key: &str) -> Vec<u8> {
    ["proposal", vault_id, &id.to_string(), key].join("\0").into_bytes()
}

impl ToSql for Status {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Status {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;
    use crate::store::vaults::DEFAULT_ID;
    use crate::vault::proposal::{Draft, Inventory};
    use crate::vault::service::InternalNames;

    fn submit(store: &Store) -> u32 {
        let draft = r#"{"credentials": [{"action": "set", "key": "KEY", "value": "brought"}]}"#;
        let draft: Draft = serde_json::from_str(draft).unwrap();
        let inventory = Inventory { services: &[], keys: &[], internal: InternalNames::Refused };
        let (proposal, values) = draft.check(&inventory).unwrap();
        let submission = Submission { vault_id: DEFAULT_ID, by: None, proposal: &proposal, values: &values };
        store.submit(&submission, Timestamp::now()).unwrap().unwrap().0
    }

    fn approve(store: &Store, id: u32) -> Result<Result<(), NotApproved>, Error> {
        store.approve_proposal(DEFAULT_ID, id, &BTreeMap::new(), None, Timestamp::now())
    }

    fn values_kept(store: &Store) -> u32 {
        let count = "SELECT COUNT(*) FROM proposal_credentials";
        store.read(|connection| Ok(connection.query_row(count, [], |row| row.get(0))?)).unwrap()
    }

    #[test]
    fn a_value_opens_in_its_own_proposal_only() {
        let (_dir, store) = scratch();
        let (first, second) = (submit(&store), submit(&store));
        store
            .change(Stale::Nothing, |transaction| {
                transaction.execute("DELETE FROM proposal_credentials WHERE proposal_id = ?1", [second])?;
                transaction.execute("UPDATE proposal_credentials SET proposal_id = ?1", [second])?;
                Ok(())
            })
            .unwrap();
        assert!(matches!(approve(&store, second), Err(Error::Unsealable)));
        assert_eq!(approve(&store, first).unwrap(), Err(NotApproved::Missing("KEY".to_owned())));
        assert!(store.credential(DEFAULT_ID, "KEY").unwrap().is_none());
    }

    #[test]
    fn a_value_is_gone_when_its_proposal_is_decided() {
        let (_dir, store) = scratch();
        let (applied, rejected, expired) = (submit(&store), submit(&store), submit(&store));
        assert_eq!(values_kept(&store), 3);
        approve(&store, applied).unwrap().unwrap();
        assert_eq!(store.credential(DEFAULT_ID, "KEY").unwrap(), Some(Secret::from("brought")));
        store.reject_proposal(DEFAULT_ID, rejected, "", Timestamp::now()).unwrap().unwrap();
        assert_eq!(values_kept(&store), 1);
        store.expire_proposals(Timestamp::now().plus(LIFE)).unwrap();
        assert_eq!(values_kept(&store), 1);
        store.expire_proposals(Timestamp::now().plus(LIFE + Duration::from_secs(60))).unwrap();
        assert_eq!(values_kept(&store), 0);
        let status = store.proposal(DEFAULT_ID, expired).unwrap().unwrap().status;
        assert_eq!(status, Status::Expired);
    }
}
