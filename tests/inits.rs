//! Promise: beside the inits people know (tini, dumb-init, catatonit), `run` behaves as they do, and where it
//! does not, it is on purpose and the reason stands here.
//!
//! Each case is one question, asked of every init at every place it can stand in. The answer is ours; a peer
//! with another one has a line with its answer and the reason for ours. A line that is no longer true fails,
//! like one that is missing.

mod support;

use std::fs;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use support::{BINARY, Running, StandIn, Terminal, eventually, find, need, need_python, run, skip, succeeds};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Init {
    Ours,
    Tini,
    DumbInit,
    Catatonit,
}
use Init::{Catatonit, DumbInit, Ours, Tini};

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
type Differs = (Init, Option<Place>, &'static str, &'static str);

/// One init at one place.
struct Setting {
    init: Init,
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
        let mut running = Running::start(&mut self.command(options, &["python3", "-c", program]));
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

#[test]
fn every_exit_code() {
    let expected = listed(0..=255);
    ask("every_exit_code", &[Plain], &expected, &[], |setting| {
        listed(
            (0..=255).map(|code| run(&mut setting.shell(&format!("exit {code}")), b"").code().unwrap_or(-1)),
        )
    });
}

#[test]
fn every_deadly_signal_of_the_child() {
    let deadly: Vec<i32> =
        (1..=64).filter(|n| ![17, 18, 19, 20, 21, 22, 23, 28, 32, 33].contains(n)).collect();
    let expected = listed(deadly.iter().map(|number| 128 + number));
    let script = |number: i32| format!("ulimit -c 0; kill -{number} $$");
    ask("every_deadly_signal_of_the_child", &[Plain], &expected, &[], |setting| {
        listed(
            deadly.iter().map(|&number| run(&mut setting.shell(&script(number)), b"").code().unwrap_or(-1)),
        )
    });
}

#[test]
fn every_ordinary_signal_is_passed_on() {
    let ordinary: Vec<i32> = (1..LAST)
        .filter(|n| !FAULTS.contains(n) && ![9, 17, 18, 19, 20, 21, 22, 32, 33].contains(n))
        .collect();
    for scope in [Scope::Group, Scope::Child] {
        let test = "every_ordinary_signal_is_passed_on";
        ask_scoped(test, scope, EVERYWHERE, &listed(&ordinary), &[], |setting| {
            let mut under = setting.start(&[], RECORDER);
            for &number in &ordinary {
                send(under.init, number);
                under.running.line_after(&format!("got {number}"));
            }
            let recorded = under.recorded();
            under.end();
            recorded
        });
    }
}

#[test]
fn a_fault_signal_that_somebody_sends_is_passed_on() {
    let differs: &[Differs] = &[
        (Tini, None, "init ends", "a runtime that sends SIGABRT wants the app's core dump, not ours"),
        (Catatonit, None, "init ends", "the same"),
    ];
    let test = "a_fault_signal_that_somebody_sends_is_passed_on";
    ask(test, &[Plain], "passed on", differs, |setting| {
        let outcomes = FAULTS.map(|number| {
            let mut under = setting.start(&[], RECORDER);
            send(under.init, number);
            let mut outcome = "";
            eventually("something happens", || {
                let is_gone = state(under.init).is_none_or(|state| state == 'Z');
                let is_told = under.running.output().contains(&format!("got {number}"));
                outcome = if is_gone { "init ends" } else { "passed on" };
                is_gone || is_told
            });
            send_all(under.child);
            under.running.wait();
            outcome
        });
        assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]), "{outcomes:?}");
        outcomes[0].to_owned()
    });
}

