//! Tokens: whose they are, and the scoped ones people and agents mint.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use super::accounts::InstanceRole;
use super::grants::{ActorKind, ActorRef};
use super::logins::NewToken;
use super::uses::NOTE_EVERY;
use super::{Error, Stale, Store, Timestamp, Warrant, fresh, warrant};
use crate::secret::Secret;
use crate::vault::scope::Role;

/// What a token turned out to be.
#[derive(Debug)]
pub enum Standing {
    Unknown,
    Expired,
    Live(Holder),
}

/// Who holds a live token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    User { id: String, email: String, role: InstanceRole },
    Agent { id: String, name: String, role: InstanceRole },
    Scoped { token_id: String, vault_id: String, vault_name: String, role: Role, minted_by: Option<ActorRef> },
}

/// A scoped token as its list shows it: never its value.
#[derive(Debug)]
pub struct Minted {
    pub public_id: String,
    pub label: Option<String>,
    pub role: Role,
    pub created_by: Option<(ActorRef, String)>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// A token to mint.
#[derive(Debug)]
pub struct Mint<'a> {
    pub vault_id: &'a str,
    pub label: Option<&'a str>,
    pub created_by: Option<&'a ActorRef>,
    pub life: Duration,
    /// Whose word it is on; `None` for the operator's own.
    pub warrant: Option<&'a Warrant>,
}

/// A token's row, joined with whom it stands for.
pub(super) struct TokenRow {
    pub(super) holder: Holder,
    pub(super) limits: Limits,
}

/// How long a token is good.
pub(super) struct Limits {
    pub(super) expires_at: Option<Timestamp>,
    idle: Option<Duration>,
    pub(super) last_used_at: Option<Timestamp>,
}

impl Limits {
    pub(super) fn new(
        expires_at: Option<Timestamp>,
        idle_seconds: Option<u32>,
        last_used_at: Option<Timestamp>,
    ) -> Self {
        let idle = idle_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        Self { expires_at, idle, last_used_at }
    }

    /// Past the absolute limit, or idle beyond the idle one (contract B.3).
    pub(super) fn are_passed(&self, now: Timestamp) -> bool {
        let is_idle = match (self.last_used_at, self.idle) {
            (Some(last), Some(limit)) => now > last.plus(limit),
            _ => false,
        };
        is_idle || self.expires_at.is_some_and(|end| now > end)
    }
}

impl Store {
    /// Whose token this is, for the control API. Its use is noted, at most once a minute: a login's at once,
    /// with where it came from, since its idle limit depends on it; any other's when there is time.
    pub fn standing(
        &self,
        token: &Secret,
        ip: Option<&str>,
        user_agent: Option<&str>,
        now: Timestamp,
    ) -> Result<Standing, Error> {
        let id = fresh::token_id(token);
        let Some(row) = self.read(|connection| find(connection, &id))? else {
            return Ok(Standing::Unknown);
        };
        if row.limits.are_passed(now) {
            return Ok(Standing::Expired);
        }
        let last = self.uses.latest(&id, row.limits.last_used_at);
        if last.is_none_or(|last| now > last.plus(NOTE_EVERY)) {
            match row.holder {
                Holder::Agent { .. } | Holder::Scoped { .. } => self.uses.note(&id, now),
                Holder::User { .. } => match self.touch(&id, ip, user_agent, now) {
                    // A note that finds no room is no reason to turn its owner away.
                    Err(error) if error.trouble().is_some() => {
                        crate::log_event!(Warn, "use of a login not noted", err = error);
                    }
                    noted => noted?,
                },
            }
        }
        Ok(Standing::Live(row.holder))
    }

    /// Writes a login's last use. Of calls at the same time one writes: the others find it written.
    fn touch(&self, id: &str, ip: Option<&str>, agent: Option<&str>, now: Timestamp) -> Result<(), Error> {
        self.change(Stale::Nothing, |transaction| {
            transaction.execute(
                "UPDATE sessions SET last_used_at = :now, last_ip = COALESCE(NULLIF(:ip, ''), last_ip),
                     last_user_agent = COALESCE(NULLIF(:agent, ''), last_user_agent)
                 WHERE id = :id AND (last_used_at IS NULL OR last_used_at < :before)",
                named_params! {
                    ":id": id,
                    ":ip": ip,
                    ":agent": agent,
                    ":now": now,
                    ":before": now.minus(NOTE_EVERY),
                },
            )?;
            Ok(())
        })
    }

