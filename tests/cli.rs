//! Promise: the operator's command line sets a broker up, prints what scripts can use, asks only where
//! somebody can answer, and says what is wrong in one line.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;
use support::{
    Broker, CA_PEM, Ended, OWNER_PASSWORD, Origin, SECRET, StandIn, TempDir, Terminal, answer, need, run,
};

const SETSID: &str = "install util-linux";

fn broker() -> Broker {
    Broker::start(&Origin::plain(), &[])
}

#[track_caller]
fn refused(ended: &Ended, code: i32, message: &str) {
    assert_eq!((ended.code(), ended.stderr.trim_end()), (Some(code), message));
    assert_eq!(ended.stdout, "");
}

/// What the quickstart does, and what each step leaves.
#[test]
fn a_broker_is_set_up_from_nothing() {
    let broker = broker();
    let home = broker.operator_home();
    for (path, mode) in [(".agent-vault", 0o700), (".agent-vault/session.json", 0o600)] {
        assert_eq!(fs::metadata(home.join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
    }
    let created = broker.cli(&["vault", "create", "shop"]).stdout;
    assert!(created.starts_with("✓ Created vault \"shop\" (id: "), "{created}");
    let set = broker.cli(&["vault", "credential", "set", "A=1", "B=x=y", "--vault", "shop"]);
    assert_eq!(set.stdout, "✓ Set A\n✓ Set B\n");
    let flags = ["--name", "stripe", "--host", "api.stripe.com:443/v1/*", "--auth-type", "bearer"];
    let added = broker
        .cli(&[&["vault", "service", "add", "--vault", "shop"], &flags[..], &["--token-key", "A"]].concat());
    assert_eq!(added.stdout, "✓ Service added: stripe (1 services total)\n");
    let token = broker.cli(&["agent", "create", "bot", "--vault", "shop", "--token-only"]).stdout;
    assert!(token.strip_prefix("av_agt_").is_some_and(|hex| hex.len() == 64), "{token:?}");
    assert_eq!(
        broker.cli(&["vault", "agent", "list", "--vault", "shop"]).stdout,
        "NAME  ROLE   STATUS\nbot   proxy  active\n"
    );

    // The agent sees what it may see, by the same command.
    let mut as_agent = broker.operator(&["vault", "discover", "--json"]);
    as_agent.env("AGENT_VAULT_TOKEN", &token).env("AGENT_VAULT_VAULT", "shop");
    let seen = run(&mut as_agent, b"").expect_success().stdout;
    let expected = r#"{"vault":"shop","services":[{"name":"stripe","host":"api.stripe.com:443/v1/*"}],"available_credentials":["A","B"]}"#;
    assert_eq!(seen.trim_end(), expected);
    assert_eq!(broker.cli(&["vault", "discover", "--json", "--vault", "shop"]).stdout, seen);
    as_agent.args(["--vault", "default"]);
    let ended = run(&mut as_agent, b"");
    refused(&ended, 1, "Agent does not have access to vault: default");
}

#[test]
fn a_secret_is_printed_alone_and_without_a_line_break() {
    let broker = broker().with_credential("K", SECRET);
    assert_eq!(broker.cli(&["vault", "credential", "get", "K"]).stdout, SECRET);
    let first = broker.agent("bot");
    let second = broker.cli(&["agent", "rotate", "bot", "--token-only"]).stdout;
    let minted = broker.cli(&["vault", "token", "--ttl", "300"]).stdout;
    for (token, prefix) in [(&first, "av_agt_"), (&second, "av_agt_"), (&minted, "av_sess_")] {
        let hex = token.strip_prefix(prefix).expect("a token of its kind");
        assert!(hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()), "{token:?}");
    }
    assert_ne!(first, second);
}

#[test]
fn a_value_need_not_be_on_the_command_line() {
    let broker = broker();
    let files = TempDir::new();
    let path = files.write("value", "two\nlines\n");
    let from_file = format!("FILE={}", path.display());
    let set = ["vault", "creds", "set", "STDIN=-", "--from-file", &from_file];
    assert_eq!(broker.cli_with_stdin(&set, SECRET).stdout, "✓ Set FILE\n✓ Set STDIN\n");
    assert_eq!(broker.cli(&["vault", "creds", "get", "STDIN"]).stdout, SECRET);
    assert_eq!(broker.cli(&["vault", "creds", "get", "FILE"]).stdout, "two\nlines");
    // A table keeps each value on its line.
    let listed = broker.cli(&["vault", "creds", "list", "--reveal"]).stdout;
    assert!(listed.contains("FILE   static  two\\nlines\n"), "{listed}");

    // One line break is the editor's; a second one is refused, and no message repeats the value.
    let ended =
        run(&mut broker.operator(&["vault", "creds", "set", "K=-"]), format!("{SECRET}\n\n").as_bytes());
    refused(&ended, 1, "Credential \"K\" ends with a line break; remove it and set it again");
    let ended = run(&mut broker.operator(&["vault", "creds", "set", SECRET]), b"");
    refused(&ended, 2, "credential 1 is not of the form KEY=VALUE");
    assert_eq!(
        broker.cli(&["vault", "creds", "delete", "FILE", "STDIN"]).stdout,
        "✓ Deleted FILE\n✓ Deleted STDIN\n"
    );
    assert_eq!(broker.cli(&["vault", "creds", "list"]).stdout, "KEY\n");
}

#[test]
fn services_that_were_listed_can_be_edited_and_set() {
    let broker = broker();
    let files = TempDir::new();
    let yaml = "services:\n  - name: slack\n    host: \"*.slack.com\"\n    port: 8443\n    path: \"/api/*\"\n    auth:\n      type: custom\n      headers:\n        X-Key: \"{{ K }}\"\n    substitutions:\n      - key: K\n        placeholder: __k__\n        in:\n          - path\n";
    let file = files.write("services.yaml", yaml);
    let file = file.to_str().unwrap();
    broker.cli(&["vault", "service", "set", "-f", file]);
    let listed = broker.cli(&["vault", "service", "list"]).stdout;
    assert_eq!(listed, format!("vault: default\n{yaml}"));
    let more = r#"[{"name": "plain", "host": "x.example.com", "auth": {"type": "passthrough"}}]"#;
    let added = broker.cli_with_stdin(&["vault", "service", "add", "-f", "-"], more).stdout;
    assert_eq!(added, "✓ Service added: plain (2 services total)\n");
    assert_eq!(
        broker.cli(&["vault", "service", "disable", "x.example.com"]).stdout,
        "✓ Service disabled: plain\n"
    );
    assert!(broker.cli(&["vault", "service", "list"]).stdout.contains("    enabled: false\n"));
    assert_eq!(broker.cli(&["vault", "service", "enable", "plain"]).stdout, "✓ Service enabled: plain\n");
    let removed = broker.cli(&["vault", "service", "remove", "*.slack.com:8443/api/*", "--yes"]).stdout;
    assert_eq!(removed, "✓ Service removed: slack (1 services total)\n");

    // A file for one vault does not land in another, and a misspelled path is not ignored.
    broker.cli(&["vault", "create", "other"]);
    let listed = files.write("listed.yaml", &listed);
    let listed = listed.to_str().unwrap();
    let ended = run(
        broker.operator(&["vault", "service", "set", "-f", listed]).env("AGENT_VAULT_VAULT", "other"),
        b"",
    );
    refused(
        &ended,
        2,
        "the file is for vault \"default\", and the vault in use is \"other\"\nhint: name the vault with --vault",
    );
    broker.cli(&["vault", "service", "set", "-f", listed, "--vault", "other"]);
    let misspelled = files.write("misspelled.yaml", "- {name: abc, host: x.com, pth: /a}\n");
    let ended =
        run(&mut broker.operator(&["vault", "service", "set", "-f", misspelled.to_str().unwrap()]), b"");
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.contains("services[0]: unknown key \"pth\""), "{}", ended.stderr);
}

