//! Promise: `apply` makes a broker hold what a document says: the plan is seen first, a second run changes
//! nothing, what fails half way is finished by another run, and no operator undoes another's edit unseen.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::thread;

use serde_json::{Value, json};
use support::{Broker, Ended, Origin, SECRET, StandIn, TempDir, Terminal, answer, need, run};

const DOCUMENT: &str = "\
vaults:
  shop:
    policy: deny
    services:
      - name: stripe
        host: api.stripe.com
        path: /v1/*
        auth:
          type: bearer
          token: STRIPE_KEY
      - name: slack
        host: slack.com
        auth:
          type: bearer
          token: SLACK_TOKEN
  default:
agents:
  checkout:
    role: no-access
    vaults:
      shop: proxy
  reporter:
    vaults:
      shop: member
      default: proxy
";

fn broker() -> Broker {
    Broker::start(&Origin::plain(), &[])
}

/// Applies a document that comes on stdin.
fn apply(broker: &Broker, document: &str, flags: &[&str]) -> Ended {
    let mut command = broker.operator(&["apply", "-f", "-"]);
    run(command.args(flags), document.as_bytes())
}

#[track_caller]
fn plan(broker: &Broker, document: &str, flags: &[&str]) -> String {
    apply(broker, document, &[flags, &["--dry-run"]].concat()).expect_success().stdout
}

#[test]
fn a_broker_is_set_up_by_a_document_and_a_second_run_changes_nothing() {
    let broker = broker();
    let first = "\
+ vault shop
~ vault shop: unmatched hosts passthrough → deny
+ service shop/stripe (api.stripe.com/v1/*)
+ service shop/slack (slack.com)
+ agent checkout (no-access, shop:proxy)
+ agent reporter (no-access, shop:member, default:proxy)
+ 5 to create, ~ 1 to change, - 0 to remove, = 1 unchanged
missing credentials in vault shop: SLACK_TOKEN, STRIPE_KEY
";
    assert_eq!(plan(&broker, DOCUMENT, &[]), first);
    assert_eq!(apply(&broker, DOCUMENT, &["--dry-run", "--exit-code"]).code(), Some(3));
    assert!(!broker.cli(&["vault", "list"]).stdout.contains("shop"), "a dry run changes nothing");

    // There is nobody to ask, so nothing happens without --yes.
    let ended = apply(&broker, DOCUMENT, &[]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(2), ""));
    assert!(
        ended.stderr.ends_with("there is no terminal to confirm this at: pass --yes\n"),
        "{}",
        ended.stderr
    );

    let ended = apply(&broker, DOCUMENT, &["--yes"]).expect_success();
    let tokens: Vec<(&str, &str)> = ended.stdout.lines().filter_map(|line| line.split_once('=')).collect();
    assert_eq!(tokens.iter().map(|(agent, _)| *agent).collect::<Vec<_>>(), ["checkout", "reporter"]);
    assert_eq!(ended.stdout.lines().count(), 2, "tokens are alone on stdout: {}", ended.stdout);
    assert!(ended.stderr.starts_with(first), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("missing credentials in vault shop: SLACK_TOKEN, STRIPE_KEY\n"));
    for (agent, token) in tokens {
        assert!(!ended.stderr.contains(token));
        let mut discover = broker.operator(&["vault", "discover", "--json"]);
        let seen = run(discover.env("AGENT_VAULT_TOKEN", token).env("AGENT_VAULT_VAULT", "shop"), b"");
        assert!(seen.expect_success().stdout.contains("\"stripe\""), "{agent}");
    }

    broker.cli(&["vault", "credential", "set", "STRIPE_KEY=x", "SLACK_TOKEN=y", "--vault", "shop"]);
    let nothing = "+ 0 to create, ~ 0 to change, - 0 to remove, = 9 unchanged\n";
    assert_eq!(plan(&broker, DOCUMENT, &["--prune"]), nothing);
    let again = apply(&broker, DOCUMENT, &[]).expect_success();
    assert_eq!((again.stdout.as_str(), again.stderr.as_str()), ("", nothing), "nothing to ask about");
    assert_eq!(apply(&broker, DOCUMENT, &["--dry-run", "--exit-code"]).code(), Some(0));
}

#[test]
fn what_differs_is_changed_and_what_is_not_named_goes_only_with_prune() {
    let broker = broker();
    apply(&broker, DOCUMENT, &["--yes"]).expect_success();
    for args in [
        &["vault", "service", "disable", "stripe", "--vault", "shop"][..],
        &["vault", "agent", "set-role", "reporter", "--role", "proxy", "--vault", "shop"],
        &["vault", "agent", "add", "checkout", "--vault", "default"],
        &["agent", "create", "stranger", "--token-only"],
        &["vault", "create", "other"],
    ] {
        broker.cli(args);
    }
    let extra = r#"[{"name": "extra", "host": "x.example.com", "auth": {"type": "passthrough"}}]"#;
    broker.cli_with_stdin(&["vault", "service", "add", "-f", "-", "--vault", "shop"], extra);

    let document = DOCUMENT.replace("slack.com", "slack.com:8443");
    let changes = "\
~ service shop/stripe: enabled
~ service shop/slack: host
~ grant of vault shop to agent reporter: proxy → member
";
    let removals = "\
- service shop/extra
- agent stranger
";
    let kept = plan(&broker, &document, &[]);
    assert!(kept.starts_with(&format!("{changes}+ 0 to create, ~ 3 to change, - 0 to remove")), "{kept}");
    let pruned = plan(&broker, &document, &["--prune"]);
    for line in changes.lines().chain(removals.lines()).chain(["- grant of vault default to agent checkout"])
    {
        assert!(pruned.lines().any(|planned| planned == line), "{line} in {pruned}");
    }
    assert!(!pruned.contains("other"), "a vault is never removed: {pruned}");

    let done = apply(&broker, &document, &["--prune", "--yes"]).expect_success();
    assert_eq!(done.stdout, "", "no agent is new, so there is no token");
    assert!(
        plan(&broker, &document, &["--prune"]).starts_with("+ 0 to create, ~ 0 to change, - 0 to remove")
    );
    assert!(broker.cli(&["vault", "list"]).stdout.contains(" other "));
    assert!(!broker.cli(&["agent", "list"]).stdout.contains("stranger"));
    let services = broker.cli(&["vault", "service", "list", "--vault", "shop", "--json"]).stdout;
    let services: Value = serde_json::from_str(&services).unwrap();
    let hosts: Vec<&Value> =
        services["services"].as_array().unwrap().iter().map(|one| &one["host"]).collect();
    assert_eq!(hosts, ["api.stripe.com/v1/*", "slack.com:8443"]);
}

/// People's grants, and what an agent may do in the instance.
#[test]
fn grants_of_people_and_the_roles_of_agents_follow_the_document() {
    let broker = broker();
    let link = broker.cli(&["user", "invite", "ann@example.test", "--link-only"]).stdout;
    broker.cli_with_stdin(&["auth", "accept-invite", &link, "--password-stdin"], "a password of Ann's");
    broker.cli(&["agent", "create", "bot", "--token-only"]);
    let document = |role: &str, vaults: &str| {
        format!(
            "vaults: {{shop: {{}}, default: {{}}}}\nagents: {{bot: {{role: {role}, vaults: {{}}}}}}\n\
             users: {{ann@example.test: {{vaults: {vaults}}}}}\n"
        )
    };
    let steps = [
        // Flags, what the document says, and the changes in the plan.
        (
            "",
            document("member", "{shop: member, default: member}"),
            "+ vault shop\n~ agent bot: role no-access → member\n\
             + grant of vault shop to user ann@example.test: member\n\
             + grant of vault default to user ann@example.test: member\n",
        ),
        (
            "",
            document("no-access", "{shop: admin}"),
            "~ agent bot: role member → no-access\n\
             ~ grant of vault shop to user ann@example.test: member → admin\n",
        ),
        (
            "--prune",
            document("no-access", "{shop: admin}"),
            "- grant of vault default to user ann@example.test\n",
        ),
    ];
    for (flag, document, changes) in steps {
        let flags: Vec<&str> = [flag].into_iter().filter(|flag| !flag.is_empty()).collect();
        let planned = plan(&broker, &document, &flags);
        assert!(planned.starts_with(changes), "{planned}");
        apply(&broker, &document, &[&flags[..], &["--yes"]].concat()).expect_success();
        let again = apply(&broker, &document, &[&flags[..], &["--dry-run", "--exit-code"]].concat());
        assert_eq!(again.code(), Some(0), "{}", again.stdout);
    }
    let shown = broker.cli(&["vault", "user", "list", "--vault", "shop"]).stdout;
    assert!(shown.contains("ann@example.test    active  admin\n"), "{shown}");
    assert!(!broker.cli(&["vault", "user", "list"]).stdout.contains("ann@"));
    assert!(broker.cli(&["agent", "list"]).stdout.contains("bot   no-access  active"));

    // Who has no account gets none by a document.
    let ended = apply(&broker, "users: {eve@example.test: {vaults: {default: admin}}}\n", &["--yes"]);
    assert!(ended.code() == Some(1) && ended.stderr.contains("eve@example.test"), "{}", ended.stderr);
}

#[test]
fn a_document_is_json_too_and_the_plan_is_for_programs() {
    let broker = broker();
    let document = json!({"vaults": {"shop": {"services": [
        {"name": "api", "host": "x.com", "auth": {"type": "bearer", "token": "K"}}
    ]}}, "agents": {"bot": {"vaults": {"shop": "proxy"}}}});
    let expected = json!({
        "changes": [
            {"action": "create", "what": "vault shop"},
            {"action": "create", "what": "service shop/api (x.com)"},
            {"action": "create", "what": "agent bot (no-access, shop:proxy)"},
        ],
        "create": 3, "change": 0, "remove": 0, "unchanged": 0,
        "missing_credentials": {"shop": ["K"]},
    });
    let shown: Value = serde_json::from_str(&plan(&broker, &document.to_string(), &["--json"])).unwrap();
    assert_eq!(shown, expected);

    let ended = apply(&broker, &document.to_string(), &["--json", "--yes"]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(2), ""));
    let files = TempDir::new();
    let folder = files.join("tokens");
    let to_files = ["--json", "--yes", "--tokens-dir", folder.to_str().unwrap()];
    let ended = apply(&broker, &document.to_string(), &to_files).expect_success();
    assert_eq!(serde_json::from_str::<Value>(&ended.stdout).unwrap(), expected);
    let token = folder.join("bot");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&token)), (0o700, 0o600));
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    let token = fs::read_to_string(token).unwrap();
    assert!(token.starts_with("av_agt_") && token.len() == 71, "the token and nothing else");
    assert!(!ended.stdout.contains(&token) && !ended.stderr.contains(&token));
}

#[test]
fn a_secret_in_a_document_is_refused_by_name_before_anybody_is_asked() {
    let stand_in = StandIn::start();
    for (document, place) in [
        (
            format!("vaults: {{shop: {{credentials: {{K: {SECRET}}}}}}}"),
            "vaults.shop: \"credentials\" is not taken",
        ),
        (format!("agents: {{bot: {{token: {SECRET}}}}}"), "agents.bot: \"token\" is not taken"),
        (
            format!(
                "vaults: {{shop: {{services: [{{name: api, host: x.com, auth: {{type: bearer, token: {SECRET}}}}}]}}}}"
            ),
            "vaults.shop: services[0].auth.token: not the name of a credential",
        ),
        ("vaults: {shop: {}, shop: {}}".to_owned(), "key \"shop\" is there twice"),
        (r#"{"vaults": {"shop": {}, "shop": {}}}"#.to_owned(), "key \"shop\" is there twice"),
    ] {
        let mut command = stand_in.bare();
        let ended = run(command.args(["apply", "-f", "-", "--yes"]), document.as_bytes());
        assert_eq!(ended.code(), Some(1));
        assert!(ended.stderr.contains(place), "{}", ended.stderr);
        assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
    }
    assert_eq!(stand_in.lines(), [""; 0]);
}

#[test]
fn what_fails_half_way_is_told_and_finished_by_another_run() {
    let broker = broker();
    broker.cli(&["agent", "create", "taken", "--token-only"]);
    broker.cli(&["agent", "revoke", "taken"]);
    let revoked = "agents:\n  taken:\n";
    let ended = apply(&broker, revoked, &["--yes"]);
    assert_eq!(
        (ended.code(), ended.stderr.lines().next()),
        (Some(1), Some("agent \"taken\" has been revoked"))
    );

    // The reader of the first plan is a person; while they read, the next agent's name is taken.
    if need("what_fails_half_way_is_told_and_finished_by_another_run", "setsid", "install util-linux")
        .is_none()
    {
        return;
    }
    let files = TempDir::new();
    let document = files.write("vault.yaml", "vaults:\n  shop:\nagents:\n  one:\n  two:\n  three:\n");
    let apply_file = ["apply", "-f", document.to_str().unwrap()];
    let mut person = Terminal::start(&broker.operator(&apply_file));
    person.awaits("Apply this plan? [y/N] ");
    let two = broker.cli(&["agent", "create", "two", "--token-only"]).stdout;
    person.types("y");
    let (code, shown) = person.end();
    assert_eq!(code, Some(1), "{shown}");
    for line in [
        "done: + vault shop\r\n",
        "\r\none=av_agt_",
        "done: + agent one (no-access)\r\n",
        "failed: + agent two (no-access)\r\n",
        "not done: + agent three (no-access)\r\n",
        "2 of 4 changes done; + agent two (no-access): Agent \"two\" already exists\r\n",
        "hint: run it again: what is done is not done twice\r\n",
    ] {
        assert!(shown.contains(line), "{line:?} in {shown}");
    }
    let ended = run(broker.operator(&apply_file).arg("--yes"), b"").expect_success();
    assert!(
        ended.stdout.starts_with("three=av_agt_") && ended.stdout.lines().count() == 1,
        "{}",
        ended.stdout
    );
    assert!(!two.is_empty());
}

#[test]
fn two_operators_editing_at_once_undo_nothing() {
    let broker = broker();
    // Each adds a service of its own: all of them are there in the end.
    let adding = (0..8).map(|number| {
        let name = format!("service-{number}");
        let flags = ["--name", &name, "--host", "x.example.com", "--auth-type", "passthrough"];
        broker.operator(&[&["vault", "service", "add"], &flags[..]].concat())
    });
    let adding: Vec<Command> = adding.collect();
    thread::scope(|scope| {
        for mut command in adding {
            scope.spawn(move || run(&mut command, b"").expect_success());
        }
    });
    let listed = broker.cli(&["vault", "service", "list"]).stdout;
    assert_eq!(listed.matches("- name: service-").count(), 8, "{listed}");

    if need("two_operators_editing_at_once_undo_nothing", "setsid", "install util-linux").is_none() {
        return;
    }
    let files = TempDir::new();
    let document = files.write(
        "vault.yaml",
        "vaults:\n  default:\n    services:\n      - {name: service-0, host: a.example.com, auth: {type: passthrough}}\n",
    );
    let apply_file = ["apply", "-f", document.to_str().unwrap()];
    // One reads the plan while the other edits the very same service.
    let mut reader = Terminal::start(&broker.operator(&apply_file));
    reader.awaits("~ service default/service-0: host").awaits("Apply this plan? [y/N] ");
    broker.cli(&["vault", "service", "disable", "service-0"]);
    reader.types("y");
    let (code, shown) = reader.end();
    let refusal = "0 of 1 changes done; ~ service default/service-0: host: The services have changed since they were read";
    assert!(code == Some(1) && shown.contains(refusal), "{shown}");
    assert!(broker.cli(&["vault", "service", "list"]).stdout.contains("enabled: false"));
    // The next plan says what it would undo.
    let planned = run(broker.operator(&apply_file).arg("--dry-run"), b"").expect_success().stdout;
    assert!(planned.starts_with("~ service default/service-0: host, enabled\n"), "{planned}");
    run(broker.operator(&apply_file).arg("--yes"), b"").expect_success();
}

#[test]
fn a_plan_is_asked_about_at_a_terminal() {
    if need("a_plan_is_asked_about_at_a_terminal", "setsid", "install util-linux").is_none() {
        return;
    }
    let broker = broker();
    let files = TempDir::new();
    let document = files.write("vault.json", r#"{"vaults": {"shop": {}}}"#);
    let mut person = Terminal::start(&broker.operator(&["apply", "-f", document.to_str().unwrap()]));
    person.awaits("+ vault shop\r\n").awaits("Apply this plan? [y/N] ").types("");
    let (code, shown) = person.end();
    assert!(code == Some(0) && shown.ends_with("Aborted.\r\n"), "{shown}");
    assert!(!broker.cli(&["vault", "list"]).stdout.contains("shop"));
}

/// A broker that knows no revisions is asked without one.
#[test]
fn a_broker_without_revisions_is_served_too() {
    let stand_in = StandIn::start();
    stand_in.home().dir(".agent-vault");
    let session = format!(r#"{{"token":"av_sess_1","address":"{}"}}"#, stand_in.address());
    stand_in.home().write(".agent-vault/session.json", &session);
    let json = |body: &str| answer(200, &[], body);
    stand_in.answers("GET /v1/vaults", json(r#"{"vaults":[{"name":"shop"}]}"#));
    stand_in.answers("GET /v1/vaults/shop/services", json(r#"{"services":[]}"#));
    stand_in.answers("GET /v1/vaults/shop/settings", json(r#"{"unmatched_host_policy":"passthrough"}"#));
    stand_in.answers("GET /v1/credentials", json(r#"{"keys":["K"]}"#));
    stand_in.answers("POST /v1/vaults/shop/services", json(r#"{"upserted":["api"],"services_count":1}"#));
    let document = r#"{"vaults": {"shop": {"services": [{"name": "api", "host": "x.com", "auth": {"type": "bearer", "token": "K"}}]}}}"#;
    let mut command = stand_in.bare();
    run(command.args(["apply", "-f", "-", "--yes"]), document.as_bytes()).expect_success();
    let last = stand_in.requests().pop().expect("a request");
    assert_eq!((last.target.as_str(), last.field("if-match")), ("/v1/vaults/shop/services", None));
}
