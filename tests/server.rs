//! Promise: the broker starts, refuses to start, stops and survives as the contract says
//! (control plane, sections C.3, D.2 and cases 103 to 107, 115).

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use support::{BINARY, Background, Ended, Running, TempDir, Terminal, bare, need, run};

const LISTENING: &str = "Agent Vault server listening on ";
const PASSWORD: (&str, &str) = ("AGENT_VAULT_MASTER_PASSWORD", "a master password of tests");

fn server(home: &TempDir, vars: &[(&str, &str)]) -> Command {
    let mut command = bare(Path::new(BINARY), home.path());
    command.args(["server", "--port", "0", "--mitm-port", "auto"]).envs(vars.iter().copied());
    command
}

/// Starts a server that has to come up.
fn start(home: &TempDir, vars: &[(&str, &str)]) -> (Running, String) {
    let mut running = Running::start(&mut server(home, vars));
    let address = running.line_after(LISTENING);
    (running, address)
}

/// Runs a server that has to fail.
fn refusal(home: &TempDir, vars: &[(&str, &str)]) -> Ended {
    let ended = run(&mut server(home, vars), b"");
    assert_eq!(ended.stdout, "", "{}", ended.stderr);
    ended
}

fn cli(home: &TempDir, args: &[&str], vars: &[(&str, &str)], stdin: &str) -> Ended {
    run(bare(Path::new(BINARY), home.path()).args(args).envs(vars.iter().copied()), stdin.as_bytes())
}

fn pid_file(home: &TempDir) -> std::path::PathBuf {
    home.join(".agent-vault/agent-vault.pid")
}

#[test]
fn a_signal_ends_it_in_order() {
    for asked in [Signal::SIGTERM, Signal::SIGINT] {
        let home = TempDir::new();
        let (mut running, _) = start(&home, &[]);
        assert_eq!(fs::read_to_string(pid_file(&home)).expect("a PID file"), running.pid().to_string());
        assert_eq!(fs::metadata(pid_file(&home)).expect("a PID file").permissions().mode() & 0o777, 0o600);
        running.signal(asked);
        assert_eq!(running.wait().code(), Some(0), "{}", running.output());
        assert!(!pid_file(&home).exists());
    }
}

#[test]
fn a_second_server_is_refused_before_anything_is_asked() {
    // 115
    let home = TempDir::new();
    let (running, _) = start(&home, &[PASSWORD]);
    let ended = refusal(&home, &[]);
    assert_eq!(ended.code(), Some(1));
    assert!(
        ended.stderr.starts_with(&format!("server is already running (PID {})", running.pid())),
        "{}",
        ended.stderr
    );
    assert!(pid_file(&home).exists());
}

#[test]
fn stop_ends_it_and_says_when_there_is_none() {
    let home = TempDir::new();
    let (mut running, _) = start(&home, &[]);
    let pid = running.pid();
    let ended = cli(&home, &["server", "stop"], &[], "").expect_success();
    assert_eq!(ended.stderr, format!("Stopping server (PID {pid})...\n"));
    assert!(ended.stdout.starts_with('✓'));
    assert_eq!(running.wait().code(), Some(0));
    let ended = cli(&home, &["server", "stop"], &[], "");
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.starts_with("server is not running (no "), "{}", ended.stderr);
}

#[test]
fn a_number_left_by_a_crash_is_no_server() {
    let home = TempDir::new();
    let (mut running, _) = start(&home, &[]);
    running.signal(Signal::SIGKILL);
    running.wait();
    assert!(pid_file(&home).exists());
    // The number of a process that lives, as after a restart of a container.
    fs::write(pid_file(&home), std::process::id().to_string()).expect("a PID file");
    let (_running, _) = start(&home, &[]);
}

#[test]
fn a_port_that_is_taken_is_fatal_and_named() {
    let home = TempDir::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let mut command = bare(Path::new(BINARY), home.path());
    let ended = run(command.args(["server", "--port", &port]), b"");
    assert_eq!(ended.code(), Some(1));
    assert!(
        ended.stderr.contains(&format!("cannot listen on 127.0.0.1:{port}: address in use\nhint: ")),
        "{}",
        ended.stderr
    );
    assert!(!pid_file(&home).exists());
}

