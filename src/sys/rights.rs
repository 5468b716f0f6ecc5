//! The user, groups and capabilities a child is started with.
//!
//! Taken on between clone and exec, in the parent's memory: nothing here allocates or locks.
#![allow(
    unsafe_code,
    reason = "capability sets have no safe wrapper, and users and groups none that is for one thread alone"
)]

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;

use super::harden;

/// A user and the one group its processes have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub user: u32,
    pub group: u32,
}

/// What a child may do, as far as it differs from what this process may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Another user, without supplementary groups.
    pub user: Option<User>,
    pub capabilities: Capabilities,
    pub privileges: Privileges,
}

/// The capability sets of a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capabilities {
    #[default]
    AsInherited,
    /// All five sets are empty, and stay so for every descendant.
    Dropped,
}

/// What executing a set-user-ID file or one with file capabilities gives a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Privileges {
    /// What the file says.
    #[default]
    Gained,
    /// Nothing, for good (`no_new_privs`).
    NeverGained,
}

impl Rights {
    /// Takes them on in the calling process; async-signal-safe.
    pub(super) fn take_on(&self) -> io::Result<()> {
        if self.capabilities == Capabilities::Dropped {
            // First: it needs the capability that is about to go.
            empty_bounding_set()?;
        }
        if let Some(User { user, group }) = self.user {
            // The system calls themselves: the C library's functions have every thread of theirs make the call,
            // and those it knows of are our parent's.
            // SAFETY: with no groups given, the pointer is not read.
            Errno::result(unsafe { libc::syscall(libc::SYS_setgroups, 0, ptr::null::<u32>()) })?;
            // SAFETY: the arguments are numbers.
            Errno::result(unsafe { libc::syscall(libc::SYS_setresgid, group, group, group) })?;
            // SAFETY: as above.
            Errno::result(unsafe { libc::syscall(libc::SYS_setresuid, user, user, user) })?;
        }
        if self.capabilities == Capabilities::Dropped {
            empty_other_sets()?;
        }
        if self.privileges == Privileges::NeverGained {
            prctl::set_no_new_privs()?;
        }
        Ok(())
    }
}

const CAP_KILL: u32 = 5;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SETPCAP: u32 = 8;

/// Whether this process may start a child as another user and signal it then: in a container even root
/// often may not.
pub fn may_change_user() -> bool {
    effective().is_ok_and(|set| [CAP_KILL, CAP_SETGID, CAP_SETUID].iter().all(|&cap| set & (1 << cap) != 0))
}

/// Whether a file's owner and mode let this user do what `bits` (1 to search, 4 to read) says.
pub fn lets(found: &fs::Metadata, user: User, bits: u32) -> bool {
    let shift = match found {
        _ if user.user == 0 => return true,
        _ if found.uid() == user.user => 6,
        _ if found.gid() == user.group => 3,
        _ => 0,
    };
    (found.mode() >> shift) & bits == bits
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

/// Each set in two halves of 32 bits.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`, of the calling thread.
const HEADER: Header = Header { version: 0x2008_0522, pid: 0 };

fn effective() -> io::Result<u64> {
    let (mut header, mut halves) = (HEADER, [Half::default(); 2]);
    // SAFETY: both places have the layout this version of the call works with.
    let done = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) };
    Errno::result(done)?;
    Ok(u64::from(halves[0].effective) | (u64::from(halves[1].effective) << 32))
}

fn empty_bounding_set() -> io::Result<()> {
    if effective()? & (1 << CAP_SETPCAP) == 0 {
        // It takes this capability. Whoever lacks it gains nothing from the set either: what is dropped
        // here is never given back under `no_new_privs`.
        return Ok(());
    }
    for capability in 0..64 {
        match harden::control(libc::PR_CAPBSET_DROP, capability) {
            Ok(()) => {}
            // The kernel knows no more of them.
            Err(Errno::EINVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn empty_other_sets() -> io::Result<()> {
    harden::control(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL.cast_unsigned())?;
    let (mut header, halves) = (HEADER, [Half::default(); 2]);
    // SAFETY: both places have the layout this version of the call works with.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_lets_in_whom_its_mode_says() {
        let root = fs::metadata("/").unwrap();
        let anybody = User { user: 65532, group: 65532 };
        assert!(lets(&root, anybody, 1));
        assert!(lets(&root, User { user: 0, group: 0 }, 7));
        assert!(!lets(&root, anybody, 2));
    }
}
