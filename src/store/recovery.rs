//! New passwords: chosen by whoever knows the old one, or regained with a code.
//!
//! Either way every login of the person ends in the same transaction, and one begins.

use rusqlite::{Transaction, named_params};

use super::accounts;
use super::codes::{self, Purpose};
use super::logins::{self, Device, NewToken};
use super::password::PasswordHash;
use super::{Error, Stale, Store, Timestamp};
use crate::secret::Secret;

/// What came of a wish for a code.
#[derive(Debug)]
pub enum ResetCode {
    For(Secret),
    /// The address is nobody's. Its code is counted like any other and told to no one.
    ForNobody,
    /// So many are out that no other is made.
    TooMany,
}

/// A password to be set with a code.
#[derive(Debug)]
pub struct Reset<'a> {
    pub email: &'a str,
    pub code: &'a Secret,
    pub password: &'a PasswordHash,
}

impl Store {
    /// Makes a code that opens the way to a new password. The code is made whether the address is anyone's
    /// or not, so that neither limits nor waiting times tell which.
    pub fn forget_password(&self, email: &str, now: Timestamp) -> Result<ResetCode, Error> {
        self.change(Stale::Nothing, |transaction| {
            let Some(code) = codes::issue(transaction, Purpose::Reset, email, now)? else {
                return Ok(ResetCode::TooMany);
            };
            let has_owner = accounts::find(transaction, email)?.is_some_and(|user| user.is_active);
            Ok(if has_owner { ResetCode::For(code) } else { ResetCode::ForNobody })
        })
    }

    /// Whether this code would open the way now.
    pub fn is_reset_code(&self, email: &str, code: &Secret, now: Timestamp) -> Result<bool, Error> {
        self.read(|connection| Ok(codes::find(connection, Purpose::Reset, email, code, now)?.is_some()))
    }

    /// Sets a new password with a code, ends every login and starts one. `None` when the code is not right.
    pub fn reset_password(
        &self,
        reset: &Reset<'_>,
        device: Device<'_>,
        now: Timestamp,
    ) -> Result<Option<NewToken>, Error> {
        self.change(Stale::Tokens, |transaction| {
            let Some(user) = accounts::find(transaction, reset.email)?.filter(|user| user.is_active) else {
                return Ok(None);
            };
            if !codes::redeem(transaction, Purpose::Reset, reset.email, reset.code, now)? {
                return Ok(None);
            }
            set_password(transaction, &user.id, reset.password, now)?;
            logins::end_all(transaction, &user.id)?;
            logins::start(transaction, &user.id, device, now).map(Some)
        })
    }

    /// Sets a new password, ends every login and starts one that is called what the current one was. `None`
    /// when the current one has ended meanwhile.
    pub fn change_password(
        &self,
        current: &Secret,
        password: &PasswordHash,
        device: Device<'_>,
        now: Timestamp,
    ) -> Result<Option<NewToken>, Error> {
        self.change(Stale::Tokens, |transaction| {
            let Some((user, label)) = logins::whose(transaction, current)? else {
                return Ok(None);
            };
            set_password(transaction, &user, password, now)?;
            logins::end_all(transaction, &user)?;
            let device = Device { label: label.as_deref(), ..device };
            logins::start(transaction, &user, device, now).map(Some)
        })
    }
}

pub(super) fn set_password(
    transaction: &Transaction<'_>,
    user: &str,
    password: &PasswordHash,
    now: Timestamp,
) -> Result<(), Error> {
    transaction.execute(
        "UPDATE users SET password_hash = :hash, password_salt = :salt, kdf_time = :time,
             kdf_memory = :memory, kdf_threads = :threads, updated_at = :now
         WHERE id = :id",
        named_params! {
            ":id": user,
            ":hash": password.hash.expose(),
            ":salt": password.salt,
            ":time": password.cost.time,
            ":memory": password.cost.memory_kib,
            ":threads": password.cost.threads,
            ":now": now,
        },
    )?;
    Ok(())
}
