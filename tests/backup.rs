//! Promise: a backup taken while the broker serves holds every change acknowledged before it began, and a
//! restore puts back what is whole or touches nothing.

#[path = "support/mod.rs"]
mod support;

#[allow(dead_code, reason = "this test uses its own part of it")]
#[path = "api/site.rs"]
mod site;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::json;
use site::{Caller, Site, text};
use support::{BINARY, Ended, SECRET, TempDir, bare, eventually, run};

const PASSWORD: (&str, &str) = ("AGENT_VAULT_MASTER_PASSWORD", "a master password of tests");

fn cli(home: &TempDir, args: &[&str], vars: &[(&str, &str)], stdin: &[u8]) -> Ended {
    run(bare(Path::new(BINARY), home.path()).args(args).envs(vars.iter().copied()), stdin)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn set(owner: &Caller, key: &str, value: &str) {
    owner.post("/v1/credentials", &json!({"vault": "default", "credentials": {key: value}})).expect(200);
}

fn values(owner: &Caller) -> BTreeMap<String, String> {
    let answer = owner.get("/v1/credentials?vault=default&reveal=true").expect(200).json();
    let entries = answer["credentials"].as_array().expect("a list").clone();
    entries.iter().map(|one| (text(one, "key").to_owned(), text(one, "value").to_owned())).collect()
}

fn stop(site: Site) -> TempDir {
    let Site { mut process, home, .. } = site;
    process.signal(Signal::SIGTERM);
    assert_eq!(process.wait().code(), Some(0));
    home
}

/// A stopped state with one credential, the login that made it, and a backup of it.
fn backed_up(vars: &[(&str, &str)]) -> (TempDir, String, PathBuf) {
    let site = Site::start_with(&[], vars);
    let owner = site.owner();
    set(&owner, "KEY", SECRET);
    let home = stop(site);
    let file = home.join("vault.backup");
    cli(&home, &["backup", path(&file)], &[], b"").expect_success();
    (home, owner.token.expect("a login"), file)
}

/// Every file below a folder with its content.
fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(content(&entry.path()));
        } else {
            found.insert(entry.path(), fs::read(entry.path()).expect("a file"));
        }
    }
    found
}