/// Every command that lists something, and the key of the list in its answer.
const LISTS: [(&str, &str); 16] = [
    ("auth sessions list", "sessions"),
    ("vault list", "vaults"),
    ("vault token list", "sessions"),
    ("vault logs", "logs"),
    ("vault hosts", "hosts"),
    ("vault credential list", "keys"),
    ("vault credential usage", "services"),
    ("vault service list", "services"),
    ("vault proposal list", "proposals"),
    ("vault agent list", "agents"),
    ("agent list", "agents"),
    ("vault user list", "users"),
    ("user list", "users"),
    ("user invite list", "invites"),
    ("owner vault list", "vaults"),
    ("catalog", "services"),
];

#[test]
fn every_list_speaks_json() {
    let broker = broker();
    // None is left out: they are those that help says of that they list or show several.
    let help = broker.cli(&["--help"]).stdout;
    let commands = help.lines().filter_map(|line| line.strip_prefix("  ")?.split_once("  "));
    let lists: Vec<&str> = commands
        .filter(|(words, about)| {
            let about = about.trim_start();
            words.ends_with(" list") || about.starts_with("List ") || about.starts_with("Show the ")
        })
        .map(|(words, _)| words)
        .collect();
    assert_eq!(lists, LISTS.map(|(words, _)| words));
    for (words, key) in LISTS {
        let mut args: Vec<&str> = words.split(' ').collect();
        if words.ends_with("usage") {
            args.push("KEY");
        }
        let stdout = broker.cli(&[&args[..], &["--json"]].concat()).stdout;
        let answer: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{words}: {error}"));
        assert!(answer[key].is_array(), "{words}: {stdout}");
        assert!(stdout.ends_with("}\n") && !stdout.contains('\u{1b}'), "{words}: {stdout:?}");
    }
}

