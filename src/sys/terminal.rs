//! The controlling terminal and who is in its foreground.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::unistd::{getpgrp, tcgetpgrp, tcsetpgrp};

use super::process::Pid;

/// The controlling terminal of a process that is in its foreground.
pub struct Terminal(OwnedFd);

impl Terminal {
    /// The terminal, if there is one and our process group is the one it listens to.
    pub fn in_foreground() -> Option<Self> {
        // Images without /dev/tty still have the terminal on one of the standard streams.
        let opened = File::open("/dev/tty").map(OwnedFd::from);
        let terminal = opened.ok().or_else(|| {
            [io::stdin().as_fd(), io::stdout().as_fd(), io::stderr().as_fd()]
                .into_iter()
                .find(|stream| tcgetpgrp(stream).is_ok())
                .and_then(|stream| stream.try_clone_to_owned().ok())
        })?;
        Some(Self(terminal)).filter(Self::listens_to_us)
    }

    /// Whether our process group is in the foreground.
    pub fn listens_to_us(&self) -> bool {
        tcgetpgrp(&self.0) == Ok(getpgrp())
    }

    /// Puts a process group into the foreground. A group that is not there itself must have SIGTTOU
    /// blocked, or it is stopped by the attempt.
    pub fn hand_to(&self, group: Pid) -> io::Result<()> {
        Ok(tcsetpgrp(&self.0, group)?)
    }

    /// Another handle to the same terminal, for the child's side of a fork.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    /// Puts our own process group into the foreground.
    pub fn take_back(&self) -> io::Result<()> {
        self.hand_to(getpgrp())
    }
}
