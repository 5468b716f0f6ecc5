//! Starting a child, or becoming it.
//!
//! Whatever this process changed about itself for its own use (signal mask, limits) is put back in the
//! child, so that the child runs as if it had been started directly. Between fork and exec only
//! async-signal-safe calls are made and nothing is allocated: everything is laid out before.
#![allow(unsafe_code, reason = "fork, exec and what is done between have no safe wrapper")]

use std::ffi::{CString, OsString, c_char};
use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout, getpid, getppid, setpgid, setsid};

use super::harden;
use super::rights::Rights;
use super::signals::{self, Mask, Signal};
use super::startup;
use super::terminal::{self, Terminal};

/// What a child is to have as this process was given it. Captured before anything is changed.
#[derive(Clone, Debug)]
pub struct Inherited {
    mask: Mask,
    ignored: Mask,
    core: (rlim_t, rlim_t),
    descriptors: (rlim_t, rlim_t),
    /// Descriptors beyond the standard streams that pass through to the child.
    passed_on: Vec<RawFd>,
}

impl Inherited {
    pub fn capture() -> io::Result<Self> {
        Ok(Self {
            mask: Mask::blocked()?,
            ignored: ignored()?,
            core: getrlimit(Resource::RLIMIT_CORE)?,
            descriptors: getrlimit(Resource::RLIMIT_NOFILE)?,
            passed_on: passed_on(),
        })
    }

    /// Whether the parent left this signal ignored, as `nohup` does.
    pub fn ignores(&self, signal: Signal) -> bool {
        self.ignored.contains(signal)
    }

    /// Closes this process's copies of what the child has now, and leaves the working directory: a pipe then
    /// ends when the child closes its end, and a file system can be unmounted when the child has left it.
    ///
    /// Standard error stays; it is ours too. Whatever cannot be let go is kept: nothing depends on it.
    pub fn let_go(&self) {
        for &descriptor in &self.passed_on {
            // SAFETY: it was open before this program ran any code of its own, so no owner in it exists.
            unsafe { libc::close(descriptor) };
        }
        drop(std::env::set_current_dir("/"));
        if let Ok(null) = fs::File::options().read(true).write(true).open("/dev/null") {
            dup2_stdin(&null).unwrap_or(());
            dup2_stdout(&null).unwrap_or(());
        }
    }

    /// Puts everything back; async-signal-safe.
    fn restore(&self) -> io::Result<()> {
        setrlimit(Resource::RLIMIT_CORE, self.core.0, self.core.1)?;
        setrlimit(Resource::RLIMIT_NOFILE, self.descriptors.0, self.descriptors.1)?;
        for stream in startup::closed_streams() {
            // SAFETY: the runtime opened it as a stand-in, and nothing of ours is on this side of the fork.
            unsafe { libc::close(stream) };
        }
        // Those that were given another action on our way here.
        for signal in [Signal::CHLD, Signal::PIPE] {
            if self.ignores(signal) {
                signals::ignore(signal);
            }
        }
        // Last: from here on a signal that waited is delivered to what is still our program.
        self.mask.block()
    }
}

fn ignored() -> io::Result<Mask> {
    let mut set = Mask::NONE;
    for number in 1..=64 {
        let signal = Signal::from_number(number);
        let is_ignored = match signal {
            Signal::PIPE => startup::ignored_sigpipe(),
            _ => signals::is_ignored(signal)?,
        };
        if is_ignored {
            set = set.with(signal);
        }
    }
    Ok(set)
}

/// The open descriptors that survive an exec. Without /proc nobody can tell, and then none is closed early.
fn passed_on() -> Vec<RawFd> {
    let listed = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    numbers.filter(|&number| number > 2 && survives_exec(number)).collect()
}

fn survives_exec(descriptor: RawFd) -> bool {
    // SAFETY: the number is used for this one question; a closed one is answered with an error.
    let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(descriptor) };
    let flags = fcntl(borrowed, FcntlArg::F_GETFD);
    flags.is_ok_and(|flags| !FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC))
}

/// Where a child stands among process groups and sessions.
#[derive(Debug)]
pub enum Placement {
    /// It leads a group of its own, in the foreground of the terminal if there is one.
    Group(Option<Terminal>),
    /// It leads a session of its own, and takes over the terminal on its standard input if nobody has it.
    Session,
    /// It stays in our group.
    Shared,
}

impl Placement {
    /// Takes the place, in the child; async-signal-safe.
    fn take(&self) -> io::Result<()> {
        match self {
            Self::Group(terminal) => {
                setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
                // SIGTTOU is still blocked, as it has to be for this.
                terminal.as_ref().map_or(Ok(()), |terminal| terminal.hand_to(Pid::this()))
            }
            Self::Session => {
                setsid()?;
                terminal::take_over();
                Ok(())
            }
            Self::Shared => Ok(()),
        }
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

    /// Starts the program at its place. It is killed when this process is.
    pub fn spawn(self, inherited: &Inherited, placement: Placement, rights: Rights) -> io::Result<Pid> {
        let (parent, inherited) = (getpid(), inherited.clone());
        let mut command = self.command(move || {
            placement.take()?;
            rights.take_on()?;
            // After the rights: a change of user takes it away again.
            harden::control(libc::PR_SET_PDEATHSIG, Signal::KILL.number().cast_unsigned())?;
            if getppid() != parent {
                return Err(Errno::ESRCH.into());
            }
            inherited.restore()
        });
        let child = command.spawn()?;
        // A pid never exceeds 2^22 on Linux.
        Ok(Pid::from_raw(child.id().cast_signed()))
    }

    /// Becomes the program, which is sent `with_parent` when our parent ends; returns only if that fails.
    pub fn exec(self, inherited: &Inherited, rights: Rights, with_parent: Option<Signal>) -> io::Error {
        let (parent, inherited) = (getppid(), inherited.clone());
        let prepare = move || {
            rights.take_on()?;
            // After the rights: a change of user takes it away again.
            with_parent.map_or(Ok(()), |signal| harden::end_with(parent, signal))?;
            inherited.restore()
        };
        self.command(prepare).exec()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_with_a_zero_byte_is_refused() {
        let bad = [OsString::from("a\0b")];
        assert!(Program::new(Path::new("/bin/x"), &bad, &[]).is_err());
    }
}