/// What is minted for a while can be seen and ended before its time.
#[test]
fn minted_tokens_are_listed_and_ended() {
    let broker = broker();
    let listed = |flags: &[&str]| broker.cli(&[&["vault", "token", "list"], flags].concat()).stdout;
    assert_eq!(listed(&[]), "ID  LABEL  ROLE  MADE BY  CREATED  EXPIRES\n");
    let token = broker.cli(&["vault", "token", "--ttl", "300"]).stdout;
    let table = listed(&[]);
    assert!(table.contains("  proxy  owner@example.test  20") && !table.contains(&token), "{table}");
    let answer: Value = serde_json::from_str(&listed(&["--json"])).unwrap();
    let id = answer["sessions"][0]["id"].as_str().unwrap();
    assert!(table.contains(id), "{table}");
    let discovers = || {
        let mut command = broker.operator(&["vault", "discover"]);
        run(command.env("AGENT_VAULT_TOKEN", &token).env("AGENT_VAULT_VAULT", "default"), b"")
    };
    discovers().expect_success();

    broker.cli(&["vault", "create", "other"]);
    let elsewhere = run(&mut broker.operator(&["vault", "token", "revoke", id, "--vault", "other"]), b"");
    refused(&elsewhere, 1, "Session not found");
    let revoked = broker.cli(&["vault", "token", "revoke", id]).stdout;
    assert_eq!(revoked, format!("✓ Revoked token {id} of vault \"default\"\n"));
    refused(&discovers(), 1, "Invalid or expired session");
    assert_eq!(listed(&[]).lines().count(), 1);
}

#[test]
fn a_vaults_policy_is_shown_and_set() {
    let broker = broker();
    let shown = || broker.cli(&["vault", "config", "get"]).stdout;
    let set = |policy: &str| ["vault", "config", "set", "--unmatched-host-policy", policy].map(str::to_owned);
    let row = |policy: &str| format!("SETTING                VALUE\nunmatched-host-policy  {policy}\n");
    assert_eq!(shown(), row("passthrough"));
    for (asked, is) in [("deny", "deny"), ("", "passthrough")] {
        let done = broker.cli(&set(asked).each_ref().map(String::as_str)).stdout;
        assert_eq!(done, format!("✓ Vault \"default\": unmatched hosts {is}\n"));
        assert_eq!(shown(), row(is));
    }
    let json: Value =
        serde_json::from_str(&broker.cli(&["vault", "config", "get", "--json"]).stdout).unwrap();
    assert_eq!(json["unmatched_host_policy"], "passthrough");
    let wrong = run(&mut broker.operator(&set("maybe").each_ref().map(String::as_str)), b"");
    let words = "Invalid unmatched_host_policy \"maybe\" (expected \"passthrough\" or \"deny\")";
    refused(&wrong, 1, words);
    let nothing = run(&mut broker.operator(&["vault", "config", "set"]), b"");
    refused(&nothing, 2, "nothing to set: give --unmatched-host-policy");
}

