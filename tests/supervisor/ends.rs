//! How a run ends when its command does something unusual: the code is exact and nothing stays behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::support::{StandIn, need, run};
use crate::{Place, Started, children, is_gone_soon, names_in, places};

#[test]
fn a_command_that_cannot_start_leaves_nothing_behind() {
    let stand_in = StandIn::start();
    let ca_dir = stand_in.home().dir("ca");
    let executable = |name: &str, content: &str| {
        let file = stand_in.home().write(name, content);
        fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("permissions");
        file
    };
    let cases = [
        executable("no-format", "neither a program nor a script\n"),
        executable("bad-interpreter", "#!/no/such/interpreter\n"),
        executable("interpreter-is-a-folder", "#!/tmp\n"),
        executable("empty", ""),
    ];
    for file in cases {
        let mut command = stand_in.agent();
        let ended = run(command.arg("run").arg("--ca-dir").arg(&ca_dir).arg("--").arg(&file), b"");
        assert_eq!(ended.code(), Some(126), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("cannot execute {}: ", file.display())), "{}", ended.stderr);
        assert_eq!(names_in(&ca_dir), [""; 0], "{}", file.display());
    }
    // `run` waited for both streams to end, so no process that could hold them is left; the relay's port
    // was that process's own.
}

/// An environment that fits us just so does not fit the child, whose has more in it.
#[test]
fn an_environment_too_large_for_the_child_is_our_failure_to_execute() {
    let stand_in = StandIn::start();
    let ca_dir = stand_in.home().dir("ca");
    let filled = |word: &str, bytes: usize| {
        let mut command = stand_in.agent();
        command.arg(word).arg("--ca-dir").arg(&ca_dir).args(["--", "/bin/true"]);
        for (number, start) in (0..bytes).step_by(100_000).enumerate() {
            command.env(format!("FILL{number:03}"), "x".repeat((bytes - start).min(100_000)));
        }
        command
    };
    // The most that can be passed to a program of this name and these arguments, by trying.
    let (mut fits, mut too_much) = (0, 16_000_000);
    while too_much - fits > 1 {
        let middle = usize::midpoint(fits, too_much);
        let mut command = filled("nop", middle);
        match command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).status() {
            Ok(_) => fits = middle,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ArgumentListTooLong, "{error}");
                too_much = middle;
            }
        }
    }
    let ended = run(&mut filled("run", fits), b"");
    assert_eq!(ended.code(), Some(126), "{}", ended.stderr);
    assert!(ended.stderr.contains("cannot execute /bin/true: Argument list too long"), "{}", ended.stderr);
    assert_eq!(names_in(&ca_dir), [""; 0]);
}

#[test]
fn unusual_children_end_with_their_own_status() {
    let stand_in = StandIn::start();
    let ca_dir = stand_in.home().dir("ca");
    for place in places("unusual_children_end_with_their_own_status") {
        for (what, script, code) in [
            ("crashes at its start", "ulimit -c 0; kill -SEGV $$", 139),
            ("closes all descriptors", "exec 0<&- 1>&- 2>&-; exit 7", 7),
            ("closes all descriptors and is killed", "exec 0<&- 1>&- 2>&-; kill -9 $$", 137),
            ("forks and exits", "sleep 60 > /dev/null 2>&1 & exit 6", 6),
            ("forks and crashes", "sleep 60 > /dev/null 2>&1 & kill -ABRT $$", 134),
            ("kills its own group", "trap '' TERM; kill -TERM 0; exit 5", 5),
            ("leaves its group", "exec setsid -w sh -c 'exit 4'", 4),
            ("stops itself and is continued", "(sleep 0.1; kill -CONT $$) & kill -STOP $$; exit 3", 3),
            ("signals its parent", "trap 'exit 2' USR1; kill -USR1 $PPID; while :; do sleep 0.05; done", 2),
        ] {
            let mut command = stand_in.agent();
            command.arg("run").arg("--ca-dir").arg(&ca_dir).args(["--", "sh", "-c", script]);
            let mut run = Started::at(place, &mut command);
            assert_eq!(run.code(), Some(code), "{what} as {place:?}");
            assert_eq!(names_in(&ca_dir), [""; 0], "{what} as {place:?}");
        }
    }
    for pid in left_behind(&stand_in) {
        crate::end(pid);
    }
}

/// As process 1 the end of the run is the end of all; as a plain process whoever is left goes on.
#[test]
fn what_a_child_leaves_behind_ends_with_process_1_only() {
    let stand_in = StandIn::start();
    for place in places("what_a_child_leaves_behind_ends_with_process_1_only") {
        let mut command = stand_in.agent();
        let script = "sleep 60 > /dev/null 2>&1 & exit 6";
        let mut run = Started::at(place, command.args(["run", "--", "sh", "-c", script]));
        assert_eq!(run.code(), Some(6));
        let left = left_behind(&stand_in);
        match place {
            Place::First => left.iter().for_each(|&pid| is_gone_soon("all of the namespace", pid)),
            Place::Plain => {
                assert_eq!(left.len(), 1);
                crate::end(left[0]);
            }
        }
    }
}

/// The processes with this stand-in's home in their environment.
fn left_behind(stand_in: &StandIn) -> Vec<i32> {
    let home = format!("HOME={}\0", stand_in.home().path().display());
    let listed = fs::read_dir("/proc").expect("/proc").flatten();
    let with_home = listed.filter(|entry| {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        environment.windows(home.len()).any(|part| part == home.as_bytes())
    });
    with_home.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[test]
fn a_child_that_ignores_the_end_is_killed_with_its_group() {
    let stand_in = StandIn::start();
    for place in places("a_child_that_ignores_the_end_is_killed_with_its_group") {
        for mode in ["group", "session"] {
            let script = "trap '' TERM; sh -c 'echo ready; sleep 60' & wait; sleep 60";
            let flags = ["run", "--job-mode", mode, "--stop-timeout=100ms", "--", "sh", "-c", script];
            let mut run = Started::at(place, stand_in.agent().args(flags));
            run.running.line_after("ready");
            let grandchild = children(children(run.pid())[0])[0];
            run.signal(15);
            assert_eq!(run.code(), Some(137), "{place:?} {mode}");
            is_gone_soon("the group is killed", grandchild);
        }
    }
}

/// What an app says goodbye with reaches its API: the proxy serves for as long as there is a child.
#[test]
fn the_last_call_of_a_child_works() {
    let test = "the_last_call_of_a_child_works";
    if need(test, "curl", "install curl").is_none() {
        return;
    }
    let stand_in = StandIn::start();
    for place in places(test) {
        let script = "trap 'curl -s http://a.test/goodbye; echo; exit 3' TERM; echo ready; \
                      while :; do sleep 0.05; done";
        let mut command: Command = stand_in.agent();
        let mut run = Started::at(place, command.args(["run", "--", "sh", "-c", script]));
        run.running.line_after("ready");
        run.signal(15);
        run.running.line_after("GET http://a.test/goodbye");
        assert_eq!(run.code(), Some(3), "{place:?}");
    }
}
