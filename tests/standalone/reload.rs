//! The document is read again on SIGHUP and when a file has changed: whole, or not at all.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::support::{Running, need, need_python, source};
use super::{API, Alone, bearer};

/// A child that calls the URL in a file each time it gets SIGUSR1, and says what came of it. SIGHUP does
/// nothing to it.
const CALLER: &str = r#"
    trap '' HUP
    # The signal goes to the whole group: curl has to be gone before the next one.
    trap 'echo "called $(curl -sS -o /dev/null -w "%{http_code}" "$(cat url)")"' USR1
    echo ready
    while true; do sleep 60 & wait; done
"#;

struct Reloading {
    alone: Alone,
    running: Running,
}

impl Reloading {
    /// Starts a run by `c.json` in its home.
    fn start(alone: Alone, document: &Value, config: &str) -> Self {
        if !alone.home.join(config).exists() {
            alone.home.write(config, &document.to_string());
        }
        alone.home.write("url", &alone.origin.url(API, "/x"));
        let mut command: Command = alone.bare();
        command.args(["run", "--config", config, "--", "sh", "-c", CALLER]).env("ENV_KEY", "from-env");
        let mut running = Running::start(&mut command);
        running.line_after("ready");
        Self { alone, running }
    }

    /// Lets the child call; what it says, and the credential that arrived.
    #[track_caller]
    fn call(&mut self) -> (String, String) {
        self.running.signal(Signal::SIGUSR1);
        let said = self.running.line_after("called ");
        let last = self.alone.origin.requests().pop();
        let field = last.and_then(|request| request.field("authorization").map(str::to_owned));
        (said, field.unwrap_or_default())
    }

    /// Waits until a document has been put in force.
    #[track_caller]
    fn reloaded(&mut self) {
        self.line("msg=\"configuration reloaded\"");
    }

    /// Waits until one has been refused; the line that says why.
    #[track_caller]
    fn refused(&mut self) -> String {
        self.line("msg=\"configuration not reloaded; the old one stays in force\"")
    }

    #[track_caller]
    fn line(&mut self, what: &str) -> String {
        loop {
            let line = self.running.line_after("time=");
            if line.contains(what) {
                return line;
            }
        }
    }
}

fn ok(credential: &str) -> (String, String) {
    ("200".to_owned(), format!("Bearer {credential}"))
}

/// A document whose one credential is in a file.
fn by_file(alone: &Alone, file: &str) -> Value {
    let mut document = alone.one_service();
    document["credentials"] = json!({"API_KEY": {"file": file}});
    document
}

#[test]
fn a_change_is_seen_however_the_file_is_written() {
    if need("a_change_is_seen_however_the_file_is_written", "curl", "install curl").is_none() {
        return;
    }
    let alone = Alone::tls();
    for name in ["one", "two", "three"] {
        alone.home.write(name, name);
    }
    let document = by_file(&alone, "one");
    let mut run = Reloading::start(alone, &document, "c.json");
    assert_eq!(run.call(), ok("one"));
    // In place.
    let home = run.alone.home.path().to_owned();
    fs::write(home.join("c.json"), by_file(&run.alone, "two").to_string()).unwrap();
    run.reloaded();
    assert_eq!(run.call(), ok("two"));
    // Renamed over.
    fs::write(home.join("new.json"), by_file(&run.alone, "three").to_string()).unwrap();
    fs::rename(home.join("new.json"), home.join("c.json")).unwrap();
    run.reloaded();
    assert_eq!(run.call(), ok("three"));
    // The file of the credential, by the same document.
    fs::write(home.join("three"), "rotated\n").unwrap();
    run.reloaded();
    assert_eq!(run.call(), ok("rotated"));
}