#[test]
fn the_life_of_an_agent() {
    let broker = broker();
    broker.cli(&["agent", "create", "bot", "--vault", "default:member"]);
    broker.cli(&["vault", "agent", "set-role", "bot", "--role", "admin"]);
    assert!(broker.cli(&["agent", "list"]).stdout.contains("bot   no-access  active  default:admin  "));
    broker.cli(&["vault", "agent", "remove", "bot"]);
    broker.cli(&["vault", "agent", "add", "bot"]);
    assert!(broker.cli(&["agent", "info", "bot"]).stdout.contains("Vaults:        default:proxy\n"));
    broker.cli(&["agent", "revoke", "bot"]);
    let info = broker.cli(&["agent", "info", "bot"]).stdout;
    assert!(info.contains("Status:        revoked\n") && info.contains("Active tokens: 0\n"), "{info}");
    assert!(info.contains("Revoked:       20") && info.contains("Updated:       20"), "{info}");
    let revoked = run(&mut broker.operator(&["agent", "set-role", "bot", "--role", "member"]), b"");
    refused(&revoked, 1, "Agent \"bot\" is revoked");
    broker.cli(&["agent", "rotate", "bot"]);
    assert_eq!(
        broker.cli(&["agent", "set-role", "bot", "--role", "member"]).stdout,
        "✓ Agent \"bot\" is member in the instance\n"
    );
    assert_eq!(
        broker.cli(&["agent", "rename", "bot", "robot"]).stdout,
        "✓ Renamed agent \"bot\" to \"robot\"\n"
    );
    assert!(broker.cli(&["agent", "list"]).stdout.contains("robot  member  active  default:proxy  "));
    broker.cli(&["agent", "delete", "robot", "--yes"]);
    refused(&run(&mut broker.operator(&["agent", "info", "robot"]), b""), 1, "Agent \"robot\" not found");
}

/// `TOKEN=$(agent-vault agent create …)` works, and a person at a terminal is told how to go on.
#[test]
fn a_program_gets_the_token_alone_and_a_person_is_told_how_to_use_it() {
    let broker = broker();
    let is_token = |text: &str| text.strip_prefix("av_agt_").is_some_and(|hex| hex.len() == 64);
    let made = broker.cli(&["agent", "create", "bot", "--vault", "default:member"]);
    assert!(is_token(&made.stdout), "{:?}", made.stdout);
    for line in ["✓ Created agent \"bot\" (role no-access)", "  AGENT_VAULT_VAULT=default"] {
        assert!(made.stderr.lines().any(|told| told == line), "{}", made.stderr);
    }
    assert!(made.stderr.contains(&format!("  AGENT_VAULT_ADDR={}\n", broker.address())));
    assert!(!made.stderr.contains("av_agt_"), "the token is on stdout alone");
    let rotated = broker.cli(&["agent", "rotate", "bot", "--token-only"]);
    assert!(is_token(&rotated.stdout) && rotated.stderr.is_empty(), "{rotated:?}");
    assert!(broker.cli(&["agent", "rotate", "bot"]).stderr.contains("its old ones have ended"));
    for (grace, message) in [
        ("500ms", "--grace counts in whole seconds, as in 30s or 10m"),
        ("10", "invalid argument \"10\" for \"--grace\" flag: a number and a unit, as in 500ms, 30s or 2m"),
    ] {
        refused(&run(&mut broker.operator(&["agent", "rotate", "bot", "--grace", grace]), b""), 2, message);
    }
    let long = run(&mut broker.operator(&["agent", "rotate", "bot", "--grace", "25h"]), b"");
    refused(&long, 1, "grace_seconds must be a whole number from 0 to 86400");
    if need("a_program_gets_the_token_alone", "setsid", SETSID).is_some() {
        let mut person = Terminal::start(&broker.operator(&["agent", "create", "other"]));
        person.awaits("Created agent \"other\"").awaits("  AGENT_VAULT_TOKEN=av_agt_");
        assert_eq!(person.end().0, Some(0));
    }
}