#[test]
fn only_the_right_password_opens_the_store() {
    // 104
    let home = TempDir::new();
    drop(start(&home, &[PASSWORD]));
    let ended = refusal(&home, &[("AGENT_VAULT_MASTER_PASSWORD", "another one")]);
    assert!(ended.stderr.starts_with("wrong master password\nhint: "), "{}", ended.stderr);
    let ended = refusal(&home, &[]);
    assert!(ended.stderr.starts_with("the store is protected by a master password"), "{}", ended.stderr);
    let file = home.write("password", &format!("{}\n", PASSWORD.1));
    let file = file.to_str().expect("a UTF-8 path");
    drop(start(&home, &[("AGENT_VAULT_MASTER_PASSWORD_FILE", file)]));
    let mut running = Running::start(server(&home, &[]).args(["--password-file", file]));
    running.line_after(LISTENING);
    drop(running);
    let ended = run(server(&home, &[PASSWORD]).args(["--password-file", file]), b"");
    assert_eq!(ended.code(), Some(2));
    assert!(
        ended.stderr.starts_with("--password-file and AGENT_VAULT_MASTER_PASSWORD or "),
        "{}",
        ended.stderr
    );
}

/// The numbers in a server's PID file and in what it printed when it went to the background.
fn pids(home: &TempDir, printed: &str) -> (String, String) {
    let told = printed.split("(PID ").nth(1).and_then(|rest| rest.split(')').next()).unwrap_or_default();
    (fs::read_to_string(pid_file(home)).expect("a PID file"), told.to_owned())
}

#[test]
fn a_detached_server_stays_and_was_given_nothing_to_read() {
    let home = TempDir::new();
    let _background = Background(&home);
    let secrets = [PASSWORD.1, "the owner's own password"];
    let vars =
        [PASSWORD, ("AGENT_VAULT_OWNER_EMAIL", "a@b.test"), ("AGENT_VAULT_OWNER_PASSWORD", secrets[1])];
    let detach = ["server", "--detach", "--port", "0", "--mitm-port", "auto"];
    let ended = cli(&home, &detach, &vars, "").expect_success();
    let log = home.join(".agent-vault/server.log");
    assert!(ended.stdout.ends_with(&format!("; log: {}\n", log.display())), "{}", ended.stdout);
    let (announced, told) = pids(&home, &ended.stdout);
    assert_eq!(announced, told);
    assert_eq!(fs::metadata(&log).expect("a log").permissions().mode() & 0o777, 0o600);
    for place in ["environ", "cmdline"] {
        let bytes = fs::read(format!("/proc/{told}/{place}")).unwrap_or_default();
        assert!(!secrets.iter().any(|secret| support::contains(&bytes, secret)), "{place}");
    }
    let text = fs::read_to_string(&log).expect("a log");
    let address = text.lines().find_map(|line| line.strip_prefix(LISTENING)).expect("an address");
    let login = ["auth", "login", "--email", "a@b.test", "--password-stdin", "--address", address];
    cli(&home, &login, &[], secrets[1]).expect_success();
    // A second one is refused before anything is asked.
    let ended = cli(&home, &detach, &[], "");
    assert!(ended.stderr.starts_with(&format!("server is already running (PID {told})")), "{}", ended.stderr);
    cli(&home, &["server", "stop"], &[], "").expect_success();
    assert!(!pid_file(&home).exists());
    // Without one in a variable, the password is a line of stdin.
    let ended = cli(&home, &[&detach[..], &["--password-stdin"]].concat(), &[], "another one\n");
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""));
    assert!(ended.stderr.starts_with("wrong master password\n"), "{}", ended.stderr);
    let line = format!("{}\n", PASSWORD.1);
    cli(&home, &[&detach[..], &["--password-stdin"]].concat(), &[], &line).expect_success();
}

/// What the command line says is so in the background, too.
#[test]
fn a_detached_server_keeps_its_flags() {
    let home = TempDir::new();
    let _background = Background(&home);
    let detach = ["server", "-d", "--port", "0", "--mitm-port", "0", "--metrics", "open"];
    cli(&home, &detach, &[PASSWORD], "").expect_success();
    let log = fs::read_to_string(home.join(".agent-vault/server.log")).expect("a log");
    let address = log.lines().find_map(|line| line.strip_prefix(LISTENING)).expect("an address");
    let answer = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .build()
        .new_agent()
        .get(format!("{address}/metrics"))
        .call()
        .expect("an answer");
    assert_eq!(answer.status(), 200);
}

