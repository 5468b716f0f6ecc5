//! Who may use which vault, in which role.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{Error, Store, Timestamp};
use crate::vault::scope::Role;

/// The two kinds of actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    Agent,
    User,
}

/// An actor by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorRef {
    pub kind: ActorKind,
    pub id: String,
}

/// An agent in a vault.
#[derive(Debug)]
pub struct AgentGrant {
    pub name: String,
    pub agent_id: String,
    pub role: Role,
    pub is_active: bool,
}

impl ActorKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
        }
    }
}

impl ToSql for ActorKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for ActorKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "agent" => Ok(Self::Agent),
            "user" => Ok(Self::User),
            _ => Err(FromSqlError::InvalidType),
        }
    }
}

impl ToSql for Role {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Role {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

impl Store {
    /// An actor's role in a vault.
    pub fn grant(&self, actor_id: &str, vault_id: &str) -> Result<Option<Role>, Error> {
        self.read(|connection| read_grant(connection, actor_id, vault_id))
    }

    /// The agents of a vault, by name.
    pub fn vault_agents(&self, vault_id: &str) -> Result<Vec<AgentGrant>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT a.name, a.id, g.role, a.status = 'active'
                 FROM vault_grants g JOIN agents a ON a.id = g.actor_id
                 WHERE g.vault_id = ?1 AND g.actor_type = 'agent' ORDER BY a.name",
            )?;
            let rows = statement.query_map([vault_id], |row| {
                Ok(AgentGrant {
                    name: row.get(0)?,
                    agent_id: row.get(1)?,
                    role: row.get(2)?,
                    is_active: row.get(3)?,
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}

pub(super) fn read_grant(
    connection: &Connection,
    actor_id: &str,
    vault_id: &str,
) -> Result<Option<Role>, Error> {
    let role = connection
        .prepare_cached("SELECT role FROM vault_grants WHERE actor_id = ?1 AND vault_id = ?2")?
        .query_row((actor_id, vault_id), |row| row.get(0))
        .optional()?;
    Ok(role)
}

/// Ends a grant and the tokens its holder minted for the vault; whether there was one.
pub(super) fn delete_grant(
    transaction: &Transaction<'_>,
    actor_id: &str,
    vault_id: &str,
) -> Result<bool, Error> {
    let count = transaction
        .execute("DELETE FROM vault_grants WHERE actor_id = ?1 AND vault_id = ?2", (actor_id, vault_id))?;
    transaction.execute(
        "DELETE FROM sessions WHERE created_by_actor_id = ?1 AND vault_id = ?2",
        (actor_id, vault_id),
    )?;
    Ok(count > 0)
}

pub(super) fn write_grant(
    transaction: &Transaction<'_>,
    actor: &ActorRef,
    vault_id: &str,
    role: Role,
    now: Timestamp,
) -> Result<(), Error> {
    transaction.execute(
        "INSERT INTO vault_grants (actor_id, actor_type, vault_id, role, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (actor_id, vault_id) DO UPDATE SET role = excluded.role",
        (&actor.id, actor.kind, vault_id, role, now),
    )?;
    Ok(())
}
