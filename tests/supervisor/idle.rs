//! Nothing to do is nothing done: no thread of an idle run wakes up.

use std::fs;

use crate::support::{StandIn, eventually, run};
use crate::{Place, Started, places, stat, status_of};

/// How often any thread of the process has gone to sleep, and the processor time of all, in ticks.
fn activity(pid: i32) -> (u64, i64) {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process has threads").flatten();
    let switches = |status: String| -> u64 {
        let counted = status.lines().filter_map(|line| line.split_once("ctxt_switches:\t"));
        counted.filter_map(|(_, count)| count.trim().parse::<u64>().ok()).sum()
    };
    let slept = threads.map(|thread| fs::read_to_string(thread.path().join("status")).map_or(0, switches));
    let (_, numbers) = stat(pid).expect("it is there");
    (slept.sum(), numbers[10] + numbers[11])
}

#[test]
fn an_idle_run_does_not_wake_up() {
    let stand_in = StandIn::start();
    for (number, place) in places("an_idle_run_does_not_wake_up").into_iter().enumerate() {
        let name = format!("idle-{}-{number}", std::process::id());
        let mut command = stand_in.agent();
        command.env("AGENT_VAULT_HEALTH_NAME", &name);
        // A second and a half, told by the clock of somebody else.
        let script = "echo ready; read go < gate; sleep 1.5; echo over > over; read go < gate";
        let gate = stand_in.home().join("gate");
        let over = stand_in.home().join("over");
        drop(fs::remove_file(&over));
        drop(fs::remove_file(&gate));
        nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).expect("a named pipe");
        command.current_dir(stand_in.home().path()).args(["run", "--", "sh", "-c", script]);
        let mut idle = Started::at(place, &mut command);
        idle.running.line_after("ready");
        let pid = idle.pid();
        // An answer comes from the main thread's loop, so from then on whoever sleeps, sleeps in it.
        let mut health = stand_in.bare();
        run(health.arg("health").env("AGENT_VAULT_HEALTH_NAME", &name), b"").expect_success();
        eventually("the run sleeps", || stat(pid).is_some_and(|(state, _)| state == 'S'));
        let before = activity(pid);
        fs::write(&gate, "go\n").expect("the child reads");
        eventually("the child's clock has run", || over.exists());
        assert_eq!(activity(pid), before, "{place:?}");
        idle.signal(15);
        assert_eq!(idle.code(), Some(143));
    }
}

/// KiB of memory the process has by this line of its status.
fn kib(pid: i32, name: &str) -> u64 {
    let line = status_of(pid, name).expect("it is there");
    line.trim_end_matches("kB").trim().parse().expect("a number of KiB")
}

/// The code and constants of a start are the most of what a run has had in memory.
#[test]
fn what_only_a_start_needs_is_let_go_of() {
    let stand_in = StandIn::start();
    let mut command = stand_in.agent();
    command.args(["run", "--", "sh", "-c", "echo ready; exec sleep 60"]);
    let mut idle = Started::at(Place::Plain, &mut command);
    idle.running.line_after("ready");
    let pid = idle.pid();
    eventually("a third of the memory is given back", || kib(pid, "VmRSS") * 3 < kib(pid, "VmHWM") * 2);
    idle.signal(15);
    assert_eq!(idle.code(), Some(143));
}
