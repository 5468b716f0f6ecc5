//! People who were asked to join: a link each, good once and for two days.

mod accept;

use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params};

use super::accounts::{self, InstanceRole};
use super::logins::NewToken;
use super::settings::Admission;
use super::{Error, Stale, Store, Timestamp, Warrant, fresh, warrant};
use crate::secret::Secret;
use crate::vault::scope::Role;
pub use accept::Acceptance;

/// How long a link is good (contract A.12).
const LIFE: Duration = Duration::from_secs(48 * 3600);

/// Invites that may wait for an answer at once (contract A.12).
const MAX_PENDING: u32 = 50;

/// What became of an invite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Pending,
    Accepted,
    Expired,
    Revoked,
}

/// An invite, without its link.
#[derive(Clone, Debug)]
pub struct Invite {
    pub id: String,
    pub email: String,
    pub role: InstanceRole,
    pub status: Status,
    pub created_by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    /// By name.
    pub vaults: Vec<InviteVault>,
}

/// A vault that comes with an invite.
#[derive(Clone, Debug)]
pub struct InviteVault {
    pub id: String,
    pub name: String,
    pub role: Role,
}

/// An invite to make.
#[derive(Debug)]
pub struct NewInvite<'a> {
    pub email: &'a str,
    pub role: InstanceRole,
    pub created_by: &'a str,
    pub vaults: &'a [InviteVault],
    /// Whose word it is on; `None` for the operator's own.
    pub warrant: Option<&'a Warrant>,
}

/// Why an address cannot be invited, in the order in which it is said (contract A.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hurdle {
    HasAccount,
    IsInvited,
    WrongDomain,
    TooManyPending,
}

impl Status {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "pending" => Self::Pending,
            "accepted" => Self::Accepted,
            "expired" => Self::Expired,
            "revoked" => Self::Revoked,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl ToSql for Status {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Status {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

impl Store {
    /// What stands in the way of inviting an address.
    pub fn invite_hurdle(
        &self,
        email: &str,
        admission: &Admission,
        now: Timestamp,
    ) -> Result<Option<Hurdle>, Error> {
        self.read(|connection| hurdle(connection, email, admission, now))
    }

    /// Makes an invite and its link's token, unless something came in the way.
    pub fn create_invite(
        &self,
        new: &NewInvite<'_>,
        admission: &Admission,
        now: Timestamp,
    ) -> Result<Result<NewToken, Hurdle>, Error> {
        self.change(Stale::Nothing, |transaction| {
            warrant::check(new.warrant, transaction, now)?;
            match hurdle(transaction, new.email, admission, now)? {
                Some(hurdle) => Ok(Err(hurdle)),
                None => insert(transaction, new, now).map(Ok),
            }
        })
    }

    /// Every invite, newest first.
    pub fn invites(&self, now: Timestamp) -> Result<Vec<Invite>, Error> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, email, role, status, created_by, created_at, expires_at
                 FROM user_invites ORDER BY created_at DESC, id",
            )?;
            let invites = statement.query_map([], |row| invite_from(row, now))?;
            let invites = invites.collect::<Result<Vec<_>, _>>()?;
            invites.into_iter().map(|invite| with_vaults(connection, invite)).collect()
        })
    }

    pub fn invite(&self, token: &Secret, now: Timestamp) -> Result<Option<Invite>, Error> {
        self.read(|connection| find(connection, token, now))
    }

    /// The invite that waits for an answer of this address.
    pub fn pending_invite(&self, email: &str, now: Timestamp) -> Result<Option<Invite>, Error> {
        self.read(|connection| {
            let invite = connection
                .prepare_cached(
                    "SELECT id, email, role, status, created_by, created_at, expires_at
                     FROM user_invites WHERE email = ?1 AND status = 'pending' AND expires_at >= ?2",
                )?
                .query_row((email, now), |row| invite_from(row, now))
                .optional()?;
            invite.map(|invite| with_vaults(connection, invite)).transpose()
        })
    }

    /// Ends a pending invite; whether it was one.
    pub fn revoke_invite(&self, id: &str, now: Timestamp) -> Result<bool, Error> {
        self.change(Stale::Nothing, |transaction| close(transaction, id, Status::Revoked, now))
    }

    /// Ends a pending invite and makes the same one again, with another link; `None` when it is not
    /// pending.
    pub fn reissue_invite(
        &self,
        invite: &Invite,
        warrant: Option<&Warrant>,
        now: Timestamp,
    ) -> Result<Option<NewToken>, Error> {
        self.change(Stale::Nothing, |transaction| {
            warrant::check(warrant, transaction, now)?;
            if !close(transaction, &invite.id, Status::Revoked, now)? {
                return Ok(None);
            }
            let Invite { email, role, created_by, .. } = invite;
            // Read again: one of the vaults may be gone since.
            let vaults = vaults_of(transaction, &invite.id)?;
            let new = NewInvite { email, role: *role, created_by, vaults: &vaults, warrant };
            insert(transaction, &new, now).map(Some)
        })
    }
}

