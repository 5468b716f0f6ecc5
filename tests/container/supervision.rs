//! What is promised of the first process, asked of it in a container of its own: as process 1, behind another
//! init, as nobody with nothing, and with no place to write to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::shell::{Contained, Shell};
use crate::support::{Terminal, run};

/// Asks the proxy without a credential, and again with it; a host that no service names is refused with 403.
const ASK: &str = "
ask() { http_proxy=$2 wget -O - http://other.example.test/ 2>&1 | sed -n \"s/.*HTTP.1.1 /$1 /p\"; }
ask without http://127.0.0.1:${HTTPS_PROXY##*:}
ask with $HTTPS_PROXY
";

/// What a hardened task has: no capability, nothing to gain, a read-only root, no home and no /tmp.
const HARDENED: [&str; 5] = [
    "--cap-drop=all",
    "--security-opt=no-new-privileges",
    "--read-only",
    "--read-only-tmpfs=false",
    "--user=65532:65532",
];

#[test]
fn an_end_is_the_containers() {
    let Some(shell) = Shell::new("an_end_is_the_containers") else { return };
    // As process 1, and behind the init that the runtime puts in front.
    for options in [&[][..], &["--init"]] {
        for (script, code) in [
            ("exit 0", 0),
            ("exit 7", 7),
            ("exit 255", 255),
            ("kill -KILL $$", 137),
            // What is not process 1 can be killed by a signal it has no handler for.
            ("kill -TERM $$", 143),
        ] {
            let ended = run(&mut shell.script(options, script), b"");
            assert_eq!((ended.code(), ended.stdout.as_str()), (Some(code), ""), "{script}: {}", ended.stderr);
        }
        for (word, code, told) in [("/none", 127, "command not found: /none"), ("/note", 126, "/note")] {
            let ended = run(&mut shell.vault(options, &["run", "--", word]), b"");
            // A runtime has the same codes for its own failures: whose it is stands on stderr.
            assert_eq!(ended.code(), Some(code), "{}", ended.stderr);
            assert!(ended.stderr.contains(told), "{}", ended.stderr);
        }
    }
    let ended = run(&mut shell.vault(&[], &["run", "--vault", "v", "--", "sh"]), b"");
    assert_eq!(ended.code(), Some(125), "{}", ended.stderr);
    assert!(ended.stderr.contains("--vault has no effect without a broker"), "{}", ended.stderr);
}

#[test]
fn a_stop_is_the_apps_own_affair() {
    let Some(shell) = Shell::new("a_stop_is_the_apps_own_affair") else { return };
    let waits = "; echo ready; while :; do sleep 60 & wait $!; done";
    for (options, trap, verb, code) in [
        (&[][..], "trap 'echo got TERM; exit 42' TERM", &["stop", "--time", "60"][..], 42),
        (&["--init"], "trap 'echo got TERM; exit 42' TERM", &["stop", "--time", "60"], 42),
        (&["--stop-signal=QUIT"], "trap 'echo got QUIT; exit 43' QUIT", &["stop", "--time", "60"], 43),
        (&[], "trap 'echo got USR1; exit 44' USR1", &["kill", "--signal", "USR1"], 44),
        (&[], "echo got nothing", &["stop", "--time", "60"], 128 + 15),
        (&[], "echo got nothing", &["kill", "--signal", "INT"], 128 + 2),
    ] {
        let mut app =
            Contained::start(&shell, options, &["run", "--", "sh", "-c", &format!("{trap}{waits}")]);
        app.running.line_after("ready");
        app.ask(verb);
        assert_eq!(app.running.wait().code(), Some(code), "{verb:?}: {}", app.running.output());
        assert!(app.running.output().contains("got "), "{verb:?}: {}", app.running.output());
    }
}

/// The runtime would wait for a minute.
#[test]
fn an_app_that_does_not_stop_is_killed_when_asked_to() {
    let Some(shell) = Shell::new("an_app_that_does_not_stop_is_killed_when_asked_to") else { return };
    let script = "trap '' TERM; echo ready; while :; do sleep 60; done";
    let words = ["run", "--stop-timeout", "100ms", "--", "sh", "-c", script];
    let mut app = Contained::start(&shell, &[], &words);
    app.running.line_after("ready");
    app.ask(&["stop", "--time", "600"]);
    assert_eq!(app.running.wait().code(), Some(137), "{}", app.running.output());
}

#[test]
fn orphans_are_reaped() {
    const SCRIPT: &str = "
i=0; while [ $i -lt 100 ]; do (sleep 600 &); i=$((i + 1)); done
echo adopted $(grep -l '^PPid:.1$' /proc/[0-9]*/status | wc -l)
killall sleep
while grep -q '^Name:.sleep' /proc/[0-9]*/status 2> /dev/null; do :; done
echo zombies $(grep -l '^State:.Z' /proc/[0-9]*/status 2> /dev/null | wc -l)
exit 5
";
    let Some(shell) = Shell::new("orphans_are_reaped") else { return };
    let ended = run(&mut shell.script(&[], SCRIPT), b"");
    // The hundred and the app itself.
    assert_eq!(ended.stdout, "adopted 101\nzombies 0\n", "{}", ended.stderr);
    assert_eq!(ended.code(), Some(5));
}

#[test]
fn nobody_with_nothing_is_served() {
    let Some(shell) = Shell::new("nobody_with_nothing_is_served") else { return };
    let script = format!(
        "echo user $(id -u):$(id -g) home ${{HOME-none}}
grep -E '^(CapEff|NoNewPrivs)' /proc/self/status | tr -d '\\t'
for place in / /run /tmp /var/tmp; do touch $place/file 2> /dev/null && echo $place is writable; done
echo bundle $SSL_CERT_FILE $(grep -c BEGIN $SSL_CERT_FILE > /dev/null && echo can be read)
for file in environ mem; do cat /proc/1/$file > /dev/null 2>&1 || echo $file is closed; done
{ASK}"
    );
    // A runtime gives everybody a home, if only the root.
    let words = ["env", "-u", "HOME", "agent-vault", "run", "--", "sh", "-c", &script];
    let ended = run(&mut shell.ruled(&HARDENED, &words), b"").expect_success();
    let mut lines = ended.stdout.lines();
    for expected in ["user 65532:65532 home none", "CapEff:0000000000000000", "NoNewPrivs:1"] {
        assert_eq!(lines.next(), Some(expected), "{}\n{}", ended.stdout, ended.stderr);
    }
    let bundle = lines.next().unwrap_or_default();
    assert!(bundle.starts_with("bundle /dev/shm/") && bundle.ends_with(" can be read"), "{bundle}");
    let rest: Vec<&str> = lines.collect();
    let expected = ["environ is closed", "mem is closed", "without 403 Forbidden", "with 403 Forbidden"];
    assert_eq!(rest, expected, "{}", ended.stderr);
}

/// The container starts as root, with what a runtime leaves root: the app is somebody else.
#[test]
fn an_app_made_nobody_is_served() {
    let Some(shell) = Shell::new("an_app_made_nobody_is_served") else { return };
    let script = format!(
        "echo user $(id -u):$(id -g) groups $(id -G)
grep -E '^(CapEff|NoNewPrivs)' /proc/self/status | tr -d '\\t'
cat /proc/1/environ > /dev/null 2>&1 || echo environ is closed
test -r $SSL_CERT_FILE && echo bundle can be read
{ASK}"
    );
    let words = ["run", "--user", "65532:1234", "--drop-capabilities", "--", "sh", "-c", &script];
    let ended = run(&mut shell.vault(&["--read-only"], &words), b"").expect_success();
    let expected = "user 65532:1234 groups 1234\nCapEff:0000000000000000\nNoNewPrivs:1\nenviron is closed\n\
                    bundle can be read\nwithout 403 Forbidden\nwith 403 Forbidden\n";
    assert_eq!(ended.stdout, expected, "{}", ended.stderr);
}

#[test]
fn the_ca_goes_to_a_volume_and_is_gone_afterwards() {
    let Some(shell) = Shell::new("the_ca_goes_to_a_volume_and_is_gone_afterwards") else { return };
    let volume = shell.docker.context.dir("volume");
    fs::set_permissions(&volume, fs::Permissions::from_mode(0o777)).expect("a folder of ours");
    let mount = format!("--volume={}:/ca", volume.display());
    let nothing = format!("--volume={}:/dev/shm:ro", shell.docker.context.dir("nothing").display());
    let options = [&HARDENED[..], &[mount.as_str(), &nothing]].concat();
    let words = ["run", "--ca-dir", "/ca", "--", "sh", "-c", "echo $SSL_CERT_FILE"];
    let ended = run(&mut shell.vault(&options, &words), b"").expect_success();
    assert!(ended.stdout.starts_with("/ca/"), "{}", ended.stdout);
    assert_eq!(fs::read_dir(&volume).expect("a folder").count(), 0);
    // Without it there is no place at all, and what to do is said.
    let ended = run(&mut shell.vault(&options, &["run", "--", "sh", "-c", "echo started"]), b"");
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(125), ""), "{}", ended.stderr);
    for told in ["/dev/shm", "/run", "/tmp", "--ca-dir"] {
        assert!(ended.stderr.contains(told), "no {told} in:\n{}", ended.stderr);
    }
}

