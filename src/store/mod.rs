//! What survives a restart: people, agents, vaults, sealed credentials.
//!
//! One SQLite file in WAL mode. Everything that changes state goes through one connection and one
//! transaction that is on disk before the call returns, so a crash loses nothing that was acknowledged.
//! The proxy's path reads memory: `directory` caches what tokens may do and each vault's rules, and
//! every change that bears on either drops what it made stale before it returns.
//! Credential values are sealed before they reach a statement; tokens are kept as hashes only.

pub mod accounts;
pub mod agents;
mod ca;
mod clock;
pub mod credentials;
mod directory;
mod fresh;
pub mod grants;
mod migrate;
pub mod oauth;
mod owners;
pub mod password;
pub mod request_logs;
pub mod seal;
pub mod sessions;
pub mod settings;
pub mod vaults;

use std::fmt;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::secret::Secret;
use crate::vault::oauth::TokenEndpoint;
pub use clock::Timestamp;
use directory::Caches;
use oauth::Flights;
use seal::{Protection, Seal};

const DATABASE: &str = "agent-vault.db";

/// How long a statement waits for another process's lock (contract C.1).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A store whose data key is not open yet.
pub struct Locked {
    dir: PathBuf,
    connection: Connection,
}

/// The open store.
pub struct Store {
    dir: PathBuf,
    seal: Seal,
    /// The one connection that writes; the control API reads through it too.
    main: Mutex<Connection>,
    /// Fills the caches, so that a proxy thread never waits behind a write.
    misses: Mutex<Connection>,
    caches: Caches,
    flights: Flights,
    token_endpoint: OnceLock<Box<dyn TokenEndpoint>>,
}

/// What a change makes stale.
#[derive(Clone, Copy)]
enum Stale<'a> {
    Nothing,
    /// Who may do what.
    Tokens,
    /// The rules of one vault.
    Vault(&'a str),
    /// A vault as a whole.
    Everything,
}

/// Why the store could not do what it was asked.
#[derive(Debug)]
pub enum Error {
    /// Random numbers or a cipher are not to be had.
    Crypto,
    /// What is stored breaks a rule the store keeps.
    Corrupt(&'static str),
    /// One of the root's two files is there and the other is not.
    HalfCa(PathBuf),
    Io {
        path: PathBuf,
        cause: io::Error,
    },
    /// The database was written by a newer program.
    NewerSchema {
        found: u32,
        known: u32,
    },
    PasswordNeeded,
    Sqlite(rusqlite::Error),
    /// A ciphertext does not open: changed, moved, or sealed under another key.
    Unsealable,
    WrongPassword,
}

impl Locked {
    /// Opens the database in `dir`, making both if needed, and brings its schema up to date.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        create_private_dir(dir)?;
        let path = dir.join(DATABASE);
        // SQLite gives its side files the mode of the main one, so this is the only place to set it.
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|cause| Error::Io { path: path.clone(), cause })?;
        let mut connection = connect(&path)?;
        migrate::run(&mut connection, Timestamp::now())?;
        Ok(Self { dir: dir.to_owned(), connection })
    }

    pub fn protection(&self) -> Result<Protection, Error> {
        seal::protection(&self.connection)
    }

    /// Opens the data key; on a fresh store the password given, or none, is the one it will have.
    pub fn unlock(self, password: Option<&Secret>) -> Result<Store, Error> {
        let seal = seal::unlock(&self.connection, password, Timestamp::now())?;
        let misses = connect(&self.dir.join(DATABASE))?;
        Ok(Store {
            dir: self.dir,
            seal,
            main: Mutex::new(self.connection),
            misses: Mutex::new(misses),
            caches: Caches::default(),
            flights: Flights::default(),
            token_endpoint: OnceLock::new(),
        })
    }
}

impl Store {
    /// Whether the data key lies in the clear.
    pub fn is_passwordless(&self) -> Result<bool, Error> {
        self.read(|connection| Ok(seal::protection(connection)? == Protection::Passwordless))
    }

    /// Runs a change as one transaction, then drops what it made stale.
    fn change<T>(
        &self,
        stale: Stale<'_>,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut connection = lock(&self.main);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let outcome = work(&transaction)?;
        transaction.commit()?;
        match stale {
            Stale::Nothing => {}
            Stale::Tokens => self.caches.forget_tokens(),
            Stale::Vault(id) => self.caches.forget_vault(id),
            Stale::Everything => self.caches.forget_all(),
        }
        Ok(outcome)
    }

    /// Runs a read on the control API's connection.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        work(&lock(&self.main))
    }
}

/// A poisoned lock guards a connection whose transaction was rolled back, so it is as good as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a directory, and those above it, that only its owner may enter. One that is there already keeps
/// its mode: it may be a mounted volume.
pub fn create_private_dir(dir: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|cause| Error::Io { path: dir.to_owned(), cause })
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Freed pages may hold a token's hash or an old ciphertext: they are overwritten.
    connection.pragma_update(None, "secure_delete", true)?;
    Ok(connection)
}

/// Whether a statement failed because a value that must be unique is there already.
fn is_duplicate(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
    let extended = error.sqlite_error().map(|error| error.extended_code);
    matches!(extended, Some(SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_UNIQUE))
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crypto => f.write_str("the system gives no random numbers"),
            Self::Corrupt(what) => write!(f, "the store is damaged: {what}"),
            Self::HalfCa(dir) => write!(
                f,
                "inconsistent CA state in {} (one of ca.crt.pem and ca.key.enc is missing)",
                dir.display()
            ),
            Self::Io { path, cause } => write!(f, "{}: {cause}", path.display()),
            Self::NewerSchema { found, known } => {
                write!(f, "the database has schema {found}, this program knows up to {known}")
            }
            Self::PasswordNeeded => f.write_str("the store is protected by a master password"),
            Self::Sqlite(error) => write!(f, "database: {error}"),
            Self::Unsealable => f.write_str("a sealed value does not open with this data key"),
            Self::WrongPassword => f.write_str("wrong master password"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { cause, .. } => Some(cause),
            Self::Sqlite(error) => Some(error),
            _ => None,
        }
    }
}

/// A store in a fresh directory, for unit tests.
#[cfg(test)]
pub(crate) fn scratch() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Locked::open(dir.path()).unwrap().unlock(None).unwrap();
    (dir, store)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_directory_and_its_files_are_private() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("state");
        let store = Locked::open(&dir).unwrap().unlock(None).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        for entry in std::fs::read_dir(&dir).unwrap() {
            assert_eq!(mode(&entry.unwrap().path()), 0o600);
        }
        drop(store);
    }

    #[test]
    fn a_wrong_password_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let open = |password: Option<&str>| {
            Locked::open(dir.path()).unwrap().unlock(password.map(Secret::from).as_ref())
        };
        drop(open(Some("right")).unwrap());
        assert!(matches!(open(Some("wrong")), Err(Error::WrongPassword)));
        assert!(matches!(open(None), Err(Error::PasswordNeeded)));
        assert!(open(Some("right")).is_ok());
    }
}