    /// Ends what the token stands for, whatever it is; nothing happens when it is unknown.
    pub fn end_session(&self, token: &Secret) -> Result<(), Error> {
        self.change(Stale::Tokens, |transaction| {
            transaction.execute("DELETE FROM sessions WHERE id = ?1", [fresh::token_id(token)])?;
            Ok(())
        })
    }

    /// Mints a scoped token. Its role is always `proxy` (contract A.5).
    pub fn mint(&self, mint: &Mint<'_>, now: Timestamp) -> Result<NewToken, Error> {
        let token = fresh::token(fresh::TokenKind::Session)?;
        let expires_at = now.plus(mint.life);
        self.change(Stale::Nothing, |transaction| {
            warrant::check(mint.warrant, transaction, now)?;
            transaction.execute(
                "INSERT INTO sessions (id, public_id, vault_id, vault_role, label, created_by_actor_id,
                     created_by_actor_type, expires_at, created_at)
                 VALUES (:id, :public, :vault, :role, :label, :by, :by_kind, :expires, :now)",
                named_params! {
                    ":id": fresh::token_id(&token),
                    ":public": fresh::public_id()?,
                    ":vault": mint.vault_id,
                    ":role": Role::Proxy,
                    ":label": mint.label,
                    ":by": mint.created_by.map(|actor| &actor.id),
                    ":by_kind": mint.created_by.map(|actor| actor.kind),
                    ":expires": expires_at,
                    ":now": now,
                },
            )?;
            Ok(())
        })?;
        Ok(NewToken { token, expires_at })
    }

    /// A vault's live scoped tokens, newest first.
    pub fn minted(&self, vault_id: &str, now: Timestamp) -> Result<Vec<Minted>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT s.public_id, s.label, s.vault_role, s.created_by_actor_type, s.created_by_actor_id,
                     COALESCE(u.email, a.name, s.created_by_actor_id), s.created_at, s.expires_at
                 FROM sessions s
                     LEFT JOIN users u ON u.id = s.created_by_actor_id
                     LEFT JOIN agents a ON a.id = s.created_by_actor_id
                 WHERE s.vault_id = ?1 AND s.expires_at >= ?2
                 ORDER BY s.created_at DESC, s.public_id",
            )?;
            let rows = statement.query_map((vault_id, now), minted_from)?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Ends a scoped token of this vault; whether there was one.
    pub fn revoke_minted(&self, vault_id: &str, public_id: &str) -> Result<bool, Error> {
        self.change(Stale::Tokens, |transaction| {
            let count = transaction.execute(
                "DELETE FROM sessions WHERE public_id = ?1 AND vault_id = ?2",
                (public_id, vault_id),
            )?;
            Ok(count > 0)
        })
    }
}

/// Finds a token by its hash. Inactive people and revoked agents hold none.
pub(super) fn find(connection: &Connection, id: &str) -> Result<Option<TokenRow>, Error> {
    let row = connection
        .prepare_cached(
            "SELECT s.expires_at, s.idle_ttl_seconds, s.last_used_at, s.vault_id, v.name, s.vault_role,
                 s.created_by_actor_type, s.created_by_actor_id, u.id, u.email, u.role, a.id, a.name, a.role
             FROM sessions s
                 LEFT JOIN vaults v ON v.id = s.vault_id
                 LEFT JOIN users u ON u.id = s.user_id AND u.is_active = 1
                 LEFT JOIN agents a ON a.id = s.agent_id AND a.status = 'active'
             WHERE s.id = ?1",
        )?
        .query_row([id], |row| {
            let Some(holder) = holder_from(id, row)? else {
                return Ok(None);
            };
            Ok(Some(TokenRow { holder, limits: Limits::new(row.get(0)?, row.get(1)?, row.get(2)?) }))
        })
        .optional()?;
    Ok(row.flatten())
}

fn holder_from(id: &str, row: &Row<'_>) -> rusqlite::Result<Option<Holder>> {
    if let Some(vault_name) = row.get::<_, Option<String>>(4)? {
        return Ok(Some(Holder::Scoped {
            token_id: id.to_owned(),
            vault_id: row.get(3)?,
            vault_name,
            role: row.get(5)?,
            minted_by: actor_from(row, 6)?,
        }));
    }
    if let Some(user) = row.get::<_, Option<String>>(8)? {
        return Ok(Some(Holder::User { id: user, email: row.get(9)?, role: row.get(10)? }));
    }
    if let Some(agent) = row.get::<_, Option<String>>(11)? {
        return Ok(Some(Holder::Agent { id: agent, name: row.get(12)?, role: row.get(13)? }));
    }
    Ok(None)
}

