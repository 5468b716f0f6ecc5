//! Agents: machine identities with a long-lived token.
//!
//! An agent has one token, and while a rotation's grace lasts also those before it.

use std::time::Duration;

use rusqlite::{Connection, Row, Transaction, named_params};

use super::accounts::InstanceRole;
use super::grants::{self, ActorKind, ActorRef};
use super::owners::is_last_owner;
use super::{Error, Stale, Store, Timestamp, fresh, is_duplicate};
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

/// An agent's token as its list shows it: never its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub public_id: String,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    /// When its grace ends, if it is an old one.
    pub expires_at: Option<Timestamp>,
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

/// What a rotation gives.
#[derive(Debug)]
pub struct Rotated {
    pub token: Secret,
    /// When the last of the older tokens ends; `None` when none is left.
    pub old_tokens_valid_until: Option<Timestamp>,
}

/// An agent to make.
#[derive(Debug)]
pub struct NewAgent<'a> {
    pub name: &'a str,
    pub role: InstanceRole,
    pub created_by: &'a ActorRef,
    /// Vault id and role.
    pub vaults: &'a [(String, Role)],
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

    /// The agent's live tokens, newest first.
    fn tokens_of(&self, connection: &Connection, agent: &str, now: Timestamp) -> Result<Vec<Token>, Error> {
        let mut statement = connection.prepare_cached(
            "SELECT id, public_id, created_at, last_used_at, expires_at FROM sessions
             WHERE agent_id = ?1 AND (expires_at IS NULL OR expires_at >= ?2)
             ORDER BY CASE WHEN expires_at IS NULL THEN 0 ELSE 1 END, created_at DESC, expires_at DESC, public_id",
        )?;
        let rows = statement.query_map((agent, now), |row| {
            Ok(Token {
                public_id: row.get(1)?,
                created_at: row.get(2)?,
                last_used_at: self.uses.latest(&row.get::<_, String>(0)?, row.get(3)?),
                expires_at: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
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

    /// Gives the agent a new token. Without a grace the old ones and what was minted from it end at once
    /// (design 7); with one they end when it is over, or earlier if they would have. A revoked agent is
    /// active again.
    pub fn rotate_agent(&self, id: &str, grace: Option<Duration>, now: Timestamp) -> Result<Rotated, Error> {
        self.change(Stale::Tokens, |transaction| {
            match grace {
                None => end_tokens(transaction, id)?,
                Some(grace) => limit_tokens(transaction, id, now, now.plus(grace))?,
            }
            let old_tokens_valid_until = transaction.query_row(
                "SELECT MAX(expires_at) FROM sessions WHERE agent_id = ?1",
                [id],
                |row| row.get(0),
            )?;
            transaction.execute(
                "UPDATE agents SET status = 'active', revoked_at = NULL, updated_at = ?2 WHERE id = ?1",
                (id, now),
            )?;
            let token = issue_token(transaction, id, now)?;
            Ok(Rotated { token, old_tokens_valid_until })
        })
    }
}

fn issue_token(transaction: &Transaction<'_>, agent: &str, now: Timestamp) -> Result<Secret, Error> {
    let token = fresh::token(fresh::TokenKind::Agent)?;
    transaction.execute(
        "INSERT INTO sessions (id, public_id, agent_id, created_at) VALUES (?1, ?2, ?3, ?4)",
        (fresh::token_id(&token), fresh::public_id()?, agent, now),
    )?;
    Ok(token)
}

fn end_tokens(transaction: &Transaction<'_>, agent: &str) -> Result<(), Error> {
    transaction.execute("DELETE FROM sessions WHERE agent_id = ?1 OR created_by_actor_id = ?1", [agent])?;
    Ok(())
}

/// Lets no token of the agent outlive `end`, and takes away those that are over already.
fn limit_tokens(
    transaction: &Transaction<'_>,
    agent: &str,
    now: Timestamp,
    end: Timestamp,
) -> Result<(), Error> {
    transaction.execute(
        "DELETE FROM sessions WHERE (agent_id = ?1 OR created_by_actor_id = ?1) AND expires_at < ?2",
        (agent, now),
    )?;
    transaction.execute(
        "UPDATE sessions SET expires_at = ?2
         WHERE (agent_id = ?1 OR created_by_actor_id = ?1) AND (expires_at IS NULL OR expires_at > ?2)",
        (agent, end),
    )?;
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;
    use crate::store::sessions::{Mint, Standing};
    use crate::store::vaults::DEFAULT_ID;

    fn maker() -> ActorRef {
        ActorRef { kind: ActorKind::User, id: "maker".to_owned() }
    }

    fn after(start: Timestamp, seconds: u64) -> Timestamp {
        start.plus(Duration::from_secs(seconds))
    }

    /// On the control API and on the proxy's path alike, whose cache knows the token already.
    #[track_caller]
    fn is_live(store: &Store, token: &Secret, now: Timestamp) -> bool {
        let for_api = matches!(store.standing(token, None, None, now).unwrap(), Standing::Live(_));
        let for_proxy = store.scope_at(token, None, now).is_ok();
        assert_eq!(for_api, for_proxy, "one answer everywhere");
        for_api
    }

    #[test]
    fn an_old_token_lives_through_the_grace_and_no_longer() {
        let (_dir, store) = scratch();
        let start = Timestamp::now();
        let vaults = [(DEFAULT_ID.to_owned(), Role::Member)];
        let new =
            NewAgent { name: "bot", role: InstanceRole::NoAccess, created_by: &maker(), vaults: &vaults };
        let first = store.create_agent(&new, start).unwrap().unwrap();
        let id = store.agent("bot", start).unwrap().unwrap().id;
        let agent = ActorRef { kind: ActorKind::Agent, id: id.clone() };
        let mint = Mint {
            vault_id: DEFAULT_ID,
            label: None,
            created_by: Some(&agent),
            life: Duration::from_secs(3600),
        };
        let minted = store.mint(&mint, start).unwrap().token;
        assert!(is_live(&store, &first, start) && is_live(&store, &minted, start));
        let rotate = |grace: Option<u64>, now| {
            let rotated = store.rotate_agent(&id, grace.map(Duration::from_secs), now).unwrap();
            (rotated.token, rotated.old_tokens_valid_until)
        };
        let (second, until) = rotate(Some(600), start);
        assert_eq!(until, Some(after(start, 600)));
        for old in [&first, &minted] {
            assert!(is_live(&store, old, after(start, 600)));
            assert!(!is_live(&store, old, after(start, 601)));
        }
        assert!(is_live(&store, &second, after(start, 601)));
        // Another grace does not prolong the one that runs.
        let (third, until) = rotate(Some(600), after(start, 300));
        assert_eq!(until, Some(after(start, 900)));
        assert!(!is_live(&store, &first, after(start, 601)) && is_live(&store, &second, after(start, 900)));
        let shown = store.agent("bot", after(start, 700)).unwrap().unwrap();
        let ends: Vec<_> = shown.tokens.iter().map(|token| token.expires_at).collect();
        assert_eq!(ends, [None, Some(after(start, 900))]);
        assert_eq!(shown.token_expires_at(), Some(after(start, 900)));
        // Without one, all older ones end.
        let (fourth, until) = rotate(None, after(start, 301));
        assert_eq!(until, None);
        for old in [&first, &second, &third, &minted] {
            assert!(!is_live(&store, old, after(start, 301)));
        }
        assert!(is_live(&store, &fourth, after(start, 301)));
    }
}
