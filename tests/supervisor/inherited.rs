//! What the child finds is what we were given: signals, limits, descriptors, working directory.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::support::{BINARY, Running, StandIn, eventually, run, skip};
use crate::{children, end};

/// Says what a process was started with. The C library of the shell and of the tools changes none of it.
const REPORT: &str = "grep -E '^(Sig(Blk|Ign)|Umask|Groups|NoNewPrivs|Cap)' /proc/self/status; \
     ulimit -a; cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj; readlink /proc/self/cwd; \
     ls -l /proc/self/fd | sed 's/.*[0-9] \\([0-9]* -> \\)/\\1/' | grep -v /proc/ | sed 's/\\[.*//'";

/// A shell that prepares what is inherited and then starts the report in the given way.
fn report(stand_in: &StandIn, prepare: &str, way: &str) -> String {
    let line = format!("{prepare} {way} sh -c \"$REPORT\"");
    let mut shell = Command::new("sh");
    let variables = stand_in.agent();
    shell.env_clear().envs(variables.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.env("REPORT", REPORT).current_dir(stand_in.home().path()).args(["-c", &line]);
    run(&mut shell, b"").expect_success().stdout
}

#[test]
fn everything_is_inherited_as_it_was() {
    let stand_in = StandIn::start();
    let signals = "exec env --block-signal=USR2 --block-signal=TERM --ignore-signal=PIPE --ignore-signal=HUP \
                   --ignore-signal=CHLD";
    for prepare in [
        "exec env",
        signals,
        "umask 027; ulimit -n 100; ulimit -c 0; exec nice -n 3",
        "exec 3< /dev/null 4>&1 7> seven; exec env",
        "exec 0<&-; exec env",
        "exec env --ignore-signal=TERM --default-signal=PIPE",
    ] {
        let expected = report(&stand_in, prepare, "");
        assert!(expected.contains("SigIgn"), "{expected}");
        for way in ["run --", "run --direct --", "run --job-mode=session --", "run --job-mode=shared --"] {
            let found = report(&stand_in, prepare, &format!("{BINARY} {way}"));
            assert_eq!(found, expected, "{prepare} {way}");
        }
    }
}

#[test]
fn a_broken_pipe_ends_a_child_unless_it_was_ignored() {
    let stand_in = StandIn::start();
    // A shell cannot undo an ignored signal, so this is the real thing and not our report of it.
    let script = "sh -c 'kill -PIPE $$; echo survived'; echo code $?";
    for (ignored, expected) in [("", "code 141\n"), ("--ignore-signal=PIPE", "survived\ncode 0\n")] {
        let mut command = Command::new("env");
        let variables = stand_in.agent();
        command.env_clear().envs(variables.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let all = ["--default-signal=PIPE", ignored, BINARY, "run", "--", "sh", "-c", script];
        command.args(all.iter().filter(|word| !word.is_empty()));
        assert_eq!(run(&mut command, b"").expect_success().stdout, expected, "{ignored}");
    }
}

/// A reader of the child's output sees its end when the child closes it, though the run goes on.
#[test]
fn pipes_end_when_the_child_closes_its_side() {
    let stand_in = StandIn::start();
    let script = "echo last words; exec >&- <&-; echo closed >&2; exec sleep 60";
    let mut command = stand_in.agent();
    command.args(["run", "--", "sh", "-c", script]);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.expect("a run");
    let mut said = String::new();
    child.stdout.take().expect("piped").read_to_string(&mut said).expect("text, and then the end");
    assert_eq!(said, "last words\n");
    let mut stdin = child.stdin.take().expect("piped");
    eventually("nobody reads our standard input any more", || stdin.write_all(b"x").is_err());
    crate::send(child.id().cast_signed(), 15);
    assert_eq!(child.wait().expect("a child of ours").code(), Some(143));
}

/// The same for descriptors beyond the standard streams: only the child holds them.
#[test]
fn what_is_passed_on_is_not_kept() {
    let stand_in = StandIn::start();
    let script = "echo ready >&2; echo notified >&3; exec 3>&-; exec sleep 60";
    let line =
        format!("{{ {BINARY} run -- sh -c '{script}' 3>&1 1>/dev/null & }} | cat; echo the pipe ended");
    let mut shell = Command::new("sh");
    let variables = stand_in.agent();
    shell.env_clear().envs(variables.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut running = Running::start(shell.args(["-c", &format!("{line}; read never")]));
    running.line_after("notified");
    running.line_after("the pipe ended");
    // The pipe has ended a moment before the child becomes its last program.
    let mut child = None;
    eventually("the child is still there", || {
        child = sleeping_at(&stand_in);
        child.is_some()
    });
    end(child.expect("it was found"));
    running.wait();
}

/// The `sleep` with this stand-in's home in its environment.
fn sleeping_at(stand_in: &StandIn) -> Option<i32> {
    let home = format!("HOME={}\0", stand_in.home().path().display());
    fs::read_dir("/proc").expect("/proc").flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let words = fs::read(entry.path().join("cmdline")).ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let is_ours = environment.windows(home.len()).any(|part| part == home.as_bytes());
        (words.starts_with(b"sleep") && is_ours).then_some(pid)
    })
}

#[test]
fn the_working_directory_is_the_childs_alone() {
    let test = "the_working_directory_is_the_childs_alone";
    let stand_in = StandIn::start();
    let folder = stand_in.home().dir("work");
    let mut command = stand_in.agent();
    let script = "pwd; exec sleep 60";
    let mut running = Running::start(command.current_dir(&folder).args(["run", "--", "sh", "-c", script]));
    running.line_after(folder.to_str().expect("a UTF-8 path"));
    let run_pid = running.pid().cast_signed();
    match fs::read_link(format!("/proc/{run_pid}/cwd")) {
        Ok(_) => eventually("the run leaves it", || {
            fs::read_link(format!("/proc/{run_pid}/cwd")).is_ok_and(|at| at.to_str() == Some("/"))
        }),
        Err(_) => skip(test, "it takes root to look at a process that is not dumpable"),
    }
    end(children(run_pid)[0]);
    assert_eq!(running.wait().code(), Some(137));
}

/// Paths that were relative are still found once the working directory has been left.
#[test]
fn relative_paths_mean_the_directory_of_the_start() {
    let stand_in = StandIn::start();
    stand_in.home().write("token", crate::support::TOKEN);
    let mut command = stand_in.agent();
    command.env_remove("AGENT_VAULT_TOKEN").env("AGENT_VAULT_TOKEN_FILE", "token");
    command.current_dir(stand_in.home().path()).args(["run", "--ca-dir", "ca", "--"]);
    let run = crate::support::Run::start(&mut command);
    assert!(run.bundle().starts_with(stand_in.home().join("ca")), "{}", run.bundle().display());
    let rotated = "av_agt_rotated";
    stand_in.knows(rotated);
    stand_in.home().write("token", rotated);
    let request = format!("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{}\r\n", run.authorization());
    let mut stream = run.send(&request);
    let mut start = [0; 12];
    stream.read_exact(&mut start).expect("an answer");
    assert_eq!(&start, b"HTTP/1.1 200");
    assert_eq!(run.stop().0.code(), Some(143));
    assert_eq!(crate::names_in(&stand_in.home().join("ca")), [""; 0]);
}
