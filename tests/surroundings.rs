//! Promise: the child finds around it what its platform, its clients and its operator need, and a person can
//! see that without starting anything.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::{Ended, StandIn, TOKEN, Terminal, answer, need, run};

fn environment_of(ended: &Ended) -> BTreeMap<&str, &str> {
    ended.stdout.lines().filter_map(|line| line.split_once('=')).collect()
}

/// The environment of `run -- env` in these surroundings.
#[track_caller]
fn started(command: &mut Command, flags: &[&str]) -> Ended {
    run(command.arg("run").args(flags).args(["--", "env"]), b"").expect_success()
}

fn knowing(keys: &[&str]) -> StandIn {
    let stand_in = StandIn::start();
    let known = json!({ "vault": "v", "services": [], "available_credentials": keys });
    stand_in.answers("GET /discover", answer(200, &[], &known.to_string()));
    stand_in
}

#[test]
fn what_the_operator_and_the_platform_say_is_reached_directly() {
    let stand_in = StandIn::start();
    let mut command = stand_in.agent();
    command.env("NO_PROXY", "corp.example,10.0.0.0/8").env("no_proxy", "corp.example lower.example");
    command.env("FLY_APP_NAME", "app").env("AGENT_VAULT_NO_PROXY", "twin.example");
    let ended = started(&mut command, &[]);
    let seen = environment_of(&ended);
    let whole = "localhost,127.0.0.1,::1,.internal,.flycast,_api.internal,corp.example,10.0.0.0/8,\
                 lower.example,twin.example";
    assert_eq!((seen["NO_PROXY"], seen["no_proxy"]), (whole, whole));
    let options = seen["JAVA_TOOL_OPTIONS"];
    let patterns = "-Dhttp.nonProxyHosts=localhost|127.0.0.1|[::1]|*.internal|*.flycast|_api.internal|\
                    corp.example|10.*|lower.example|twin.example ";
    assert!(options.contains(patterns), "{options}");
}

