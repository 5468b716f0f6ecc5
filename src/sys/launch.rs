//! Starting a child, or becoming it.
//!
//! Whatever this process changed about itself for its own use (signal mask, limits) is put back in the
//! child, so that the child runs as if it had been started directly.
//!
//! Until its exec a child runs in the memory of this process, which stands still meanwhile: copying it for so
//! short a time would be the dearest step of a start. So between the two only async-signal-safe calls are
//! made, none of them one for which a C library asks its other threads, and nothing is allocated:
//! everything is laid out before.
#![allow(unsafe_code, reason = "clone, exec and what is done between have no safe wrapper")]

use std::ffi::{CString, OsString, c_char, c_int, c_void};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use nix::sys::wait::waitpid;
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
            // SAFETY: the runtime opened it as a stand-in, and what is closed are this process's own numbers.
            unsafe { libc::close(stream) };
        }
        // Those that were given another action on our way here.
        for signal in [Signal::CHLD, Signal::PIPE] {
            signals::set_ignored(signal, self.ignores(signal));
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
    pub fn spawn(self, inherited: &Inherited, placement: &Placement, rights: Rights) -> io::Result<Pid> {
        let parent = getpid();
        let child = in_child(&|| {
            placement.take()?;
            rights.take_on()?;
            // After the rights: a change of user takes it away again.
            harden::control(libc::PR_SET_PDEATHSIG, Signal::KILL.number().cast_unsigned())?;
            if getppid() != parent {
                return Err(Errno::ESRCH.into());
            }
            inherited.restore()?;
            Err(self.replace())
        });
        if rights.user.is_some() {
            // Whether memory may be read is the memory's own, and a change of user sets it as the system says.
            harden::hide_memory()?;
        }
        child
    }

    /// Becomes the program, which is sent `with_parent` when our parent ends; returns only if that fails.
    pub fn exec(&self, inherited: &Inherited, rights: Rights, with_parent: Option<Signal>) -> io::Error {
        let parent = getppid();
        let prepare = || {
            rights.take_on()?;
            // After the rights: a change of user takes it away again.
            with_parent.map_or(Ok(()), |signal| harden::end_with(parent, signal))?;
            inherited.restore()
        };
        prepare().err().unwrap_or_else(|| self.replace())
    }

    /// Replaces what this process runs; async-signal-safe.
    fn replace(&self) -> io::Error {
        let (arguments, environment) = (self.arguments.pointers(), self.environment.pointers());
        // SAFETY: the path is NUL-terminated and both lists end with a null pointer.
        unsafe { libc::execve(self.path.as_ptr(), arguments, environment) };
        io::Error::last_os_error()
    }
}

/// The stack a child has until its exec, in units of its alignment. An eighth is enough.
const STACK_UNITS: usize = 64 * 1024 / size_of::<u128>();

/// What a child in our memory does, and why it could not.
struct Errand<'w> {
    work: &'w dyn Fn() -> io::Result<()>,
    failed: Option<io::Error>,
}

/// Has a child of this process, in its memory, do what ends in an exec.
fn in_child(work: &dyn Fn() -> io::Result<()>) -> io::Result<Pid> {
    let mut errand = Errand { work, failed: None };
    let mut stack = Box::<[u128]>::new_uninit_slice(STACK_UNITS);
    let top: *mut MaybeUninit<u128> = stack.as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack and the errand outlive the child's use of them, for this thread goes on only once the
    // child has ended or runs another program. It has this thread's errno, which is read below by us alone.
    let started = unsafe { libc::clone(run_errand, top.cast(), flags, (&raw mut errand).cast()) };
    let child = Pid::from_raw(Errno::result(started)?);
    match errand.failed {
        None => Ok(child),
        Some(error) => {
            // It ends at once; a status nobody asks for would stay.
            let _status = waitpid(child, None);
            Err(error)
        }
    }
}

extern "C" fn run_errand(errand: *mut c_void) -> c_int {
    // SAFETY: `in_child` hands out nothing else, and does not touch it meanwhile.
    let errand = unsafe { &mut *errand.cast::<Errand<'_>>() };
    errand.failed = (errand.work)().err();
    // SAFETY: it ends this process without running anything that was left for its end.
    unsafe { libc::_exit(127) }
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