/// Reads an actor from two columns: its kind, then its id.
fn actor_from(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<ActorRef>> {
    let kind: Option<ActorKind> = row.get(at)?;
    let id: Option<String> = row.get(at + 1)?;
    Ok(kind.zip(id).map(|(kind, id)| ActorRef { kind, id }))
}

fn minted_from(row: &Row<'_>) -> rusqlite::Result<Minted> {
    let created_by = match actor_from(row, 3)? {
        Some(actor) => Some((actor, row.get(5)?)),
        None => None,
    };
    Ok(Minted {
        public_id: row.get(0)?,
        label: row.get(1)?,
        role: row.get(2)?,
        created_by,
        created_at: row.get(6)?,
        expires_at: row.get(7)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::logins::Device;
    use crate::store::password::PasswordHash;
    use crate::store::scratch;

    const HOUR: Duration = Duration::from_secs(3600);

    fn login(store: &Store, now: Timestamp) -> Secret {
        let hash = PasswordHash::new(&Secret::from("password")).unwrap();
        let device = Device { label: Some("laptop"), ip: Some("1.1.1.1"), user_agent: Some("first") };
        store.register_owner("a@b.c", &hash, device, now).unwrap().unwrap().token
    }

    fn is_live(store: &Store, token: &Secret, now: Timestamp) -> bool {
        matches!(store.standing(token, None, None, now).unwrap(), Standing::Live(_))
    }

    /// Contract J 12.
    #[test]
    fn a_login_idles_out_and_ends_after_a_year() {
        let (_dir, store) = scratch();
        let start = Timestamp::now();
        let token = login(&store, start);
        let idle = start.plus(HOUR * 24 * 30 + Duration::from_secs(1));
        assert!(matches!(store.standing(&token, None, None, idle).unwrap(), Standing::Expired));
        // Used every twenty days it lives, but not beyond its year.
        for days in (20..=360).step_by(20) {
            assert!(is_live(&store, &token, start.plus(HOUR * 24 * days)), "day {days}");
        }
        assert!(!is_live(&store, &token, start.plus(HOUR * 24 * 366)));
        assert!(matches!(store.standing(&Secret::from("x"), None, None, start).unwrap(), Standing::Unknown));
    }

    /// Contract J 15.
    #[test]
    fn a_use_is_noted_once_a_minute_and_never_with_less() {
        let (_dir, store) = scratch();
        let start = Timestamp::now();
        let token = login(&store, start);
        let seen = || -> (String, String, Timestamp) {
            store
                .read(|connection| {
                    let sql = "SELECT last_ip, last_user_agent, last_used_at FROM sessions";
                    Ok(connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?)
                })
                .unwrap()
        };
        let visit = |ip, agent, seconds| {
            let now = start.plus(Duration::from_secs(seconds));
            assert!(matches!(store.standing(&token, ip, agent, now).unwrap(), Standing::Live(_)));
        };
        visit(Some("2.2.2.2"), Some("second"), 60);
        assert_eq!(seen(), ("1.1.1.1".to_owned(), "first".to_owned(), start));
        visit(Some("3.3.3.3"), None, 61);
        let noted = start.plus(Duration::from_secs(61));
        assert_eq!(seen(), ("3.3.3.3".to_owned(), "first".to_owned(), noted));
        visit(Some(""), Some(""), 122);
        let noted = start.plus(Duration::from_secs(122));
        assert_eq!(seen(), ("3.3.3.3".to_owned(), "first".to_owned(), noted));
        visit(Some("4.4.4.4"), Some("second"), 183);
        let noted = start.plus(Duration::from_secs(183));
        assert_eq!(seen(), ("4.4.4.4".to_owned(), "second".to_owned(), noted));
    }

    /// Contract J 12: rows that predate the idle limit have none.
    #[test]
    fn a_login_without_an_idle_limit_does_not_idle_out() {
        let (_dir, store) = scratch();
        let start = Timestamp::now();
        let token = login(&store, start);
        store
            .change(Stale::Nothing, |transaction| {
                transaction.execute("UPDATE sessions SET idle_ttl_seconds = NULL", [])?;
                Ok(())
            })
            .unwrap();
        assert!(is_live(&store, &token, start.plus(HOUR * 24 * 200)));
    }
}
