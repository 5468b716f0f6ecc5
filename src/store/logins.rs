//! Logins: the tokens people hold after they said who they are.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params};

use super::accounts::{self, User};
use super::sessions::Limits;
use super::{Error, Stale, Store, Timestamp, fresh};
use crate::secret::Secret;

/// A login ends a year after it began (contract B.3) …
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

/// … or thirty days after it was last used.
const IDLE_SECONDS: u32 = 30 * 24 * 3600;

/// Where a login comes from; shown to its owner, trusted for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Device<'a> {
    pub label: Option<&'a str>,
    pub ip: Option<&'a str>,
    pub user_agent: Option<&'a str>,
}

/// A token just made: the only moment its value is known.
#[derive(Debug)]
pub struct NewToken {
    pub token: Secret,
    pub expires_at: Timestamp,
}

/// A login as its owner sees it: never its value.
#[derive(Debug)]
pub struct Login {
    pub public_id: String,
    pub device_label: Option<String>,
    pub last_ip: Option<String>,
    pub last_user_agent: Option<String>,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    /// Whether it is the one the list was asked with.
    pub is_current: bool,
}

/// What came of ending one login.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// The one it was asked with.
    Current,
    Other,
    /// There is none of this id among the person's own.
    Unknown,
}

impl Store {
    /// Starts a login of somebody whose password was right when `user` was read; checking it takes long.
    /// `None` when the account has gone, or has got another password meanwhile: then every login was ended,
    /// and this one would be left over.
    pub fn create_login(
        &self,
        user: &User,
        device: Device<'_>,
        now: Timestamp,
    ) -> Result<Option<NewToken>, Error> {
        self.change(Stale::Nothing, |transaction| {
            let same = accounts::find(transaction, &user.email)?.filter(|found| {
                found.is_active && found.id == user.id && found.password.hash == user.password.hash
            });
            same.map(|user| start(transaction, &user.id, device, now)).transpose()
        })
    }

    /// A person's live logins, the most recently used first.
    pub fn logins(&self, user: &str, current: &Secret, now: Timestamp) -> Result<Vec<Login>, Error> {
        let current = fresh::token_id(current);
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT public_id, device_label, last_ip, last_user_agent, created_at, last_used_at, expires_at,
                     idle_ttl_seconds, id = :current
                 FROM sessions WHERE user_id = :user
                 ORDER BY COALESCE(last_used_at, created_at) DESC, created_at DESC, public_id",
            )?;
            let rows = statement.query_map(named_params! {":user": user, ":current": current}, login_from)?;
            let mut live = Vec::new();
            for row in rows {
                let (login, limits) = row?;
                if !limits.are_passed(now) {
                    live.push(login);
                }
            }
            Ok(live)
        })
    }

    /// Ends one of a person's logins.
    pub fn end_login(&self, user: &str, public_id: &str, current: &Secret) -> Result<Ended, Error> {
        let current = fresh::token_id(current);
        self.change(Stale::Tokens, |transaction| {
            let id: Option<String> = transaction
                .query_row(
                    "SELECT id FROM sessions WHERE user_id = ?1 AND public_id = ?2",
                    (user, public_id),
                    |row| row.get(0),
                )
                .optional()?;
            let Some(id) = id else { return Ok(Ended::Unknown) };
            transaction.execute("DELETE FROM sessions WHERE id = ?1", [&id])?;
            Ok(if id == current { Ended::Current } else { Ended::Other })
        })
    }
}

pub(super) fn start(
    transaction: &Transaction<'_>,
    user: &str,
    device: Device<'_>,
    now: Timestamp,
) -> Result<NewToken, Error> {
    let token = fresh::token(fresh::TokenKind::Session)?;
    let expires_at = now.plus(LIFE);
    transaction.execute(
        "INSERT INTO sessions (id, public_id, user_id, device_label, last_ip, last_user_agent, last_used_at,
             idle_ttl_seconds, expires_at, created_at)
         VALUES (:id, :public, :user, :label, :ip, :agent, :now, :idle, :expires, :now)",
        named_params! {
            ":id": fresh::token_id(&token),
            ":public": fresh::public_id()?,
            ":user": user,
            ":label": device.label,
            ":ip": device.ip,
            ":agent": device.user_agent,
            ":idle": IDLE_SECONDS,
            ":expires": expires_at,
            ":now": now,
        },
    )?;
    Ok(NewToken { token, expires_at })
}

