//! What survives a restart: people, agents, vaults, sealed credentials.
//!
//! Credential values are sealed before they reach a statement; tokens are kept as hashes only. The proxy's
//! path reads memory: `directory` caches what tokens may do and each vault's rules, and every change that
//! bears on either drops what it made stale before it returns.
//!
//! # What an engine keeps
//!
//! The engine here is one SQLite file in WAL mode. Any engine in its place has to keep these, and
//! `tests/store.rs` holds it to them through [`Store`]'s operations, without a statement of its own:
//!
//! 1. **Durable.** A change that has returned is there after a crash at any later moment; one that has
//!    failed, or that a crash cut off, has left nothing behind.
//! 2. **Whole.** Each change is one transaction that no other change can come between: the first account
//!    with its grant and login; an agent with its grants and token; a vault with its maker's grant; a
//!    proposal with its sealed values; a proposal's application with everything it applies; a password's
//!    reset with the end of its logins; an edit of services between its read and its write.
//! 3. **Unique.** Names of vaults and agents, addresses of accounts, a key in its vault, one data key: of
//!    two racing makers one is told that it is there. The data key that was stored first stays.
//! 4. **Gone with its owner.** What belongs to a vault goes with it, tokens go with whom they stand for.
//! 5. **Numbers are never given twice**: those of request log rows are cursors, also after deletions.
//! 6. **Told.** A change that makes something stale is found by [`Store::catch_up`] of every other
//!    process, in the order of commits, and by its own process at once.
//! 7. **Bounded.** A change waits for others' locks for seconds and then fails with [`Error::Busy`] or its
//!    engine's word for it; a look never waits for a change.
//!
//! Statements keep to what SQLite and Postgres both understand; `tests/portable_sql.rs` lists what is not
//! to be used, and the exceptions with their reasons.

pub mod accounts;
pub mod agents;
pub mod backup;
mod ca;
mod caches;
mod changes;
mod clock;
mod codes;
pub mod credentials;
mod directory;
mod error;
mod fresh;
pub mod grants;
pub mod hosts;
pub mod invites;
mod later;
pub mod logins;
pub mod members;
mod migrate;
pub mod oauth;
#[cfg(test)]
mod older;
mod owners;
pub mod password;
pub mod proposals;
pub mod recovery;
pub mod request_logs;
pub mod retention;
pub mod rotation;
pub mod seal;
pub mod sessions;
pub mod settings;
pub mod signup;
pub mod users;
mod uses;
pub mod vaults;
mod warrant;
mod writer;

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::secret::Secret;
use crate::vault::oauth::TokenEndpoint;
use caches::Caches;
use changes::{Mark, Watch};
pub use clock::Timestamp;
pub use error::{Error, Trouble};
use later::Later;
use oauth::Flights;
use seal::{Protection, Seal};
use uses::Uses;
pub use warrant::Warrant;
use writer::Writer;

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
    writer: Writer,
    /// What the control API reads through, so that a look never waits behind a write.
    reader: Mutex<Connection>,
    /// Fills the caches, so that a proxy thread never waits behind a write.
    misses: Later,
    watch: Watch,
    caches: Caches,
    mark: Mark,
    uses: Uses,
    flights: Flights,
    token_endpoint: OnceLock<Box<dyn TokenEndpoint>>,
}

/// What a change makes stale.
#[derive(Clone, Copy)]
enum Stale<'a> {
    Nothing,
    /// What owners set, which is in force where it was read.
    Settings,
    /// Who may do what.
    Tokens,
    /// The rules of one vault.
    Vault(&'a str),
    /// A vault as a whole.
    Everything,
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
            .map_err(|cause| Error::Io { path: path.as_path().into(), cause })?;
        let mut connection = connect(&path)?;
        migrate::run(&mut connection, Timestamp::now())?;
        Ok(Self { dir: dir.to_owned(), connection })
    }

    /// Whether there is a store in `dir`.
    pub fn exists(dir: &Path) -> bool {
        dir.join(DATABASE).exists()
    }

    pub fn protection(&self) -> Result<Protection, Error> {
        seal::protection(&self.connection)
    }

    /// Gives the store another master password, or none. Only the row of the data key is written, and no
    /// trace of how it lay there before stays in the files.
    pub fn change_password(self, old: Option<&Secret>, new: Option<&Secret>) -> Result<(), Error> {
        seal::rewrap(&self.connection, old, new)?;
        fold(&self.connection)
    }

    /// Opens the data key; on a fresh store the password given, or none, is the one it will have.
    pub fn unlock(self, password: Option<&Secret>) -> Result<Store, Error> {
        let seal = seal::unlock(&self.connection, password, Timestamp::now())?;
        let path = self.dir.join(DATABASE);
        let reader = connect(&path)?;
        Ok(Store {
            seal,
            mark: Mark::read(&self.connection)?,
            writer: Writer::new(self.connection),
            reader: Mutex::new(reader),
            misses: Later::new(path.clone(), |_| Ok(())),
            watch: Watch::new(path),
            caches: Caches::default(),
            dir: self.dir,
            uses: Uses::default(),
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
        let mut connection = self.writer.turn(BUSY_TIMEOUT)?;
        let transaction = begin(&mut connection)?;
        let outcome = work(&transaction)?;
        self.commit(transaction, stale)?;
        Ok(outcome)
    }

    /// Not written out in each of the fifty changes that there are.
    #[inline(never)]
    fn commit(&self, transaction: Transaction<'_>, stale: Stale<'_>) -> Result<(), Error> {
        let number = changes::note(&transaction, stale)?;
        transaction.commit()?;
        match stale {
            Stale::Nothing | Stale::Settings => {}
            Stale::Tokens => self.caches.forget_tokens(),
            Stale::Vault(id) => self.caches.forget_vault(id),
            Stale::Everything => self.caches.forget_all(),
        }
        self.mark.pass(number);
        Ok(())
    }

    /// Runs a read on the control API's connection.
    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        work(&lock(&self.reader))
    }
}

/// Not written out in each change either.
#[inline(never)]
fn begin(connection: &mut Connection) -> Result<Transaction<'_>, Error> {
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
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
        .map_err(|cause| Error::Io { path: dir.into(), cause })
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

/// Brings everything from the journal into the file, and leaves an empty journal.
fn fold(connection: &Connection) -> Result<(), Error> {
    Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?)
}

/// Whether a statement failed because a value that must be unique is there already.
fn is_duplicate(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};
    let extended = error.sqlite_error().map(|error| error.extended_code);
    matches!(extended, Some(SQLITE_CONSTRAINT_PRIMARYKEY | SQLITE_CONSTRAINT_UNIQUE))
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

    #[test]
    fn a_data_key_that_was_wrapped_leaves_no_trace() {
        let (dir, store) = scratch();
        let read = "SELECT dek_plaintext FROM master_key";
        let dek: Vec<u8> =
            store.read(|connection| Ok(connection.query_row(read, [], |row| row.get(0))?)).unwrap();
        let is_there = || {
            let files = ["agent-vault.db", "agent-vault.db-wal"].map(|name| dir.path().join(name));
            let bytes = files.map(|file| std::fs::read(file).unwrap_or_default()).concat();
            bytes.windows(dek.len()).any(|window| window == dek)
        };
        assert!(is_there());
        drop(store);
        let locked = Locked::open(dir.path()).unwrap();
        locked.change_password(None, Some(&Secret::from("first"))).unwrap();
        assert!(!is_there());
    }
}
