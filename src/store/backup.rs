//! The state as one file, taken while a broker serves, and put back after it was checked.
//!
//! A backup is a database like the one in use, of one moment, with a table more: when it was made, and
//! the root's two files. What is sealed stays sealed: it opens with the master password the store had.
//! Nothing of a backup is believed before it was read as a whole, and its state takes the place of
//! another only by a rename.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::ca::{self, RootFiles};
use super::seal::{self, Protection};
use super::{DATABASE, Error, Timestamp, connect, fold, migrate};
use crate::secret::Secret;

/// What a database leaves beside itself.
const SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// A file that is gone, with what belongs to it, unless it was given another name.
pub struct Temporary(PathBuf);

/// A backup in the directory where it is to be the state, not yet in its place.
pub struct Staged {
    file: Temporary,
    dir: PathBuf,
    connection: Connection,
    root: Option<RootFiles>,
    made_at: Timestamp,
}

impl Temporary {
    /// Makes an empty file that only its owner may read.
    pub fn create(path: PathBuf) -> Result<Self, Error> {
        let file = Self(path);
        file.clear();
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file.0);
        match made {
            Ok(_) => Ok(file),
            Err(cause) => Err(file.error(cause)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Waits until it is on disk and gives it its name, in place of what has it.
    pub fn become_file(self, path: &Path) -> Result<(), Error> {
        self.sync().and_then(|()| fs::rename(&self.0, path)).map_err(|cause| self.error(cause))?;
        sync_parent(path)
    }

    /// The same, but never in place of another file: whether the name was free.
    pub fn become_new_file(self, path: &Path) -> Result<bool, Error> {
        self.sync().map_err(|cause| self.error(cause))?;
        match fs::hard_link(&self.0, path) {
            Ok(()) => sync_parent(path).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            // A file system without links: the look and the rename are two steps there.
            Err(_) if path.exists() => Ok(false),
            Err(_) => self.become_file(path).map(|()| true),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    fn error(&self, cause: io::Error) -> Error {
        Error::Io { path: self.0.as_path().into(), cause }
    }

    fn clear(&self) {
        // What is not there need not go.
        drop(fs::remove_file(&self.0));
        remove_side_files(&self.0);
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Writes the state in `dir` into a file that was just made. Writers go on meanwhile; what was
/// acknowledged before the call is in it.
pub fn write(dir: &Path, into: &Temporary, now: Timestamp) -> Result<(), Error> {
    let source = connect(&dir.join(DATABASE))?;
    let target = into.path().to_str().ok_or(Error::Corrupt("a path that is not text"))?;
    source.execute("VACUUM INTO ?1", [target])?;
    let root = ca::read_files(dir)?;
    let copy = open(into.path())?;
    copy.execute_batch(
        "CREATE TABLE backup (
             id INTEGER PRIMARY KEY CHECK (id = 1), made_at TEXT NOT NULL, certificate BLOB, sealed_key BLOB)",
    )?;
    copy.execute(
        "INSERT INTO backup (id, made_at, certificate, sealed_key) VALUES (1, ?1, ?2, ?3)",
        (now, root.as_ref().map(|root| &root.certificate), root.as_ref().map(|root| &root.key)),
    )?;
    check_pages(&copy)
}

impl Staged {
    /// Brings a backup into `dir` and checks that it is whole.
    pub fn read(mut backup: impl Read, dir: &Path) -> Result<Self, Error> {
        let file = Temporary::create(dir.join("restore.tmp"))?;
        OpenOptions::new()
            .write(true)
            .open(file.path())
            .and_then(|mut target| io::copy(&mut backup, &mut target))
            .map_err(|cause| file.error(cause))?;
        let (connection, root, made_at) = check(file.path())?;
        Ok(Self { file, dir: dir.to_owned(), connection, root, made_at })
    }

    pub fn made_at(&self) -> Timestamp {
        self.made_at
    }

    /// Whether a password is needed to open it.
    pub fn protection(&self) -> Result<Protection, Error> {
        seal::protection(&self.connection)
    }

    /// Opens the data key and the root's key with it, then puts the state in its place, and in the place
    /// of what is there.
    pub fn install(mut self, password: Option<&Secret>, now: Timestamp) -> Result<(), Error> {
        if self.protection()? == Protection::Fresh {
            return Err(Error::Corrupt("no data key in the backup"));
        }
        migrate::run(&mut self.connection, now)?;
        let seal = seal::unlock(&self.connection, password, now)?;
        if let Some(root) = &self.root {
            root.open(&seal)?;
        }
        self.connection.execute_batch("DROP TABLE backup")?;
        self.connection.close().map_err(|(_, error)| error)?;
        let place = self.dir.join(DATABASE);
        // What an old journal holds is brought into the old file first, so that until the rename the old
        // state is as good as it was. One that does not open is being replaced for that, perhaps.
        if place.exists() {
            drop(connect(&place).and_then(|old| fold(&old)));
        }
        ca::replace_files(&self.dir, self.root.as_ref())?;
        remove_side_files(&place);
        self.file.become_file(&place)
    }
}

/// What a whole backup tells of itself.
fn check(path: &Path) -> Result<(Connection, Option<RootFiles>, Timestamp), Error> {
    let connection = open(path)?;
    check_pages(&connection)?;
    let has_table: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'backup')",
        [],
        |row| row.get(0),
    )?;
    if !has_table {
        return Err(Error::NoBackup);
    }
    let row = connection
        .query_row("SELECT made_at, certificate, sealed_key FROM backup WHERE id = 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let (made_at, certificate, key): (_, Option<Vec<u8>>, Option<Vec<u8>>) = row.ok_or(Error::NoBackup)?;
    let root = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some(RootFiles { certificate, key }),
        _ => return Err(Error::Corrupt("half a root in the backup")),
    };
    Ok((connection, root, made_at))
}

/// Opens a database that is one file and stays so.
fn open(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // An image may have no place for temporary files.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let set = connection.pragma_update(None, "journal_mode", "DELETE");
    set.map_err(damaged)?;
    connection.pragma_update(None, "secure_delete", true)?;
    Ok(connection)
}

/// Reads every page and every index.
fn check_pages(connection: &Connection) -> Result<(), Error> {
    let verdict: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(damaged)?;
    if verdict == "ok" { Ok(()) } else { Err(Error::Corrupt("its pages do not fit together")) }
}

fn damaged(error: rusqlite::Error) -> Error {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::NotADatabase) => Error::NoBackup,
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => Error::Corrupt("its pages do not fit together"),
        _ => error.into(),
    }
}

fn remove_side_files(database: &Path) {
    for end in SIDE_FILES {
        let mut name = database.as_os_str().to_owned();
        name.push(end);
        // What is not there need not go.
        drop(fs::remove_file(name));
    }
}

fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(|cause| Error::Io { path: parent.into(), cause })
}
