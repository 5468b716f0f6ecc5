//! Signals as input: blocked, and read from a descriptor by the main thread.
//!
//! Signals are blocked before the first thread starts, so every thread inherits that and none is ever
//! interrupted. A blocked signal is queued even when it is ignored, and even for process 1.
#![allow(unsafe_code, reason = "real-time signals have no name in the syscall crate")]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::process::Pid;

/// A signal by its number, real-time ones included.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

impl Signal {
    pub const CHLD: Self = Self(libc::SIGCHLD);
    pub const CONT: Self = Self(libc::SIGCONT);
    pub const HUP: Self = Self(libc::SIGHUP);
    pub const INT: Self = Self(libc::SIGINT);
    pub const KILL: Self = Self(libc::SIGKILL);
    pub const QUIT: Self = Self(libc::SIGQUIT);
    pub const STOP: Self = Self(libc::SIGSTOP);
    pub const TERM: Self = Self(libc::SIGTERM);

    pub fn from_number(number: i32) -> Self {
        Self(number)
    }

    pub fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match signal::Signal::try_from(self.0) {
            Ok(known) => f.write_str(known.as_str()),
            Err(_) => write!(f, "SIG{}", self.0),
        }
    }
}

/// Signals a fault of the process itself raises: blocking them would only hide the crash.
const SYNCHRONOUS: [signal::Signal; 7] = [
    signal::Signal::SIGABRT,
    signal::Signal::SIGBUS,
    signal::Signal::SIGFPE,
    signal::Signal::SIGILL,
    signal::Signal::SIGSEGV,
    signal::Signal::SIGSYS,
    signal::Signal::SIGTRAP,
];

/// The descriptor on which blocked signals arrive.
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks every signal that can be, and opens the descriptor they arrive on.
    pub fn block() -> io::Result<Self> {
        // With SIGCHLD ignored the kernel reaps children itself, and their status is lost.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no code of ours.
        unsafe { signal::sigaction(signal::Signal::SIGCHLD, &default) }?;
        let mut set = SigSet::all();
        for fault in SYNCHRONOUS {
            set.remove(fault);
        }
        set.thread_block()?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        Ok(Self(SignalFd::with_flags(&set, flags)?))
    }

    /// The next signal that has arrived, if any.
    pub fn next(&self) -> io::Result<Option<Signal>> {
        let info = self.0.read_signal()?;
        Ok(info.and_then(|info| i32::try_from(info.ssi_signo).ok()).map(Signal))
    }
}

impl AsFd for Signals {
    /// The descriptor to watch for input.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a signal to a process group; a group that is gone is no failure. A leader that has left its
/// group (a daemon, a new session) is signalled itself.
pub fn send_to_group(leader: Pid, signal: Signal) -> io::Result<()> {
    match send(-leader.as_raw(), signal) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
        other => return other,
    }
    match send(leader.as_raw(), signal) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
}

/// Sends a signal to one process.
pub fn send_to(process: Pid, signal: Signal) -> io::Result<()> {
    send(process.as_raw(), signal)
}

/// Stops this process, as the terminal's suspend key would; returns when it is continued.
pub fn stop_self() -> io::Result<()> {
    Ok(signal::raise(signal::Signal::SIGSTOP)?)
}

fn send(target: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: kill takes two numbers and touches no memory.
    match unsafe { libc::kill(target, signal.0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
