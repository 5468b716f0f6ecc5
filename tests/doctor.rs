//! Promise: `agent-vault doctor` says on one page what a run would find, hides every secret, starts nothing, and
//! its exit code says whether all is well.

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};
use support::{CA_PEM, Ended, StandIn, TOKEN, answer, run};

const COMMAND: [&str; 4] = ["--", "sh", "-c", "echo started"];

/// Nothing of this machine decides whether all is well: the command would run without capabilities.
fn doctor(command: &mut Command, flags: &[&str]) -> Ended {
    run(command.env("AGENT_VAULT_DROP_CAPABILITIES", "1").arg("doctor").args(flags).args(COMMAND), b"")
}

/// Checks by name: verdict, text and hint.
fn checks(ended: &Ended) -> Value {
    let page: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
    let list = page["checks"].as_array().expect("a list").iter();
    list.map(|check| (check["check"].as_str().expect("a name").to_owned(), check.clone())).collect()
}

#[test]
fn a_container_in_order_is_well_and_nothing_is_started() {
    let stand_in = StandIn::start();
    let known = json!({ "vault": "v", "available_credentials": ["STRIPE_KEY"] });
    stand_in.answers("GET /discover", answer(200, &[], &known.to_string()));
    let places = stand_in.home().dir("places");
    let mut command = stand_in.agent();
    command.env("AGENT_VAULT_CA_DIR", &places).env("FLY_APP_NAME", "x");
    let ended = doctor(&mut command, &[]).expect_success();
    for line in [
        "ok     token      in AGENT_VAULT_TOKEN, which the command does not get",
        &format!(
            "ok     rules      {} accepts the token for vault \"v\" and names 1 credential keys",
            stand_in.address()
        ),
        &format!("ok     proxy      127.0.0.1:{} takes connections", stand_in.port()),
        &format!("ok     ca         can be written below {}", places.display()),
        "ok     direct     localhost,127.0.0.1,::1,.internal,.flycast,_api.internal (Fly)",
        "  AGENT_VAULT_TOKEN=***",
        "  STRIPE_KEY=__stripe_key__",
        "All is well.",
    ] {
        assert!(ended.stdout.lines().any(|known| known == line), "no {line:?} in:\n{}", ended.stdout);
    }
    assert!(ended.stdout.contains(" Fly asks with SIGINT and kills 5 s later "), "{}", ended.stdout);
    assert!(ended.stdout.contains("the CA is trusted by "), "{}", ended.stdout);
    assert!(!ended.stdout.contains(TOKEN) && !ended.stdout.contains("started"), "{}", ended.stdout);
    assert_eq!(ended.stderr, "");
    assert_eq!(stand_in.lines(), ["GET /discover", "GET /v1/mitm/ca.pem"]);
    assert_eq!(fs::read_dir(&places).expect("a folder").count(), 0);
}

#[test]
fn everything_that_is_wrong_is_on_the_page() {
    let stand_in = StandIn::start();
    stand_in.answers("GET /discover", answer(401, &[], ""));
    let blocked = stand_in.home().write("blocked", "");
    let mut command = stand_in.agent();
    command.env("AGENT_VAULT_CA_DIR", &blocked).env("AGENT_VAULT_DROP_CAPABILITIES", "1");
    let ended = run(command.args(["doctor", "--json", "--", "nope"]), b"");
    assert_eq!(ended.code(), Some(1), "{}", ended.stdout);
    let checks = checks(&ended);
    for (name, verdict, start) in [
        ("command", "wrong", "command not found: nope"),
        ("rules", "wrong", "agent token rejected by broker (HTTP 401)"),
        ("proxy", "note", "unknown"),
        ("ca", "wrong", "MITM setup failed: write CA: no place can hold it"),
        ("memory", "ok", "ours is closed to the command"),
    ] {
        let text = checks[name]["text"].as_str().unwrap_or_default();
        assert!(checks[name]["verdict"] == verdict && text.starts_with(start), "{name}: {checks:#}");
    }
    let page: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&page["ok"], &page["environment"]), (&json!(false), &Value::Null));
}

#[test]
fn a_proxy_port_that_is_not_published_is_told() {
    let stand_in = StandIn::start();
    let unused = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
    stand_in.answers("GET /v1/mitm/ca.pem", answer(200, &[("X-MITM-Port", &unused.to_string())], CA_PEM));
    let ended = doctor(&mut stand_in.agent(), &[]);
    assert_eq!(ended.code(), Some(1));
    let start = format!("WRONG  proxy      127.0.0.1:{unused} cannot be reached: ");
    assert!(ended.stdout.contains(&start), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("\nOne thing is wrong.\n"), "{}", ended.stdout);
}

#[test]
fn settings_that_contradict_each_other_are_a_page_too() {
    let stand_in = StandIn::start();
    let mut command = stand_in.agent();
    let ended = doctor(command.env("NO_PROXY", "*"), &["--json"]);
    assert_eq!(ended.code(), Some(1));
    let text = checks(&ended)["settings"]["text"].clone();
    assert!(text.as_str().is_some_and(|text| text.starts_with("NO_PROXY has \"*\"")), "{text}");
    assert_eq!(stand_in.lines(), [""; 0]);
}

#[test]
fn a_token_file_the_command_could_read_is_told() {
    let stand_in = StandIn::start();
    let file = stand_in.home().write("token", TOKEN);
    let mut command = stand_in.agent();
    command.env_remove("AGENT_VAULT_TOKEN").env("AGENT_VAULT_TOKEN_FILE", &file);
    let token = checks(&doctor(&mut command, &["--json"]).expect_success())["token"].clone();
    assert_eq!(token["verdict"], "note");
    let text = format!("in {}, which the command can read as well", file.display());
    assert_eq!(token["text"], text);
}

#[test]
fn a_run_without_a_broker_has_a_page_too() {
    let stand_in = StandIn::start();
    let document = json!({ "services": [{ "name": "stripe", "host": "api.example.test",
        "auth": { "type": "bearer", "token": "STRIPE_KEY" } }] });
    let mut command = stand_in.bare();
    command.env("AGENT_VAULT_CONFIG", document.to_string()).env("STRIPE_KEY", "sk_hunter2");
    let ended = doctor(&mut command, &[]).expect_success();
    for line in [
        "ok     token      none needed: the credentials are attached here",
        "ok     rules      the document of vault \"default\" is in order and has 1 credential keys",
        "ok     proxy      of our own, on 127.0.0.1",
        "  STRIPE_KEY=__stripe_key__",
    ] {
        assert!(ended.stdout.lines().any(|known| known == line), "no {line:?} in:\n{}", ended.stdout);
    }
    assert!(!ended.stdout.contains("hunter2"), "{}", ended.stdout);
    command.env_remove("STRIPE_KEY");
    let ended = run(&mut command, b"");
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stdout.contains("\nWRONG  rules      "), "{}", ended.stdout);
}
