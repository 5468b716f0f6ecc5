//! The one connection that writes, and whose turn it is.
//!
//! A change waits for the others of this process and then, inside the engine, for other processes. Both
//! waits are bounded, so a database that is locked from outside costs a caller seconds and an answer, not
//! a queue that grows.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;

use super::Error;

/// A connection that is taken, used and put back.
pub(super) struct Writer {
    free: Mutex<Option<Connection>>,
    is_back: Condvar,
}

/// The connection, for as long as one change takes.
pub(super) struct Turn<'w> {
    writer: &'w Writer,
    /// Gone only while this is dropped.
    connection: Option<Connection>,
}

impl Writer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { free: Mutex::new(Some(connection)), is_back: Condvar::new() }
    }

    /// Takes the connection, within `limit` or not at all.
    pub(super) fn turn(&self, limit: Duration) -> Result<Turn<'_>, Error> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut free, _) = self
            .is_back
            .wait_timeout_while(free, limit, |free| free.is_none())
            .unwrap_or_else(PoisonError::into_inner);
        let connection = free.take().ok_or(Error::Busy)?;
        Ok(Turn { writer: self, connection: Some(connection) })
    }
}

impl Deref for Turn<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("put back only when dropped")
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("put back only when dropped")
    }
}

/// After a panic as well: the transaction was rolled back on the way here.
impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.writer.free.lock().unwrap_or_else(PoisonError::into_inner) = self.connection.take();
        self.writer.is_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_does_not_come_is_not_awaited_for_ever() {
        let writer = Writer::new(Connection::open_in_memory().unwrap());
        let turn = writer.turn(Duration::ZERO).unwrap();
        assert!(matches!(writer.turn(Duration::from_millis(1)), Err(Error::Busy)));
        drop(turn);
        assert!(writer.turn(Duration::ZERO).is_ok());
    }
}