/// Ends every login of a person; the scoped tokens the person minted live on (contract B.3).
pub(super) fn end_all(transaction: &Transaction<'_>, user: &str) -> Result<(), Error> {
    transaction.execute("DELETE FROM sessions WHERE user_id = ?1", [user])?;
    Ok(())
}

/// Whose login a token is, and what the login is called.
pub(super) fn whose(
    connection: &Connection,
    token: &Secret,
) -> Result<Option<(String, Option<String>)>, Error> {
    let found = connection
        .query_row(
            "SELECT user_id, device_label FROM sessions WHERE id = ?1 AND user_id IS NOT NULL",
            [fresh::token_id(token)],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?;
    Ok(found)
}

fn login_from(row: &Row<'_>) -> rusqlite::Result<(Login, Limits)> {
    let login = Login {
        public_id: row.get(0)?,
        device_label: row.get(1)?,
        last_ip: row.get(2)?,
        last_user_agent: row.get(3)?,
        created_at: row.get(4)?,
        last_used_at: row.get(5)?,
        expires_at: row.get(6)?,
        is_current: row.get(8)?,
    };
    let limits = Limits::new(login.expires_at, row.get(7)?, login.last_used_at);
    Ok((login, limits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::password::PasswordHash;
    use crate::store::scratch;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn owner(store: &Store, now: Timestamp) -> User {
        let hash = PasswordHash::new(&Secret::from("password")).unwrap();
        store.create_owner("a@b.c", &hash, now).unwrap();
        store.user_by_email("a@b.c").unwrap().unwrap()
    }

    /// Contract J 13.
    #[test]
    fn the_list_leaves_out_what_has_ended_and_starts_with_the_last_used() {
        let (_dir, store) = scratch();
        let start = Timestamp::now();
        let user = owner(&store, start);
        let login = |label, now| {
            let device = Device { label: Some(label), ..Device::default() };
            store.create_login(&user, device, now).unwrap().unwrap().token
        };
        let expired = login("expired", start);
        login("idle", start.plus(DAY * 330));
        let old = login("old", start.plus(DAY * 360));
        let new = login("new", start.plus(DAY * 362));
        // Kept in use to the end of its year, so that only its absolute limit ends it.
        for days in (20..=360).step_by(20) {
            store.standing(&expired, None, None, start.plus(DAY * days)).unwrap();
        }
        let now = start.plus(DAY * 366);
        store.standing(&old, None, None, now).unwrap();
        let listed = store.logins(&user.id, &new, now).unwrap();
        let shown: Vec<_> =
            listed.iter().map(|login| (login.device_label.as_deref(), login.is_current)).collect();
        assert_eq!(shown, [(Some("old"), false), (Some("new"), true)]);
        assert_eq!(listed[0].last_used_at, Some(now));
    }

    /// Contract J 14.
    #[test]
    fn a_login_is_ended_by_its_own_person_only() {
        let (_dir, store) = scratch();
        let now = Timestamp::now();
        let user = owner(&store, now);
        let mine = store.create_login(&user, Device::default(), now).unwrap().unwrap().token;
        let id = store.logins(&user.id, &mine, now).unwrap().remove(0).public_id;
        assert_eq!(store.end_login("somebody else", &id, &mine).unwrap(), Ended::Unknown);
        let other = store.create_login(&user, Device::default(), now).unwrap().unwrap().token;
        assert_eq!(store.end_login(&user.id, &id, &other).unwrap(), Ended::Other);
        assert_eq!(store.logins(&user.id, &other, now).unwrap().len(), 1);
    }

    #[test]
    fn a_password_that_was_changed_during_the_check_lets_nobody_in() {
        let (_dir, store) = scratch();
        let now = Timestamp::now();
        let user = owner(&store, now);
        let login = || store.create_login(&user, Device::default(), now).unwrap();
        let mine = login().unwrap().token;
        let other = PasswordHash::new(&Secret::from("another password")).unwrap();
        let changed = store.change_password(&mine, &other, Device::default(), now).unwrap().unwrap().token;
        assert!(login().is_none());
        assert_eq!(store.logins(&user.id, &changed, now).unwrap().len(), 1);
    }
}
