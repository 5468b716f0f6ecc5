//! Which signals go on, to whom, as what.

use std::process::Command;

use crate::support::{StandIn, eventually, need_python};
use crate::{Place, RECORDER, Started, children, end, is_gone_soon, is_root, places, stat, status_of};

/// What nobody can receive, or what is about us: SIGKILL, SIGSTOP, SIGCHLD.
const NOT_PASSED_ON: [i32; 3] = [9, 19, 17];
/// What a C library in the child keeps to itself, so the recorder cannot ask for it.
const OF_THE_LIBRARY: [i32; 2] = [32, 33];
const STOPS: [i32; 3] = [20, 21, 22];

fn recording(stand_in: &StandIn, flags: &[&str]) -> Command {
    let mut command = stand_in.agent();
    command.arg("run").args(flags).args(["--", "python3", "-c", RECORDER]);
    command
}

#[test]
fn every_signal_goes_on_once_in_every_mode() {
    let test = "every_signal_goes_on_once_in_every_mode";
    if need_python(test, "signal").is_none() {
        return;
    }
    let stand_in = StandIn::start();
    for place in places(test) {
        for flags in [
            &[][..],
            &["--signal-mode=child"],
            &["--job-mode=session"],
            &["--job-mode=session", "--signal-mode=child"],
            &["--job-mode=shared"],
        ] {
            let is_session = flags.contains(&"--job-mode=session");
            let mut run = Started::at(place, &mut recording(&stand_in, flags));
            let child = run.running.line_after("ready");
            let mut expected = Vec::new();
            for number in (1..=64).filter(|number| {
                let is_other = NOT_PASSED_ON.contains(number) || OF_THE_LIBRARY.contains(number);
                // In a session of its own they become SIGSTOP, which cannot be recorded.
                !(is_other || is_session && STOPS.contains(number))
            }) {
                run.signal(number);
                run.running.line_after(&format!("got {number}"));
                expected.push(format!("got {number}"));
            }
            let output = run.running.output();
            let got: Vec<&str> = output.lines().filter(|line| line.starts_with("got ")).collect();
            assert_eq!(got, expected, "{place:?} {flags:?} {child}");
            let child = children(run.pid())[0];
            end(child);
            assert_eq!(run.code(), Some(137));
        }
    }
}

/// With nothing handled, a signal ends the child, and the run ends as a shell would say it.
#[test]
fn every_deadly_signal_becomes_its_code() {
    let stand_in = StandIn::start();
    let harmless = [18, 23, 28];
    for number in (1..=64).filter(|number| !NOT_PASSED_ON.contains(number)) {
        // What a library keeps to itself may have been left ignored by one of them on the way here.
        if harmless.contains(&number) || STOPS.contains(&number) || OF_THE_LIBRARY.contains(&number) {
            continue;
        }
        let script = "ulimit -c 0; echo ready; exec sleep 60";
        let mut run = Started::at(Place::Plain, stand_in.agent().args(["run", "--", "sh", "-c", script]));
        run.running.line_after("ready");
        run.signal(number);
        assert_eq!(run.code(), Some(128 + number), "signal {number}");
    }
}

#[test]
fn every_exit_code_is_passed_on() {
    let stand_in = StandIn::start();
    for code in (0..=255).step_by(5).chain([1, 2, 125, 126, 127, 128, 129]) {
        assert_eq!(stand_in.run_script(&format!("exit {code}")).code(), Some(code));
    }
}

