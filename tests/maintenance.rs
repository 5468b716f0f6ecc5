//! Promise: an operator changes the master password and ends a state offline, and a command that may not
//! do so says why (control plane, sections C.3 and E.4, cases 104 and 115).

#[path = "support/mod.rs"]
mod support;

#[allow(dead_code, reason = "this test uses its own part of it")]
#[path = "api/site.rs"]
mod site;

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;
use site::Site;
use support::{BINARY, Ended, SECRET, TempDir, Terminal, bare, run};

const OLD: &str = "AGENT_VAULT_MASTER_PASSWORD";
const NEW: &str = "AGENT_VAULT_NEW_MASTER_PASSWORD";

fn cli(home: &TempDir, args: &[&str], vars: &[(&str, &str)], stdin: &str) -> Ended {
    run(bare(Path::new(BINARY), home.path()).args(args).envs(vars.iter().copied()), stdin.as_bytes())
}

/// A stopped state with a credential, and the login of its owner.
fn state(vars: &[(&str, &str)]) -> (TempDir, String) {
    let site = Site::start_with(&[], vars);
    let owner = site.owner();
    let body = json!({"vault": "default", "credentials": {"KEY": SECRET}});
    owner.post("/v1/credentials", &body).expect(200);
    (stop(site), owner.token.expect("a login"))
}

fn stop(site: Site) -> TempDir {
    let Site { mut process, home, .. } = site;
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
    home
}

/// Starts on the state, reads the credential and stops again.
#[track_caller]
fn opens_with(home: TempDir, login: &str, vars: &[(&str, &str)]) -> TempDir {
    let mut site = Site::start_in(home, &[], vars);
    site.process.line_after("Agent Vault transparent proxy listening on ");
    let answer = site.with_token(login).get("/v1/credentials?vault=default&reveal=true&key=KEY").expect(200);
    assert_eq!(answer.json()["credentials"][0]["value"], SECRET);
    stop(site)
}

/// A server that has to refuse its start.
#[track_caller]
fn stays_shut(home: &TempDir, vars: &[(&str, &str)], why: &str) {
    let ended = cli(home, &["server", "--port", "0", "--mitm-port", "0"], vars, "");
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.starts_with(why), "{}", ended.stderr);
}

#[test]
fn a_master_password_is_set_changed_and_removed() {
    // 104
    let (home, login) = state(&[]);
    let file = home.write("new-password", "first\n");
    let file = file.to_str().expect("a UTF-8 path");
    let ended = cli(&home, &["master-password", "set"], &[(&format!("{NEW}_FILE"), file)], "");
    assert_eq!(ended.expect_success().stdout, "✓ Master password set.\n");
    stays_shut(&home, &[], "the store is protected by a master password");
    stays_shut(&home, &[(OLD, "second")], "wrong master password");
    let home = opens_with(home, &login, &[(OLD, "first")]);
    // Both on stdin, the current one first.
    cli(&home, &["master-password", "change", "--password-stdin"], &[], "first\nsecond\n").expect_success();
    stays_shut(&home, &[(OLD, "first")], "wrong master password");
    let home = opens_with(home, &login, &[(OLD, "second")]);
    // The current one from its variable, so that stdin has the new one alone.
    let change = ["master-password", "change", "--password-stdin"];
    cli(&home, &change, &[(OLD, "second")], "third\n").expect_success();
    cli(&home, &["master-password", "remove"], &[(OLD, "third")], "").expect_success();
    opens_with(home, &login, &[]);
}

#[test]
fn a_person_is_asked_at_the_terminal() {
    let (home, login) = state(&[(OLD, "first")]);
    let mut command = bare(Path::new(BINARY), home.path());
    let mut terminal = Terminal::start(command.args(["master-password", "change"]));
    for (question, answer) in [
        ("Master password: ", "first"),
        ("New master password: ", "second"),
        ("New master password again: ", "second"),
    ] {
        terminal.awaits(question).types(answer);
    }
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("second"), "a password is not shown: {shown}");
    opens_with(home, &login, &[(OLD, "second")]);
}

