//! At a terminal: whose foreground it is, and what its keys do. A shell with job control is behind the run,
//! as it is for a person.

use std::process::Command;

use crate::support::{BINARY, StandIn, Terminal, need_python};

/// A shell with job control at a terminal, in which `$run` starts a run.
fn shell(stand_in: &StandIn, script: &str) -> Command {
    let mut command = Command::new("sh");
    let variables = stand_in.agent();
    command.env_clear().envs(variables.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("run", format!("{BINARY} run")).env("RECORDER", crate::RECORDER);
    command.current_dir(stand_in.home().path()).args(["-c", &format!("set -m; {script}")]);
    command
}

const CTRL_C: &str = "\u{3}";
const CTRL_Z: &str = "\u{1a}";

/// Prints the group a process is in and the one that is in the foreground.
const GROUPS: &str = "echo groups $(cut -d' ' -f5,8 /proc/$$/stat)";

#[track_caller]
fn groups(shown: &str) -> (String, String) {
    let line = shown.lines().find_map(|line| line.strip_prefix("groups ")).expect("a line of groups");
    let (own, foreground) = line.trim().split_once(' ').expect("two numbers");
    (own.to_owned(), foreground.to_owned())
}

#[test]
fn the_foreground_is_handed_over_and_taken_back() {
    let stand_in = StandIn::start();
    let script = format!(
        "$run -- sh -c \"{}\"; echo ended $?; read line; echo shell got $line",
        GROUPS.replace('$', "\\$")
    );
    let mut person = Terminal::start(&shell(&stand_in, &script));
    person.awaits("ended 0").types("hello").awaits("shell got hello");
    let (_, shown) = person.end();
    let (own, foreground) = groups(&shown);
    assert_eq!(own, foreground);
}

#[test]
fn without_a_shell_behind_us_the_child_has_the_terminal_too() {
    let stand_in = StandIn::start();
    for flags in [&[][..], &["--job-mode=session"], &["--job-mode=shared"]] {
        let mut command = stand_in.agent();
        command.arg("run").args(flags).args(["--", "sh", "-c"]);
        command.arg(format!("{GROUPS}; read line; echo child got $line"));
        let mut person = Terminal::start(&command);
        person.awaits("groups ").types("hello").awaits("child got hello");
        let (code, shown) = person.end();
        let (own, foreground) = groups(&shown);
        assert_eq!((code, &own), (Some(0), &foreground), "{flags:?}");
    }
}

#[test]
fn the_suspend_key_stops_the_whole_job_and_fg_brings_it_back() {
    for mode in ["auto", "shared"] {
        let stand_in = StandIn::start();
        let child = "echo child ready; while read line; do echo child got \\$line; done";
        let script =
            format!("$run --job-mode {mode} -- sh -c \"{child}\"; echo stopped $?; fg; echo ended $?");
        let mut person = Terminal::start(&shell(&stand_in, &script));
        person.awaits("child ready").types("one").awaits("child got one");
        person.types(CTRL_Z).awaits("stopped 14");
        person.types("two").awaits("child got two");
        person.types(CTRL_C).awaits("ended 130");
        drop(person.end());
    }
}

#[test]
fn a_job_of_the_background_is_brought_to_the_front() {
    for mode in ["auto", "group"] {
        let stand_in = StandIn::start();
        let child = "echo child ready; read line; echo child got \\$line";
        let script = format!("$run --job-mode {mode} -- sh -c \"{child}\" & read go; fg; echo ended $?");
        let mut person = Terminal::start(&shell(&stand_in, &script));
        person.awaits("child ready").types("go").types("hello").awaits("child got hello").awaits("ended 0");
        drop(person.end());
    }
}

/// `run -- x | less`: the terminal stays with the whole job, or the pager would be stopped.
#[test]
fn a_pipeline_keeps_its_terminal() {
    let stand_in = StandIn::start();
    let script = format!(
        "$run -- sh -c \"{}\" | {{ cat; read line < /dev/tty; echo pager got $line; }}; \
         read line; echo shell got $line",
        GROUPS.replace('$', "\\$")
    );
    let mut person = Terminal::start(&shell(&stand_in, &script));
    person.awaits("groups ").types("next").awaits("pager got next").types("bye").awaits("shell got bye");
    let (_, shown) = person.end();
    let (own, foreground) = groups(&shown);
    assert_eq!(own, foreground);
}

/// In our group the child has what the keys send from the terminal itself; it does not get it twice.
#[test]
fn a_key_reaches_a_child_of_a_pipeline_once() {
    if need_python("a_key_reaches_a_child_of_a_pipeline_once", "signal").is_none() {
        return;
    }
    let stand_in = StandIn::start();
    let script = "$run -- python3 -c \"$RECORDER\" | (trap '' INT QUIT; cat)";
    let mut person = Terminal::start(&shell(&stand_in, script));
    person.awaits("ready ").types(CTRL_C).awaits("got 2").types("\u{1c}").awaits("got 3");
    let child: i32 = {
        let shown = person.shown();
        let line = shown.lines().find_map(|line| line.strip_prefix("ready ")).expect("it was awaited");
        line.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a number")
    };
    crate::send(child, 10);
    person.awaits("got 10");
    crate::end(child);
    let (_, shown) = person.end();
    assert_eq!(shown.matches("got 2").count(), 1, "{shown}");
    assert_eq!(shown.matches("got 3").count(), 1, "{shown}");
}

/// What we do not pass on is neither rewritten nor a reason to start the clock, once or twice.
#[test]
fn a_key_in_a_shared_group_is_between_the_terminal_and_the_child() {
    let stand_in = StandIn::start();
    let child = "n=0; trap 'n=$((n + 1)); echo got $n' INT; echo child ready
while :; do read line; case $line in quit) echo child quits; exit 9 ;; esac; done";
    stand_in.home().write("child", child);
    let run = "$run --job-mode=shared --rewrite=INT:0 --stop-timeout=1ms -- sh ./child";
    let mut person = Terminal::start(&shell(&stand_in, &format!("trap : INT; {run}; echo ended $?")));
    person.awaits("child ready").types(CTRL_C).awaits("got 1").types(CTRL_C).awaits("got 2");
    person.types("quit").awaits("child quits").awaits("ended 9");
    person.end();
}

/// A script is not interrupted around: the key that ends the child reaches the script as well.
#[test]
fn a_script_that_starts_a_run_can_be_interrupted() {
    let stand_in = StandIn::start();
    let child = "echo child ready; exec sleep 60";
    let inner = format!("$run -- sh -c '{child}'; echo script went on");
    stand_in.home().write("script", &inner);
    let mut person = Terminal::start(&shell(&stand_in, "trap : INT; sh ./script; echo ended $?"));
    person.awaits("child ready").types(CTRL_C).awaits("ended 130");
    let (_, shown) = person.end();
    assert!(!shown.contains("script went on"), "{shown}");
}

#[test]
fn a_command_that_does_not_start_leaves_the_terminal_where_it_was() {
    use std::os::unix::fs::PermissionsExt as _;
    let stand_in = StandIn::start();
    let lost = stand_in.home().write("lost", "#!/no/such/interpreter\n");
    std::fs::set_permissions(&lost, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let script = "$run -- ./lost; echo ended $?; read line; echo shell got $line";
    let mut person = Terminal::start(&shell(&stand_in, script));
    person.awaits("ended 126").types("hello").awaits("shell got hello");
    drop(person.end());
}
