//! A process that outlives the terminal it was started at.
#![allow(unsafe_code, reason = "what a child does before exec has no safe wrapper")]

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use nix::unistd::setsid;

/// Makes the command's process the leader of a new session: no terminal is its own, and none that closes
/// reaches it.
pub fn in_new_session(command: &mut Command) -> &mut Command {
    // SAFETY: the closure makes one system call; it does not allocate, lock or panic.
    unsafe { command.pre_exec(|| Ok(setsid().map(drop)?)) }
}
