//! What owners set for the whole instance: who may join, how much is allowed, how long logs are kept.

use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::retention;
use super::{Error, Stale, Store, Timestamp};
use crate::log_event;
use crate::rate::tiers as rates;

const DOMAINS: &str = "allowed_email_domains";
const INVITE_ONLY: &str = "invite_only";
const RATES: &str = "ratelimit_config";
const RETENTION: &str = "logs_retention";

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

/// Everything owners set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Instance {
    pub admission: Admission,
    pub rates: rates::Stored,
    pub retention: retention::Said,
}

impl Store {
    pub fn admission(&self) -> Result<Admission, Error> {
        self.read(read_admission)
    }

    pub fn instance(&self) -> Result<Instance, Error> {
        self.read(read_instance)
    }

    /// Lets `edit` change what is set, as one transaction; what it returns, and what is set then. Of two
    /// owners who change different things at the same time, neither undoes the other's.
    pub fn edit_instance<T>(
        &self,
        now: Timestamp,
        edit: impl FnOnce(&mut Instance) -> T,
    ) -> Result<(T, Instance), Error> {
        self.change(Stale::Settings, |transaction| {
            let mut instance = read_instance(transaction)?;
            let before = instance.clone();
            let outcome = edit(&mut instance);
            let Instance { admission, rates, retention } = &instance;
            if *admission != before.admission {
                write_setting(transaction, DOMAINS, &admission.allowed_email_domains, now)?;
                write_setting(transaction, INVITE_ONLY, &admission.invite_only, now)?;
            }
            if *rates != before.rates {
                write_setting(transaction, RATES, &rates.to_json(), now)?;
            }
            if *retention != before.retention {
                write_setting(transaction, RETENTION, retention, now)?;
            }
            Ok((outcome, instance))
        })
    }
}

fn read_admission(connection: &Connection) -> Result<Admission, Error> {
    Ok(Admission {
        allowed_email_domains: read_setting(connection, DOMAINS)?.unwrap_or_default(),
        invite_only: read_setting(connection, INVITE_ONLY)?.unwrap_or_default(),
    })
}

fn read_instance(connection: &Connection) -> Result<Instance, Error> {
    // Limits that another version stored and this one does not know do not keep a broker from starting.
    let rates = read_setting::<Value>(connection, RATES)?.map(|stored| {
        rates::Stored::from_json(&stored).unwrap_or_else(|| {
            log_event!(Warn, "stored rate limits are not understood; the profile's are used");
            rates::Stored::default()
        })
    });
    let retention = read_setting::<Value>(connection, RETENTION)?.map(|stored| {
        serde_json::from_value(stored).ok().filter(retention::Said::is_sensible).unwrap_or_else(|| {
            log_event!(Warn, "the stored retention of logs is not understood; the default is used");
            retention::Said::default()
        })
    });
    Ok(Instance {
        admission: read_admission(connection)?,
        rates: rates.unwrap_or_default(),
        retention: retention.unwrap_or_default(),
    })
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
    fn what_is_set_is_kept_and_nonsense_is_left_alone() {
        let (_dir, store) = scratch();
        assert_eq!(store.instance().unwrap(), Instance::default());
        let strict = Admission { allowed_email_domains: vec!["example.com".to_owned()], invite_only: true };
        let (old, new) = store
            .edit_instance(Timestamp::now(), |instance| {
                instance.rates.profile = Some(rates::Profile::Strict);
                instance.retention.max_rows_per_vault = Some(5);
                std::mem::replace(&mut instance.admission, strict.clone())
            })
            .unwrap();
        assert_eq!((old, &new.admission), (Admission::default(), &strict));
        assert_eq!(store.instance().unwrap(), new);
        assert_eq!(store.admission().unwrap(), strict);
        for (key, text) in [(RATES, r#"{"profile":"hot"}"#), (RETENTION, r#"{"max_age_hours":-1}"#)] {
            store
                .change(Stale::Nothing, |transaction| {
                    write_setting(
                        transaction,
                        key,
                        &serde_json::from_str::<Value>(text).unwrap(),
                        Timestamp::now(),
                    )
                })
                .unwrap();
        }
        assert_eq!(store.instance().unwrap(), Instance { admission: strict, ..Instance::default() });
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
