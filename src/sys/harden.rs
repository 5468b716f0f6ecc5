//! Keeping this process's memory to itself, and its limits and ties as it needs them.
#![allow(unsafe_code, reason = "the syscall crate has no real-time signals for a parent's death")]

use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, getppid};

use super::signals::{self, Signal};

/// Makes the process unreadable to others of its own user: no ptrace, no `/proc/PID/mem`, `environ` or
/// `fd`, and no core dump. What `/proc/self` has to tell must be read before.
pub fn protect() -> io::Result<()> {
    hide_memory()?;
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard)?;
    Ok(())
}

pub(super) fn hide_memory() -> io::Result<()> {
    Ok(prctl::set_dumpable(false)?)
}

/// Raises the limit of open descriptors as far as it may go: each connection takes two.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(())
}

/// Makes orphaned descendants ours to reap even when we are not process 1.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Has this signal sent to this process when its parent ends; at once, if `parent` is not it any more.
pub fn end_with(parent: Pid, signal: Signal) -> io::Result<()> {
    control(libc::PR_SET_PDEATHSIG, signal.number().cast_unsigned())?;
    if parent_process() == parent { Ok(()) } else { signals::send_to(Pid::this(), signal) }
}

/// The process that waits for this one.
pub fn parent_process() -> Pid {
    getppid()
}

/// `prctl` with one argument; async-signal-safe.
pub(super) fn control(option: i32, argument: u32) -> Result<(), Errno> {
    let (argument, unused): (libc::c_ulong, libc::c_ulong) = (argument.into(), 0);
    // SAFETY: none of the options used here takes a pointer.
    Errno::result(unsafe { libc::prctl(option, argument, unused, unused, unused) }).map(drop)
}
