//! Keeping this process's memory to itself, and its limits as it needs them.

use std::io;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Makes the process unreadable to others of its own user: no ptrace, no `/proc/PID/mem`, `environ` or
/// `fd`, and no core dump. What `/proc/self` has to tell must be read before.
pub fn protect() -> io::Result<()> {
    prctl::set_dumpable(false)?;
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard)?;
    Ok(())
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
