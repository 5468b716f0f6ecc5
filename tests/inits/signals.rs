//! What becomes of signals: those sent to the init, those that end the child, those inherited.

use std::fs;
use std::process::Command;

use crate::support::{eventually, run};
use crate::{
    Catatonit, Differs, DumbInit, EVERYWHERE, FAULTS, LAST, Ours, Plain, RECORDER, Scope, Tini, ask,
    ask_scoped, children, listed, send, send_all, state,
};

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
