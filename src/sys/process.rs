//! Starting a child, or becoming it, and learning how children ended.
//!
//! Whatever this process changed about itself for its own use (signal mask, limits) is put back in the
//! child, so that the child runs as if it had been started directly. Between fork and exec only
//! async-signal-safe calls are made and nothing is allocated: everything is laid out before.
#![allow(unsafe_code, reason = "fork, exec and wait statuses with real-time signals have no safe wrapper")]

use std::ffi::{CString, OsString, c_char, c_int};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::ptr;

use nix::libc;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
pub use nix::unistd::Pid;
use nix::unistd::{AccessFlags, eaccess, geteuid, setpgid};

use super::signals::Signal;
use super::terminal::Terminal;

/// What a child is to have as this process was given it. Captured before anything is changed.
#[derive(Clone, Copy)]
pub struct Inherited {
    mask: SigSet,
    core: (rlim_t, rlim_t),
    descriptors: (rlim_t, rlim_t),
    ignores_sigchld: bool,
}

impl Inherited {
    pub fn capture() -> io::Result<Self> {
        Ok(Self {
            mask: SigSet::thread_get_mask()?,
            core: getrlimit(Resource::RLIMIT_CORE)?,
            descriptors: getrlimit(Resource::RLIMIT_NOFILE)?,
            ignores_sigchld: is_ignored(libc::SIGCHLD)?,
        })
    }

    /// Puts everything back; async-signal-safe.
    fn restore(&self) -> io::Result<()> {
        setrlimit(Resource::RLIMIT_CORE, self.core.0, self.core.1)?;
        setrlimit(Resource::RLIMIT_NOFILE, self.descriptors.0, self.descriptors.1)?;
        if self.ignores_sigchld {
            // SAFETY: ignoring a signal runs no code of ours.
            unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
        }
        // Last: from here on a signal that waited is delivered to what is still our program.
        Ok(sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None)?)
    }
}

/// A program, its arguments (the first is its own name) and its whole environment, ready for exec.
pub struct Program {
    path: CString,
    arguments: Strings,
    environment: Strings,
}

impl Program {
    /// Lays the strings out; one with a zero byte in it cannot be passed on.
    pub fn new(path: &Path, arguments: &[OsString], environment: &[OsString]) -> io::Result<Self> {
        Ok(Self {
            path: CString::new(path.as_os_str().as_bytes())?,
            arguments: Strings::new(arguments)?,
            environment: Strings::new(environment)?,
        })
    }

    /// Starts the program as the leader of its own process group, in the foreground of `terminal`.
    pub fn spawn(self, inherited: Inherited, terminal: Option<&Terminal>) -> io::Result<Pid> {
        let terminal = terminal.map(Terminal::try_clone).transpose()?;
        let mut command = self.command(move || {
            setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
            if let Some(terminal) = &terminal {
                terminal.hand_to(Pid::this())?;
            }
            inherited.restore()
        });
        let child = command.spawn()?;
        // A pid never exceeds 2^22 on Linux.
        Ok(Pid::from_raw(child.id().cast_signed()))
    }

    /// Becomes the program; returns only if that fails.
    pub fn exec(self, inherited: Inherited) -> io::Error {
        self.command(move || inherited.restore()).exec()
    }

    /// A command that runs `prepare` in the child and then this program.
    ///
    /// The standard library sorts and filters an environment, so exec is called here, with the block as
    /// it is; its own exec behind ours is never reached. What it gives is the fork itself, and a pipe
    /// that brings a failed exec back as an error of the call.
    fn command(self, mut prepare: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Command {
        let mut command = Command::new("/");
        let Self { path, arguments, environment } = self;
        let in_child = move || {
            prepare()?;
            let (arguments, environment) = (arguments.pointers(), environment.pointers());
            // SAFETY: the path is NUL-terminated and both lists end with a null pointer.
            unsafe { libc::execve(path.as_ptr(), arguments, environment) };
            Err(io::Error::last_os_error())
        };
        // SAFETY: the closure makes system calls only; it does not allocate, lock or panic.
        unsafe { command.pre_exec(in_child) };
        command
    }
}

/// Strings as exec takes them: pointers to each, a null pointer behind them.
struct Strings {
    pointers: Vec<*const c_char>,
    /// What the pointers point into.
    _owned: Vec<CString>,
}

// SAFETY: the pointers lead to heap blocks this value owns, and nothing is changed through them.
unsafe impl Send for Strings {}
// SAFETY: as above; shared use only reads.
unsafe impl Sync for Strings {}

impl Strings {
    fn new(strings: &[OsString]) -> io::Result<Self> {
        let owned: Vec<CString> =
            strings.iter().map(|text| CString::new(text.as_bytes())).collect::<Result<_, _>>()?;
        let pointers = owned.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        Ok(Self { pointers, _owned: owned })
    }

    fn pointers(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }
}

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

/// Whether a signal is ignored, as a parent may have left it.
fn is_ignored(signal: c_int) -> io::Result<bool> {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: no new action is given, and the old one is written to a place of its type.
    if unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded and filled it; zeroes were a valid value before.
    Ok(unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN)
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

    #[test]
    fn a_string_with_a_zero_byte_is_refused() {
        let bad = [OsString::from("a\0b")];
        assert!(Program::new(Path::new("/bin/x"), &bad, &[]).is_err());
    }
}
