//! One side of a conversation: bytes in, bytes out, whether or not they are encrypted.
//!
//! [`Channel`] is what the rooms above speak to: a plain TCP stream ([`super::tcp`]) or a TLS stream
//! (`tls::stream`). It never blocks; the provided methods add the waiting, always with a deadline.
//! Bytes already received are never lost: they stay in [`Channel::received`] until consumed.

use std::io;
use std::os::fd::BorrowedFd;

use super::Deadline;
use crate::sys::ready::{self, Watch};

/// What one attempt to receive gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// There are new bytes in [`Channel::received`].
    Bytes,
    /// Nothing is there yet.
    Blocked,
    /// The peer has finished sending.
    End,
}

/// A byte stream with our own buffers on both sides.
pub trait Channel: Send {
    /// The socket to wait on.
    fn socket(&self) -> BorrowedFd<'_>;

    /// Bytes received and not consumed, in one piece.
    fn received(&self) -> &[u8];

    /// Drops `count` bytes from the front of [`Self::received`].
    fn consume(&mut self, count: usize);

    /// Tries once to receive more.
    fn receive(&mut self) -> io::Result<Receive>;

    /// Takes `bytes` for sending; large ones may be written at once, the rest waits for a flush.
    fn send(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Writes what it can; true when nothing is left.
    fn flush(&mut self) -> io::Result<bool>;

    /// How many bytes wait to be written.
    fn backlog(&self) -> usize;

    /// Tells the peer that no more bytes come; call it with an empty backlog.
    fn finish(&mut self) -> io::Result<()>;

    /// Gives buffers back before a long idle time.
    fn release(&mut self);

    /// Whether an idle connection can carry another exchange: nothing has arrived on it and it is open.
    fn is_quiet(&self) -> bool {
        self.received().is_empty() && ready::is_quiet(self.socket())
    }

    /// Receives, waiting until there is something or the peer has finished.
    fn receive_by(&mut self, deadline: Deadline) -> io::Result<Receive> {
        loop {
            match self.receive()? {
                Receive::Blocked => wait_readable(self.socket(), deadline)?,
                other => return Ok(other),
            }
        }
    }

    /// Writes everything that is queued.
    fn flush_by(&mut self, deadline: Deadline) -> io::Result<()> {
        while !self.flush()? {
            let watch = Watch::new(self.socket()).writable(true);
            if ready::wait(&[watch], Some(deadline.moment()))?.is_none() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }
}

/// Waits until the socket can be read; `TimedOut` when the deadline comes first.
pub fn wait_readable(socket: BorrowedFd<'_>, deadline: Deadline) -> io::Result<()> {
    let watch = Watch::new(socket).readable(true);
    match ready::wait(&[watch], Some(deadline.moment()))? {
        Some(_) => Ok(()),
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}