/// As Kubernetes projects a volume: the name is a link through `..data`, and that link is swapped.
#[test]
fn a_swapped_folder_is_seen() {
    if need("a_swapped_folder_is_seen", "curl", "install curl").is_none() {
        return;
    }
    let alone = Alone::tls();
    let volume = alone.home.dir("volume");
    for (folder, value) in [("..1", "first"), ("..2", "second")] {
        alone.home.dir(&format!("volume/{folder}"));
        alone.home.write(&format!("volume/{folder}/key"), value);
        let document = by_file(&alone, "volume/key");
        alone.home.write(&format!("volume/{folder}/c.json"), &document.to_string());
    }
    symlink("..1", volume.join("..data")).unwrap();
    symlink("..data/key", volume.join("key")).unwrap();
    symlink("..data/c.json", volume.join("c.json")).unwrap();
    let mut run = Reloading::start(alone, &Value::Null, "volume/c.json");
    assert_eq!(run.call(), ok("first"));
    symlink("..2", volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    run.reloaded();
    assert_eq!(run.call(), ok("second"));
    fs::remove_dir_all(volume.join("..1")).unwrap();
    // And again, from the second to a third.
    let third = run.alone.home.dir("volume/..3");
    fs::copy(volume.join("..2/c.json"), third.join("c.json")).unwrap();
    fs::write(third.join("key"), "third").unwrap();
    symlink("..3", volume.join("..data_tmp")).unwrap();
    fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    run.reloaded();
    assert_eq!(run.call(), ok("third"));
}

#[test]
fn a_hangup_reads_again_what_can_be() {
    if need("a_hangup_reads_again_what_can_be", "curl", "install curl").is_none() {
        return;
    }
    let alone = Alone::tls();
    let mut document = alone.one_service();
    document["credentials"] = json!({"API_KEY": {"env": "ENV_KEY"}});
    let mut run = Reloading::start(alone, &document, "c.json");
    assert_eq!(run.call(), ok("from-env"));
    run.running.signal(Signal::SIGHUP);
    run.reloaded();
    // The environment's values stay what they were taken as.
    assert_eq!(run.call(), ok("from-env"));
}

#[test]
fn what_cannot_be_used_is_refused_whole() {
    if need("what_cannot_be_used_is_refused_whole", "curl", "install curl").is_none() {
        return;
    }
    let alone = Alone::tls();
    alone.home.write("one", "one");
    let document = by_file(&alone, "one");
    let mut run = Reloading::start(alone, &document, "c.json");
    let with = |change: &dyn Fn(&mut Value)| {
        let mut changed = document.clone();
        change(&mut changed);
        changed.to_string()
    };
    for (text, told) in [
        ("{".to_owned(), "EOF while parsing"),
        (with(&|it| it["service"] = json!([])), "unknown key"),
        (with(&|it| it["credentials"]["API_KEY"] = json!({"file": "gone"})), "credentials.API_KEY: "),
        (with(&|it| it["credentials"]["API_KEY"] = json!({"env": "NOT_SET"})), "was not set at the start"),
        (with(&|it| it["vault"] = json!("other")), "vault: cannot change while the command runs"),
        (with(&|it| it["network_allowlist"] = json!([])), "network_allowlist: cannot change"),
    ] {
        run.alone.home.write("c.json", &text);
        let line = run.refused();
        assert!(line.contains("level=error") && line.contains(told), "no {told:?} in {line}");
        assert_eq!(run.call(), ok("one"));
    }
    run.alone.home.write("two", "two");
    run.alone.home.write("c.json", &by_file(&run.alone, "two").to_string());
    run.reloaded();
    assert_eq!(run.call(), ok("two"));
}

/// The root's certificate follows the document, so that a client started later reaches the new host.
#[test]
fn a_host_can_be_added() {
    if need("a_host_can_be_added", "curl", "install curl").is_none() {
        return;
    }
    let origin = super::Origin::tls(&[API, "new.example.test"]);
    let alone = Alone::new(origin);
    alone.home.write("one", "one");
    let document = by_file(&alone, "one");
    let mut run = Reloading::start(alone, &document, "c.json");
    run.alone.home.write("url", &run.alone.origin.url("new.example.test", "/x"));
    assert_eq!(run.call().0, "000");
    let mut wider = document.clone();
    wider["services"] = json!([bearer("new", "new.example.test", "API_KEY")]);
    run.alone.home.write("c.json", &wider.to_string());
    run.reloaded();
    assert_eq!(run.call(), ok("one"));
}

/// Two fields from two credentials: a request that saw half of each document would carry an odd pair.
#[test]
fn no_request_is_lost_or_judged_by_two_documents() {
    let test = "no_request_is_lost_or_judged_by_two_documents";
    let Some(python) = need_python(test, "requests") else { return };
    let alone = Alone::tls();
    for name in ["a", "b"] {
        alone.home.write(name, name);
    }
    let document = |name: &str| {
        let headers = json!({"X-First": "{{ FIRST }}", "X-Second": format!("{name}-{{{{ SECOND }}}}")});
        let auth = json!({"type": "custom", "headers": headers});
        let mut document = alone.document(&json!([{"name": "the-api", "host": API, "auth": auth}]));
        document["credentials"] = json!({"FIRST": {"file": name}, "SECOND": {"file": name}});
        document.to_string()
    };
    alone.home.write("c.json", &document("a"));
    let mut command = alone.bare();
    command.args(["run", "--config", "c.json", "--"]).arg(python).arg(source("steady.py"));
    let mut running = Running::start(command.args([&alone.origin.url(API, "/x"), "4", "end"]));
    running.line_after("ready");
    for round in 0..20 {
        alone.home.write("new.json", &document(if round % 2 == 0 { "b" } else { "a" }));
        fs::rename(alone.home.join("new.json"), alone.home.join("c.json")).unwrap();
        while !running.line_after("time=").contains("configuration reloaded") {}
    }
    alone.home.write("end", "");
    let answered: usize = running.line_after("answered ").parse().unwrap();
    assert!(running.wait().success(), "{}", running.output());
    let requests = alone.origin.requests();
    assert_eq!(requests.len(), answered);
    let pairs: Vec<_> = requests.iter().map(|one| (one.field("x-first"), one.field("x-second"))).collect();
    for pair in &pairs {
        let is_whole = [(Some("a"), Some("a-a")), (Some("b"), Some("b-b"))].contains(pair);
        assert!(is_whole, "{pair:?}");
    }
    let changes = pairs.windows(2).filter(|two| two[0] != two[1]).count();
    assert!(changes > 0, "no request saw another document than the first");
}
