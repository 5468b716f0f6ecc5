//! Whether anybody still reads what we write.

use std::io::{self, Stdout};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits, at most for so long, until nobody reads stdout any more; whether that has come to pass.
pub fn wait_for_reader_to_leave(stdout: &Stdout, limit: Duration) -> io::Result<bool> {
    // Asked for nothing, the kernel tells only what has gone wrong.
    let mut watched = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    match poll(&mut watched, PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
