//! Six-digit codes that prove an address, and that a forgotten password is somebody's own.
//!
//! A code is kept as its SHA-256 together with the id of its row, so equal codes do not look equal. Few are
//! out at a time, they are good for minutes, and how often one may be guessed is counted by the API.

use std::time::Duration;

use rusqlite::{Connection, Transaction};

use super::{Error, Timestamp, fresh};
use crate::secret::Secret;

/// How long a code is good (contract A.6).
const LIFE: Duration = Duration::from_secs(15 * 60);

/// Codes that may be out for one address: more would only make guessing easier.
const MAX_PENDING: u32 = 3;

/// What a code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Verification,
    Reset,
}

impl Purpose {
    fn table(self) -> &'static str {
        match self {
            Self::Verification => "email_verifications",
            Self::Reset => "password_resets",
        }
    }

    /// What a code is called once it has served.
    fn spent(self) -> &'static str {
        match self {
            Self::Verification => "verified",
            Self::Reset => "used",
        }
    }
}

/// Makes a code; `None` when as many as may be are out. Codes past their time are swept away first.
pub(super) fn issue(
    transaction: &Transaction<'_>,
    purpose: Purpose,
    email: &str,
    now: Timestamp,
) -> Result<Option<Secret>, Error> {
    let table = purpose.table();
    transaction.execute(&format!("DELETE FROM {table} WHERE expires_at < ?1"), [now])?;
    let pending: u32 = transaction.query_row(
        &format!("SELECT COUNT(*) FROM {table} WHERE email = ?1 AND status = 'pending'"),
        [email],
        |row| row.get(0),
    )?;
    if pending >= MAX_PENDING {
        return Ok(None);
    }
    let (id, code) = (fresh::uuid()?, fresh::code()?);
    transaction.execute(
        &format!(
            "INSERT INTO {table} (id, email, code_hash, status, created_at, expires_at)
             VALUES (?1, ?2, ?3, 'pending', ?4, ?5)"
        ),
        (&id, email, hash(&id, &code), now, now.plus(LIFE)),
    )?;
    Ok(Some(code))
}

/// Whether the code is one of those that are out for this address. If it is, it is spent, and the others
/// with it.
pub(super) fn redeem(
    transaction: &Transaction<'_>,
    purpose: Purpose,
    email: &str,
    code: &Secret,
    now: Timestamp,
) -> Result<bool, Error> {
    let Some(id) = find(transaction, purpose, email, code, now)? else {
        return Ok(false);
    };
    transaction.execute(
        &format!(
            "UPDATE {} SET status = CASE WHEN id = ?2 THEN ?3 ELSE 'expired' END
             WHERE email = ?1 AND status = 'pending'",
            purpose.table()
        ),
        (email, id, purpose.spent()),
    )?;
    Ok(true)
}

/// The row of a code that is out; each candidate is compared, in constant time.
pub(super) fn find(
    connection: &Connection,
    purpose: Purpose,
    email: &str,
    code: &Secret,
    now: Timestamp,
) -> Result<Option<String>, Error> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT id, code_hash FROM {} WHERE email = ?1 AND status = 'pending' AND expires_at >= ?2",
        purpose.table()
    ))?;
    let rows = statement.query_map((email, now), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut found = None;
    for row in rows {
        let (id, kept): (String, String) = row?;
        if Secret::from(kept) == Secret::from(hash(&id, code)) {
            found = Some(id);
        }
    }
    Ok(found)
}

fn hash(id: &str, code: &Secret) -> String {
    fresh::token_id(&Secret::new([id.as_bytes(), b":", code.expose()].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Stale, Store, scratch};

    const EMAIL: &str = "a@b.c";

    fn made(store: &Store, purpose: Purpose, now: Timestamp) -> Option<Secret> {
        store.change(Stale::Nothing, |transaction| issue(transaction, purpose, EMAIL, now)).unwrap()
    }

    fn is_right(store: &Store, purpose: Purpose, code: &Secret, now: Timestamp) -> bool {
        store.change(Stale::Nothing, |transaction| redeem(transaction, purpose, EMAIL, code, now)).unwrap()
    }

    #[test]
    fn a_code_works_once_for_its_purpose_and_takes_the_others_with_it() {
        let (_dir, store) = scratch();
        let now = Timestamp::now();
        let first = made(&store, Purpose::Reset, now).unwrap();
        let second = made(&store, Purpose::Reset, now).unwrap();
        assert!(!is_right(&store, Purpose::Verification, &first, now));
        assert!(!is_right(&store, Purpose::Reset, &Secret::from("1234567"), now));
        assert!(is_right(&store, Purpose::Reset, &second, now));
        for spent in [&first, &second] {
            assert!(!is_right(&store, Purpose::Reset, spent, now));
        }
    }

    #[test]
    fn a_code_is_good_for_a_quarter_of_an_hour() {
        let (_dir, store) = scratch();
        let start = Timestamp::now();
        let late = start.plus(LIFE + Duration::from_secs(1));
        let code = made(&store, Purpose::Verification, start).unwrap();
        assert!(!is_right(&store, Purpose::Verification, &code, late));
        assert!(is_right(&store, Purpose::Verification, &code, start.plus(LIFE)));
    }

    #[test]
    fn three_are_out_at_most_until_they_are_past_their_time() {
        let (_dir, store) = scratch();
        let start = Timestamp::now();
        for _ in 0..3 {
            assert!(made(&store, Purpose::Reset, start).is_some());
        }
        assert!(made(&store, Purpose::Reset, start.plus(LIFE)).is_none());
        assert!(made(&store, Purpose::Verification, start).is_some());
        assert!(made(&store, Purpose::Reset, start.plus(LIFE + Duration::from_secs(1))).is_some());
    }
}