#[test]
fn a_backup_under_load_holds_all_that_was_acknowledged_before_it() {
    let site = Site::start_with(&[], &[PASSWORD, ("AGENT_VAULT_RATELIMIT_PROFILE", "off")]);
    let owner = site.owner();
    let root = site.nobody().get("/v1/mitm/ca.pem").expect(200).body;
    let acknowledged = Mutex::new(BTreeMap::new());
    let count = || acknowledged.lock().expect("no writer panics").len();
    let is_over = AtomicBool::new(false);
    let (mut before, mut files) = (Vec::new(), Vec::new());
    thread::scope(|scope| {
        for writer in 0..3 {
            let (owner, acknowledged, is_over) = (owner.clone(), &acknowledged, &is_over);
            scope.spawn(move || {
                for number in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let (key, value) = (format!("W{writer}_{number}"), format!("value {number}"));
                    set(&owner, &key, &value);
                    acknowledged.lock().expect("no writer panics").insert(key, value);
                }
            });
        }
        for round in 0..4 {
            let wanted = count() + 10;
            eventually("writers write", || count() > wanted);
            before.push(acknowledged.lock().expect("no writer panics").clone());
            let file = site.home.join(&format!("backup-{round}"));
            cli(&site.home, &["backup", path(&file)], &[], b"").expect_success();
            files.push(file);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    for (before, file) in before.iter().zip(&files) {
        let elsewhere = TempDir::new();
        let ended = cli(&elsewhere, &["restore", path(file)], &[PASSWORD], b"").expect_success();
        assert!(ended.stdout.starts_with("✓ State of 20"), "{}", ended.stdout);
        let restored = Site::start_in(elsewhere, &[], &[PASSWORD]);
        let there = values(&restored.with_token(owner.token.as_ref().expect("a login")));
        for (key, value) in before {
            assert_eq!(there.get(key), Some(value), "{key} was acknowledged before the backup began");
        }
        let its_root = restored.nobody();
        let mut restored = restored;
        restored.process.line_after("Agent Vault transparent proxy listening on ");
        assert_eq!(its_root.get("/v1/mitm/ca.pem").expect(200).body, root, "clients trust the same root");
    }
}

#[test]
fn a_backup_is_private_sealed_and_never_in_another_files_place() {
    let (home, _, file) = backed_up(&[PASSWORD]);
    assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    let bytes = fs::read(&file).expect("a file");
    assert!(!support::contains(&bytes, SECRET));
    let ended = cli(&home, &["backup", path(&file)], &[], b"");
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.contains("is there already\nhint: --force"), "{}", ended.stderr);
    assert_eq!(fs::read(&file).expect("a file"), bytes);
    cli(&home, &["backup", "--force", path(&file)], &[], b"").expect_success();
    let names: Vec<_> = content(home.path()).into_keys().collect();
    assert!(!names.iter().any(|name| path(name).ends_with(".tmp")), "{names:?}");
    let nowhere = home.join("nowhere/backup");
    assert_eq!(cli(&home, &["backup", path(&nowhere)], &[], b"").code(), Some(1));
    let empty = TempDir::new();
    let ended = cli(&empty, &["backup", "x"], &[], b"");
    assert!(ended.stderr.starts_with("there is no store in "), "{}", ended.stderr);
    assert!(content(empty.path()).is_empty());
}

#[test]
fn a_pipe_carries_it_as_well() {
    let (home, login, _) = backed_up(&[]);
    let backup = std::process::Command::new(BINARY)
        .args(["backup", "-"])
        .env_clear()
        .env("HOME", home.path())
        .output()
        .expect("a process");
    assert!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
    let elsewhere = TempDir::new();
    cli(&elsewhere, &["restore", "-"], &[], &backup.stdout).expect_success();
    let restored = Site::start_in(elsewhere, &[], &[]);
    assert_eq!(values(&restored.with_token(&login))["KEY"], SECRET);
}

#[test]
fn what_is_damaged_is_refused_and_nothing_is_touched() {
    let (home, _, file) = backed_up(&[]);
    let whole = fs::read(&file).expect("a file");
    let mut damaged = vec![
        ("nothing", Vec::new()),
        ("no database", b"agent vault\n".repeat(1000)),
        ("half a header", whole[..60].to_vec()),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("a page short", whole[..whole.len() - 4096].to_vec()),
        ("a byte short", whole[..whole.len() - 1].to_vec()),
        ("the state itself", fs::read(home.join(".agent-vault/agent-vault.db")).expect("a file")),
    ];
    let mut zeroed = whole.clone();
    for page in zeroed.chunks_mut(4096).skip(1).step_by(3) {
        page.fill(0);
    }
    damaged.push(("pages of zeroes", zeroed));
    let before = content(&home.join(".agent-vault"));
    for (what, bytes) in damaged {
        let bad = home.write("bad", "");
        fs::write(&bad, bytes).expect("written");
        let elsewhere = TempDir::new();
        let ended = cli(&elsewhere, &["restore", path(&bad)], &[], b"");
        assert_eq!(ended.code(), Some(1), "{what}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("cannot restore "), "{what}: {}", ended.stderr);
        assert!(ended.stderr.ends_with("\nhint: nothing was changed\n"), "{what}: {}", ended.stderr);
        assert!(!elsewhere.join(".agent-vault").exists(), "{what}");
        assert_eq!(cli(&home, &["restore", "--force", path(&bad)], &[], b"").code(), Some(1), "{what}");
        assert_eq!(content(&home.join(".agent-vault")), before, "{what}");
    }
    let ended = cli(&home, &["restore", "--force", "gone"], &[], b"");
    assert!(ended.stderr.starts_with("gone: "), "{}", ended.stderr);
}

#[test]
fn only_its_password_restores_it() {
    let (home, login, file) = backed_up(&[PASSWORD]);
    let elsewhere = TempDir::new();
    let restore = ["restore", path(&file)];
    let ended = cli(&elsewhere, &restore, &[("AGENT_VAULT_MASTER_PASSWORD", "another")], b"");
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.starts_with("wrong master password for this backup\n"), "{}", ended.stderr);
    let ended = cli(&elsewhere, &restore, &[], b"");
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("AGENT_VAULT_MASTER_PASSWORD_FILE"), "{}", ended.stderr);
    assert!(!elsewhere.join(".agent-vault").exists());
    let line = format!("{}\n", PASSWORD.1);
    cli(&elsewhere, &["restore", "--password-stdin", path(&file)], &[], line.as_bytes()).expect_success();
    let restored = Site::start_in(elsewhere, &[], &[PASSWORD]);
    assert_eq!(values(&restored.with_token(&login))["KEY"], SECRET);
    drop(home);
}

#[test]
fn a_state_is_replaced_only_by_force_and_never_under_a_broker() {
    let (home, login, file) = backed_up(&[]);
    let running = Site::start();
    let other = running.owner();
    set(&other, "KEY", "of the other state");
    let ended = cli(&running.home, &["restore", "--force", path(&file)], &[], b"");
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.starts_with("server is already running (PID "), "{}", ended.stderr);
    // Killed, so that its journal still holds what it wrote last.
    running.process.signal(Signal::SIGKILL);
    let Site { mut process, home: other_home, .. } = running;
    process.wait();
    let ended = cli(&other_home, &["restore", path(&file)], &[], b"");
    assert!(ended.stderr.contains("there is a store in "), "{}", ended.stderr);
    let kept = Site::start_in(other_home, &[], &[]);
    assert_eq!(values(&kept.with_token(other.token.as_ref().expect("a login")))["KEY"], "of the other state");
    kept.process.signal(Signal::SIGKILL);
    let Site { mut process, home: other_home, .. } = kept;
    process.wait();
    cli(&other_home, &["restore", "--force", path(&file)], &[], b"").expect_success();
    let replaced = Site::start_in(other_home, &[], &[]);
    assert_eq!(values(&replaced.with_token(&login))["KEY"], SECRET);
    drop(home);
}