#[test]
fn terminal_stop_signals_are_passed_on_and_the_init_goes_on_serving() {
    let differs: &[Differs] = &[
        (Tini, None, "child T--", "who sends SIGTTIN means the child as well; tini ignores it and SIGTTOU"),
        (Catatonit, None, "child ---", "a child is started with its stop signals as they were, not blocked"),
        (DumbInit, Some(Plain), "child TTT, init TTT", "an init that stops cannot reap, nor a proxy serve"),
    ];
    let test = "terminal_stop_signals_are_passed_on_and_the_init_goes_on_serving";
    ask(test, EVERYWHERE, "child TTT", differs, |setting| {
        let (mut of_child, mut of_init) = (String::new(), String::new());
        for number in [20, 21, 22] {
            let program = "import signal\nprint('ready', flush=True)\nwhile True: signal.pause()";
            let under = setting.start(&[], program);
            send(under.init, number);
            // tini ignores two of them, and a child of catatonit blocks them all.
            let is_ignored = match setting.init {
                Tini => number != 20,
                Catatonit => true,
                Ours | DumbInit => false,
            };
            if is_ignored {
                of_child.push(if state(under.child) == Some('T') { 'T' } else { '-' });
            } else {
                eventually("the child is stopped", || state(under.child) == Some('T'));
                of_child.push('T');
            }
            if setting.init == DumbInit && setting.place == Plain {
                eventually("dumb-init is stopped too", || state(under.init) == Some('T'));
            }
            of_init.push(state(under.init).expect("it is there"));
            send(under.init, 18);
            eventually("the child is continued", || state(under.child) != Some('T'));
            under.end();
        }
        let of_init = if of_init.contains('T') { format!(", init {of_init}") } else { String::new() };
        format!("child {of_child}{of_init}")
    });
}

#[test]
fn a_whole_group_or_a_single_child() {
    let test = "a_whole_group_or_a_single_child";
    for (scope, expected) in [(Scope::Group, "all"), (Scope::Child, "the child alone")] {
        ask_scoped(test, scope, EVERYWHERE, expected, &[], |setting| {
            let mut under = setting.start(&[], RECORDER);
            let grandchild = children(under.child)[0];
            let has = |number: i32| {
                let status = fs::read_to_string(format!("/proc/{grandchild}/status")).expect("it is there");
                let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:\t"));
                let pending = u64::from_str_radix(pending.expect("a set"), 16).expect("in hexadecimal");
                pending & (1 << (number - 1)) != 0
            };
            send(under.init, 15);
            under.running.line_after("got 15");
            if scope == Scope::Group {
                eventually("the grandchild has it", || has(15));
            } else {
                // Whatever the first one caused has happened by the time of the next.
                send(under.init, 10);
                under.running.line_after("got 10");
            }
            let answer = if has(15) { "all" } else { "the child alone" };
            under.end();
            answer.to_owned()
        });
    }
}

#[test]
fn masks_and_ignored_signals_are_inherited() {
    let differs: &[Differs] = &[
        (
            DumbInit,
            None,
            "blocked - ignored -",
            "what the parent blocked and ignored (nohup) is the child's to undo",
        ),
        (
            Catatonit,
            None,
            "blocked 12 15 20 21 22 ignored 1 13",
            "a child whose stop signals are blocked cannot be suspended at its terminal",
        ),
    ];
    ask(
        "masks_and_ignored_signals_are_inherited",
        EVERYWHERE,
        "blocked 12 15 ignored 1 13",
        differs,
        |setting| {
            let inner = setting.command(&[], &["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"]);
            let mut outer = Command::new("env");
            outer.args([
                "--block-signal=TERM",
                "--block-signal=USR2",
                "--ignore-signal=HUP",
                "--ignore-signal=PIPE",
            ]);
            outer.arg(inner.get_program()).args(inner.get_args()).env_clear();
            outer.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let ended = run(&mut outer, b"").expect_success();
            let set = |name: &str| {
                let line = ended.stdout.lines().find_map(|line| line.strip_prefix(name)).expect("a set");
                let set = u64::from_str_radix(line.trim_start_matches(":\t"), 16).expect("in hexadecimal");
                let numbers =
                    listed((1..=64).filter(|n| set & (1 << (n - 1)) != 0 && ![32, 33, 34].contains(n)));
                if numbers.is_empty() { "-".to_owned() } else { numbers }
            };
            format!("blocked {} ignored {}", set("SigBlk"), set("SigIgn"))
        },
    );
}

