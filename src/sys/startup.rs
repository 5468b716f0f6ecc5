//! What can be seen only before `main`: the standard library's runtime changes it on its way there.
//!
//! It ignores `SIGPIPE` and opens `/dev/null` on standard streams that are closed. A child is to have both
//! as this process was given them, so they are looked at by a function the loader runs first.
#![allow(unsafe_code, reason = "code before main has to be placed in a section of the executable")]

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::libc;

/// Bits 0 to 2: that standard stream was closed. [`IGNORES_SIGPIPE`] beside them.
static FOUND: AtomicU8 = AtomicU8::new(0);

const IGNORES_SIGPIPE: u8 = 1 << 3;

// SAFETY: the function takes no arguments it uses, needs nothing of the runtime and cannot panic.
#[unsafe(link_section = ".init_array")]
#[used]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let mut found = 0;
    for stream in 0..3 {
        // SAFETY: asking for a descriptor's flags changes nothing.
        if unsafe { libc::fcntl(stream, libc::F_GETFD) } == -1 {
            found |= 1 << stream;
        }
    }
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, and the old one is written to a place of its type.
    let done = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr()) };
    // SAFETY: zeroes are a valid value, should the call have failed.
    if done == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN {
        found |= IGNORES_SIGPIPE;
    }
    FOUND.store(found, Ordering::Relaxed);
}

/// Whether this process was started with `SIGPIPE` ignored.
pub(super) fn ignored_sigpipe() -> bool {
    FOUND.load(Ordering::Relaxed) & IGNORES_SIGPIPE != 0
}

/// The standard streams that were closed when this process was started.
pub(super) fn closed_streams() -> impl Iterator<Item = RawFd> {
    let found = FOUND.load(Ordering::Relaxed);
    (0..3).filter(move |stream| found & (1 << stream) != 0)
}
