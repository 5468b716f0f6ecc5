//! Signals as input: blocked, and read from a descriptor by the main thread.
//!
//! Signals are blocked before the first thread starts, so every thread inherits that and none is ever
//! interrupted. A blocked signal is queued even when it is ignored, and even for process 1.
//!
//! Sets are the kernel's own 64 bits: C libraries keep the numbers 32 to 34 to themselves and leave them out
//! of the sets their functions make, but a runtime may send them (34 is glibc's first real-time signal).
#![allow(unsafe_code, reason = "whole signal sets and real-time signals have no name in the syscall crate")]

use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::str::FromStr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet};
use nix::unistd::getpid;

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
    pub const PIPE: Self = Self(libc::SIGPIPE);
    pub const QUIT: Self = Self(libc::SIGQUIT);
    pub const STOP: Self = Self(libc::SIGSTOP);
    pub const TERM: Self = Self(libc::SIGTERM);
    pub const TSTP: Self = Self(libc::SIGTSTP);
    pub const TTIN: Self = Self(libc::SIGTTIN);
    pub const TTOU: Self = Self(libc::SIGTTOU);
    pub const WINCH: Self = Self(libc::SIGWINCH);

    /// The first real-time signal as programs name it: the kernel counts from 32, and glibc takes two.
    const RTMIN: i32 = 34;
    const RTMAX: i32 = 64;

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

impl FromStr for Signal {
    type Err = ();

    /// A number, or a name with or without `SIG`; real-time ones as `RTMIN+n` and `RTMAX-n`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let number = |text: &str| match text.parse::<i32>() {
            Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
            _ => Err(()),
        };
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let found = match name {
            "RTMIN" => Self::RTMIN,
            "RTMAX" => Self::RTMAX,
            _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
                (Some(above), _) => Self::RTMIN + number(above)?.min(Self::RTMAX),
                (_, Some(below)) => Self::RTMAX - number(below)?.min(Self::RTMAX),
                _ => match signal::Signal::from_str(&format!("SIG{name}")) {
                    Ok(known) => known as i32,
                    Err(_) => number(text)?,
                },
            },
        };
        if (1..=Self::RTMAX).contains(&found) { Ok(Self(found)) } else { Err(()) }
    }
}

/// A set of signals: bit n is signal n + 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask(u64);

/// The size of a set, as the kernel wants to hear it.
const MASK_BYTES: usize = size_of::<u64>();

impl Mask {
    /// Every signal there is. Those a fault of ours would raise kill us all the same: the kernel unblocks
    /// what cannot wait.
    pub const ALL: Self = Self(u64::MAX);
    pub const NONE: Self = Self(0);

    /// Every signal but those a fault of the process itself raises: sent by somebody, they end it with a
    /// core dump, as whoever sends them expects.
    pub fn without_faults() -> Self {
        let faults = [
            libc::SIGABRT,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGSEGV,
            libc::SIGSYS,
            libc::SIGTRAP,
        ];
        faults.into_iter().fold(Self::ALL, |set, fault| Self(set.0 & !Self::bit(Signal(fault))))
    }

    pub fn contains(self, signal: Signal) -> bool {
        self.0 & Self::bit(signal) != 0
    }

    #[must_use]
    pub(super) fn with(self, signal: Signal) -> Self {
        Self(self.0 | Self::bit(signal))
    }

    fn bit(signal: Signal) -> u64 {
        1 << (signal.0 - 1)
    }

    /// What this thread blocks; async-signal-safe, as is [`Mask::block`].
    pub(super) fn blocked() -> io::Result<Self> {
        let mut set = Self(0);
        let how = libc::SIG_BLOCK;
        // SAFETY: without a new set nothing is changed, and the old one is written to a place of its size.
        let done = unsafe {
            libc::syscall(libc::SYS_rt_sigprocmask, how, std::ptr::null::<u64>(), &raw mut set.0, MASK_BYTES)
        };
        Errno::result(done)?;
        Ok(set)
    }

    /// Makes this the set this thread blocks.
    pub(super) fn block(self) -> io::Result<()> {
        let (how, old) = (libc::SIG_SETMASK, std::ptr::null_mut::<u64>());
        // SAFETY: the set is read from a place of its size, and the old one is not asked for.
        let done =
            unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const self.0, old, MASK_BYTES) };
        Errno::result(done)?;
        Ok(())
    }
}

/// Who sent a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// The kernel itself: a terminal's key, a child's end.
    Kernel,
    /// This process, or the kernel on behalf of what it did.
    Ourselves,
    Other,
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    pub signal: Signal,
    pub sender: Sender,
}

/// The descriptor on which blocked signals arrive.
pub struct Signals {
    descriptor: OwnedFd,
    set: Mask,
}

