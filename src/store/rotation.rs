//! The tokens of an agent, and how they follow one another.
//!
//! An agent has one token; while a rotation's grace lasts, also those before it. A grace only ever shortens
//! a token's life, so a second rotation does not prolong what the first one ended.

use std::time::Duration;

use rusqlite::{Connection, Transaction};

use super::{Error, Stale, Store, Timestamp, Warrant, fresh, warrant};
use crate::secret::Secret;

/// An agent's token as its list shows it: never its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub public_id: String,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    /// When its grace ends, if it is an old one.
    pub expires_at: Option<Timestamp>,
}

/// What a rotation gives.
#[derive(Debug)]
pub struct Rotated {
    pub token: Secret,
    /// When the last of the older tokens ends; `None` when none is left.
    pub old_tokens_valid_until: Option<Timestamp>,
}

impl Store {
    /// The agent's live tokens, newest first.
    pub(super) fn tokens_of(
        &self,
        connection: &Connection,
        agent: &str,
        now: Timestamp,
    ) -> Result<Vec<Token>, Error> {
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

    /// Gives the agent a new token. Without a grace the old ones and what was minted from it end at once
    /// (design 7); with one they end when it is over, or earlier if they would have. A revoked agent is
    /// active again.
    pub fn rotate_agent(
        &self,
        id: &str,
        grace: Option<Duration>,
        warrant: Option<&Warrant>,
        now: Timestamp,
    ) -> Result<Rotated, Error> {
        self.change(Stale::Tokens, |transaction| {
            warrant::check(warrant, transaction, now)?;
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

pub(super) fn issue_token(
    transaction: &Transaction<'_>,
    agent: &str,
    now: Timestamp,
) -> Result<Secret, Error> {
    let token = fresh::token(fresh::TokenKind::Agent)?;
    transaction.execute(
        "INSERT INTO sessions (id, public_id, agent_id, created_at) VALUES (?1, ?2, ?3, ?4)",
        (fresh::token_id(&token), fresh::public_id()?, agent, now),
    )?;
    Ok(token)
}

pub(super) fn end_tokens(transaction: &Transaction<'_>, agent: &str) -> Result<(), Error> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::accounts::InstanceRole;
    use crate::store::agents::NewAgent;
    use crate::store::grants::{ActorKind, ActorRef};
    use crate::store::scratch;
    use crate::store::sessions::{Mint, Standing};
    use crate::store::vaults::DEFAULT_ID;
    use crate::vault::scope::Role;

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
        let new = NewAgent {
            name: "bot",
            role: InstanceRole::NoAccess,
            created_by: &maker(),
            vaults: &vaults,
            warrant: None,
        };
        let first = store.create_agent(&new, start).unwrap().unwrap();
        let id = store.agent("bot", start).unwrap().unwrap().id;
        let agent = ActorRef { kind: ActorKind::Agent, id: id.clone() };
        let mint = Mint {
            vault_id: DEFAULT_ID,
            label: None,
            created_by: Some(&agent),
            life: Duration::from_secs(3600),
            warrant: None,
        };
        let minted = store.mint(&mint, start).unwrap().token;
        assert!(is_live(&store, &first, start) && is_live(&store, &minted, start));
        let rotate = |grace: Option<u64>, now| {
            let rotated = store.rotate_agent(&id, grace.map(Duration::from_secs), None, now).unwrap();
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
