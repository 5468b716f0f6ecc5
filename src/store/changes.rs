//! Telling other brokers on the same state what has become stale.
//!
//! Each change that makes something stale writes down its topic with the next number, in its own
//! transaction. A broker remembers up to which number it knows, asks now and then what lies above it, and
//! drops what it holds of those topics. Only the last number of a topic matters, so there is one row per
//! topic and nothing to prune: as many rows as vaults changed since one was last deleted, and four more.
//!
//! SQLite has a cheaper question to ask first: whether any other connection has committed anything. It is
//! a hint; without it the operation is the same.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rusqlite::{Connection, Transaction};

use super::later::Later;
use super::{Error, Stale, Store, lock};

const COUNT: &str = "count";
const SETTINGS: &str = "settings";
const TOKENS: &str = "tokens";
const EVERYTHING: &str = "everything";
/// In front of a vault's id.
const VAULT: &str = "vault/";

/// The connection that asks, and the engine's hint as it was last seen.
pub(super) struct Watch {
    connection: Later,
    version: Mutex<Option<i64>>,
}

/// The number up to which this process knows every change.
pub(super) struct Mark(AtomicI64);

impl Watch {
    pub(super) fn new(database: PathBuf) -> Self {
        // Who asks serves connections as well: rather another look in a second than a wait.
        let connection = Later::new(database, |connection| Ok(connection.busy_timeout(Duration::ZERO)?));
        Self { connection, version: Mutex::new(None) }
    }
}

impl Mark {
    /// To be read before anything is cached.
    pub(super) fn read(connection: &Connection) -> Result<Self, Error> {
        let number =
            connection.query_row("SELECT number FROM changes WHERE topic = ?1", [COUNT], |row| row.get(0))?;
        Ok(Self(AtomicI64::new(number)))
    }

    /// A change of our own is known, unless one of others came between: then the next look finds both.
    pub(super) fn pass(&self, own: Option<i64>) {
        if let Some(number) = own {
            // Not the next number: that is the case just named.
            let _other = self.0.compare_exchange(number - 1, number, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

/// Writes down what a change makes stale; the change's number.
pub(super) fn note(transaction: &Transaction<'_>, stale: Stale<'_>) -> Result<Option<i64>, Error> {
    let vault;
    let topic = match stale {
        Stale::Nothing => return Ok(None),
        Stale::Settings => SETTINGS,
        Stale::Tokens => TOKENS,
        Stale::Vault(id) => {
            vault = format!("{VAULT}{id}");
            &vault
        }
        Stale::Everything => {
            // What is above every other number says all that they say.
            transaction.execute("DELETE FROM changes WHERE topic <> ?1", [COUNT])?;
            EVERYTHING
        }
    };
    let number: i64 = transaction
        .prepare_cached("UPDATE changes SET number = number + 1 WHERE topic = ?1 RETURNING number")?
        .query_row([COUNT], |row| row.get(0))?;
    transaction
        .prepare_cached(
            "INSERT INTO changes (topic, number) VALUES (?1, ?2)
             ON CONFLICT (topic) DO UPDATE SET number = excluded.number",
        )?
        .execute((topic, number))?;
    Ok(Some(number))
}

impl Store {
    /// Drops what changes of other processes made stale; whether there were any, so that what owners set may
    /// have to be read again. Cheap when there were
    /// none, so it may be asked every second; it waits for nobody.
    pub fn catch_up(&self) -> Result<bool, Error> {
        let mut seen = lock(&self.watch.version);
        self.watch.connection.with(|connection| {
            let version =
                connection.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).map(Some)?;
            if version == *seen {
                return Ok(false);
            }
            let known = self.mark.0.load(Ordering::Acquire);
            let mut latest = known;
            let mut statement = connection
                .prepare_cached("SELECT topic, number FROM changes WHERE number > ?1 ORDER BY number")?;
            let mut rows = statement.query([known])?;
            while let Some(row) = rows.next()? {
                self.forget(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?);
                latest = row.get(1)?;
            }
            self.mark.0.fetch_max(latest, Ordering::AcqRel);
            *seen = version;
            Ok(latest > known)
        })
    }

    /// A topic of a newer program is unknown here, and everything is the safe answer.
    fn forget(&self, topic: &str) {
        match topic.strip_prefix(VAULT) {
            Some(id) => self.caches.forget_vault(id),
            None if topic == TOKENS => self.caches.forget_tokens(),
            // Nothing of them is held here; whoever caught up reads them again.
            None if topic == COUNT || topic == SETTINGS => {}
            None => self.caches.forget_all(),
        }
    }
}
