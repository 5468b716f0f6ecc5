//! Bytes from one socket to another that never come up into the program: splice(2) over a pipe.
//!
//! The kernel hands the pages over as they are, where reading and writing would copy each byte twice.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::unistd::pipe2;

/// More than a pipe of the kernel's own size takes at once.
const MOST_BYTES: usize = 1024 * 1024;

/// A pipe inside the kernel, and how much is in it.
pub struct Conduit {
    exit: File,
    entry: OwnedFd,
    held: usize,
}

impl Conduit {
    pub fn new() -> io::Result<Self> {
        let (exit, entry) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok(Self { exit: exit.into(), entry, held: 0 })
    }

    /// Bytes taken from one socket and not yet given to the other.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes what the socket has, as far as there is room; 0 is the end of the stream. `WouldBlock` when
    /// nothing is there.
    pub fn fill(&mut self, from: BorrowedFd<'_>) -> io::Result<usize> {
        let count = transfer(from, self.entry.as_fd())?;
        self.held += count;
        Ok(count)
    }

    /// Gives the socket as much as it takes.
    pub fn empty(&mut self, to: BorrowedFd<'_>) -> io::Result<()> {
        while self.held > 0 {
            match transfer(self.exit.as_fd(), to) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.held -= count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes out what is inside, for a socket that cannot be given it like this.
    pub fn take_out(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held];
        self.exit.read_exact(&mut bytes)?;
        self.held = 0;
        Ok(bytes)
    }
}

fn transfer(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<usize> {
    loop {
        match splice(from, None, to, None, MOST_BYTES, SpliceFFlags::SPLICE_F_NONBLOCK) {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}