#[test]
fn what_may_not_be_changed_is_not() {
    // 115
    let (home, login) = state(&[(OLD, "first")]);
    let database = ("DATABASE_URL", "postgres://nowhere/db");
    for (what, args, vars, stdin, code, why) in [
        (
            "wrong",
            &["change"][..],
            &[(OLD, "x"), (NEW, "y")][..],
            "",
            1,
            "wrong master password\nhint: nothing",
        ),
        (
            "empty",
            &["change", "--password-stdin"],
            &[(OLD, "first")],
            "\n",
            1,
            "the new master password is empty",
        ),
        (
            "no line",
            &["change", "--password-stdin"],
            &[(OLD, "first")],
            "",
            1,
            "stdin ended before a line with ",
        ),
        ("nobody to ask", &["change"], &[], "", 2, "the master password is needed and there is no terminal"),
        (
            "two sources",
            &["change"],
            &[(NEW, "y"), (OLD, "first"), ("AGENT_VAULT_NEW_MASTER_PASSWORD_FILE", "/x")],
            "",
            2,
            "AGENT_VAULT_NEW_MASTER_PASSWORD and ",
        ),
        ("set twice", &["set"], &[(NEW, "y")], "", 1, "the store has a master password already"),
        ("elsewhere", &["change"], &[(OLD, "first"), (NEW, "y"), database], "", 1, "DATABASE_URL is set"),
        ("nothing there", &["remove", "--data-dir", "nowhere"], &[], "", 1, "there is no store in nowhere"),
        ("on the line", &["change", "first"], &[], "", 2, "unexpected argument: first"),
    ] {
        let ended = cli(&home, &[&["master-password"], args].concat(), vars, stdin);
        assert_eq!(ended.code(), Some(code), "{what}: {}", ended.stderr);
        assert!(ended.stderr.starts_with(why), "{what}: {}", ended.stderr);
    }
    let home = opens_with(home, &login, &[(OLD, "first")]);
    let forced = ["master-password", "change", "--force"];
    cli(&home, &forced, &[(OLD, "first"), (NEW, "second"), database], "").expect_success();
    let home = opens_with(home, &login, &[(OLD, "second")]);
    let running = Site::start_in(home, &[], &[(OLD, "second")]);
    let ended = cli(&running.home, &["master-password", "remove"], &[(OLD, "second")], "");
    assert_eq!(ended.code(), Some(1));
    let why = format!("server is already running (PID {})", running.process.pid());
    assert!(ended.stderr.starts_with(&why), "{}", ended.stderr);
}

#[test]
fn a_reset_stops_the_broker_and_leaves_nothing_of_ours() {
    let mut site = Site::start();
    site.owner();
    site.home.write(".agent-vault/notes", "not ours");
    let ended = cli(&site.home, &["owner", "reset"], &[], "");
    assert_eq!(
        (ended.code(), &ended.stderr[..]),
        (Some(2), "there is no terminal to confirm this at: pass --yes\n")
    );
    let database = [("DATABASE_URL", "postgres://nowhere/db")];
    let ended = cli(&site.home, &["owner", "reset", "--yes"], &database, "");
    assert!(ended.stderr.starts_with("DATABASE_URL is set"), "{}", ended.stderr);
    assert!(site.home.join(".agent-vault/agent-vault.db").exists());
    cli(&site.home, &["owner", "reset", "--yes"], &[], "").expect_success();
    assert_eq!(site.process.wait().code(), Some(0));
    let left: Vec<_> = fs::read_dir(site.home.join(".agent-vault"))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(left, ["notes"]);
    let ended = cli(&site.home, &["owner", "reset", "--yes"], &[], "");
    assert!(ended.stderr.starts_with("there is no store in "), "{}", ended.stderr);
    // It starts as the first time.
    let again = Site::start_in(site.home, &[], &[]);
    again.owner();
}
