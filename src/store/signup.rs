//! How people beyond the first get an account: it begins inactive, and a code proves the address.

use super::accounts::{self, InstanceRole, NewUser};
use super::codes::{self, Purpose};
use super::logins::{self, Device, NewToken};
use super::password::PasswordHash;
use super::{Error, Stale, Store, Timestamp};
use crate::secret::Secret;

/// What came of a sign-up.
#[derive(Debug)]
pub enum SignUp {
    /// The account waits for this code.
    AwaitsCode(Secret),
    /// Somebody uses this address already; nothing was changed.
    IsActive,
    /// So many codes are out that no other is made.
    TooManyCodes,
}

/// What came of a code that was to prove an address.
#[derive(Debug)]
pub enum Verification {
    Proved(NewToken),
    WrongCode,
    IsActive,
    NoAccount,
}

impl Store {
    /// Begins an account that a code has to prove. The password of one that has begun before stays as it
    /// is: whoever comes second must not choose what the first one's code will open.
    pub fn sign_up(&self, email: &str, password: &PasswordHash, now: Timestamp) -> Result<SignUp, Error> {
        self.change(Stale::Nothing, |transaction| {
            match accounts::find(transaction, email)? {
                Some(user) if user.is_active => return Ok(SignUp::IsActive),
                Some(_) => {}
                None => {
                    let role = InstanceRole::Member;
                    accounts::insert_user(
                        transaction,
                        &NewUser { email, password, role, is_active: false },
                        now,
                    )?;
                }
            }
            let code = codes::issue(transaction, Purpose::Verification, email, now)?;
            Ok(code.map_or(SignUp::TooManyCodes, SignUp::AwaitsCode))
        })
    }

    /// Makes another code for an account that waits for one. `None` when none is made: nobody waits, or so
    /// many are out already.
    pub fn renew_code(&self, email: &str, now: Timestamp) -> Result<Option<Secret>, Error> {
        self.change(Stale::Nothing, |transaction| match accounts::find(transaction, email)? {
            Some(user) if !user.is_active => codes::issue(transaction, Purpose::Verification, email, now),
            _ => Ok(None),
        })
    }

    /// Opens the account that waits for this code, and logs its owner in.
    pub fn verify(
        &self,
        email: &str,
        code: &Secret,
        device: Device<'_>,
        now: Timestamp,
    ) -> Result<Verification, Error> {
        self.change(Stale::Nothing, |transaction| {
            let user = match accounts::find(transaction, email)? {
                None => return Ok(Verification::NoAccount),
                Some(user) if user.is_active => return Ok(Verification::IsActive),
                Some(user) => user,
            };
            if !codes::redeem(transaction, Purpose::Verification, email, code, now)? {
                return Ok(Verification::WrongCode);
            }
            transaction
                .execute("UPDATE users SET is_active = 1, updated_at = ?2 WHERE id = ?1", (&user.id, now))?;
            logins::start(transaction, &user.id, device, now).map(Verification::Proved)
        })
    }
}