/// Contract D.2: who is asked for the master password of a new store is asked for its owner, too.
#[test]
fn the_first_owner_is_asked_for_at_a_terminal() {
    if need("the_first_owner_is_asked_for_at_a_terminal", "setsid", "install util-linux").is_none() {
        return;
    }
    const OWNER: &str = "the owner's own password";
    let home = TempDir::new();
    let mut person = Terminal::start(&server(&home, &[]));
    for question in ["Master password (empty for none): ", "Master password again: "] {
        person.awaits(question).types(PASSWORD.1);
    }
    let email = "E-mail of the owner (empty to register later): ";
    person.awaits(email).types("nobody");
    person.awaits("This is not an e-mail address.\r\n").types("a@b.test");
    person.awaits("Password of the owner: ").types(PASSWORD.1);
    person.awaits("The password must not be the master password.\r\nPassword of the owner: ").types(OWNER);
    person.awaits("Password of the owner again: ").types(OWNER);
    person.awaits(LISTENING).awaits("transparent proxy listening on ");
    let shown = person.shown().to_owned();
    let address = shown.split(LISTENING).nth(1).and_then(|rest| rest.lines().next()).expect("an address");
    let login = ["auth", "login", "--email", "a@b.test", "--password-stdin", "--address", address];
    cli(&home, &login, &[], OWNER).expect_success();
    cli(&home, &["server", "stop"], &[], "").expect_success();
    let (code, shown) = person.end();
    assert!(code == Some(0) && !shown.contains(OWNER) && !shown.contains("No owner account"), "{shown}");

    // Nobody has to: with an empty line, the first registration owns the instance.
    let home = TempDir::new();
    let mut person = Terminal::start(&server(&home, &[]));
    person.awaits("Master password (empty for none): ").types("");
    person.awaits(email).types("");
    person.awaits("No owner account yet: agent-vault auth register creates it");
    cli(&home, &["server", "stop"], &[], "").expect_success();
    assert_eq!(person.end().0, Some(0));
    // Who brings the password along is asked nothing.
    let mut person = Terminal::start(&server(&TempDir::new(), &[PASSWORD]));
    person.awaits("No owner account yet");
    assert!(!person.shown().contains("E-mail"), "{}", person.shown());
}

#[test]
fn a_detached_server_that_cannot_serve_is_told_of() {
    let home = TempDir::new();
    let _background = Background(&home);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let ended = cli(&home, &["server", "-d", "--port", &port], &[], "");
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""));
    for part in [
        "\nthe server did not start: it ended (exit status: 1)\n",
        &format!("\ncannot listen on 127.0.0.1:{port}: address in use\n"),
        "/server.log\n",
    ] {
        assert!(ended.stderr.contains(part), "{part:?} is not in {}", ended.stderr);
    }
    assert!(!pid_file(&home).exists());
}

#[test]
fn without_a_password_it_says_so_at_every_start() {
    let home = TempDir::new();
    // A password for a store that has none changes nothing, and the warning stays.
    for vars in [&[][..], &[], &[PASSWORD]] {
        assert!(said_in_a_life(&home, vars).contains("NO MASTER PASSWORD"));
    }
    assert!(!said_in_a_life(&TempDir::new(), &[PASSWORD]).contains("NO MASTER PASSWORD"));
}

/// Everything a server writes from its start to its end.
/// Contract F.8, as an instance without SMTP: who set it up is told.
#[test]
fn whoever_expects_mail_is_told_that_none_is_sent() {
    let warning = "AGENT_VAULT_SMTP_HOST is set, and this broker sends no e-mail";
    let vars = [PASSWORD, ("AGENT_VAULT_SMTP_HOST", "mail.example.test")];
    assert!(said_in_a_life(&TempDir::new(), &vars).contains(warning));
    assert!(!said_in_a_life(&TempDir::new(), &vars[..1]).contains(warning));
}

fn said_in_a_life(home: &TempDir, vars: &[(&str, &str)]) -> String {
    let (mut running, _) = start(home, vars);
    running.signal(Signal::SIGTERM);
    running.wait();
    running.output()
}

