//! Promise: as a container's first process, `run` passes signals on, reaps whatever is orphaned, and ends
//! as its child ended.

mod support;

use std::fs;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{BINARY, Running, StandIn, eventually, run};

/// Signals a shell can trap and a runtime may send.
const FORWARDED: [(&str, Signal); 8] = [
    ("HUP", Signal::SIGHUP),
    ("INT", Signal::SIGINT),
    ("QUIT", Signal::SIGQUIT),
    ("USR1", Signal::SIGUSR1),
    ("USR2", Signal::SIGUSR2),
    ("ALRM", Signal::SIGALRM),
    ("TERM", Signal::SIGTERM),
    ("WINCH", Signal::SIGWINCH),
];

/// Shell words that stay a minute and let a trap run soon after its signal, whenever that arrives: a shell
/// that blocks in `wait` or `read` can miss one that comes a moment before.
const STAY: &str = "turn=0; while [ $turn -lt 1200 ]; do sleep 0.05; turn=$((turn + 1)); done";

fn script(stand_in: &StandIn, flags: &[&str], script: &str) -> Command {
    let mut command = stand_in.agent();
    command.arg("run").args(flags).args(["--", "sh", "-c", script]);
    command
}

fn send(running: &Running, signal: Signal) {
    kill(Pid::from_raw(running.pid().cast_signed()), signal).expect("the run is there");
}

/// The state letter and the parent of a process, while it exists.
fn look_up(pid: &str) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some((words.next()?.chars().next()?, words.next()?.parse().ok()?))
}

#[test]
fn every_signal_reaches_the_child() {
    let stand_in = StandIn::start();
    let traps: String =
        FORWARDED.iter().map(|(name, _)| format!("trap 'echo got {name}' {name}\n")).collect();
    let body = format!("{traps} echo ready $$; {STAY}");
    let mut running = Running::start(&mut script(&stand_in, &[], &body));
    let child = running.line_after("ready");
    for (name, signal) in FORWARDED {
        send(&running, signal);
        running.line_after(&format!("got {name}"));
    }
    // The one it cannot handle ends it, and its own children with it.
    kill(Pid::from_raw(-child.parse::<i32>().expect("a pid")), Signal::SIGKILL).expect("it is there");
    assert_eq!(running.wait().code(), Some(137));
}

#[test]
fn the_whole_process_group_gets_a_signal() {
    let stand_in = StandIn::start();
    let grandchild = format!("(trap 'echo grandchild; exit' TERM; echo ready; {STAY}) &");
    let body = format!("trap 'echo child; wait; exit 5' TERM; {grandchild} {STAY}");
    let mut running = Running::start(&mut script(&stand_in, &[], &body));
    running.line_after("ready");
    send(&running, Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(5));
    let output = running.output();
    assert!(output.contains("child") && output.contains("grandchild"), "{output}");
}

#[test]
fn orphans_are_reaped_while_the_child_runs() {
    let stand_in = StandIn::start();
    // The subshell ends at once, so its child is adopted by the run, and then ends too.
    let body = "for i in 1 2 3 4 5 6 7 8 9 10; do (sh -c 'echo orphan $$; exit 3' &); done; exec sleep 60";
    let mut running = Running::start(&mut script(&stand_in, &[], body));
    for _ in 0..10 {
        let orphan = running.line_after("orphan ");
        eventually("the orphan is reaped", || look_up(&orphan).is_none());
    }
    send(&running, Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(143));
}

#[test]
fn orphans_that_live_are_adopted() {
    let stand_in = StandIn::start();
    let body = "(sh -c 'echo orphan $$; exec sleep 60' &); exec sleep 60";
    let mut running = Running::start(&mut script(&stand_in, &[], body));
    let orphan = running.line_after("orphan ");
    eventually("the run adopts it", || look_up(&orphan).is_some_and(|(_, parent)| parent == running.pid()));
    // It is still in the child's process group, so it ends with it.
    send(&running, Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(143));
}

#[test]
fn a_child_that_ignores_the_end_is_killed_when_asked_to() {
    let stand_in = StandIn::start();
    let body = format!("trap '' TERM; echo ready; {STAY}");
    let mut running = Running::start(&mut script(&stand_in, &["--stop-timeout", "100ms"], &body));
    running.line_after("ready");
    send(&running, Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(137));
}

#[test]
fn the_child_starts_as_if_we_were_not_there() {
    let stand_in = StandIn::start();
    let report = "grep -E '^Sig(Blk|Ign)' /proc/self/status; ulimit -Sn; ulimit -Sc; readlink /proc/self/cwd";
    // What the parent has ignored and limited is to reach the child, with us between or not.
    let after = |way: &str| {
        let line = format!("trap '' HUP USR1; ulimit -Sn 200; ulimit -Sc 0; {way} sh -c \"{report}\"");
        let mut shell = Command::new("sh");
        let variables = stand_in.agent();
        shell.env_clear().envs(variables.get_envs().filter_map(|(name, value)| Some((name, value?))));
        shell.current_dir(stand_in.home().path()).args(["-c", &line]);
        without_internal_signals(&run(&mut shell, b"").expect_success().stdout)
    };
    let expected = after("exec");
    assert!(expected.contains("SigIgn: 201\n200\n0\n"), "{expected}");
    assert_eq!(after(&format!("exec {BINARY} run --")), expected);
    assert_eq!(after(&format!("exec {BINARY} run --direct --")), expected);
}

/// The signal sets of a report without 32 to 34, which C libraries keep to themselves and set as they like.
fn without_internal_signals(report: &str) -> String {
    let shown = |line: &str| match line.split_once(":\t") {
        Some((name, set)) => {
            let set = u64::from_str_radix(set, 16).expect("a signal set in hexadecimal");
            format!("{name}: {:x}\n", set & !(0b111 << 31))
        }
        None => format!("{line}\n"),
    };
    report.lines().map(shown).collect()
}

#[test]
fn stdin_and_stdout_are_the_childs_own() {
    let stand_in = StandIn::start();
    let ended = run(&mut script(&stand_in, &[], "cat"), b"through\0and through").expect_success();
    assert_eq!(ended.stdout, "through\0and through");
}

#[test]
fn the_child_leads_its_own_process_group() {
    let stand_in = StandIn::start();
    let ended = stand_in.run_script("cut -d' ' -f1,5 /proc/$$/stat");
    let (pid, group) = ended.stdout.trim().split_once(' ').expect("two numbers");
    assert_eq!(pid, group);
}

#[test]
fn a_signal_ends_the_wait_for_a_broker() {
    let stand_in = StandIn::start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", silent.local_addr().expect("its address"));
    let mut command = script(&stand_in, &["--wait", "60s"], "echo started");
    let mut running = Running::start(command.env("AGENT_VAULT_ADDR", address));
    // Connected, so the run is past its preparations and waits for the answer.
    let asking = silent.accept().expect("the run asks");
    send(&running, Signal::SIGTERM);
    assert_eq!(running.wait().code(), Some(143));
    assert_eq!(running.output(), "stopped by SIGTERM before the command was started");
    drop(asking);
}

#[test]
fn a_child_that_has_gone_leaves_its_background_behind() {
    let stand_in = StandIn::start();
    // What stays has closed its streams, so nobody waits for them; the status is the child's.
    let body = "sleep 60 >/dev/null 2>&1 & echo $!; exit 9";
    let ended = stand_in.run_script(body);
    assert_eq!(ended.code(), Some(9));
    kill(Pid::from_raw(ended.stdout.trim().parse().expect("a pid")), Signal::SIGKILL).expect("it is there");
}