#[test]
fn a_group_is_reached_whole_and_a_child_alone() {
    let test = "a_group_is_reached_whole_and_a_child_alone";
    if need_python(test, "signal").is_none() {
        return;
    }
    let stand_in = StandIn::start();
    for place in places(test) {
        for (flags, reaches_all) in
            [(&[][..], true), (&["--signal-mode", "child"], false), (&["--job-mode", "shared"], false)]
        {
            let mut run = Started::at(place, recording(&stand_in, flags).arg("with a child"));
            run.running.line_after("ready");
            let child = children(run.pid())[0];
            let grandchild = children(child)[0];
            run.signal(15);
            run.running.line_after("got 15");
            // What it blocks stays pending, so it can be looked at.
            let has_it = || {
                let pending = status_of(grandchild, "ShdPnd").expect("it is there");
                u64::from_str_radix(&pending, 16).expect("a signal set") & (1 << 14) != 0
            };
            if reaches_all {
                eventually("the grandchild has SIGTERM", has_it);
            } else {
                // A second signal, so that whatever the first one caused has happened.
                run.signal(10);
                run.running.line_after("got 10");
                assert!(!has_it(), "{place:?} {flags:?}");
            }
            end(grandchild);
            end(child);
            assert_eq!(run.code(), Some(137));
        }
    }
}

#[test]
fn a_child_in_a_session_of_its_own_is_stopped_and_continued() {
    let test = "a_child_in_a_session_of_its_own_is_stopped_and_continued";
    if need_python(test, "signal").is_none() {
        return;
    }
    // No shell: one that is stopped while it forks looks like one that is busy.
    let script = "import signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, {18})\nprint('ready', flush=True)\n\
                  while True: print('continued', signal.sigwait({18}), flush=True)";
    let stand_in = StandIn::start();
    for place in places(test) {
        for flags in [&["--job-mode=session"][..], &[]] {
            let mut command = stand_in.agent();
            let mut run =
                Started::at(place, command.arg("run").args(flags).args(["--", "python3", "-c", script]));
            run.running.line_after("ready");
            let child = children(run.pid())[0];
            let (_, numbers) = stat(child).expect("it is there");
            // Its parent's number, its group's, its session's.
            let (_, ours) = stat(run.pid()).expect("it is there");
            assert_ne!(numbers[1], ours[1], "a group of its own");
            assert_eq!(numbers[2] != ours[2], !flags.is_empty(), "a session of its own where asked for");
            for stop in STOPS {
                run.signal(stop);
                eventually("the child is stopped", || stat(child).is_some_and(|(state, _)| state == 'T'));
                run.signal(18);
                run.running.line_after("continued");
            }
            run.signal(15);
            assert_eq!(run.code(), Some(143), "{place:?} {flags:?}");
        }
    }
}

#[test]
fn a_second_and_a_third_signal_are_passed_on_like_the_first() {
    let test = "a_second_and_a_third_signal_are_passed_on_like_the_first";
    if need_python(test, "signal").is_none() {
        return;
    }
    let stand_in = StandIn::start();
    for number in [15, 2] {
        let mut run = Started::at(Place::Plain, &mut recording(&stand_in, &["--stop-timeout=1h"]));
        run.running.line_after("ready");
        for _ in 0..3 {
            run.signal(number);
            run.running.line_after(&format!("got {number}"));
        }
        end(children(run.pid())[0]);
        assert_eq!(run.code(), Some(137));
    }
}

#[test]
fn signals_are_rewritten_or_kept_back() {
    let test = "signals_are_rewritten_or_kept_back";
    if need_python(test, "signal").is_none() {
        return;
    }
    let stand_in = StandIn::start();
    let mut command = recording(&stand_in, &["--rewrite", "TERM:QUIT", "--rewrite=1:0,RTMIN+3:15"]);
    let mut run = Started::at(Place::Plain, &mut command);
    run.running.line_after("ready");
    for (sent, got) in [(1, None), (15, Some(3)), (37, Some(15)), (10, Some(10))] {
        run.signal(sent);
        if let Some(got) = got {
            run.running.line_after(&format!("got {got}"));
        }
    }
    let output = run.running.output();
    let got: Vec<&str> = output.lines().filter(|line| line.starts_with("got ")).collect();
    assert_eq!(got, ["got 3", "got 15", "got 10"]);
    end(children(run.pid())[0]);
    assert_eq!(run.code(), Some(137));
}

#[test]
fn a_kept_back_signal_does_not_start_the_clock() {
    let stand_in = StandIn::start();
    let script = "trap 'echo told; exit 4' USR1; echo ready; while :; do sleep 0.05; done";
    let flags = ["run", "--rewrite=TERM:0", "--stop-timeout=1ms", "--", "sh", "-c", script];
    let mut run = Started::at(Place::Plain, stand_in.agent().args(flags));
    run.running.line_after("ready");
    run.signal(15);
    run.signal(10);
    assert_eq!(run.code(), Some(4));
}

