//! Agents: machine identities with a long-lived token, which is kept in `rotation`.

use rusqlite::{Connection, Row, named_params};

use super::accounts::InstanceRole;
use super::grants::{self, ActorKind, ActorRef};
use super::owners::is_last_owner;
use super::rotation::{Token, end_tokens, issue_token};
use super::{Error, Stale, Store, Timestamp, Warrant, fresh, is_duplicate, warrant};
use crate::secret::Secret;
use crate::vault::scope::Role;

/// An agent, with the vaults it may use.
#[derive(Clone, Debug)]
pub struct Agent {
    pub id: String,
    pub name: String,
    pub role: InstanceRole,
    pub is_active: bool,
    pub created_by: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    /// Vault name and role, by name.
    pub vaults: Vec<(String, Role)>,
    /// Those that are live, newest first.
    pub tokens: Vec<Token>,
}

impl Agent {
    /// The latest use of any live token.
    pub fn last_used_at(&self) -> Option<Timestamp> {
        self.tokens.iter().filter_map(|token| token.last_used_at).max()
    }

    /// When the next live token ends, if one does.
    pub fn token_expires_at(&self) -> Option<Timestamp> {
        self.tokens.iter().filter_map(|token| token.expires_at).min()
    }
}

/// An agent to make.
#[derive(Debug)]
pub struct NewAgent<'a> {
    pub name: &'a str,
    pub role: InstanceRole,
    pub created_by: &'a ActorRef,
    /// Vault id and role.
    pub vaults: &'a [(String, Role)],
    /// Whose word it is on; `None` for the operator's own.
    pub warrant: Option<&'a Warrant>,
}

/// What came of a change to an agent that an owner-role one may resist.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It was so already.
    Unchanged,
    /// The instance would be left without an owner.
    LastOwner,
}

impl Store {
    /// Makes an agent, its grants and its token, or nothing; `None` when the name is taken.
    pub fn create_agent(&self, agent: &NewAgent<'_>, now: Timestamp) -> Result<Option<Secret>, Error> {
        self.change(Stale::Nothing, |transaction| {
            warrant::check(agent.warrant, transaction, now)?;
            let id = fresh::uuid()?;
            let inserted = transaction.execute(
                "INSERT INTO agents (id, name, role, created_by, created_at, updated_at)
                 VALUES (:id, :name, :role, :by, :now, :now)",
                named_params! {
                    ":id": id,
                    ":name": agent.name,
                    ":role": agent.role,
                    ":by": agent.created_by.id,
                    ":now": now,
                },
            );
            match inserted {
                Err(error) if is_duplicate(&error) => return Ok(None),
                other => other?,
            };
            let actor = ActorRef { kind: ActorKind::Agent, id };
            for (vault_id, role) in agent.vaults {
                grants::write_grant(transaction, &actor, vault_id, *role, now)?;
            }
            issue_token(transaction, &actor.id, now).map(Some)
        })
    }

    pub fn agent(&self, name: &str, now: Timestamp) -> Result<Option<Agent>, Error> {
        Ok(self.select_agents("WHERE a.name = ?1", now, name)?.pop())
    }

    /// Every agent, by name.
    pub fn agents(&self, now: Timestamp) -> Result<Vec<Agent>, Error> {
        self.select_agents("WHERE ?1 = ''", now, "")
    }

    fn select_agents(&self, filter: &str, now: Timestamp, name: &str) -> Result<Vec<Agent>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT a.id, a.name, a.role, a.status = 'active', a.created_by, a.created_at, a.updated_at,
                     a.revoked_at
                 FROM agents a {filter} ORDER BY a.name"
            ))?;
            let rows = statement.query_map([name], agent_from)?;
            let mut agents = rows.collect::<Result<Vec<_>, _>>()?;
            for agent in &mut agents {
                agent.vaults = vaults_of(connection, &agent.id)?;
                agent.tokens = self.tokens_of(connection, &agent.id, now)?;
            }
            Ok(agents)
        })
    }

    /// Revokes: every token of the agent and every token minted from it ends, the record stays.
    pub fn revoke_agent(&self, id: &str, now: Timestamp) -> Result<Outcome, Error> {
        self.change(Stale::Tokens, |transaction| {
            if is_last_owner(transaction, id)? {
                return Ok(Outcome::LastOwner);
            }
            let count = transaction.execute(
                "UPDATE agents SET status = 'revoked', revoked_at = ?2, updated_at = ?2
                 WHERE id = ?1 AND status = 'active'",
                (id, now),
            )?;
            end_tokens(transaction, id)?;
            Ok(if count == 0 { Outcome::Unchanged } else { Outcome::Done })
        })
    }

    /// Deletes the agent for good: tokens, grants and minted tokens with it.
    pub fn delete_agent(&self, id: &str) -> Result<Outcome, Error> {
        self.change(Stale::Tokens, |transaction| {
            if is_last_owner(transaction, id)? {
                return Ok(Outcome::LastOwner);
            }
            end_tokens(transaction, id)?;
            transaction.execute("DELETE FROM vault_grants WHERE actor_id = ?1", [id])?;
            let count = transaction.execute("DELETE FROM agents WHERE id = ?1", [id])?;
            Ok(if count == 0 { Outcome::Unchanged } else { Outcome::Done })
        })
    }

    /// Renames the agent; false when another one has the name.
    pub fn rename_agent(&self, id: &str, name: &str, now: Timestamp) -> Result<bool, Error> {
        self.change(Stale::Nothing, |transaction| {
            let renamed = transaction
                .execute("UPDATE agents SET name = ?2, updated_at = ?3 WHERE id = ?1", (id, name, now));
            match renamed {
                Err(error) if is_duplicate(&error) => Ok(false),
                other => Ok(other? > 0),
            }
        })
    }

    /// Changes what an active agent may do in the instance; a revoked one stays as it is.
    pub fn set_agent_role(&self, id: &str, role: InstanceRole, now: Timestamp) -> Result<Outcome, Error> {
        self.change(Stale::Nothing, |transaction| {
            if role != InstanceRole::Owner && is_last_owner(transaction, id)? {
                return Ok(Outcome::LastOwner);
            }
            let count = transaction.execute(
                "UPDATE agents SET role = ?2, updated_at = ?3 WHERE id = ?1 AND status = 'active'",
                (id, role, now),
            )?;
            Ok(if count == 0 { Outcome::Unchanged } else { Outcome::Done })
        })
    }
}

pub(super) fn vaults_of(connection: &Connection, actor: &str) -> Result<Vec<(String, Role)>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT v.name, g.role FROM vault_grants g JOIN vaults v ON v.id = g.vault_id
         WHERE g.actor_id = ?1 ORDER BY v.name",
    )?;
    let rows = statement.query_map([actor], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn agent_from(row: &Row<'_>) -> rusqlite::Result<Agent> {
    Ok(Agent {
        id: row.get(0)?,
        name: row.get(1)?,
        role: row.get(2)?,
        is_active: row.get(3)?,
        created_by: row.get(4)?,
        created_at: row.get(5)?,
        updated_at: row.get(6)?,
        revoked_at: row.get(7)?,
        vaults: Vec::new(),
        tokens: Vec::new(),
    })
}
