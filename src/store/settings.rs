//! What owners set for the whole instance: who may join.

use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Error, Stale, Store, Timestamp};

const DOMAINS: &str = "allowed_email_domains";
const INVITE_ONLY: &str = "invite_only";

/// Who may have an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Domains an address must be in, in lower case; none allows any.
    pub allowed_email_domains: Vec<String>,
    /// Whether only invited people may register.
    pub invite_only: bool,
}

impl Admission {
    /// Whether an address may have an account.
    pub fn allows(&self, email: &str) -> bool {
        let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
        self.allowed_email_domains.is_empty()
            || self.allowed_email_domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain))
    }
}

impl Store {
    pub fn admission(&self) -> Result<Admission, Error> {
        self.read(|connection| {
            Ok(Admission {
                allowed_email_domains: read_setting(connection, DOMAINS)?.unwrap_or_default(),
                invite_only: read_setting(connection, INVITE_ONLY)?.unwrap_or_default(),
            })
        })
    }

    pub fn set_admission(&self, admission: &Admission, now: Timestamp) -> Result<(), Error> {
        self.change(Stale::Nothing, |transaction| {
            write_setting(transaction, DOMAINS, &admission.allowed_email_domains, now)?;
            write_setting(transaction, INVITE_ONLY, &admission.invite_only, now)
        })
    }
}

/// A setting's value; each is stored as JSON.
pub(super) fn read_setting<T: DeserializeOwned>(
    connection: &Connection,
    key: &str,
) -> Result<Option<T>, Error> {
    let text: Option<String> = connection
        .prepare_cached("SELECT value FROM instance_settings WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()?;
    let Some(text) = text else { return Ok(None) };
    serde_json::from_str(&text).map(Some).map_err(|_| Error::Corrupt("a setting of the instance is not JSON"))
}

pub(super) fn write_setting<T: Serialize>(
    transaction: &Transaction<'_>,
    key: &str,
    value: &T,
    now: Timestamp,
) -> Result<(), Error> {
    let text = serde_json::to_string(value).map_err(|_| Error::Corrupt("a setting has no JSON form"))?;
    transaction.execute(
        "INSERT INTO instance_settings (key, value, updated_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at",
        (key, text, now),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;

    #[test]
    fn who_may_join_is_kept() {
        let (_dir, store) = scratch();
        assert_eq!(store.admission().unwrap(), Admission::default());
        let strict = Admission { allowed_email_domains: vec!["example.com".to_owned()], invite_only: true };
        store.set_admission(&strict, Timestamp::now()).unwrap();
        assert_eq!(store.admission().unwrap(), strict);
    }

    #[test]
    fn a_domain_is_compared_whole() {
        let only = Admission { allowed_email_domains: vec!["example.com".to_owned()], invite_only: false };
        for (email, is_allowed) in [
            ("a@example.com", true),
            ("a@EXAMPLE.com", true),
            ("a@x.example.com", false),
            ("a@notexample.com", false),
        ] {
            assert_eq!(only.allows(email), is_allowed, "{email}");
        }
        assert!(Admission::default().allows("a@b.c"));
    }
}
