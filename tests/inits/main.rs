//! Promise: beside the inits people know (tini, dumb-init, catatonit), `run` behaves as they do, and where it
//! does not, it is on purpose and the reason stands here.
//!
//! Each case is one question, asked of every init at every place it can stand in. The answer is ours; a peer
//! with another one has a line with its answer and the reason for ours. A line that is no longer true fails,
//! like one that is missing.

#[path = "../support/mod.rs"]
mod support;

mod ends;
mod signals;

use std::fs;
use std::process::Command;

use support::{BINARY, Running, StandIn, find, need, need_python, skip, succeeds};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Supervisor {
    Ours,
    Tini,
    DumbInit,
    Catatonit,
}
use Supervisor::{Catatonit, DumbInit, Ours, Tini};

/// Where an init stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Process 1 of a PID namespace with its own /proc.
    First,
    /// A process among others that adopts its orphaned descendants.
    Reaper,
    /// A process among others.
    Plain,
}
use Place::{First, Plain, Reaper};

const EVERYWHERE: &[Place] = &[First, Reaper, Plain];

/// Who gets the signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Group,
    Child,
}

/// A peer that answers otherwise: at this place (everywhere if none is given), so, and why we do not.
type Differs = (Supervisor, Option<Place>, &'static str, &'static str);

/// One init at one place.
struct Setting {
    init: Supervisor,
    place: Place,
    scope: Scope,
    stand_in: StandIn,
}

impl Setting {
    /// The command that runs `words` under the init, with further options of the init.
    fn command(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = self.stand_in.agent();
        let init: &[&str] = match (self.init, self.scope) {
            (Ours, Scope::Group) => &[BINARY, "run"],
            (Ours, Scope::Child) => &[BINARY, "run", "--signal-mode=child"],
            (Tini, Scope::Group) => &["tini", "-g"],
            (Tini, Scope::Child) => &["tini"],
            (DumbInit, Scope::Group) => &["dumb-init"],
            (DumbInit, Scope::Child) => &["dumb-init", "-c"],
            (Catatonit, Scope::Group) => &["catatonit", "-g"],
            (Catatonit, Scope::Child) => &["catatonit"],
        };
        let mut line: Vec<&str> = init.to_vec();
        if self.init == Tini && self.place == Reaper {
            line.push("-s");
        }
        line.extend(options);
        line.push("--");
        line.extend(words);
        if self.place == First {
            line.splice(0..0, ["unshare", "-pf", "--mount-proc", "--kill-child", "--"]);
        }
        let mut outer = Command::new(line[0]);
        outer.args(&line[1..]).env_clear().current_dir(self.stand_in.home().path());
        outer.envs(command.env("PS1", "").get_envs().filter_map(|(name, value)| Some((name, value?))));
        outer
    }

    fn shell(&self, script: &str) -> Command {
        self.command(&[], &["sh", "-c", script])
    }

    /// Starts a Python program that says `ready`.
    #[track_caller]
    fn start(&self, options: &[&str], program: &str) -> Under {
        self.begin(&mut self.command(options, &["python3", "-c", program]))
    }

    /// Starts a program of [`Setting::command`] that says `ready`.
    #[track_caller]
    fn begin(&self, command: &mut Command) -> Under {
        let mut running = Running::start(command);
        running.line_after("ready");
        let started = running.pid().cast_signed();
        let init = if self.place == First { children(started)[0] } else { started };
        let child = children(init)[0];
        Under { running, init, child }
    }
}

/// A program under an init.
struct Under {
    running: Running,
    init: i32,
    child: i32,
}

impl Under {
    /// The numbers of the signals the program has said it got, up to the one that was sent last.
    #[track_caller]
    fn recorded(&mut self) -> String {
        send(self.init, LAST);
        self.running.line_after(&format!("got {LAST}"));
        let output = self.running.output();
        let got = output.lines().filter_map(|line| line.strip_prefix("got "));
        let mut numbers: Vec<i32> = got.filter_map(|number| number.parse().ok()).collect();
        numbers.sort_unstable();
        numbers.retain(|&number| number != LAST);
        listed(numbers)
    }