#[test]
fn orphans_by_the_hundred_are_reaped() {
    let program = "
import os, signal
for _ in range(300):
    child = os.fork()
    if child == 0:
        if os.fork() == 0: os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
print('ready', flush=True)
while True: signal.pause()
";
    ask("orphans_by_the_hundred_are_reaped", &[First, Reaper], "only the child is left", &[], |setting| {
        let under = setting.start(&[], program);
        eventually("the orphans are reaped", || children(under.init).len() == 1);
        under.end();
        "only the child is left".to_owned()
    });
}

#[test]
fn the_controlling_terminal_is_the_childs() {
    ask("the_controlling_terminal_is_the_childs", &[Plain], "in the foreground, got hello", &[], |setting| {
        let script = "echo groups $(cut -d' ' -f5,8 /proc/$$/stat); read line; echo child got $line";
        let mut person = Terminal::start(&setting.shell(script));
        person.awaits("groups ").types("hello").awaits("child got hello");
        let (_, shown) = person.end();
        let groups = shown.lines().find_map(|line| line.strip_prefix("groups ")).expect("it was awaited");
        let (own, foreground) = groups.trim().split_once(' ').expect("two numbers");
        assert_eq!(own, foreground, "{shown}");
        "in the foreground, got hello".to_owned()
    });
}

#[test]
fn the_working_directory_is_not_pinned() {
    let test = "the_working_directory_is_not_pinned";
    if !nix::unistd::geteuid().is_root() {
        return skip(test, "it takes root to look at a process that is not dumpable");
    }
    let why = "an init has no business in the app's directory: a volume there could not be unmounted";
    let differs: &[Differs] = &[(Tini, None, "pinned", why), (Catatonit, None, "pinned", why)];
    ask(test, EVERYWHERE, "free", differs, |setting| {
        let under = setting.start(&[], RECORDER);
        let at = || fs::read_link(format!("/proc/{}/cwd", under.init)).expect("it is there");
        if matches!(setting.init, Ours | DumbInit) {
            eventually("it is left", || at().to_str() == Some("/"));
        }
        let answer = if at() == setting.stand_in.home().path() { "pinned" } else { "free" };
        under.end();
        answer.to_owned()
    });
}

#[test]
fn a_closed_output_is_at_its_end() {
    let why = "a reader waits for the end of what the child closed; a copy of ours would keep it waiting";
    let differs: &[Differs] =
        &[(Tini, None, "open", why), (DumbInit, None, "open", why), (Catatonit, None, "open", why)];
    ask("a_closed_output_is_at_its_end", &[Plain], "at its end", differs, |setting| {
        let script = "exec >&- 2>/dev/null; read go < gate; exit 0";
        let gate = setting.stand_in.home().join("gate");
        nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).expect("a named pipe");
        let mut command = setting.shell(script);
        let mut init = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("an init");
        let mut output = init.stdout.take().expect("piped");
        let (told, hears) = std::sync::mpsc::channel();
        let reader = std::thread::Builder::new().name("test-reader".to_owned()).spawn(move || {
            let end = output.read_to_end(&mut Vec::new());
            told.send(end.is_ok()).unwrap_or(());
        });
        let pid = init.id().cast_signed();
        let answer = if setting.init == Ours {
            hears.recv_timeout(support::PATIENCE).expect("the end of the output");
            "at its end"
        } else {
            // The child has closed its side once its own link to it is gone.
            eventually("the child closes it", || {
                children(pid)
                    .first()
                    .is_some_and(|child| fs::read_link(format!("/proc/{child}/fd/1")).is_err())
            });
            let is_held = fs::read_link(format!("/proc/{pid}/fd/1"))
                .is_ok_and(|to| to.to_string_lossy().starts_with("pipe:"));
            if is_held { "open" } else { "at its end" }
        };
        fs::write(&gate, "go\n").expect("the child reads");
        init.wait().expect("a child of ours");
        reader.expect("a thread").join().expect("the end of the output");
        answer.to_owned()
    });
}

