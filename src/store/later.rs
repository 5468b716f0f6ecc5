//! A connection that is opened when it is first needed: to read the schema costs each as long as a broker
//! may take to listen.

use std::path::PathBuf;
use std::sync::Mutex;

use rusqlite::Connection;

use super::{Error, connect, lock};

/// The connection, or where it leads to.
pub(super) struct Later {
    path: PathBuf,
    prepare: fn(&Connection) -> Result<(), Error>,
    open: Mutex<Option<Connection>>,
}

impl Later {
    /// `prepare` is done once, when it is opened.
    pub(super) fn new(path: PathBuf, prepare: fn(&Connection) -> Result<(), Error>) -> Self {
        Self { path, prepare, open: Mutex::new(None) }
    }

    /// Does work with it that nobody else's comes between. What cannot be opened is tried again the next time.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, Error>) -> Result<T, Error> {
        let mut open = lock(&self.open);
        let connection = match &mut *open {
            Some(connection) => connection,
            closed => {
                let connection = connect(&self.path)?;
                (self.prepare)(&connection)?;
                closed.insert(connection)
            }
        };
        work(connection)
    }
}
