//! Promise: `run` as the first process of a container is invisible when things go well and exact when they
//! do not. What holds does so as a plain process and as process 1 of a PID namespace.

#[path = "../support/mod.rs"]
mod support;

mod ends;
mod idle;
mod inherited;
mod load;
mod rights;
mod signals;
mod terminal;

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Running, eventually, find, skip, succeeds};

/// A Python program that says each signal it gets, and stays. Nothing but a signal it cannot block ends it.
/// With an argument, it has a child that blocks everything too and lets it pend; its number is told.
const RECORDER: &str = "
import os, signal, sys
everything = set(range(1, 65)) - {32, 33, 9, 19}
signal.pthread_sigmask(signal.SIG_BLOCK, everything)
child = 0
if len(sys.argv) > 1:
    child = os.fork()
    while child == 0:
        signal.pause()
print('ready', os.getpid(), child, flush=True)
while True:
    print('got', int(signal.sigwait(everything)), flush=True)
";

/// Where the run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Plain,
    /// Process 1 of a PID namespace with its own /proc.
    First,
}

/// Both places, or the one this machine has.
fn places(test: &str) -> Vec<Place> {
    if succeeds("unshare", &["-pf", "--mount-proc", "true"]) {
        return vec![Place::Plain, Place::First];
    }
    skip(test, "unshare cannot make namespaces here; run as root, with util-linux");
    vec![Place::Plain]
}

/// A run that has been started, and the process to signal.
struct Started {
    running: Running,
    place: Place,
}

impl Started {
    #[track_caller]
    fn at(place: Place, command: &mut Command) -> Self {
        let running = match place {
            Place::Plain => Running::start(command),
            Place::First => Running::start(&mut in_namespace(command)),
        };
        Self { running, place }
    }

    /// The run itself, once its child has said something.
    #[track_caller]
    fn pid(&self) -> i32 {
        let started = self.running.pid().cast_signed();
        match self.place {
            Place::Plain => started,
            Place::First => children(started).first().copied().expect("unshare has a child"),
        }
    }

    #[track_caller]
    fn signal(&self, number: i32) {
        send(self.pid(), number);
    }

    /// The exit code; `unshare` ends as its child ended.
    #[track_caller]
    fn code(&mut self) -> Option<i32> {
        self.running.wait().code()
    }
}

/// The same command as process 1 of a namespace that ends with it.
fn in_namespace(command: &Command) -> Command {
    let mut outer = Command::new(find("unshare").expect("it was there just now"));
    outer.args(["-pf", "--mount-proc", "--kill-child", "--"]).arg(command.get_program());
    outer.args(command.get_args()).env_clear();
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer
}

/// Sends any signal, real-time ones included.
#[track_caller]
fn send(pid: i32, number: i32) {
    let sent = Command::new("kill").args(["-s", &number.to_string(), "--", &pid.to_string()]).status();
    assert!(sent.expect("kill can be started").success(), "process {pid} takes signal {number}");
}

/// What /proc tells of a process: its state and the numbers behind it, from the parent on.
fn stat(pid: i32) -> Option<(char, Vec<i64>)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let (state, numbers) = rest.split_once(' ')?;
    Some((state.chars().next()?, numbers.split(' ').filter_map(|word| word.parse().ok()).collect()))
}

/// The processes whose parent this one is.
fn children(parent: i32) -> Vec<i32> {
    let listed = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| stat(pid).is_some_and(|(_, rest)| rest[0] == i64::from(parent))).collect()
}

/// A line of /proc/PID/status.
fn status_of(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))?;
    Some(line.trim().to_owned())
}

#[track_caller]
fn is_gone_soon(what: &str, pid: i32) {
    eventually(what, || stat(pid).is_none_or(|(state, _)| state == 'Z'));
}

#[track_caller]
fn end(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).expect("it is there");
}

/// Whether tests may do what takes root.
fn is_root(test: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skip(test, "it takes root to become another user");
    }
    is_root
}

/// What is in a folder.
fn names_in(folder: &Path) -> Vec<String> {
    let listed = fs::read_dir(folder).expect("a folder").flatten();
    listed.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