#[test]
fn the_terminal_is_the_apps() {
    let Some(shell) = Shell::new("the_terminal_is_the_apps") else { return };
    let script = "set -- $(cat /proc/$$/stat); echo groups $5 $8; read line; echo got $line; exit 9";
    let mut person = Terminal::start(&shell.script(&["--interactive", "--tty"], script));
    person.awaits("groups ").types("hello").awaits("got hello");
    let (code, shown) = person.end();
    assert_eq!(code, Some(9), "{shown}");
    let (_, groups) = shown.split_once("groups ").expect("awaited before");
    let mut groups = groups.split_ascii_whitespace();
    assert_eq!(groups.next(), groups.next(), "not in the foreground: {shown}");
}

#[test]
fn a_doctor_can_be_asked_inside() {
    let Some(shell) = Shell::new("a_doctor_can_be_asked_inside") else { return };
    let page = |options: &[&str]| -> Value {
        let ended = run(&mut shell.vault(options, &["doctor", "--json", "--", "sh"]), b"");
        let page: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        assert_eq!(ended.code(), Some(i32::from(page["ok"] != true)), "{page:#}");
        page
    };
    let check = |page: &Value, name: &str| -> String {
        let checks = page["checks"].as_array().expect("a list").iter();
        let found = checks.filter(|check| check["check"] == name);
        found.map(|check| format!("{} {}", check["verdict"], check["text"])).collect::<Vec<_>>().join("\n")
    };
    let hardened = page(&HARDENED);
    assert_eq!(hardened["ok"], true, "{hardened:#}");
    for (name, start) in [
        ("command", "\"ok\" \"/bin/sh"),
        ("ca", "\"ok\" \"can be written below /dev/shm"),
        ("memory", "\"ok\" \"ours is closed"),
    ] {
        let found = check(&hardened, name);
        assert!(found.starts_with(start), "{name}: {found}\n{hardened:#}");
    }
    let mighty = page(&["--cap-add=SYS_PTRACE"]);
    assert_eq!(mighty["ok"], false, "{mighty:#}");
    assert!(check(&mighty, "memory").starts_with("\"wrong\""), "{mighty:#}");
}