impl Signals {
    /// Blocks the signals, and opens the descriptor they arrive on.
    pub fn block(set: Mask) -> io::Result<Self> {
        // With SIGCHLD ignored the kernel reaps children itself, and their status is lost.
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no code of ours.
        unsafe { signal::sigaction(signal::Signal::SIGCHLD, &default) }?;
        set.block()?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set is read from a place of its size.
        let opened = unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const set.0, MASK_BYTES, flags) };
        let descriptor = i32::try_from(Errno::result(opened)?).map_err(io::Error::other)?;
        // SAFETY: the kernel has just opened it for us alone.
        let descriptor = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { descriptor, set })
    }

    /// Blocks them once more. Starting a process's first thread, musl unblocks two signals it might want to
    /// send to threads, in the one that calls too; later ones inherit what is blocked here.
    pub fn block_again(&self) -> io::Result<()> {
        self.set.block()
    }

    /// The next signal that has arrived, if any.
    pub fn next(&self) -> io::Result<Option<Arrived>> {
        let mut info = mem::MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        loop {
            // SAFETY: at most `size` bytes are written to a place of that size.
            let read = unsafe { libc::read(self.descriptor.as_raw_fd(), info.as_mut_ptr().cast(), size) };
            match Errno::result(read) {
                Ok(_) => break,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // SAFETY: the kernel hands out whole records; zeroes were a valid one before.
        let info = unsafe { info.assume_init() };
        let signal = Signal(i32::try_from(info.ssi_signo).map_err(io::Error::other)?);
        let sender = match info.ssi_code {
            code if code > 0 => Sender::Kernel,
            _ if info.ssi_pid == getpid().as_raw().cast_unsigned() => Sender::Ourselves,
            _ => Sender::Other,
        };
        Ok(Some(Arrived { signal, sender }))
    }
}

impl AsFd for Signals {
    /// The descriptor to watch for input.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Sends a signal to a process group; a group that is gone is no failure. A leader that has left its
/// group (a daemon, a new session) is signalled itself.
pub fn send_to_group(leader: Pid, signal: Signal) -> io::Result<()> {
    match send(-leader.as_raw(), signal) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => send_to(leader, signal),
        other => other,
    }
}

/// Sends a signal to one process; one that is gone is no failure.
pub fn send_to(process: Pid, signal: Signal) -> io::Result<()> {
    match send(process.as_raw(), signal) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => Err(error),
        _ => Ok(()),
    }
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

/// Whether a signal is ignored, as a parent may have left it.
pub(super) fn is_ignored(signal: Signal) -> io::Result<bool> {
    let mut action = mem::MaybeUninit::<KernelAction>::zeroed();
    // The C library's own call knows nothing of the signals the library keeps.
    // SAFETY: no new action is given, and the old one is written to a place of its type.
    let done = unsafe {
        let none = std::ptr::null::<KernelAction>();
        libc::syscall(libc::SYS_rt_sigaction, signal.0, none, action.as_mut_ptr(), MASK_BYTES)
    };
    Errno::result(done)?;
    // SAFETY: the call succeeded and filled it; zeroes were a valid value before.
    Ok(unsafe { action.assume_init() }.handler == libc::SIG_IGN)
}

/// The kernel's `sigaction`, which starts with the handler on all platforms of ours.
#[repr(C)]
struct KernelAction {
    handler: libc::sighandler_t,
    /// Flags, restorer and set.
    rest: [u64; 3],
}

/// Ignores a signal, or has it do what it does by itself; async-signal-safe.
pub(super) fn set_ignored(signal: Signal, is_ignored: bool) {
    let action = if is_ignored { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: neither action runs code of ours.
    unsafe { libc::signal(signal.0, action) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_numbers_and_names() {
        let read = |text: &str| text.parse::<Signal>().map(Signal::number);
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigquit", 3),
            ("9", 9),
            ("64", 64),
            ("RTMIN", 34),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
        ] {
            assert_eq!(read(text), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "-9", "+9", "TERMINATE", "SIG15", "RTMIN+31", "RTMAX-64", "RTMIN+", " 9"]
        {
            assert_eq!(read(text), Err(()), "{text}");
        }
    }

    #[test]
    fn a_set_has_a_bit_for_every_signal() {
        assert!(Mask::ALL.contains(Signal::from_number(64)) && Mask::ALL.contains(Signal::from_number(1)));
        let set = Mask::without_faults();
        assert!(set.contains(Signal::TERM) && !set.contains(Signal::from_number(libc::SIGSEGV)));
        assert!(Mask::NONE.with(Signal::HUP).contains(Signal::HUP));
    }
}
