//! The controlling terminal and who is in its foreground.
#![allow(unsafe_code, reason = "taking over and giving up a terminal have no safe wrapper")]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::libc;
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{getpgrp, getpid, getsid, tcgetpgrp, tcsetpgrp};

use super::process::Pid;

/// The controlling terminal of this process.
#[derive(Debug)]
pub struct Terminal(OwnedFd);

impl Terminal {
    /// The controlling terminal, if one of the standard streams leads to it. One that is there and used by
    /// none of them (a test runner's, a shell's that started us with everything redirected) is not ours.
    pub fn of_standard_streams() -> Option<Self> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        // The kernel answers for the controlling terminal only.
        let stream = streams.into_iter().find(|stream| tcgetpgrp(stream).is_ok())?;
        // Opened anew, so that no stream is kept open by it; images without /dev/tty have the stream itself.
        let terminal = File::open("/dev/tty").map(OwnedFd::from).or_else(|_| stream.try_clone_to_owned());
        terminal.ok().map(Self)
    }

    /// Whether our process group is in the foreground.
    pub fn listens_to_us(&self) -> bool {
        self.listens_to(getpgrp())
    }

    /// Whether this group is in the foreground.
    pub fn listens_to(&self, group: Pid) -> bool {
        tcgetpgrp(&self.0) == Ok(group)
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

/// Whether this process is all there is of its job: it leads its process group, as the first command of a
/// pipeline does, and none of its streams is a pipe.
pub fn is_whole_job() -> bool {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    getpgrp() == getpid() && !streams.into_iter().any(is_pipe)
}

fn is_pipe(stream: BorrowedFd<'_>) -> bool {
    fstat(stream)
        .is_ok_and(|found| SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT == SFlag::S_IFIFO)
}

/// Gives up the controlling terminal if this process leads the session it belongs to, so that a child's
/// session can have it. The kernel sends SIGHUP and SIGCONT to the group in its foreground, which is ours.
pub fn give_up() {
    if getsid(None) == Ok(getpid()) {
        // SAFETY: the call takes no argument. Without a terminal it fails, and there was nothing to give.
        unsafe { libc::ioctl(0, libc::TIOCNOTTY) };
    }
}

/// Makes the terminal on standard input the one that controls this session. It stays with whoever has it
/// already, and a stream that is no terminal stays one; async-signal-safe.
pub(super) fn take_over() {
    // SAFETY: the argument is a number: 0 takes the terminal from nobody.
    unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
}
