//! People: their accounts, from the sign-up to the end.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params};

use super::grants::{self, ActorKind, ActorRef};
use super::logins::{self, Device, NewToken};
use super::password::{Cost, PasswordHash};
use super::{Error, Stale, Store, Timestamp, fresh, vaults};
use crate::secret::Secret;
use crate::vault::scope::Role;

/// What an account may do in the instance, in rising order (contract B.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstanceRole {
    NoAccess,
    Member,
    Owner,
}

/// A person's account.
#[derive(Debug)]
pub struct User {
    pub id: String,
    pub email: String,
    pub role: InstanceRole,
    pub password: PasswordHash,
    pub is_active: bool,
}

/// An account to make.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewUser<'a> {
    pub(super) email: &'a str,
    pub(super) password: &'a PasswordHash,
    pub(super) role: InstanceRole,
    pub(super) is_active: bool,
}

/// What came of a person's wish to be forgotten.
#[derive(Debug, PartialEq, Eq)]
pub enum Departure {
    Gone,
    /// Whoever owns the instance hands it over first.
    IsOwner,
}

impl InstanceRole {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "no-access" => Self::NoAccess,
            "member" => Self::Member,
            "owner" => Self::Owner,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoAccess => "no-access",
            Self::Member => "member",
            Self::Owner => "owner",
        }
    }
}

impl ToSql for InstanceRole {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for InstanceRole {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

impl Store {
    /// Whether anyone has an account; until then most of the API is closed.
    pub fn has_users(&self) -> Result<bool, Error> {
        self.read(has_users)
    }

    /// Makes the first account and logs it in. `None` when there is an account already, so of two racing
    /// first registrations one is told so.
    pub fn register_owner(
        &self,
        email: &str,
        password: &PasswordHash,
        device: Device<'_>,
        now: Timestamp,
    ) -> Result<Option<NewToken>, Error> {
        self.change(Stale::Nothing, |transaction| match insert_owner(transaction, email, password, now)? {
            Some(id) => logins::start(transaction, &id, device, now).map(Some),
            None => Ok(None),
        })
    }

    /// Makes the first account; nothing happens when there is one.
    pub fn create_owner(&self, email: &str, password: &PasswordHash, now: Timestamp) -> Result<(), Error> {
        self.change(Stale::Nothing, |transaction| insert_owner(transaction, email, password, now).map(drop))
    }

    pub fn user_by_email(&self, email: &str) -> Result<Option<User>, Error> {
        self.read(|connection| find(connection, email))
    }

    /// Deletes a person's account at the person's own wish, with logins, grants and minted tokens.
    pub fn delete_own_account(&self, user: &str) -> Result<Departure, Error> {
        self.change(Stale::Tokens, |transaction| {
            let role: Option<InstanceRole> = transaction
                .query_row("SELECT role FROM users WHERE id = ?1", [user], |row| row.get(0))
                .optional()?;
            if role == Some(InstanceRole::Owner) {
                return Ok(Departure::IsOwner);
            }
            erase(transaction, user)?;
            Ok(Departure::Gone)
        })
    }
}

/// Removes a person and everything that acts in the person's name, pending invites too: those the person
/// sent, and those the person could come back with.
pub(super) fn erase(transaction: &Transaction<'_>, user: &str) -> Result<(), Error> {
    transaction.execute("DELETE FROM sessions WHERE user_id = ?1 OR created_by_actor_id = ?1", [user])?;
    transaction.execute("DELETE FROM vault_grants WHERE actor_id = ?1", [user])?;
    let email = "(SELECT email FROM users WHERE id = ?1)";
    transaction.execute(
        &format!(
            "UPDATE user_invites SET status = 'revoked'
             WHERE status = 'pending' AND (created_by = ?1 OR email = {email})"
        ),
        [user],
    )?;
    transaction.execute(&format!("DELETE FROM email_verifications WHERE email = {email}"), [user])?;
    transaction.execute(&format!("DELETE FROM password_resets WHERE email = {email}"), [user])?;
    transaction.execute("DELETE FROM users WHERE id = ?1", [user])?;
    Ok(())
}

pub(super) fn find(connection: &Connection, email: &str) -> Result<Option<User>, Error> {
    let user = connection
        .prepare_cached(
            "SELECT id, email, role, password_hash, password_salt, kdf_time, kdf_memory, kdf_threads, is_active
             FROM users WHERE email = ?1",
        )?
        .query_row([email], user_from)
        .optional()?;
    Ok(user)
}

fn has_users(connection: &Connection) -> Result<bool, Error> {
    Ok(connection.query_row("SELECT EXISTS (SELECT 1 FROM users)", [], |row| row.get(0))?)
}

/// Inserts the first account: owner, active, admin of vault `default`. Its id, or `None` when there is
/// an account already.
fn insert_owner(
    transaction: &Transaction<'_>,
    email: &str,
    password: &PasswordHash,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    if has_users(transaction)? {
        return Ok(None);
    }
    let new = NewUser { email, password, role: InstanceRole::Owner, is_active: true };
    let owner = ActorRef { kind: ActorKind::User, id: insert_user(transaction, &new, now)? };
    grants::write_grant(transaction, &owner, vaults::DEFAULT_ID, Role::Admin, now)?;
    Ok(Some(owner.id))
}

/// Inserts an account; its id.
pub(super) fn insert_user(
    transaction: &Transaction<'_>,
    user: &NewUser<'_>,
    now: Timestamp,
) -> Result<String, Error> {
    let id = fresh::uuid()?;
    transaction.execute(
        "INSERT INTO users (id, email, password_hash, password_salt, kdf_time, kdf_memory, kdf_threads,
             role, is_active, created_at, updated_at)
         VALUES (:id, :email, :hash, :salt, :time, :memory, :threads, :role, :active, :now, :now)",
        named_params! {
            ":id": id,
            ":email": user.email,
            ":hash": user.password.hash.expose(),
            ":salt": user.password.salt,
            ":time": user.password.cost.time,
            ":memory": user.password.cost.memory_kib,
            ":threads": user.password.cost.threads,
            ":role": user.role,
            ":active": user.is_active,
            ":now": now,
        },
    )?;
    Ok(id)
}

fn user_from(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(0)?,
        email: row.get(1)?,
        role: row.get(2)?,
        password: PasswordHash {
            hash: Secret::new(row.get(3)?),
            salt: row.get(4)?,
            cost: Cost { time: row.get(5)?, memory_kib: row.get(6)?, threads: row.get(7)? },
        },
        is_active: row.get(8)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;

    #[test]
    fn only_the_first_registration_makes_an_owner() {
        let (_dir, store) = scratch();
        let hash = PasswordHash::new(&Secret::from("password")).unwrap();
        assert!(!store.has_users().unwrap());
        let now = Timestamp::now();
        let first = store.register_owner("a@b.c", &hash, Device::default(), now).unwrap();
        let second = store.register_owner("d@e.f", &hash, Device::default(), now).unwrap();
        assert!(first.is_some() && second.is_none());
        let owner = store.user_by_email("a@b.c").unwrap().unwrap();
        assert_eq!(owner.role, InstanceRole::Owner);
        assert!(owner.is_active && owner.password.matches(&Secret::from("password")).unwrap());
        assert!(store.user_by_email("d@e.f").unwrap().is_none());
    }
}