#[test]
fn a_list_that_bypasses_everything_is_refused_before_anything_is_asked() {
    let stand_in = StandIn::start();
    for (name, source) in
        [("NO_PROXY", "NO_PROXY"), ("no_proxy", "no_proxy"), ("AGENT_VAULT_NO_PROXY", "--no-proxy")]
    {
        let mut command = stand_in.agent();
        let ended = run(command.env(name, "a.example,*").args(["run", "--", "env"]), b"");
        assert_eq!(ended.code(), Some(125));
        let text = format!(
            "{source} has \"*\", which sends every call around the proxy: no credential would be attached\n"
        );
        assert!(ended.stderr.starts_with(&text), "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(stand_in.lines(), [""; 0]);
}

#[test]
fn keys_the_environment_lacks_have_placeholders() {
    let stand_in = knowing(&["STRIPE_KEY", "PRESENT", "HTTPS_PROXY", "PATH"]);
    let mut command = stand_in.agent();
    let ended = started(command.env("PRESENT", "mine"), &[]);
    let seen = environment_of(&ended);
    assert_eq!(seen.get("STRIPE_KEY"), Some(&"__stripe_key__"));
    assert_eq!(seen.get("PRESENT"), Some(&"mine"));
    assert!(seen["HTTPS_PROXY"].starts_with("http://av_sess_"));
    assert_ne!(seen.get("PATH"), Some(&"__path__"));

    let direct = started(&mut stand_in.agent(), &["--direct"]);
    assert_eq!(environment_of(&direct).get("STRIPE_KEY"), Some(&"__stripe_key__"));
    let without = started(&mut stand_in.agent(), &["--no-placeholders"]);
    assert_eq!(environment_of(&without).get("STRIPE_KEY"), None);
    let mut command = stand_in.agent();
    let without = started(command.env("AGENT_VAULT_NO_PLACEHOLDERS", "true"), &[]);
    assert_eq!(environment_of(&without).get("STRIPE_KEY"), None);
}

#[test]
fn a_person_who_logged_in_has_placeholders_too() {
    let stand_in = knowing(&["STRIPE_KEY"]);
    let session = format!("{{\"token\":\"av_sess_person\",\"address\":{:?}}}", stand_in.address());
    stand_in.home().dir(".agent-vault");
    stand_in.home().write(".agent-vault/session.json", &session);
    let ended = started(&mut stand_in.bare(), &["--vault", "v"]);
    assert_eq!(environment_of(&ended).get("STRIPE_KEY"), Some(&"__stripe_key__"));
    let requests = stand_in.requests();
    let asked = requests.iter().find(|seen| seen.target == "/discover").expect("it was asked");
    assert_eq!(asked.field("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    // A broker that does not tell costs the placeholders, not the run.
    stand_in.answers("GET /discover", answer(500, &[], ""));
    let ended = started(&mut stand_in.bare(), &["--vault", "v"]);
    assert_eq!(environment_of(&ended).get("STRIPE_KEY"), None);
}

#[test]
fn the_environment_is_shown_and_nothing_is_started() {
    let stand_in = knowing(&["STRIPE_KEY"]);
    let places = stand_in.home().dir("places");
    let shown = |flags: &[&str]| {
        let mut command = stand_in.agent();
        command.env("ALL_PROXY", "socks5://user:hunter2@corp").env("AGENT_VAULT_CA_DIR", &places);
        command.env("JAVA_TOOL_OPTIONS", "-Dpassword=hunter2");
        let ended = run(command.args(["run", "--env-only"]).args(flags), b"").expect_success();
        assert_eq!(ended.stderr, "");
        assert!(!ended.stdout.contains("hunter2") && !ended.stdout.contains("av_"), "{}", ended.stdout);
        ended
    };
    let ended = shown(&["--", "sh", "-c", "echo started"]);
    let seen = environment_of(&ended);
    assert_eq!(seen["AGENT_VAULT_TOKEN"], "***");
    assert!(seen["HTTPS_PROXY"].starts_with("http://***@127.0.0.1:"), "{}", seen["HTTPS_PROXY"]);
    assert_eq!(seen["STRIPE_KEY"], "__stripe_key__");
    assert!(seen["SSL_CERT_FILE"].starts_with(places.to_str().expect("a UTF-8 path")));
    assert!(seen["JAVA_TOOL_OPTIONS"].starts_with("*** -D"));
    assert!(ended.stdout.ends_with("\nunset ALL_PROXY\n"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("started"));

    let json: Value = serde_json::from_str(&shown(&["--json"]).stdout).expect("JSON");
    assert_eq!(json["set"]["AGENT_VAULT_TOKEN"], "***");
    assert_eq!(json["removed"], json!(["ALL_PROXY"]));
    assert_eq!(fs::read_dir(&places).expect("a folder").count(), 0);

    let ended = run(stand_in.agent().args(["run", "--env-only", "--", "no-such-command"]), b"");
    assert_eq!(ended.code(), Some(127), "{}", ended.stderr);
}

#[test]
fn what_is_told_is_as_much_as_was_asked_for() {
    let stand_in = StandIn::start();
    let said = |flags: &[&str], vars: &[(&str, &str)]| {
        let mut command = stand_in.agent();
        started(command.envs(vars.iter().copied()), flags).stderr
    };
    assert!(said(&[], &[]).starts_with("agent-vault: routing "));
    for (flags, vars) in [
        (&["--quiet"][..], &[][..]),
        (&[], &[("AGENT_VAULT_QUIET", "1")]),
        (&["--log-level", "error"], &[]),
        (&[], &[("AGENT_VAULT_LOG_LEVEL", "warn")]),
        (&["--quiet"], &[("AGENT_VAULT_LOG_FORMAT", "json")]),
    ] {
        assert_eq!(said(flags, vars), "", "{flags:?} {vars:?}");
    }
    let ended = run(stand_in.agent().args(["run", "--quiet", "--", "nope"]), b"");
    assert_eq!(ended.stderr, "command not found: nope\n");
}

#[test]
fn a_log_in_json_is_one_object_a_line() {
    let stand_in = StandIn::start();
    let mut command = stand_in.agent();
    let ended = started(command.env("AGENT_VAULT_LOG_FORMAT", "json"), &[]);
    let events: Vec<Value> =
        ended.stderr.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.len(), 1, "{}", ended.stderr);
    assert_eq!(events[0]["level"], "info");
    assert_eq!(events[0]["msg"], "starting the command");
    assert_eq!(events[0]["command"], "env");
    assert_eq!(events[0]["proxy"], format!("127.0.0.1:{}", stand_in.port()));

    let mut command = stand_in.agent();
    command.env("AGENT_VAULT_LOG_FORMAT", "json").env("AGENT_VAULT_ADDR", "http://127.0.0.1:1");
    let ended = run(command.args(["run", "--", "env"]), b"");
    assert_eq!(ended.code(), Some(125));
    let event: Value = serde_json::from_str(&ended.stderr).expect("one line of JSON");
    assert_eq!(event["level"], "error");
    assert_eq!(event["msg"], "validate token: contacting http://127.0.0.1:1: connection refused");
    assert!(event["hint"].as_str().is_some_and(|hint| hint.starts_with("check AGENT_VAULT_ADDR")));

    let mut command = stand_in.agent();
    let ended = run(command.env("AGENT_VAULT_LOG_FORMAT", "xml").args(["run", "--", "env"]), b"");
    assert_eq!(ended.code(), Some(125));
    assert_eq!(ended.stderr, "AGENT_VAULT_LOG_FORMAT: \"xml\" is neither text nor json\n");
}

#[test]
fn a_run_is_ready_when_its_broker_can_be_reached() {
    let stand_in = StandIn::start();
    let name = format!("surroundings-{}", std::process::id());
    let ready = |stand_in: &StandIn, flags: &[&str]| {
        let mut command = stand_in.bare();
        run(command.arg("health").args(flags).env("AGENT_VAULT_HEALTH_NAME", &name), b"")
    };
    let mut command = stand_in.agent();
    command.env("AGENT_VAULT_HEALTH_NAME", &name);
    let staying = support::Run::start(command.args(["run", "--"]));
    ready(&stand_in, &["--ready"]).expect_success();

    // A port that nobody has any more stands for a broker that went away.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = gone.local_addr().expect("its address").port();
    drop(gone);
    let (status, output) = staying.stop();
    assert!(!status.success(), "{output}");
    let fields = [("X-MITM-Port", port.to_string())];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    stand_in.answers("GET /v1/mitm/ca.pem", answer(200, &fields, support::CA_PEM));
    let mut command = stand_in.agent();
    command.env("AGENT_VAULT_HEALTH_NAME", &name);
    let staying = support::Run::start(command.args(["run", "--"]));
    ready(&stand_in, &[]).expect_success();
    let ended = ready(&stand_in, &["--ready"]);
    assert_eq!(ended.code(), Some(1));
    assert!(
        ended.stderr.starts_with(&format!("not ready: 127.0.0.1:{port} cannot be reached: ")),
        "{}",
        ended.stderr
    );
    staying.stop();
}

#[test]
fn what_a_killed_run_left_behind_goes_at_the_next_start() {
    let stand_in = StandIn::start();
    let places = stand_in.home().dir("places");
    let start = || {
        let mut command = stand_in.agent();
        support::Run::start(command.env("AGENT_VAULT_CA_DIR", &places).args(["run", "--"]))
    };
    let (killed, living) = (start(), start());
    let (left, used) = (killed.bundle().to_owned(), living.bundle().to_owned());
    let shared =
        run(stand_in.agent().env("AGENT_VAULT_CA_DIR", &places).args(["run", "--direct", "--", "env"]), b"")
            .expect_success();
    let shared = environment_of(&shared)["SSL_CERT_FILE"].to_owned();
    killed.signal(Signal::SIGKILL);
    support::eventually("the end of the killed run", || {
        fs::File::open(left.parent().expect("a folder")).is_ok_and(|claim| claim.try_lock().is_ok())
    });
    assert!(left.is_file(), "nobody was there to remove it");
    let next = start();
    assert!(!left.parent().expect("a folder").exists());
    for kept in [used.as_path(), next.bundle(), shared.as_ref()] {
        assert!(kept.is_file(), "{}", kept.display());
    }
    living.stop();
    next.stop();
    assert_eq!(fs::read_dir(&places).expect("a folder").count(), 1, "what --direct shares stays");
}

#[test]
fn a_person_with_several_vaults_is_asked_which() {
    if need("a_person_with_several_vaults_is_asked_which", "setsid", "install util-linux").is_none() {
        return;
    }
    let stand_in = StandIn::start();
    let session = format!("{{\"token\":\"av_sess_person\",\"address\":{:?}}}", stand_in.address());
    stand_in.home().dir(".agent-vault");
    stand_in.home().write(".agent-vault/session.json", &session);
    let vaults = "{\"vaults\":[{\"name\":\"first\"},{\"name\":\"second\"},{\"name\":\"1\"}]}";
    stand_in.answers("GET /v1/vaults", answer(200, &[], vaults));
    let picked = |typed: &str| {
        let mut person =
            Terminal::start(stand_in.bare().args(["run", "--", "sh", "-c", "echo in $AGENT_VAULT_VAULT"]));
        person.awaits("  2) second").awaits("Which vault? [1-3] ").types(typed);
        person.end()
    };
    for (typed, vault) in [("2", "second"), ("first", "first"), ("1", "1")] {
        let (code, shown) = picked(typed);
        assert!(code == Some(0) && shown.contains(&format!("in {vault}")), "{typed}: {shown}");
    }
    let (code, shown) = picked("9");
    assert!(code == Some(125) && shown.contains("vault selection: \"9\" is none of them"), "{shown}");
    // Nobody to ask.
    let ended = run(stand_in.bare().args(["run", "--", "env"]), b"");
    assert_eq!(ended.code(), Some(125));
    assert!(
        ended.stderr.starts_with("vault selection: there are several (first, second, 1)\nhint: name one"),
        "{}",
        ended.stderr
    );
    // Only asked when nothing else tells (contract E.2).
    stand_in.home().write("agent-vault.json", "{\"vault\":\"project\"}");
    stand_in.home().write(".agent-vault/context", "chosen");
    let script = ["--", "sh", "-c", "echo in $AGENT_VAULT_VAULT"];
    let vault = |flags: &[&str], variable: Option<&str>| {
        let mut command = stand_in.bare();
        command.envs(variable.map(|vault| ("AGENT_VAULT_VAULT", vault)));
        run(command.arg("run").args(flags).args(script), b"").expect_success().stdout
    };
    assert_eq!(vault(&["--vault", "flag"], Some("variable")), "in flag\n");
    assert_eq!(vault(&[], Some("variable")), "in variable\n");
    assert_eq!(vault(&[], None), "in project\n");
    fs::remove_file(stand_in.home().join("agent-vault.json")).expect("it was there");
    assert_eq!(vault(&[], None), "in chosen\n");
}