    fn end(mut self) {
        send_all(self.child);
        self.running.wait();
    }
}

/// Says each signal it gets and stays. With a child that lets everything pend.
const RECORDER: &str = "
import os, signal
everything = set(range(1, 65)) - {32, 33, 9, 19}
signal.pthread_sigmask(signal.SIG_BLOCK, everything)
if os.fork() == 0:
    while True: signal.pause()
print('ready', flush=True)
while True:
    print('got', int(signal.sigwait(everything)), flush=True)
";

/// The signal that closes a record: the highest one, which is taken after all others.
const LAST: i32 = 64;

/// What a fault of the process itself raises.
const FAULTS: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];

/// Asks every init and compares.
#[track_caller]
fn ask(
    test: &str,
    places: &[Place],
    expected: &str,
    differs: &[Differs],
    answer: impl Fn(&Setting) -> String,
) {
    ask_scoped(test, Scope::Group, places, expected, differs, answer);
}

#[track_caller]
fn ask_scoped(
    test: &str,
    scope: Scope,
    places: &[Place],
    expected: &str,
    differs: &[Differs],
    answer: impl Fn(&Setting) -> String,
) {
    if need_python(test, "signal").is_none() {
        return;
    }
    let can_be_first = succeeds("unshare", &["-pf", "--mount-proc", "true"]);
    if !can_be_first && places.contains(&First) {
        skip(test, "unshare cannot make namespaces here; run as root, with util-linux");
    }
    let mut wrong = Vec::new();
    for (init, package) in [(Ours, ""), (Tini, "tini"), (DumbInit, "dumb-init"), (Catatonit, "catatonit")] {
        if !package.is_empty() && need(test, package, &format!("install {package}")).is_none() {
            continue;
        }
        for &place in places.iter().filter(|place| can_be_first || **place != First) {
            // dumb-init adopts nobody, so its plain place is all it has; the others adopt always.
            if matches!((init, place), (DumbInit, Reaper) | (Ours | Catatonit, Plain)) && places.len() > 1 {
                continue;
            }
            let found = answer(&Setting { init, place, scope, stand_in: StandIn::start() });
            let other =
                differs.iter().find(|(known, at, ..)| *known == init && at.is_none_or(|at| at == place));
            let wanted = other.map_or(expected, |(_, _, seen, _)| seen);
            if found != wanted {
                wrong.push(format!("{init:?} as {place:?}: {found:?} instead of {wanted:?}"));
            }
        }
    }
    for (init, _, seen, reason) in differs {
        assert!(*seen != expected && *init != Ours && !reason.is_empty(), "{init:?} does not differ");
    }
    assert!(wrong.is_empty(), "{test}:\n{}", wrong.join("\n"));
}

fn listed<T: ToString>(numbers: impl IntoIterator<Item = T>) -> String {
    numbers.into_iter().map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn send(pid: i32, number: i32) {
    let kill = find("kill").expect("procps is installed");
    let sent = Command::new(kill).args(["-s", &number.to_string(), "--", &pid.to_string()]).status();
    assert!(sent.expect("kill can be started").success(), "process {pid} takes signal {number}");
}

#[track_caller]
fn end(pid: i32) {
    send(pid, 9);
}

/// Ends a process and its children, whoever of them is still there.
fn send_all(pid: i32) {
    for pid in children(pid).into_iter().chain([pid]) {
        if state(pid).is_some() {
            end(pid);
        }
    }
}

fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// The processes whose parent this one is.
fn children(parent: i32) -> Vec<i32> {
    let listed = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = listed.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent_of = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1)?.parse().ok());
        parent_of == Some(parent)
    })
    .collect()
}
