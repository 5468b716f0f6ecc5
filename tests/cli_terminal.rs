//! Promise: at a terminal the command line asks for what was not said, shows what it is about to do, and
//! colours what it prints; without one it asks nothing and colours nothing.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{Broker, Ended, OWNER_PASSWORD, Origin, SECRET, StandIn, TempDir, Terminal, answer, need, run};

const SETSID: &str = "install util-linux";

fn broker() -> Broker {
    Broker::start(&Origin::plain(), &[])
}

#[track_caller]
fn refused(ended: &Ended, code: i32, message: &str) {
    assert_eq!((ended.code(), ended.stderr.trim_end()), (Some(code), message));
    assert_eq!(ended.stdout, "");
}

fn has_terminals(test: &str) -> bool {
    need(test, "setsid", SETSID).is_some()
}

/// Contract E.2: the list decides where nothing names the vault.
#[test]
fn a_token_is_for_the_vault_that_is_picked() {
    let broker = broker();
    // A token for one vault is answered for that one, whichever is asked about.
    let minted = |vault: &str, token: &str| {
        let mut discover = broker.operator(&["vault", "discover", "--json", "--vault", "default"]);
        let ended = run(discover.env("AGENT_VAULT_TOKEN", token), b"").expect_success();
        serde_json::from_str::<Value>(&ended.stdout).unwrap()["vault"] == vault
    };
    let token_in = |shown: &str| shown[shown.find("av_sess_").expect("a token")..].trim_end().to_owned();
    if !has_terminals("a_token_is_for_the_vault_that_is_picked") {
        return;
    }
    let (code, shown) = Terminal::start(&broker.operator(&["vault", "token"])).end();
    assert_eq!((code, shown.len()), (Some(0), "av_sess_".len() + 64), "the only one is it: {shown}");
    assert!(minted("default", &shown));

    broker.cli(&["vault", "create", "shop"]);
    let mut person = Terminal::start(&broker.operator(&["vault", "token"]));
    person.awaits("1) default\r\n").awaits("2) shop\r\n").awaits("Which vault? [1-2] ").types("shop");
    let (code, shown) = person.end();
    assert_eq!(code, Some(0), "{shown}");
    let token = token_in(&shown);
    assert!(minted("shop", &token), "{shown}");
    // Whoever names one is not asked.
    let (code, shown) = Terminal::start(broker.operator(&["vault", "token"]).args(["--vault", "shop"])).end();
    assert!(code == Some(0) && shown.starts_with("av_sess_"), "{shown}");
    broker.cli(&["vault", "use", "default"]);
    let (code, shown) = Terminal::start(&broker.operator(&["vault", "token"])).end();
    assert!(code == Some(0) && minted("default", &shown), "{shown}");
}

#[test]
fn a_token_without_a_terminal_says_which_vaults_there_are() {
    let broker = broker();
    broker.cli(&["vault", "create", "shop"]);
    let ended = run(&mut broker.operator(&["vault", "token"]), b"");
    let hint = "hint: name one with --vault, or make one the default with 'agent-vault vault use NAME'";
    refused(&ended, 1, &format!("vault selection: there are several (default, shop)\n{hint}"));
}