/// What stands for a link's token where the token itself must not be kept.
pub fn link_id(token: &Secret) -> String {
    fresh::token_id(token)
}

fn hurdle(
    connection: &Connection,
    email: &str,
    admission: &Admission,
    now: Timestamp,
) -> Result<Option<Hurdle>, Error> {
    // One that nobody has proved is no obstacle: the link will prove it.
    if accounts::find(connection, email)?.is_some_and(|user| user.is_active) {
        return Ok(Some(Hurdle::HasAccount));
    }
    let (all, own): (u32, u32) = connection.query_row(
        "SELECT COUNT(*), COALESCE(SUM(CASE WHEN email = ?1 THEN 1 ELSE 0 END), 0)
         FROM user_invites WHERE status = 'pending' AND expires_at >= ?2",
        (email, now),
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    Ok(match (own, all) {
        (1.., _) => Some(Hurdle::IsInvited),
        _ if !admission.allows(email) => Some(Hurdle::WrongDomain),
        (_, MAX_PENDING..) => Some(Hurdle::TooManyPending),
        _ => None,
    })
}

fn insert(transaction: &Transaction<'_>, new: &NewInvite<'_>, now: Timestamp) -> Result<NewToken, Error> {
    let token = fresh::token(fresh::TokenKind::Invite)?;
    let (id, expires_at) = (fresh::uuid()?, now.plus(LIFE));
    transaction.execute(
        "INSERT INTO user_invites (id, token_hash, email, status, role, created_by, created_at, expires_at)
         VALUES (:id, :hash, :email, :status, :role, :by, :now, :expires)",
        named_params! {
            ":id": id,
            ":hash": fresh::token_id(&token),
            ":email": new.email,
            ":status": Status::Pending,
            ":role": new.role,
            ":by": new.created_by,
            ":now": now,
            ":expires": expires_at,
        },
    )?;
    for vault in new.vaults {
        transaction.execute(
            "INSERT INTO user_invite_vaults (user_invite_id, vault_id, vault_role) VALUES (?1, ?2, ?3)",
            (&id, &vault.id, vault.role),
        )?;
    }
    Ok(NewToken { token, expires_at })
}

/// Ends a pending invite in one way or the other; whether it was one.
fn close(transaction: &Transaction<'_>, id: &str, status: Status, now: Timestamp) -> Result<bool, Error> {
    let accepted_at = (status == Status::Accepted).then_some(now);
    let count = transaction.execute(
        "UPDATE user_invites SET status = ?2, accepted_at = ?3
         WHERE id = ?1 AND status = 'pending' AND expires_at >= ?4",
        (id, status, accepted_at, now),
    )?;
    Ok(count > 0)
}

fn find(connection: &Connection, token: &Secret, now: Timestamp) -> Result<Option<Invite>, Error> {
    let invite = connection
        .prepare_cached(
            "SELECT id, email, role, status, created_by, created_at, expires_at
             FROM user_invites WHERE token_hash = ?1",
        )?
        .query_row([fresh::token_id(token)], |row| invite_from(row, now))
        .optional()?;
    invite.map(|invite| with_vaults(connection, invite)).transpose()
}

fn with_vaults(connection: &Connection, invite: Invite) -> Result<Invite, Error> {
    Ok(Invite { vaults: vaults_of(connection, &invite.id)?, ..invite })
}

fn vaults_of(connection: &Connection, invite: &str) -> Result<Vec<InviteVault>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT v.id, v.name, i.vault_role
         FROM user_invite_vaults i JOIN vaults v ON v.id = i.vault_id
         WHERE i.user_invite_id = ?1 ORDER BY v.name",
    )?;
    let rows = statement.query_map([invite], |row| {
        Ok(InviteVault { id: row.get(0)?, name: row.get(1)?, role: row.get(2)? })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Nothing writes down that an invite has expired: the clock says so.
fn invite_from(row: &Row<'_>, now: Timestamp) -> rusqlite::Result<Invite> {
    let (stored, expires_at): (Status, Timestamp) = (row.get(3)?, row.get(6)?);
    let is_over = stored == Status::Pending && now > expires_at;
    Ok(Invite {
        id: row.get(0)?,
        email: row.get(1)?,
        role: row.get(2)?,
        status: if is_over { Status::Expired } else { stored },
        created_by: row.get(4)?,
        created_at: row.get(5)?,
        expires_at,
        vaults: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::password::PasswordHash;
    use crate::store::scratch;
    use crate::store::vaults::DEFAULT_ID;

    pub(super) const EMAIL: &str = "new@x.test";

    pub(super) fn invite(store: &Store, now: Timestamp) -> Secret {
        let vault = InviteVault { id: DEFAULT_ID.to_owned(), name: "default".to_owned(), role: Role::Member };
        let new = NewInvite {
            email: EMAIL,
            role: InstanceRole::NoAccess,
            created_by: "maker",
            vaults: &[vault],
            warrant: None,
        };
        store.create_invite(&new, &Admission::default(), now).unwrap().unwrap().token
    }

    pub(super) fn password() -> PasswordHash {
        PasswordHash::new(&Secret::from("password")).unwrap()
    }

    #[test]
    fn a_link_is_good_for_two_days_and_its_address_is_free_again_after_them() {
        let (_dir, store) = scratch();
        let start = Timestamp::now();
        let token = invite(&store, start);
        let end = start.plus(LIFE);
        let hurdle = |at| store.invite_hurdle(EMAIL, &Admission::default(), at).unwrap();
        assert_eq!(hurdle(end), Some(Hurdle::IsInvited));
        assert_eq!(store.members(DEFAULT_ID, end).unwrap().len(), 1);
        let late = end.plus(Duration::from_secs(1));
        assert_eq!(hurdle(late), None);
        assert!(store.members(DEFAULT_ID, late).unwrap().is_empty());
        assert_eq!(
            store.accept_invite(&token, Some(&password()), late).unwrap(),
            Acceptance::Closed(Status::Expired)
        );
        let expired = store.invite(&token, late).unwrap().unwrap();
        assert_eq!(expired.status, Status::Expired);
        assert!(store.reissue_invite(&expired, None, late).unwrap().is_none());
        assert!(!store.revoke_invite(&expired.id, late).unwrap());
        assert_eq!(store.accept_invite(&token, Some(&password()), end).unwrap(), Acceptance::Joined);
    }

    #[test]
    fn the_fifty_first_invite_waits() {
        let (_dir, store) = scratch();
        let now = Timestamp::now();
        let create = |email: &str| {
            let new = NewInvite {
                email,
                role: InstanceRole::Member,
                created_by: "maker",
                vaults: &[],
                warrant: None,
            };
            store.create_invite(&new, &Admission::default(), now).unwrap().err()
        };
        for number in 0..50 {
            assert_eq!(create(&format!("p{number}@x.test")), None);
        }
        assert_eq!(create("late@x.test"), Some(Hurdle::TooManyPending));
        assert_eq!(create("p7@x.test"), Some(Hurdle::IsInvited));
    }
}