/// `nohup` and its like: the terminal's hang-up asks for nothing, and goes on to a child that may want it.
#[test]
fn a_signal_the_parent_ignored_does_not_start_the_clock() {
    let stand_in = StandIn::start();
    let script = "echo ready; while :; do sleep 0.05; done";
    let inner =
        format!("trap '' HUP; exec {} run --stop-timeout=1ms -- sh -c '{script}'", crate::support::BINARY);
    let mut command = stand_in.agent();
    let mut shell = Command::new("sh");
    shell.env_clear().envs(command.env("X", "").get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut run = Started::at(Place::Plain, shell.args(["-c", &inner]));
    run.running.line_after("ready");
    run.signal(1);
    // Nobody dies of it; a signal that is meant does its work.
    run.signal(12);
    assert_eq!(run.code(), Some(140));
}

#[test]
fn exit_codes_are_mapped_when_asked_to() {
    let stand_in = StandIn::start();
    for (script, code) in [("kill -TERM $$", 0), ("exit 3", 4), ("exit 5", 5)] {
        let mut command = stand_in.agent();
        command.args(["run", "--exit-code-map", "143:0,3:4", "--", "sh", "-c", script]);
        assert_eq!(crate::support::run(&mut command, b"").code(), Some(code), "{script}");
    }
}

#[test]
fn the_end_of_our_parent_is_a_signal_when_asked_for() {
    let test = "the_end_of_our_parent_is_a_signal_when_asked_for";
    if need_python(test, "signal").is_none() {
        return;
    }
    let stand_in = StandIn::start();
    let command = recording(&stand_in, &["--kill-with-parent", "TERM"]);
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\" & echo run $!; wait", "sh"]).arg(command.get_program());
    shell.args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut run = Started::at(Place::Plain, &mut shell);
    let run_pid: i32 = run.running.line_after("run ").parse().expect("a number");
    run.running.line_after("ready");
    let child = children(run_pid)[0];
    end(run.pid());
    run.running.line_after("got 15");
    end(child);
    is_gone_soon("the run ends", run_pid);
}

/// Without a process of ours the tie is the child's own, and outlasts a change of user.
#[test]
fn a_child_that_takes_our_place_ends_with_our_parent_when_asked_to() {
    let stand_in = StandIn::start();
    let mut ways = vec![&["--direct"][..]];
    if is_root("a_child_that_takes_our_place_ends_with_our_parent_when_asked_to") {
        ways.push(&["--direct", "--user=65532"]);
    }
    for way in ways {
        let mut shell = Command::new("sh");
        let command = stand_in.agent();
        shell.args(["-c", "\"$@\" & echo run $!; wait", "sh"]).arg(command.get_program());
        shell.arg("run").args(way).args(["--kill-with-parent=USR1", "--", "sh", "-c"]);
        shell.arg("trap 'echo got USR1; exit' USR1; echo ready; while :; do sleep 0.05; done").env_clear();
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let mut run = Started::at(Place::Plain, &mut shell);
        let child: i32 = run.running.line_after("run ").parse().expect("a number");
        run.running.line_after("ready");
        end(run.pid());
        run.running.line_after("got USR1");
        is_gone_soon("the child ends", child);
    }
}

#[test]
fn the_child_does_not_outlive_us() {
    let stand_in = StandIn::start();
    for flags in [&[][..], &["--job-mode=session"], &["--job-mode=shared"]] {
        let script = "trap '' TERM HUP; echo ready; while :; do sleep 0.05; done";
        let mut command = stand_in.agent();
        let mut run =
            Started::at(Place::Plain, command.arg("run").args(flags).args(["--", "sh", "-c", script]));
        run.running.line_after("ready");
        let child = children(run.pid())[0];
        end(run.pid());
        is_gone_soon("the child ends with us", child);
    }
}
