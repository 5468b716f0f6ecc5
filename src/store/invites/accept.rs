//! Taking an invite up: what it gives, and to whom.
//!
//! The link proves the address it was sent to. An account of that address which nobody has proved may have
//! been begun by anyone, with a password of theirs; so it counts as none: whoever has the link sets the
//! password, and the one before opens nothing.

use rusqlite::Transaction;

use super::{Invite, Status, close, find};
use crate::secret::Secret;
use crate::store::accounts::{self, NewUser};
use crate::store::grants::{self, ActorKind, ActorRef};
use crate::store::password::PasswordHash;
use crate::store::recovery::set_password;
use crate::store::{Error, Stale, Store, Timestamp};

/// What came of taking up an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// There is an account that was not there, or not proved.
    Joined,
    /// An account that was there has the invite's vaults.
    Granted,
    /// There is no account yet, and no password for one.
    PasswordNeeded,
    /// The invite is not pending any more.
    Closed(Status),
    Unknown,
}

impl Store {
    /// Whether taking up an invite of this address makes an account, which needs a password.
    pub fn needs_account(&self, email: &str) -> Result<bool, Error> {
        Ok(self.user_by_email(email)?.is_none_or(|user| !user.is_active))
    }

    /// Takes an invite up. Of two who try at the same time one succeeds.
    pub fn accept_invite(
        &self,
        token: &Secret,
        password: Option<&PasswordHash>,
        now: Timestamp,
    ) -> Result<Acceptance, Error> {
        self.change(Stale::Tokens, |transaction| {
            let Some(invite) = find(transaction, token, now)? else {
                return Ok(Acceptance::Unknown);
            };
            if invite.status != Status::Pending {
                return Ok(Acceptance::Closed(invite.status));
            }
            let (id, acceptance) = match (accounts::find(transaction, &invite.email)?, password) {
                (Some(user), _) if user.is_active => (user.id, Acceptance::Granted),
                (_, None) => return Ok(Acceptance::PasswordNeeded),
                (Some(user), Some(password)) => {
                    prove(transaction, &user.id, &invite, password, now)?;
                    (user.id, Acceptance::Joined)
                }
                (None, Some(password)) => {
                    let Invite { email, role, .. } = &invite;
                    let new = NewUser { email, password, role: *role, is_active: true };
                    (accounts::insert_user(transaction, &new, now)?, Acceptance::Joined)
                }
            };
            let person = ActorRef { kind: ActorKind::User, id };
            for vault in &invite.vaults {
                // An invite adds: it takes no role from somebody who has a higher one by now.
                if grants::read_grant(transaction, &person.id, &vault.id)? < Some(vault.role) {
                    grants::write_grant(transaction, &person, &vault.id, vault.role, now)?;
                }
            }
            close(transaction, &invite.id, Status::Accepted, now)?;
            Ok(acceptance)
        })
    }
}

/// Gives an account that somebody began to whoever has proved its address, as the invite says.
fn prove(
    transaction: &Transaction<'_>,
    user: &str,
    invite: &Invite,
    password: &PasswordHash,
    now: Timestamp,
) -> Result<(), Error> {
    set_password(transaction, user, password, now)?;
    transaction.execute(
        "UPDATE users SET is_active = 1, role = ?2, updated_at = ?3 WHERE id = ?1",
        (user, invite.role, now),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{EMAIL, invite, password};
    use super::*;
    use crate::store::accounts::InstanceRole;
    use crate::store::scratch;
    use crate::store::vaults::DEFAULT_ID;
    use crate::vault::scope::Role;

    #[test]
    fn an_invite_takes_no_role_away() {
        let (_dir, store) = scratch();
        let now = Timestamp::now();
        let token = invite(&store, now);
        // The address got an account in the meantime: the first one, which is admin of `default`.
        store.create_owner(EMAIL, &password(), now).unwrap();
        assert_eq!(store.accept_invite(&token, None, now).unwrap(), Acceptance::Granted);
        let person = store.person_by_email(EMAIL).unwrap().unwrap();
        assert_eq!(person.role, InstanceRole::Owner);
        assert_eq!(store.grant(&person.id, DEFAULT_ID).unwrap(), Some(Role::Admin));
    }
}
