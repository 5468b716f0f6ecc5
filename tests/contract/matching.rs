//! Cases 69 to 85: which service a request belongs to, and what happens when there is none.

use std::collections::HashMap;
use std::sync::Arc;

use agent_vault::authority::Authority;
use agent_vault::secret::Secret;
use agent_vault::vault::scope::SnapshotUnavailable;
use agent_vault::vault::{Refusal, Scheme, Snapshot, UnmatchedPolicy, Verdict};
use serde_json::{Value, json};

use super::api::Api;
use super::wire::{Answer, HOST, ask, check, forward, rig_with, secure_origin};
use crate::support::rig::{Rows, Rules, Script};
use crate::support::{Broker, Origin};

const PASSTHROUGH: &str = "passthrough";

/// A service of this name for this host, with the credential of its own name.
fn service(name: &str, host: &str) -> Value {
    let key = name.to_ascii_uppercase().replace('-', "_");
    json!({"name": name, "host": host, "auth": {"type": "bearer", "token": key}})
}

/// Which service gets a request to `target`; [`PASSTHROUGH`] is none.
fn winner(services: &[Value], target: &str, path: &str) -> String {
    let services = check(&json!(services)).unwrap();
    let keys = services.iter().flat_map(|service| service.auth.credential_keys());
    let credentials: HashMap<String, Secret> = keys.map(|key| (key.to_string(), Secret::from("v"))).collect();
    let snapshot = Snapshot::new(services, &credentials, UnmatchedPolicy::Passthrough);
    let target = Authority::parse(target).unwrap();
    match snapshot.judge(&target, Scheme::Https, path) {
        Verdict::Attach(compiled) => compiled.service().name.clone(),
        Verdict::Pass => PASSTHROUGH.to_owned(),
        Verdict::Refuse(Refusal::Disabled(_)) => "disabled".to_owned(),
        Verdict::Refuse(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn case_069_a_host_matches_itself_only() {
    let services = [service("stripe", "api.stripe.com")];
    for (target, expected) in [
        ("api.stripe.com:443", "stripe"),
        ("API.Stripe.com:443", "stripe"),
        ("stripe.com:443", PASSTHROUGH),
        ("x.api.stripe.com:443", PASSTHROUGH),
        ("api.stripe.com.evil.example:443", PASSTHROUGH),
        ("xapi.stripe.com:443", PASSTHROUGH),
    ] {
        assert_eq!(winner(&services, target, "/"), expected, "{target}");
    }
}

#[test]
fn case_070_a_wildcard_is_one_label() {
    let services = [service("github", "*.github.com")];
    for (target, expected) in [
        ("api.github.com:443", "github"),
        ("uploads.github.com:443", "github"),
        ("github.com:443", PASSTHROUGH),
        ("a.b.github.com:443", PASSTHROUGH),
        ("xgithub.com:443", PASSTHROUGH),
    ] {
        assert_eq!(winner(&services, target, "/"), expected, "{target}");
    }
}

#[test]
fn case_071_the_longer_path_wins_in_either_order() {
    let origin = Origin::plain();
    let wide = service("wide", &format!("{HOST}:{}/api/*", origin.port()));
    let narrow = service("narrow", &format!("{HOST}:{}/api/apps.connections.*", origin.port()));
    for services in [json!([wide, narrow]), json!([narrow, wide])] {
        let credentials = vec![("WIDE", "wide-secret"), ("NARROW", "narrow-secret")];
        let rig = rig_with(&services, Rules { credentials, ..Rules::default() });
        for (path, expected) in [
            ("/api/apps.connections.open", "Bearer narrow-secret"),
            ("/api/chat.postMessage", "Bearer wide-secret"),
        ] {
            assert_eq!(ask(&mut rig.connect(), &forward("GET", origin.port(), path, "")).status, 200);
            assert_eq!(origin.last().field("authorization"), Some(expected));
        }
    }
}

#[test]
fn case_072_an_exact_host_beats_a_wildcard_whatever_its_path() {
    let services = [service("wild", "*.slack.com/api/apps.connections.*"), service("exact", "api.slack.com")];
    assert_eq!(winner(&services, "api.slack.com:443", "/api/apps.connections.open"), "exact");
    assert_eq!(winner(&services, "www.slack.com:443", "/api/apps.connections.open"), "wild");
}

#[test]
fn case_073_a_star_crosses_segments() {
    let services = [service("api", "a.example.com/api/*")];
    assert_eq!(winner(&services, "a.example.com:443", "/api/foo/bar/baz"), "api");
    assert_eq!(winner(&services, "a.example.com:443", "/api"), PASSTHROUGH);
}

#[test]
fn case_074_the_first_declared_wins_a_tie() {
    let [one, two] = ["one", "two"].map(|name| service(name, "a.example.com/api/*"));
    assert_eq!(winner(&[one.clone(), two.clone()], "a.example.com:443", "/api/x"), "one");
    assert_eq!(winner(&[two, one], "a.example.com:443", "/api/x"), "two");
}

#[test]
fn case_075_what_the_path_misses_falls_to_the_host() {
    let services = [service("api", "slack.com/api/*"), service("rest", "slack.com")];
    assert_eq!(winner(&services, "slack.com:443", "/oauth/v2/authorize"), "rest");
    assert_eq!(winner(&services, "slack.com:443", "/api/x"), "api");
}

#[test]
fn case_076_a_port_is_that_port_and_none_is_any() {
    let services = [service("ported", "a.example.com:8080")];
    assert_eq!(winner(&services, "a.example.com:8080", "/"), "ported");
    assert_eq!(winner(&services, "a.example.com:9090", "/"), PASSTHROUGH);
    let services = [service("any", "a.example.com")];
    for target in ["a.example.com:1", "a.example.com:80", "a.example.com:443", "a.example.com:65535"] {
        assert_eq!(winner(&services, target, "/"), "any", "{target}");
    }
}

#[test]
fn case_077_a_port_beats_none_and_an_exact_host_beats_a_port() {
    let services = [service("any", "a.example.com"), service("tls", "a.example.com:443")];
    assert_eq!(winner(&services, "a.example.com:443", "/"), "tls");
    let services = [service("wild", "*.example.com:3000"), service("exact", "a.example.com")];
    assert_eq!(winner(&services, "a.example.com:3000", "/"), "exact");
}

#[test]
fn case_078_two_ports_have_two_credentials() {
    let credentials = || vec![("ONE", "secret-one"), ("TWO", "secret-two")];
    let [first, second] = [(); 2].map(|()| Origin::plain());
    let on = |name: &str, port: u16| service(name, &format!("{HOST}:{port}"));
    let services = json!([on("one", first.port()), on("two", second.port())]);
    let rig = rig_with(&services, Rules { credentials: credentials(), ..Rules::default() });
    for (origin, expected) in [(&first, "Bearer secret-one"), (&second, "Bearer secret-two")] {
        assert_eq!(ask(&mut rig.connect(), &forward("GET", origin.port(), "/", "")).status, 200);
        assert_eq!(origin.last().field("authorization"), Some(expected));
    }

    let [(first, mut roots), (second, more)] = [(); 2].map(|()| secure_origin());
    roots.extend(more);
    let services = json!([on("one", first.port()), on("two", second.port())]);
    let rig = rig_with(&services, Rules { credentials: credentials(), roots, ..Rules::default() });
    for (origin, expected) in [(&first, "Bearer secret-one"), (&second, "Bearer secret-two")] {
        let mut tunnel = rig.tunnel(HOST, origin.port());
        assert_eq!(ask(&mut tunnel, "GET / HTTP/1.1\r\nHost: h\r\n\r\n").status, 200);
        assert_eq!(origin.last().field("authorization"), Some(expected));
    }
}

/// One request to a vault with these services, whose only credential is `GIVEN`.
fn asked(services: &Value, origin: u16, policy: UnmatchedPolicy) -> Answer {
    let credentials = vec![("GIVEN", "s3cret-value")];
    let rig = rig_with(services, Rules { credentials, policy, ..Rules::default() });
    ask(&mut rig.connect(), &forward("GET", origin, "/", ""))
}

#[test]
fn case_079_a_disabled_service_is_refused_and_never_shadows() {
    let origin = Origin::plain();
    let host = format!("{HOST}:{}", origin.port());
    let message =
        format!("Broker service matching host \"{host}\" in vault \"default\" is currently disabled");
    for auth in [json!({"type": "bearer", "token": "MISSING"}), json!({"type": "passthrough"})] {
        let services = json!([{"name": "off", "host": host, "enabled": false, "auth": auth}]);
        let answer = asked(&services, origin.port(), UnmatchedPolicy::Passthrough);
        assert_eq!((answer.status, answer.reason()), (403, Some("service_disabled")));
        assert_eq!(answer.field("x-agent-vault-proxy-error"), Some("true"));
        let document = answer.json();
        assert_eq!((&document["error"], &document["message"]), (&json!("service_disabled"), &json!(message)));
        assert!(document["help"].as_str().is_some_and(|help| help.contains("http://broker.test/discover")));
        assert_eq!(document.get("proposal_hint"), None);
    }
    assert!(origin.requests().is_empty());
    for enabled in [json!({}), json!({"enabled": null}), json!({"enabled": true})] {
        let mut on = service("given", &host);
        on.as_object_mut().unwrap().extend(enabled.as_object().unwrap().clone());
        assert_eq!(asked(&json!([on]), origin.port(), UnmatchedPolicy::Passthrough).status, 200, "{on}");
        assert_eq!(origin.last().field("authorization"), Some("Bearer s3cret-value"));
    }
    // Existing brokers let the more specific one win although it is off.
    let off = json!({"name": "off", "host": "a.example.com/api/*", "enabled": false,
                     "auth": {"type": "passthrough"}});
    assert_eq!(winner(&[off, service("live", "a.example.com")], "a.example.com:443", "/api/x"), "live");
}

#[test]
fn case_080_a_stored_service_without_a_name_gets_one() {
    let origin = Origin::plain();
    let host = "api.example.com";
    let level = ("AGENT_VAULT_LOG_LEVEL", "debug");
    let mut broker = Broker::start_with(&origin, &[host], &[level]).with_service("named", host, "KEY");
    let token = broker.agent("bot");
    let api = Api::owner(&broker);
    let nameless = json!([{"host": host, "auth": {"type": "passthrough"}}]);
    api.store(&format!("UPDATE broker_configs SET services_json = '{nameless}'"));
    let discovered = api.with_token(&token).get_for("default", "/discover").expect(200);
    assert_eq!(discovered["services"], json!([{"name": "api-example-com", "host": host}]));
    let request = format!(
        "GET http://{host}:{}/x HTTP/1.1\r\nHost: h\r\nProxy-Authorization: Bearer {token}\r\n\r\n",
        origin.port()
    );
    let mut client = std::net::TcpStream::connect(broker.proxy()).unwrap();
    assert_eq!(ask(&mut client, &request).status, 200);
    let line = broker.log_line("msg=proxy_request");
    assert!(line.contains(" matched_service=api-example-com "), "{line}");
}

#[test]
fn case_081_no_service_is_passthrough_or_a_deny() {
    let origin = Origin::plain();
    for services in [json!([]), json!([service("given", "other.example.com")])] {
        let answer = asked(&services, origin.port(), UnmatchedPolicy::Passthrough);
        assert_eq!(answer.status, 200);
        let before = origin.requests().len();
        let answer = asked(&services, origin.port(), UnmatchedPolicy::Deny);
        assert_eq!((answer.status, &answer.json()["error"]), (403, &json!("forbidden")));
        assert_eq!(origin.requests().len(), before);
    }
}

#[test]
fn case_082_rules_that_cannot_be_read_are_a_deny() {
    let origin = Script::start(|_, _| panic!("the origin was reached"));
    let refused = |unavailable| {
        let rig = rig_with(&json!([]), Rules { unavailable: Some(unavailable), ..Rules::default() });
        let answer = ask(&mut rig.connect(), &forward("GET", origin.port, "/", ""));
        assert_eq!(answer.field("x-agent-vault-proxy-error"), Some("true"));
        (answer.status, answer.json()["error"].clone(), answer.reason().unwrap().to_owned())
    };
    assert_eq!(
        refused(SnapshotUnavailable::Unreadable),
        (403, json!("forbidden"), "rules_unreadable".to_owned())
    );
    assert_eq!(refused(SnapshotUnavailable::Corrupt), (500, json!("internal"), "internal".to_owned()));
}

#[test]
fn case_083_an_unmatched_request_is_left_as_it_is() {
    let origin = Origin::plain();
    let substituting = json!({
        "name": "given", "host": "other.example.com", "auth": {"type": "bearer", "token": "GIVEN"},
        "substitutions": [{"key": "GIVEN", "placeholder": "__given__"}]
    });
    let credentials = vec![("GIVEN", "s3cret-value")];
    let rows = Arc::new(Rows::default());
    let log = Some(Arc::clone(&rows));
    let rig = rig_with(&json!([substituting]), Rules { credentials, log, ..Rules::default() });
    let answer = ask(&mut rig.connect(), &forward("GET", origin.port(), "/__given__?a=__given__", ""));
    assert_eq!(answer.status, 200);
    let seen = origin.last();
    assert_eq!((seen.target.as_str(), seen.field("authorization")), ("/__given__?a=__given__", None));
    let row = rows.next(0);
    assert_eq!((row.status, row.matched_service(), row.credential_keys()), (200, "", vec![]));
    assert_eq!(row.path, "/__given__");
}

#[test]
fn case_084_a_deny_says_what_to_do() {
    let origin = Script::start(|_, _| panic!("the origin was reached"));
    let denied = |base_url| {
        let rules = Rules { policy: UnmatchedPolicy::Deny, base_url, ..Rules::default() };
        let rig = rig_with(&json!([]), rules);
        ask(&mut rig.connect(), &forward("GET", origin.port, "/v1/charges?key=x", ""))
    };
    let answer = denied("http://broker.test");
    assert_eq!(answer.status, 403);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("x-agent-vault-proxy-error"), Some("true"));
    assert!(answer.body.ends_with("}\n"));
    let target = format!("{HOST}:{}", origin.port);
    let mut expected = json!({
        "error": "forbidden",
        "message": format!("No broker service matching host \"{target}\" in vault \"default\""),
        "reason": "forbidden",
        "proposal_hint": {
            "host": target,
            "endpoint": "POST /v1/proposals",
            "supported_auth_types": ["bearer", "basic", "api-key", "custom", "passthrough"],
        },
        "help": "This request was intercepted by Agent Vault. To see available services, GET \
                 http://broker.test/discover. For usage instructions including how to create a proposal, GET \
                 http://broker.test/v1/skills/cli",
    });
    assert_eq!(answer.json(), expected);
    expected.as_object_mut().unwrap().remove("help");
    assert_eq!(denied("").json(), expected);
}

#[test]
fn case_085_the_policy_is_read_by_members_and_written_by_admins() {
    let broker = Broker::start(&Origin::plain(), &[]);
    let owner = Api::owner(&broker);
    let path = "/v1/vaults/default/settings";
    let policy = |text: &str| json!({"unmatched_host_policy": text});
    let read = |caller: &Api| caller.get(path).expect(200)["unmatched_host_policy"].clone();
    assert_eq!(read(&owner), "passthrough");
    assert_eq!(owner.send("PATCH", path, &policy("deny")).expect(200), policy("deny"));
    let text = "Invalid unmatched_host_policy \"log-and-allow\" (expected \"passthrough\" or \"deny\")";
    let refused = owner.send("PATCH", path, &policy("log-and-allow")).expect(400);
    assert_eq!(refused, json!({"error": text}));
    assert_eq!(read(&owner), "deny");
    assert_eq!(owner.send("PATCH", path, &policy("")).expect(200), policy("passthrough"));
    let grants = json!([{"vault_name": "default", "vault_role": "member"}]);
    let made = owner.post("/v1/agents", &json!({"name": "member", "vaults": grants})).expect(201);
    let member = owner.with_token(made["av_agent_token"].as_str().unwrap());
    assert_eq!(read(&member), "passthrough");
    let refused = member.send("PATCH", path, &policy("deny")).expect(403);
    assert_eq!(refused, json!({"error": "Vault admin role required"}));
}