#[test]
fn the_password_may_come_from_stdin() {
    let home = TempDir::new();
    let feed = |line: &str| {
        let mut command = server(&home, &[]);
        let mut child = command
            .arg("--password-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        stdin.write_all(line.as_bytes()).expect("the server reads");
        drop(stdin);
        let mut stdout = std::io::BufReader::new(child.stdout.take().expect("stdout is piped"));
        let mut shown = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut shown).expect("text");
        child.kill().expect("a child of ours");
        let output = child.wait_with_output().expect("a child of ours");
        (shown, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (shown, stderr) = feed("");
    assert_eq!(shown, "");
    assert!(stderr.starts_with("--password-stdin: stdin ended before a line came"), "{stderr}");
    assert!(feed("hunter22\nrest").0.starts_with(LISTENING));
    assert!(feed("hunter22\r\n").0.starts_with(LISTENING));
    assert!(feed("hunter2\n").1.starts_with("wrong master password"));
}

#[test]
fn every_bad_setting_is_told_at_once() {
    let home = TempDir::new();
    let ended = refusal(
        &home,
        &[("AGENT_VAULT_DEV_MODE", "perhaps"), ("AGENT_VAULT_ADDR", "x"), ("DATABASE_URL", "postgres://x")],
    );
    assert_eq!(ended.code(), Some(2));
    for name in ["AGENT_VAULT_DEV_MODE", "AGENT_VAULT_ADDR", "DATABASE_URL"] {
        assert!(ended.stderr.contains(name), "{}", ended.stderr);
    }
    assert!(!home.join(".agent-vault").exists());
}

#[test]
fn half_a_root_is_never_made_whole_by_guessing() {
    // 107
    let home = TempDir::new();
    drop(start(&home, &[]));
    fs::remove_file(home.join(".agent-vault/ca/ca.key.enc")).expect("a key file");
    let (mut running, _) = start(&home, &[]);
    running.line_after("No owner account yet");
    running.line_with("warning: transparent proxy disabled (CA init failed: inconsistent CA state in ");
    assert!(!running.output().contains("transparent proxy listening"));
    assert!(!home.join(".agent-vault/ca/ca.key.enc").exists());
}

#[test]
fn the_root_stays_the_same_over_restarts() {
    let home = TempDir::new();
    let fetch = || {
        let (_running, address) = start(&home, &[PASSWORD]);
        cli(&home, &["ca", "fetch", "--address", &address], &[], "").expect_success().stdout
    };
    let first = fetch();
    assert!(first.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(first, fetch());
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    // 103
    let home = TempDir::new();
    let keys: Vec<String> = (0..20).map(|number| format!("KEY_{number}")).collect();
    let (mut running, address) = start(&home, &[PASSWORD]);
    let vars = [("AGENT_VAULT_ADDR", address.as_str())];
    let register = ["auth", "register", "--email", "a@b.test", "--password-stdin"];
    cli(&home, &register, &vars, "correct horse\n").expect_success();
    for key in &keys {
        let pair = format!("{key}=value of {key}");
        cli(&home, &["vault", "credential", "set", &pair], &vars, "").expect_success();
    }
    running.signal(Signal::SIGKILL);
    running.wait();
    let (_running, address) = start(&home, &[PASSWORD]);
    let vars = [("AGENT_VAULT_ADDR", address.as_str())];
    let login = ["auth", "login", "--email", "a@b.test", "--password-stdin"];
    cli(&home, &login, &vars, "correct horse\n").expect_success();
    let shown = cli(&home, &["vault", "credential", "list", "--reveal"], &vars, "").expect_success().stdout;
    for key in &keys {
        assert!(shown.contains(&format!("value of {key}")), "{key} is missing in:\n{shown}");
    }
}

#[test]
fn its_environment_and_memory_give_no_password_away() {
    let home = TempDir::new();
    let (running, _) = start(
        &home,
        &[
            PASSWORD,
            ("AGENT_VAULT_OWNER_EMAIL", "a@b.test"),
            ("AGENT_VAULT_OWNER_PASSWORD", "the owner's own password"),
            ("AGENT_VAULT_SMTP_PASSWORD", "a mail server's password"),
        ],
    );
    let environ = fs::read(format!("/proc/{}/environ", running.pid())).unwrap_or_default();
    for secret in [PASSWORD.1, "the owner's own password", "a mail server's password"] {
        assert!(!support::contains(&environ, secret), "{secret}");
    }
}
