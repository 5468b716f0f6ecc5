//! Promise: storage that is full, locked or read-only costs an answer that says so, and nothing else: what
//! was acknowledged is there, reads and the proxy go on, and writing works again when storage does.

#[path = "support/mod.rs"]
mod support;

#[allow(dead_code, reason = "this test uses its own part of it")]
#[path = "api/site.rs"]
mod site;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use agent_vault::store::{Locked, Timestamp};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::{Value, json};
use site::{Answer, Caller, Site, refused, text};
use support::{BINARY, TempDir, bare, eventually, need, run, skip, succeeds};

const FAILS: &str = "the storage fails: nothing was changed";
const FULL: &str = "the storage is full: nothing was changed";
const BUSY: &str = "the storage is busy: nothing was changed, try again";

fn set(owner: &Caller, key: &str, value: &str) -> Answer {
    owner.post("/v1/credentials", &json!({"vault": "default", "credentials": {key: value}}))
}

fn keys(owner: &Caller) -> Vec<String> {
    let answer = owner.get("/v1/credentials?vault=default").expect(200).json();
    let keys = answer["keys"].as_array().expect("a list").clone();
    keys.iter().map(|key| key.as_str().expect("a key").to_owned()).collect()
}

fn rows(owner: &Caller) -> usize {
    let logs: Value = owner.get("/v1/vaults/default/logs").expect(200).json();
    logs["logs"].as_array().expect("a list").len()
}

/// Sends a request through the proxy that it refuses and logs; the status.
fn through_the_proxy(site: &Site, proxy: &str, token: &str) -> u16 {
    let mut stream = TcpStream::connect(proxy).expect("the proxy listens");
    let request = "GET http://127.0.0.1:9/ HTTP/1.1\r\nHost: 127.0.0.1:9\r\nConnection: close\r\n";
    write!(stream, "{request}Proxy-Authorization: Bearer {token}\r\n\r\n").expect("the proxy reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the proxy answers");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no answer of {}: {answer:?}", site.address))
}

/// A broker with an agent: its owner, its proxy's address, the agent's token.
fn broker(home: TempDir) -> (Site, Caller, String, String) {
    let mut site = Site::start_in(home, &[], &[]);
    let proxy = site.process.line_after("Agent Vault transparent proxy listening on ");
    let owner = site.owner();
    let token = site.agent(&owner, "bot", "proxy").token.expect("a token");
    (site, owner, proxy, token)
}

/// Lets the broker's files grow to so many bytes only; `unlimited` for all they want.
fn limit_files(prlimit: &Path, site: &Site, bytes: &str) {
    let pid = site.process.pid().to_string();
    let status = Command::new(prlimit).args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
    assert!(status.expect("prlimit runs").success());
}

#[test]
fn no_room_for_a_write_is_said_and_nothing_is_lost() {
    const TEST: &str = "no_room_for_a_write_is_said_and_nothing_is_lost";
    let Some(prlimit) = need(TEST, "prlimit", "install util-linux") else { return };
    let (mut site, owner, proxy, token) = broker(TempDir::new());
    set(&owner, "BEFORE", "v").expect(200);
    assert_eq!(through_the_proxy(&site, &proxy, &token), 403);
    eventually("the request is logged", || rows(&owner) == 1);
    limit_files(&prlimit, &site, "4096");
    for round in 0..5 {
        let answer = set(&owner, "DURING", "v");
        assert_eq!(answer.refusal(), refused(503, FAILS), "round {round}");
        let answer = owner.post("/v1/agents", &json!({"name": "other"}));
        assert_eq!(answer.refusal(), refused(503, FAILS), "round {round}");
        assert_eq!(keys(&owner), ["BEFORE"], "round {round}");
        assert_eq!(through_the_proxy(&site, &proxy, &token), 403, "round {round}");
    }
    site.process.line_with("request log not written");
    limit_files(&prlimit, &site, "unlimited");
    set(&owner, "AFTER", "v").expect(200);
    let known = rows(&owner);
    assert_eq!(through_the_proxy(&site, &proxy, &token), 403);
    eventually("requests are logged again", || rows(&owner) > known);
    site.process.line_with("request log is written again");
    let said = site.process.output();
    assert_eq!(said.matches("request log not written").count(), 1, "{said}");
    site.process.signal(Signal::SIGKILL);
    site.process.wait();
    let again = Site::start_in(site.home, &[], &[]);
    let owner = again.with_token(owner.token.as_ref().expect("a login"));
    assert_eq!(keys(&owner), ["AFTER", "BEFORE"]);
    owner.get("/v1/agents/other").expect(404);
}

