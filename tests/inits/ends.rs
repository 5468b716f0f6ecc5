//! Starts and ends: exit codes, orphans, and what an init holds on to meanwhile.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Stdio};

use crate::support::{PATIENCE, Running, StandIn, Terminal, eventually, need, run, skip};
use crate::{
    Catatonit, Differs, DumbInit, EVERYWHERE, First, Ours, Plain, RECORDER, Reaper, Scope, Setting, Tini,
    ask, children, end, listed, send, state,
};

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
fn orphans_by_the_hundred_are_reaped() {
    let script = "i=0; while [ $i -lt 300 ]; do ( : & ); i=$((i + 1)); done; echo ready; exec sleep 60";
    ask("orphans_by_the_hundred_are_reaped", &[First, Reaper], "only the child is left", &[], |setting| {
        let under = setting.begin(&mut setting.shell(script));
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
            hears.recv_timeout(PATIENCE).expect("the end of the output");
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
        let mut line = String::new();
        let mut output = BufReader::new(init.stdout.take().expect("piped"));
        output.read_line(&mut line).expect("a line");
        let grandchild: i32 = line.trim().parse().expect("a number");
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