#[test]
fn a_grandchild_that_keeps_the_output_open_is_not_waited_for() {
    let differs: &[Differs] = &[(
        DumbInit,
        Some(Plain),
        "3, grandchild ends",
        "a command that starts a service and returns would have started nothing",
    )];
    let test = "a_grandchild_that_keeps_the_output_open_is_not_waited_for";
    ask(test, &[Reaper, Plain], "3, grandchild stays", differs, |setting| {
        let mut command = setting.shell("sleep 60 2>/dev/null & echo $!; exit 3");
        let mut init = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("an init");
        let status = init.wait().expect("a child of ours");
        assert_eq!(status.signal(), None);
        let mut output = init.stdout.take().expect("piped");
        let mut line = Vec::new();
        for byte in output.by_ref().bytes() {
            match byte.expect("a byte") {
                b'\n' => break,
                byte => line.push(byte),
            }
        }
        let grandchild: i32 = String::from_utf8_lossy(&line).parse().expect("a number");
        if setting.init == DumbInit {
            eventually("dumb-init has ended it", || state(grandchild).is_none_or(|state| state == 'Z'));
        }
        let stays = state(grandchild).is_some_and(|state| state != 'Z');
        if stays {
            end(grandchild);
        }
        let code = status.code().unwrap_or(-1);
        format!("{code}, grandchild {}", if stays { "stays" } else { "ends" })
    });
}

#[test]
fn a_command_that_cannot_start_has_its_code() {
    use std::os::unix::fs::PermissionsExt as _;
    let differs: &[Differs] = &[
        (Tini, None, "127 126 0", "a file that is no program is not guessed to be a shell script"),
        (DumbInit, None, "2 2 0", "shells and runtimes know 127 and 126"),
        (Catatonit, None, "1 1 0", "as for tini and dumb-init"),
    ];
    ask("a_command_that_cannot_start_has_its_code", &[Plain], "127 126 126", differs, |setting| {
        let home = setting.stand_in.home();
        let [plain, script] = ["plain", "no-format"].map(|name| home.write(name, "exit 0\n"));
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("permissions");
        let path = |file: &std::path::Path| file.to_str().expect("a UTF-8 path").to_owned();
        let codes = ["/no/such/program".to_owned(), path(&plain), path(&script)]
            .map(|word| run(&mut setting.command(&[], &[&word]), b"").code().unwrap_or(-1));
        listed(codes)
    });
}

#[test]
fn rewriting_parents_and_exit_codes_have_options() {
    let test = "rewriting_parents_and_exit_codes_have_options";
    if need(test, "tini", "install tini").is_none() || need(test, "dumb-init", "install dumb-init").is_none()
    {
        return;
    }
    let setting = |init| Setting { init, place: Plain, scope: Scope::Group, stand_in: StandIn::start() };
    let rewritten = [(DumbInit, "-r"), (Ours, "--rewrite")].map(|(init, option)| {
        let setting = setting(init);
        let mut under = setting.start(&[option, "15:3", option, "1:0"], RECORDER);
        send(under.init, 15);
        send(under.init, 1);
        let recorded = under.recorded();
        under.end();
        recorded
    });
    assert_eq!(rewritten, ["3", "3"]);
    let mapped =
        [(Tini, &["-e", "143"][..]), (Ours, &["--exit-code-map", "143:0"])].map(|(init, options)| {
            let setting = setting(init);
            run(&mut setting.command(options, &["sh", "-c", "kill -TERM $$"]), b"").code()
        });
    assert_eq!(mapped, [Some(0), Some(0)]);
    let told =
        [(Tini, &["-p", "SIGTERM"][..]), (Ours, &["--kill-with-parent", "TERM"])].map(|(init, options)| {
            let setting = setting(init);
            let inner = setting.command(options, &["python3", "-c", RECORDER]);
            let mut shell = Command::new("sh");
            shell
                .args(["-c", "\"$@\" & echo init $!; wait", "sh"])
                .arg(inner.get_program())
                .args(inner.get_args());
            shell.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let mut running = Running::start(&mut shell);
            let init: i32 = running.line_after("init ").parse().expect("a number");
            running.line_after("ready");
            let child = children(init)[0];
            let grandchild = children(child)[0];
            end(running.pid().cast_signed());
            running.line_after("got 15");
            end(grandchild);
            end(child);
            running.wait().signal()
        });
    assert_eq!(told, [Some(9), Some(9)]);
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
