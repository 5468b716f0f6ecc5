//! Why the store could not do what it was asked, and whose hands it is in.

use std::fmt;
use std::io;
use std::path::Path;

use rusqlite::ErrorCode;

/// Why the store could not do what it was asked. Nothing was changed.
#[derive(Debug)]
pub enum Error {
    /// Other changes held the database for longer than one waits.
    Busy,
    /// Random numbers or a cipher are not to be had.
    Crypto,
    /// What is stored breaks a rule the store keeps.
    Corrupt(&'static str),
    /// One of the root's two files is there and the other is not.
    HalfCa(Box<Path>),
    Io {
        path: Box<Path>,
        cause: io::Error,
    },
    /// The database was written by a newer program.
    NewerSchema {
        found: u32,
        known: u32,
    },
    /// A file that is no backup of a store.
    NoBackup,
    PasswordNeeded,
    Sqlite(Box<rusqlite::Error>),
    /// A ciphertext does not open: changed, moved, or sealed under another key.
    Unsealable,
    /// Whoever asked may not do so any more.
    Withdrawn,
    WrongPassword,
}

/// What is wrong with the place the state is kept in: for an operator to mend, not for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Somebody else is writing; trying again may help.
    Busy,
    /// No room is left.
    Full,
    /// It cannot be written to or read from.
    Unusable,
}

impl Error {
    /// Whether the place the state is kept in is to blame.
    pub fn trouble(&self) -> Option<Trouble> {
        let code = match self {
            Self::Busy => return Some(Trouble::Busy),
            Self::Io { .. } => return Some(Trouble::Unusable),
            Self::Sqlite(error) => error.sqlite_error_code()?,
            _ => return None,
        };
        match code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Some(Trouble::Busy),
            ErrorCode::DiskFull => Some(Trouble::Full),
            ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure => Some(Trouble::Unusable),
            _ => None,
        }
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(Box::new(error))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("database: other changes take too long"),
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
            Self::NoBackup => f.write_str("this is not a backup of a store"),
            Self::PasswordNeeded => f.write_str("the store is protected by a master password"),
            Self::Sqlite(error) => write!(f, "database: {error}"),
            Self::Unsealable => f.write_str("a sealed value does not open with this data key"),
            Self::Withdrawn => f.write_str("the caller's access was withdrawn"),
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