#[test]
fn a_full_disk_is_said_and_serves_again_when_there_is_room() {
    const TEST: &str = "a_full_disk_is_said_and_serves_again_when_there_is_room";
    if !geteuid().is_root() || !succeeds("unshare", &["-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]) {
        return skip(TEST, "a file system of its own takes root and its capabilities");
    }
    let home = TempDir::new();
    let disk = home.dir("disk");
    let disk = disk.to_str().expect("a UTF-8 path");
    let mut command = bare(Path::new("unshare"), home.path());
    let script = "mount -t tmpfs -o size=1m tmpfs \"$1\" && \
                  exec \"$0\" server --port 0 --mitm-port auto --data-dir \"$1\"";
    command.args(["-m", "sh", "-c", script, BINARY, disk]);
    let mut process = support::Running::start(&mut command);
    let address = process.line_after("Agent Vault server listening on ");
    let site = Site { process, home, address };
    let owner = site.owner();
    let value = "x".repeat(40_000);
    let mut known = 0;
    let full = loop {
        let answer = set(&owner, &format!("KEY_{known:03}"), &value);
        if answer.status != 200 {
            break answer;
        }
        known += 1;
    };
    assert_eq!(full.refusal(), refused(507, FULL));
    assert!(known > 3, "the disk was full from the start");
    for _ in 0..5 {
        assert_eq!(set(&owner, "ANOTHER", &value).refusal(), refused(507, FULL));
        assert_eq!(keys(&owner).len(), known);
    }
    let pid = site.process.pid().to_string();
    let grow = ["-t", &pid, "-m", "mount", "-o", "remount,size=8m", disk];
    assert!(Command::new("nsenter").args(grow).status().expect("nsenter runs").success());
    set(&owner, "ANOTHER", &value).expect(200);
    let answer = owner.get("/v1/credentials?vault=default&reveal=true").expect(200).json();
    let entries = answer["credentials"].as_array().expect("a list");
    assert_eq!(entries.len(), known + 1);
    assert!(entries.iter().all(|entry| text(entry, "value") == value));
}

#[test]
fn a_lock_held_by_another_process_is_waited_for_and_then_said() {
    let (site, owner, proxy, token) = broker(TempDir::new());
    let other = rusqlite::Connection::open(site.home.join(".agent-vault/agent-vault.db")).expect("it opens");
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock is free");
    thread::scope(|scope| {
        let start = Instant::now();
        let writers: Vec<_> = (0..3).map(|_| scope.spawn(|| set(&owner, "KEY", "v"))).collect();
        // What only looks is not in the queue behind them.
        for _ in 0..20 {
            assert!(keys(&owner).is_empty());
            assert_eq!(through_the_proxy(&site, &proxy, &token), 403);
        }
        assert!(start.elapsed() < Duration::from_secs(4), "reads waited for a writer's lock");
        for writer in writers {
            let answer = writer.join().expect("an answer");
            assert_eq!(answer.refusal(), refused(503, BUSY));
            assert_eq!(answer.field("Retry-After"), "1");
        }
        let waited = start.elapsed();
        assert!((4..15).contains(&waited.as_secs()), "waited {waited:?}");
    });
    other.execute_batch("ROLLBACK").expect("ours");
    set(&owner, "KEY", "v").expect(200);
    assert_eq!(keys(&owner), ["KEY"]);
}

#[test]
fn a_state_that_may_not_be_written_is_named_and_not_touched() {
    const TEST: &str = "a_state_that_may_not_be_written_is_named_and_not_touched";
    let site = Site::start();
    let owner = site.owner();
    set(&owner, "KEY", "v").expect(200);
    let Site { mut process, home, .. } = site;
    process.signal(Signal::SIGTERM);
    process.wait();
    let state = home.join(".agent-vault");
    let database = state.join("agent-vault.db");
    let before = fs::read(&database).expect("a file");
    let allow = |path: &Path, mode: u32| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a file of ours");
    };
    let server = ["server", "--port", "0", "--mitm-port", "0"];
    for (path, mode, then) in [(&database, 0o400, 0o600), (&state, 0o500, 0o700)] {
        allow(path, mode);
        let mut command = bare(Path::new(BINARY), home.path());
        if geteuid().is_root() {
            // Root may write everywhere: without that right it is like anyone else.
            let drop = ["--bounding-set=-dac_override", "--inh-caps=-all", BINARY];
            if !succeeds("setpriv", &["--bounding-set=-dac_override", "true"]) {
                return skip(TEST, "root may write to everything and setpriv cannot take that away");
            }
            command = bare(Path::new("setpriv"), home.path());
            command.args(drop);
        }
        let ended = run(command.args(server), b"");
        allow(path, then);
        assert_eq!((ended.code(), &ended.stdout[..]), (Some(1), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains("agent-vault."), "{}", ended.stderr);
        assert!(ended.stderr.contains("Permission denied"), "{}", ended.stderr);
        assert_eq!(fs::read(&database).expect("a file"), before);
    }
    let again = Site::start_in(home, &[], &[]);
    assert_eq!(keys(&again.with_token(owner.token.as_ref().expect("a login"))), ["KEY"]);
}

#[test]
fn what_another_process_changes_is_noticed_within_two_seconds() {
    // J 4
    let (site, owner, proxy, token) = broker(TempDir::new());
    assert_eq!(through_the_proxy(&site, &proxy, &token), 403, "the token is known and remembered");
    let other = Locked::open(&site.home.join(".agent-vault")).and_then(|locked| locked.unlock(None));
    let other = other.expect("the state opens");
    let id = other.agent("bot", Timestamp::now()).expect("an answer").expect("an agent").id;
    other.revoke_agent(&id, Timestamp::now()).expect("revoked");
    let start = Instant::now();
    eventually("the token is refused", || through_the_proxy(&site, &proxy, &token) == 407);
    assert!(start.elapsed() < Duration::from_secs(3), "noticed after {:?}", start.elapsed());
    // The control API asks the state itself.
    assert_eq!(owner.get("/v1/agents/bot").expect(200).json()["status"], "revoked");
}