/// No list is no answer: then it is the vault `default`.
#[test]
fn a_token_is_for_the_default_vault_where_none_is_listed() {
    if !has_terminals("a_token_is_for_the_default_vault_where_none_is_listed") {
        return;
    }
    for listed in [answer(200, &[], r#"{"vaults":[]}"#), answer(500, &[], "{}")] {
        let stand_in = logged_in();
        stand_in.answers("GET /v1/vaults", listed);
        stand_in.answers("POST /v1/sessions", answer(200, &[], r#"{"token":"av_sess_new"}"#));
        let person = Terminal::start(stand_in.bare().args(["vault", "token"]));
        assert_eq!(person.end(), (Some(0), "av_sess_new".to_owned()));
        let sent = stand_in.requests().pop().expect("a request");
        assert_eq!(serde_json::from_slice::<Value>(&sent.body).unwrap(), json!({"vault": "default"}));
    }
}

/// A stand-in whose home holds a login for it.
fn logged_in() -> StandIn {
    let stand_in = StandIn::start();
    stand_in.home().dir(".agent-vault");
    let session = json!({"token": "av_sess_old", "address": stand_in.address(), "email": "a@b.c"});
    stand_in.home().write(".agent-vault/session.json", &session.to_string());
    stand_in
}

/// Contract E.4: an address that nothing names is picked, or typed.
#[test]
fn a_person_picks_the_broker_to_log_in_to() {
    if !has_terminals("a_person_picks_the_broker_to_log_in_to") {
        return;
    }
    let stand_in = StandIn::start();
    stand_in.answers("POST /v1/auth/login", answer(200, &[], r#"{"token":"av_sess_one"}"#));
    let login = || {
        let mut command = stand_in.bare();
        command.args(["auth", "login", "--email", "a@b.c"]);
        command
    };
    let mut person = Terminal::start(&login());
    person.awaits("1) http://127.0.0.1:14321\r\n").awaits("2) another address\r\n");
    person.awaits("Which broker? [1-2] ").types("2").awaits("Address: ").types(&stand_in.address());
    person.awaits("Password: ").types("one password");
    let (code, shown) = person.end();
    assert!(code == Some(0) && shown.ends_with(" Login successful.\r\n"), "{shown}");
    // From now on it is in the list.
    let mut person = Terminal::start(&login());
    person.awaits(&format!("2) {}\r\n", stand_in.address())).awaits("3) another address\r\n");
    person.awaits("Which broker? [1-3] ").types("2").awaits("Password: ").types("one password");
    assert_eq!(person.end().0, Some(0));
    // The environment names it as well as the flag does, and a script is asked nothing.
    let mut person = Terminal::start(login().env("AGENT_VAULT_ADDR", stand_in.address()));
    person.awaits("Password: ").types("one password");
    let (code, shown) = person.end();
    assert!(code == Some(0) && !shown.contains("Which broker?"), "{shown}");
    assert_eq!(stand_in.lines(), ["POST /v1/auth/login"; 3]);
}

#[test]
fn services_are_put_together_by_questions() {
    let broker = broker().with_credential("STRIPE_KEY", "v");
    let set = ["vault", "service", "set"];
    let ended = run(&mut broker.operator(&set), b"");
    let hint = "hint: without a file the services are asked for, and there is no terminal to ask at";
    refused(&ended, 2, &format!("missing flag: -f FILE\n{hint}"));
    if !has_terminals("services_are_put_together_by_questions") {
        return;
    }
    // The only vault is meant, and there is nothing to append to.
    let mut person = Terminal::start(&broker.operator(&set));
    person.awaits("Vault \"default\" has 0 services.\r\n").awaits("Its credentials: STRIPE_KEY\r\n");
    person.awaits("Name: ").types("stripe");
    person.awaits("Host, as in api.example.com:443/v1/*: ").types("api.stripe.com/v1/*");
    person.awaits("Auth type (bearer, basic, api-key, passthrough): ").types("custom");
    person.awaits("\"custom\" is none of them").types("bearer");
    person.awaits("Credential key of the token: ").types("not a key");
    person.awaits("That is no service: ").awaits("Once more:");
    answers(&mut person, &["stripe", "api.stripe.com/v1/*", "bearer", "STRIPE_KEY"]);
    person.awaits("Another service? [y/N] ").types("y");
    answers(&mut person, &["search", "search.example.com:8443", "api-key", "SEARCH_KEY", "X-Key", ""]);
    person.awaits("Another service? [y/N] ").types("n");
    let preview =
        "vault: default\nservices:\n  - name: stripe\n    host: api.stripe.com\n    path: \"/v1/*\"\n";
    person.awaits(&preview.replace('\n', "\r\n"));
    person.awaits("Make these the services of vault \"default\"? [y/N] ").types("y");
    let (code, shown) = person.end();
    assert_eq!(code, Some(0), "{shown}");
    for line in [
        "Credentials that are not there yet: SEARCH_KEY\r\n",
        "Set each with: agent-vault vault credential set SEARCH_KEY --vault default\r\n",
        " Services of vault \"default\" set (2 services total)\r\n",
    ] {
        assert!(shown.contains(line), "{line:?} in {shown}");
    }
    assert_eq!(
        services(&broker, "default"),
        json!([
            {"name": "stripe", "host": "api.stripe.com/v1/*", "auth": {"type": "bearer", "token": "STRIPE_KEY"}},
            {"name": "search", "host": "search.example.com:8443",
             "auth": {"type": "api-key", "key": "SEARCH_KEY", "header": "X-Key"}},
        ])
    );

    // With several vaults one is picked; what is there can be kept, and what goes is named.
    broker.cli(&["vault", "create", "shop"]);
    let mut person = Terminal::start(&broker.operator(&set));
    person.awaits("Which vault? [1-2] ").types("1").awaits("Vault \"default\" has 2 services.");
    person.awaits("Append to them, or replace them? [1-2] ").types("append");
    answers(&mut person, &["stripe", "x.example.com", "passthrough"]);
    person.awaits("That is no service: ");
    answers(&mut person, &["plain", "x.example.com", "passthrough"]);
    person.awaits("Another service? [y/N] ").types("").awaits("[y/N] ");
    person.awaits("Make these the services of vault \"default\"? [y/N] ").types("n");
    let (code, shown) = person.end();
    assert!(code == Some(0) && shown.ends_with("Aborted.\r\n"), "{shown}");
    assert_eq!(services(&broker, "default").as_array().map(Vec::len), Some(2));
    let mut person = Terminal::start(broker.operator(&set).args(["--vault", "default"]));
    person.awaits("[1-2] ").types("replace");
    answers(&mut person, &["plain", "x.example.com", "passthrough"]);
    person.awaits("Another service? [y/N] ").types("").awaits("Make these").types("y");
    let (code, shown) = person.end();
    assert!(code == Some(0) && shown.contains("No longer there: stripe, search\r\n"), "{shown}");
}

/// Answers the questions for one service as they come.
fn answers(person: &mut Terminal, lines: &[&str]) {
    for line in lines {
        person.types(line);
    }
}

fn services(broker: &Broker, vault: &str) -> Value {
    let listed = broker.cli(&["vault", "service", "list", "--vault", vault, "--json"]).stdout;
    serde_json::from_str::<Value>(&listed).expect("JSON")["services"].clone()
}

/// Two operators: the second one's list was made for services that are no longer there.
#[test]
fn a_list_undoes_no_edit_its_operator_has_not_seen() {
    let broker = broker();
    let files = TempDir::new();
    let plain =
        |name: &str| json!([{"name": name, "host": "x.example.com", "auth": {"type": "passthrough"}}]);
    let set = |name: &str| {
        let file = files.write("services.json", &plain(name).to_string());
        broker.cli(&["vault", "service", "set", "-f", file.to_str().unwrap()])
    };
    assert_eq!(set("first").stderr, "");
    let ended = set("second");
    assert_eq!(ended.stdout, "✓ Services of vault \"default\" set (1 services total)\n");
    assert_eq!(ended.stderr, "No longer there: first\n");

    // An edit between reading and writing, as slow as a person makes it.
    if has_terminals("a_list_undoes_no_edit_its_operator_has_not_seen") {
        let mut person = Terminal::start(&broker.operator(&["vault", "service", "set"]));
        person.awaits("[1-2] ").types("append");
        answers(&mut person, &["third", "y.example.com", "passthrough", ""]);
        person.awaits("Make these the services of vault \"default\"? [y/N] ");
        broker.cli(&["vault", "service", "disable", "second"]);
        person.types("y");
        let (code, shown) = person.end();
        let refusal = "The services have changed since they were read; read them again and repeat the edit\r\n\
                       hint: somebody else changed them just now; run the command again\r\n";
        assert!(code == Some(1) && shown.ends_with(refusal), "{shown}");
        let mut kept = plain("second");
        kept[0]["enabled"] = false.into();
        assert_eq!(services(&broker, "default"), kept);
    }

    // And as fast as a program makes it: the revision that was read is the one that is asked for.
    let stand_in = logged_in();
    let list = "GET /v1/vaults/default/services";
    stand_in.answers(list, answer(200, &[("ETag", "\"one\"")], r#"{"services":[]}"#));
    let body = r#"{"error":"The services have changed since they were read"}"#;
    stand_in.answers("PUT /v1/vaults/default/services", answer(412, &[], body));
    let mut command = stand_in.bare();
    command.args(["vault", "service", "set", "-f", "-"]);
    let ended = run(&mut command, plain("mine").to_string().as_bytes());
    let hint = "hint: somebody else changed them just now; run the command again";
    refused(&ended, 1, &format!("The services have changed since they were read\n{hint}"));
    assert_eq!(stand_in.requests().pop().expect("a request").field("if-match"), Some("\"one\""));
    // A broker without revisions is asked without one.
    stand_in.answers(list, answer(200, &[], r#"{"services":[]}"#));
    stand_in.answers("PUT /v1/vaults/default/services", answer(200, &[], r#"{"services_count":1}"#));
    run(&mut command, plain("mine").to_string().as_bytes()).expect_success();
    assert_eq!(stand_in.requests().pop().expect("a request").field("if-match"), None);
}

#[test]
fn a_credential_is_named_and_its_value_comes_unseen() {
    let broker = broker();
    let set = ["vault", "credential", "set", "KEY"];
    assert_eq!(broker.cli_with_stdin(&set, SECRET).stdout, "✓ Set KEY\n");
    let get = ["vault", "credential", "get", "KEY"];
    assert_eq!(broker.cli(&get).stdout, SECRET);
    let ended = run(&mut broker.operator(&set), b"\n");
    refused(&ended, 1, "no value came for KEY\nhint: KEY= sets an empty one");
    let ended = run(broker.operator(&set).arg("OTHER"), b"x\n");
    refused(&ended, 2, "only one value can be read from stdin");
    if !has_terminals("a_credential_is_named_and_its_value_comes_unseen") {
        return;
    }
    let mut person = Terminal::start(broker.operator(&set).arg("OTHER"));
    person.awaits("Value of KEY: ").types("typed unseen").awaits("Value of OTHER: ").types("this one too");
    let (code, shown) = person.end();
    assert!(code == Some(0) && shown.ends_with("Set OTHER\r\n"), "{shown}");
    assert!(!shown.contains("typed unseen") && !shown.contains("this one too"), "{shown}");
    assert_eq!(broker.cli(&get).stdout, "typed unseen");
    let mut person = Terminal::start(&broker.operator(&set));
    person.awaits("Value of KEY: ").types("");
    let (code, shown) = person.end();
    assert!(code == Some(1) && shown.contains("no value came for KEY\r\n"), "{shown}");
    assert_eq!(broker.cli(&get).stdout, "typed unseen");
}

#[test]
fn colour_is_for_a_terminal_that_has_it() {
    const ESCAPE: char = '\u{1b}';
    let home = TempDir::new();
    let choose = |vars: &[(&str, &str)]| -> Command {
        let mut command = support::bare(support::BINARY.as_ref(), home.path());
        command.args(["vault", "use", "shop"]).envs(vars.iter().copied());
        command
    };
    let ended = run(&mut choose(&[("TERM", "xterm-256color")]), b"").expect_success();
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("✓ Using vault \"shop\"\n", ""));
    if !has_terminals("colour_is_for_a_terminal_that_has_it") {
        return;
    }
    let shown = |vars: &[(&str, &str)]| {
        let (code, shown) = Terminal::start(&choose(vars)).end();
        assert_eq!(code, Some(0), "{shown}");
        shown
    };
    assert_eq!(shown(&[("TERM", "xterm")]), "\u{1b}[32m✓\u{1b}[0m Using vault \"shop\"\r\n");
    for vars in [&[("TERM", "dumb")][..], &[("TERM", "xterm"), ("NO_COLOR", "1")]] {
        let shown = shown(vars);
        assert!(!shown.contains(ESCAPE), "{vars:?}: {shown:?}");
    }
    // An empty NO_COLOR says nothing.
    assert!(shown(&[("NO_COLOR", "")]).contains(ESCAPE));
    let mut refusal = choose(&[("TERM", "xterm")]);
    let (code, shown) = Terminal::start(refusal.arg("word")).end();
    assert!(code == Some(2) && !shown.contains(ESCAPE), "{shown:?}");
}

/// A session of a person who logged in with a wrong password leaves nothing behind.
#[test]
fn a_wrong_password_at_a_terminal_saves_nothing() {
    if !has_terminals("a_wrong_password_at_a_terminal_saves_nothing") {
        return;
    }
    let broker = broker();
    let home = TempDir::new();
    let mut command = broker.operator(&["auth", "login", "--email", "owner@example.test"]);
    command.env("HOME", home.path());
    let mut person = Terminal::start(&command);
    person.awaits("Password: ").types("not it");
    let (code, shown) = person.end();
    assert!(code == Some(1) && shown.ends_with("Invalid email or password\r\n"), "{shown}");
    assert!(!home.join(".agent-vault/session.json").exists());
    let mut person = Terminal::start(&command);
    person.awaits("Password: ").types(OWNER_PASSWORD);
    assert_eq!(person.end().0, Some(0));
}
