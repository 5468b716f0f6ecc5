//! Processes around this one: who they are, and how children ended.
#![allow(unsafe_code, reason = "wait statuses with real-time signals have no safe wrapper")]

use std::ffi::c_int;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::libc;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
pub use nix::unistd::Pid;
use nix::unistd::{AccessFlags, eaccess, geteuid};

use super::signals::Signal;

/// Whether this process may execute the file, by its effective user.
pub fn is_executable(file: &Path) -> bool {
    eaccess(file, AccessFlags::X_OK).is_ok()
}

/// The user whose rights this process has.
pub fn user() -> u32 {
    geteuid().as_raw()
}

/// Who is at the other end of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Zero when the process cannot be seen from our PID namespace.
    pub pid: i32,
    pub user: u32,
}

/// Asks the kernel who connected, or listened, at the other end.
pub fn peer_of(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let peer = getsockopt(&socket, PeerCredentials)?;
    Ok(Peer { pid: peer.pid(), user: peer.uid() })
}

/// Whether this process is the first one of its PID namespace.
pub fn is_init() -> bool {
    Pid::this().as_raw() == 1
}

/// What happened to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Exited(u8),
    Killed(Signal),
    Stopped(Signal),
}

impl Status {
    /// The exit code a shell would show; none while the child lives.
    pub fn exit_code(self) -> Option<u8> {
        match self {
            Self::Exited(code) => Some(code),
            // Signals are numbered below 65.
            Self::Killed(signal) => u8::try_from(128 + signal.number()).ok(),
            Self::Stopped(_) => None,
        }
    }
}

/// Takes the news of one child, whoever its parent was; `None` when there is none at the moment.
pub fn reap() -> io::Result<Option<(Pid, Status)>> {
    let mut status: c_int = 0;
    loop {
        // SAFETY: `status` is a valid place to write an int to.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::WUNTRACED) };
        if pid > 0 {
            return Ok(Some((Pid::from_raw(pid), decode(status))));
        }
        if pid == 0 {
            return Ok(None);
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ECHILD) => return Ok(None),
            error if error.kind() == io::ErrorKind::Interrupted => {}
            error => return Err(error),
        }
    }
}

fn decode(status: c_int) -> Status {
    if libc::WIFEXITED(status) {
        // The kernel keeps eight bits of an exit code.
        Status::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    } else if libc::WIFSTOPPED(status) {
        Status::Stopped(Signal::from_number(libc::WSTOPSIG(status)))
    } else {
        Status::Killed(Signal::from_number(libc::WTERMSIG(status)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_become_the_codes_a_shell_shows() {
        for (raw, code) in [(0, Some(0)), (7 << 8, Some(7)), (255 << 8, Some(255)), (9, Some(137))] {
            assert_eq!(decode(raw).exit_code(), code, "{raw:#x}");
        }
        // A core dump sets bit 7; a stop has 0x7f in the low byte.
        assert_eq!(decode(0x80 | 11).exit_code(), Some(139));
        assert_eq!(decode((19 << 8) | 0x7f), Status::Stopped(Signal::STOP));
        // SIGRTMIN + 1 has no name.
        assert_eq!(decode(35).exit_code(), Some(163));
    }
}