#[test]
fn the_catalog_and_the_use_of_a_credential_are_listed() {
    let broker = broker().with_credential("K", "v").with_service("slack", "slack.com/api/*", "K");
    let catalog = broker.cli(&["catalog"]).stdout;
    let lines: Vec<&str> = catalog.lines().collect();
    assert_eq!(lines.len(), 35, "{catalog}");
    let columns = |line: &str| -> Vec<String> {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(columns(lines[0]), ["ID", "NAME", "HOST", "AUTH TYPE", "SUGGESTED KEY"]);
    assert_eq!(
        columns(lines[1]),
        ["anthropic", "Anthropic", "api.anthropic.com", "api-key", "ANTHROPIC_API_KEY"]
    );
    let elsewhere = run(
        broker.operator(&["catalog", "--json", "--address", broker.address()]).env_remove("AGENT_VAULT_ADDR"),
        b"",
    );
    let answer: Value = serde_json::from_str(&elsewhere.expect_success().stdout).unwrap();
    assert_eq!(answer["services"].as_array().map(Vec::len), Some(34));

    let usage = ["vault", "credential", "usage", "K"];
    assert_eq!(broker.cli(&usage).stdout, "NAME   HOST\nslack  slack.com/api/*\n");
    assert_eq!(broker.cli(&["vault", "creds", "usage", "OTHER"]).stdout, "NAME  HOST\n");
    let json: Value = serde_json::from_str(&broker.cli(&[&usage[..], &["--json"]].concat()).stdout).unwrap();
    assert_eq!(json["services"][0]["name"], "slack");
}

#[test]
fn what_cannot_be_taken_back_is_confirmed() {
    let broker = broker();
    broker.cli(&["vault", "create", "shop"]);
    let asking = [
        &["vault", "delete", "shop"][..],
        &["vault", "service", "clear"],
        &["vault", "service", "remove", "x"],
        &["agent", "delete", "bot"],
    ];
    for args in asking {
        let ended = run(&mut broker.operator(args), b"y\n");
        refused(&ended, 2, "there is no terminal to confirm this at: pass --yes");
    }
    if need("what_cannot_be_taken_back_is_confirmed", "setsid", SETSID).is_some() {
        let mut person = Terminal::start(&broker.operator(&["vault", "delete", "shop"]));
        person.awaits("Type its name to confirm: ").types("shopp");
        let (code, shown) = person.end();
        assert!(code == Some(0) && shown.ends_with("Aborted.\r\n"), "{shown}");
        let mut person = Terminal::start(&broker.operator(&["vault", "service", "clear"]));
        person.awaits("[y/N] ").types("y");
        let (code, shown) = person.end();
        assert!(code == Some(0) && shown.contains("✓"), "{shown}");
    }
    assert!(broker.cli(&["vault", "list"]).stdout.contains(" shop "));
    assert_eq!(broker.cli(&["vault", "delete", "shop", "--yes"]).stdout, "✓ Deleted vault \"shop\"\n");
}

/// Contract J 112, with nobody there.
#[test]
fn a_refusal_is_the_brokers_own_words() {
    let broker = broker();
    let session = broker.operator_home().join(".agent-vault/session.json");
    let saved = fs::read_to_string(&session).unwrap();
    fs::write(&session, saved.replace("av_sess_", "av_sess_0")).unwrap();
    let ended = run(&mut broker.operator(&["vault", "list"]), b"");
    let hint = "hint: log in again with 'agent-vault auth login'";
    refused(&ended, 1, &format!("Invalid or expired session\n{hint}"));
    broker.cli_with_stdin(
        &["auth", "login", "--email", "owner@example.test", "--password-stdin", "--device-label", "desk"],
        OWNER_PASSWORD,
    );
    assert!(fs::read_to_string(&session).unwrap().contains(r#""device_label":"desk""#));
    refused(
        &run(&mut broker.operator(&["vault", "create", "X"]), b""),
        1,
        "Invalid vault name \"X\" must be at least 3 characters",
    );
}

/// Contract J 112, with somebody there: once, and only for the broker the login is for.
#[test]
fn an_expired_login_is_renewed_once_at_a_terminal() {
    if need("an_expired_login_is_renewed_once_at_a_terminal", "setsid", SETSID).is_none() {
        return;
    }
    let broker = broker();
    let session = broker.operator_home().join(".agent-vault/session.json");
    let saved = fs::read_to_string(&session).unwrap();
    fs::write(&session, saved.replace("av_sess_", "av_sess_0")).unwrap();
    let mut person = Terminal::start(&broker.operator(&["vault", "current", "--vault", "x"]));
    person.awaits("x\r\n");
    let mut person = Terminal::start(&broker.operator(&["vault", "list"]));
    person.awaits("Password for owner@example.test: ").types(OWNER_PASSWORD).awaits("default");
    let (code, shown) = person.end();
    assert!(code == Some(0) && !shown.contains(OWNER_PASSWORD), "{shown}");
    broker.cli(&["vault", "list"]);

    let stand_in = logged_in(StandIn::start());
    stand_in.answers("GET /v1/vaults", answer(401, &[], r#"{"error":"Session expired"}"#));
    stand_in.answers("POST /v1/auth/login", answer(200, &[], r#"{"token":"av_sess_new"}"#));
    let mut person = Terminal::start(stand_in.bare().args(["vault", "list"]));
    person.awaits("Password for a@b.c: ").types("whatever");
    let (code, shown) = person.end();
    assert!(code == Some(1) && shown.ends_with("Session expired\r\n"), "{shown}");
    assert_eq!(stand_in.lines(), ["GET /v1/vaults", "POST /v1/auth/login", "GET /v1/vaults"]);
    let sent: Vec<_> =
        stand_in.requests().iter().map(|seen| seen.field("authorization").map(str::to_owned)).collect();
    assert_eq!(sent[2].as_deref(), Some("Bearer av_sess_new"));

    // Another address is not the saved one, though it leads to the same broker.
    let elsewhere = stand_in.address().replace("127.0.0.1", "localhost");
    let person = Terminal::start(stand_in.bare().args(["vault", "list", "--address", &elsewhere]));
    assert_eq!(person.end(), (Some(1), "Session expired\r\n".to_owned()));
}

/// A stand-in whose home holds a login for it.
fn logged_in(stand_in: StandIn) -> StandIn {
    log_in(&stand_in, &stand_in.address());
    stand_in
}

fn log_in(stand_in: &StandIn, address: &str) {
    stand_in.home().dir(".agent-vault");
    let session = format!(r#"{{"token":"av_sess_old","address":"{address}","email":"a@b.c"}}"#);
    stand_in.home().write(".agent-vault/session.json", &session);
}

/// Contract J 114 and E.2.
#[test]
fn the_vault_is_the_nearest_one_named() {
    let stand_in = StandIn::start();
    let current = |args: &[&str], vault: &str| {
        let mut command = stand_in.bare();
        command.args(["vault", "current"]).args(args).env("AGENT_VAULT_VAULT", vault);
        run(&mut command, b"").expect_success().stdout
    };
    assert_eq!(current(&[], ""), "default\n");
    run(stand_in.bare().args(["vault", "use", "context"]), b"").expect_success();
    assert_eq!(current(&[], ""), "context\n");
    stand_in.home().write("agent-vault.json", r#"{"vault":"project"}"#);
    assert_eq!(current(&[], ""), "project\n");
    assert_eq!(current(&[], "variable"), "variable\n");
    assert_eq!(current(&["--vault", "flag"], "variable"), "flag\n");
    stand_in.home().write("agent-vault.json", "{");
    assert_eq!(current(&[], ""), "context\n");
    let file = stand_in.home().join(".agent-vault/context");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Contract E.4: `vault init` binds a folder, asks which vault when it must, and before it takes another.
#[test]
fn a_folder_is_tied_to_a_vault() {
    let broker = broker();
    broker.cli(&["vault", "create", "shop"]);
    let file = broker.operator_home().join("agent-vault.json");
    let bound = || fs::read_to_string(&file).unwrap();
    refused(
        &run(&mut broker.operator(&["vault", "init"]), b""),
        2,
        "there is no terminal to choose a vault at: pass --vault NAME",
    );
    broker.cli(&["vault", "init", "--vault", "shop"]);
    assert_eq!(bound(), "{\"vault\":\"shop\"}\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(broker.cli(&["vault", "current"]).stdout, "shop\n");
    broker.cli(&["vault", "init", "--vault", "shop"]);
    let other = ["vault", "init", "--vault", "default"];
    refused(
        &run(&mut broker.operator(&other), b""),
        2,
        "there is no terminal to confirm this at: pass --yes",
    );
    if need("a_folder_is_tied_to_a_vault", "setsid", SETSID).is_some() {
        let mut person = Terminal::start(&broker.operator(&["vault", "init"]));
        person.awaits("1) default\r\n").awaits("2) shop\r\n").awaits("Which vault? [1-2] ").types("default");
        person.awaits("This folder is for vault \"shop\". Make it \"default\"? [y/N] ").types("n");
        let (code, shown) = person.end();
        assert!(code == Some(0) && shown.ends_with("Aborted.\r\n"), "{shown}");
        assert_eq!(bound(), "{\"vault\":\"shop\"}\n");
        let mut person = Terminal::start(&broker.operator(&["vault", "init"]));
        person.awaits("Which vault? [1-2] ").types("1").awaits("[y/N] ").types("y");
        assert_eq!(person.end().0, Some(0));
        assert_eq!(bound(), "{\"vault\":\"default\"}\n");
        let mut person = Terminal::start(&broker.operator(&["vault", "init"]));
        person.awaits("Which vault? [1-2] ").types("3");
        let (code, shown) = person.end();
        assert!(code == Some(1) && shown.ends_with("\"3\" is none of them\r\n"), "{shown}");
    }
    broker.cli(&["vault", "init", "--vault", "shop", "--yes"]);
    assert_eq!(bound(), "{\"vault\":\"shop\"}\n");
}

#[test]
fn the_broker_is_the_one_the_login_is_for() {
    let stand_in = logged_in(StandIn::start());
    stand_in.answers("GET /v1/vaults", answer(200, &[], r#"{"vaults":[]}"#));
    let elsewhere = "http://127.0.0.1:1";
    // A command of a person follows the login, a public one the variable.
    let mut list = stand_in.bare();
    let ended = run(list.args(["vault", "list"]).env("AGENT_VAULT_ADDR", elsewhere), b"").expect_success();
    assert_eq!(ended.stdout, "ID  NAME  ROLE  STORE  CREATED\n");
    let seen = stand_in.requests().pop().expect("a request");
    assert_eq!(seen.field("authorization"), Some("Bearer av_sess_old"));
    assert!(seen.field("x-av-client").is_some_and(|client| client.starts_with("cli/")));
    let ended = run(stand_in.bare().args(["ca", "fetch"]).env("AGENT_VAULT_ADDR", elsewhere), b"");
    let hint = "hint: check that the broker runs there; --address names another one";
    refused(&ended, 1, &format!("could not reach server at {elsewhere}: connection refused\n{hint}"));
    let ended = run(stand_in.bare().args(["ca", "fetch"]), b"").expect_success();
    assert_eq!(ended.stdout, CA_PEM);
    assert_eq!(stand_in.requests().pop().expect("a request").field("authorization"), None);
    let file = stand_in.home().join("ca.pem");
    let ended =
        run(stand_in.bare().args(["ca", "fetch", "-o", file.to_str().unwrap()]), b"").expect_success();
    assert_eq!((ended.stdout.as_str(), fs::read_to_string(&file).unwrap().as_str()), ("", CA_PEM));
}

#[test]
fn a_private_certificate_has_to_be_named() {
    let stand_in = StandIn::tls();
    let address = format!("https://localhost:{}", stand_in.port());
    let ended = run(stand_in.bare().args(["ca", "fetch", "--address", &address]), b"");
    let reason = "the broker's certificate is not signed by a trusted root";
    let hint = "hint: name the broker's own CA with --broker-ca FILE";
    refused(&ended, 1, &format!("could not reach server at {address}: {reason}\n{hint}"));
    let ca = stand_in.home().write("root.pem", stand_in.ca_pem());
    let mut fetch = stand_in.bare();
    fetch.args(["ca", "fetch", "--address", &address]).env("AGENT_VAULT_BROKER_CA", ca);
    assert_eq!(run(&mut fetch, b"").expect_success().stdout, CA_PEM);
}

/// Contract J 108: before anything is asked.
#[test]
fn agent_mode_wants_its_address_and_its_vault() {
    let stand_in = StandIn::start();
    for args in [&["vault", "discover"][..], &["vault", "credential", "list"]] {
        let ended = run(stand_in.bare().args(args).env("AGENT_VAULT_TOKEN", "t"), b"");
        refused(
            &ended,
            1,
            "AGENT_VAULT_TOKEN is set but AGENT_VAULT_ADDR is empty — both are required for agent mode",
        );
        let ended = run(stand_in.agent().args(args).env_remove("AGENT_VAULT_VAULT"), b"");
        refused(&ended, 1, "vault is required in agent mode: set AGENT_VAULT_VAULT or pass --vault");
    }
    assert_eq!(stand_in.lines(), [""; 0]);
}

#[test]
fn logging_out_forgets_the_login_whatever_the_broker_says() {
    let stand_in = logged_in(StandIn::start());
    stand_in.answers("POST /v1/auth/logout", answer(200, &[], r#"{"status":"ok"}"#));
    let logout = || run(stand_in.bare().args(["auth", "logout"]), b"");
    assert_eq!(logout().expect_success().stdout, "✓ Logged out.\n");
    let sent = stand_in.requests().pop().expect("a request");
    assert_eq!(sent.field("authorization"), Some("Bearer av_sess_old"));
    assert_eq!(logout().expect_success().stderr, "There is no saved login.\n");
    log_in(&stand_in, "http://127.0.0.1:1");
    let ended = logout();
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.starts_with("forgotten here, but not ended at the broker: "), "{}", ended.stderr);
    let ended = run(stand_in.bare().args(["vault", "list"]), b"");
    refused(&ended, 1, "not logged in, run 'agent-vault auth login' first");
}

#[test]
fn a_wrong_command_line_ends_with_2_and_asks_nothing() {
    let stand_in = logged_in(StandIn::start());
    for (line, message) in [
        ("vault create", "missing argument: NAME"),
        ("vault create abc def", "unexpected argument: def"),
        ("vault list --jsn", "unknown flag: --jsn"),
        ("vault use X", "name \"X\" must be at least 3 characters"),
        ("vault token --ttl 5m", "invalid argument \"5m\" for \"--ttl\" flag: not a number"),
        ("vault service add", "missing flags: --name, --host and --auth-type, or -f FILE"),
        ("vault service add -f x --name y", "-f describes the service: leave the other flags out"),
        ("vault agent set-role bot", "missing flag: --role"),
        ("auth login --password-stdin", "--password-stdin requires --email"),
        ("vault credential set A=- B=-", "only one value can be read from stdin"),
        ("vault list --address broker:1", "\"broker:1\" is not an http:// or https:// URL"),
    ] {
        let ended = run(stand_in.bare().args(line.split(' ')), b"");
        refused(&ended, 2, message);
    }
    let ended = run(stand_in.bare().args(["auth", "login"]), b"");
    let hint = "hint: pass --email ADDRESS --password-stdin and the password on stdin";
    refused(&ended, 2, &format!("there is no terminal to ask for the password at\n{hint}"));
    assert_eq!(stand_in.lines(), [""; 0]);
}

#[test]
fn an_answer_that_is_not_a_brokers_is_told_apart() {
    let stand_in = logged_in(StandIn::start());
    stand_in.answers("GET /v1/vaults", answer(200, &[], "<html>"));
    let ended = run(stand_in.bare().args(["vault", "list"]), b"");
    assert_eq!(ended.code(), Some(1));
    let start = format!("the answer of {} is not a broker's: ", stand_in.address());
    assert!(ended.stderr.starts_with(&start), "{}", ended.stderr);
    stand_in.answers("GET /v1/vaults", answer(500, &[], "oops"));
    refused(&run(stand_in.bare().args(["vault", "list"]), b""), 1, "server returned status 500");
    let candidates =
        r#"{"error":"which one?","candidates":[{"name":"a","host":"s.com/a"},{"name":"b","host":"s.com"}]}"#;
    stand_in.answers("DELETE /v1/vaults/default/services/s.com", answer(409, &[], candidates));
    let ended = run(stand_in.bare().args(["vault", "service", "remove", "s.com", "--yes"]), b"");
    refused(&ended, 1, "which one?\nhint: use one of the names: a (s.com/a), b (s.com)");
    assert!(Path::new(&stand_in.home().join(".agent-vault/session.json")).exists());
}

#[test]
fn a_person_registers_and_logs_in_at_a_terminal() {
    if need("a_person_registers_and_logs_in_at_a_terminal", "setsid", SETSID).is_none() {
        return;
    }
    let stand_in = StandIn::start();
    let made = r#"{"message":"Owner account created.","token":"av_sess_one","expires_at":""}"#;
    stand_in.answers("POST /v1/auth/register", answer(201, &[], made));
    stand_in.answers("POST /v1/auth/login", answer(200, &[], r#"{"token":"av_sess_two"}"#));
    let at = |verb| {
        let mut command = stand_in.bare();
        command.args(["auth", verb, "--address", &stand_in.address(), "--device-label", "desk"]);
        Terminal::start(&command)
    };
    let session = || fs::read_to_string(stand_in.home().join(".agent-vault/session.json")).unwrap();

    let mut person = at("register");
    person.awaits("Email: ").types("a@b.c").awaits("New password: ").types("one password");
    person.awaits("New password again: ").types("another");
    let (code, shown) = person.end();
    assert!(code == Some(1) && shown.ends_with("the two passwords differ\r\n"), "{shown}");
    assert_eq!(stand_in.lines(), [""; 0]);

    let mut person = at("register");
    person.awaits("Email: ").types("a@b.c").awaits("New password: ").types("one password");
    person.awaits("New password again: ").types("one password");
    let (code, shown) = person.end();
    assert!(code == Some(0) && !shown.contains("one password"), "{shown}");
    assert!(session().contains("av_sess_one"));

    let mut person = at("login");
    person.awaits("Email: ").types("a@b.c").awaits("Password: ").types("one password");
    assert_eq!(person.end().0, Some(0));
    assert!(session().contains("av_sess_two"));
    for sent in stand_in.requests() {
        let body: Value = serde_json::from_slice(&sent.body).expect("JSON");
        let expected =
            serde_json::json!({"email": "a@b.c", "password": "one password", "device_label": "desk"});
        assert_eq!(body, expected, "{}", sent.target);
    }
}
