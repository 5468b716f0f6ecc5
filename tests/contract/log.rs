//! Cases 104, 124 and 137 to 140: what is remembered of a request, and what never is.

use std::net::TcpStream;
use std::sync::Arc;

use agent_vault::proxy::Limits;
use agent_vault::rate::Flow;
use agent_vault::rate::tiers::Rates;
use agent_vault::vault::UnmatchedPolicy;
use agent_vault::vault::request_log::Row;
use serde_json::{Value, json};

use super::api::Api;
use super::wire::{Answer, HOST, ask, forward, forward_body, rig_with};
use crate::support::rig::{AUTH, Rows, Rules, Script};
use crate::support::{Broker, Origin, eventually};

fn bearer(port: u16, key: &str) -> Value {
    json!([{"name": "api", "host": format!("{HOST}:{port}"), "auth": {"type": "bearer", "token": key}}])
}

/// One request to a proxy with these services, and its row.
#[track_caller]
fn logged(services: &Value, rules: Rules, request: &str) -> (Answer, Row) {
    let rows = Arc::new(Rows::default());
    let rig = rig_with(services, Rules { log: Some(Arc::clone(&rows)), ..rules });
    let answer = ask(&mut rig.connect(), request);
    (answer, rows.next(0))
}

#[test]
fn case_104_a_missing_credential_is_named_by_its_keys() {
    let untouched = Script::start(|_, _| panic!("the origin was reached"));
    let mut services = bearer(untouched.port, "MISSING");
    services[0]["substitutions"] = json!([{"key": "OTHER", "placeholder": "__other__"}]);
    let (answer, row) =
        logged(&services, Rules::default(), &forward("GET", untouched.port, "/__other__", ""));
    assert_eq!((answer.status, &answer.json()["error"]), (502, &json!("credential_not_found")));
    assert_eq!((row.status, row.error_code), (502, "credential_not_found"));
    assert_eq!((row.matched_service(), row.credential_keys()), ("api", vec!["MISSING", "OTHER"]));
}

/// A credential of another broker, moved in: its ciphertext does not open here.
#[test]
fn case_104_a_credential_sealed_under_another_key_is_a_missing_one() {
    let origin = Origin::plain();
    let host = format!("{HOST}:{}", origin.port());
    let broker =
        Broker::start(&origin, &[HOST]).with_credential("KEY", "a value").with_service("api", &host, "KEY");
    let token = broker.agent("bot");
    Api::owner(&broker).store("UPDATE credentials SET ciphertext = randomblob(length(ciphertext))");
    let request = forward("GET", origin.port(), "/", "").replace("av_agt_test", &token);
    let answer = ask(&mut TcpStream::connect(broker.proxy()).unwrap(), &request);
    assert_eq!((answer.status, &answer.json()["error"]), (502, &json!("credential_not_found")));
    assert!(origin.requests().is_empty());
}

#[test]
fn case_124_a_row_keeps_the_placeholder() {
    let origin = Origin::plain();
    let mut services = bearer(origin.port(), "TOKEN");
    services[0]["substitutions"] = json!([{"key": "SID", "placeholder": "__account_sid__", "in": ["path"]}]);
    let rules = Rules { credentials: vec![("TOKEN", "s3cret-value"), ("SID", "AC42")], ..Rules::default() };
    let path = "/Accounts/__account_sid__/Messages.json?id=__account_sid__";
    let (_, row) = logged(&services, rules, &forward("GET", origin.port(), path, ""));
    assert_eq!(origin.last().target, "/Accounts/AC42/Messages.json?id=__account_sid__");
    assert_eq!(row.path, "/Accounts/__account_sid__/Messages.json");
    assert!(!format!("{row:?}").contains("AC42"));
}

/// The rows of the vault `default`, newest first, once there are so many.
#[track_caller]
fn rows(api: &Api, count: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    eventually("the rows are written", || {
        rows = api.get("/v1/vaults/default/logs").expect(200)["logs"].as_array().unwrap().clone();
        rows.len() >= count
    });
    rows
}

#[test]
fn case_137_a_row_says_who_asked_for_what() {
    let origin = Origin::plain();
    let host = format!("{HOST}:{}", origin.port());
    let broker =
        Broker::start(&origin, &[HOST]).with_credential("KEY", "v").with_service("things", &host, "KEY");
    let token = broker.agent("agent-42");
    let api = Api::owner(&broker);
    let request = forward_body(origin.port(), "/v1/things?q=1", "", "x").replace("av_agt_test", &token);
    assert_eq!(ask(&mut TcpStream::connect(broker.proxy()).unwrap(), &request).status, 200);
    let row = &rows(&api, 1)[0];
    let id = api.stored("SELECT id FROM agents WHERE name = 'agent-42'");
    for (name, value) in [
        ("ingress", json!("mitm")),
        ("method", json!("POST")),
        ("host", json!(host)),
        ("path", json!("/v1/things")),
        ("actor_type", json!("agent")),
        ("actor_id", json!(id)),
        ("actor_name", json!("agent-42")),
        ("status", json!(200)),
        ("matched_service", json!("things")),
        ("credential_keys", json!(["KEY"])),
        ("error_code", json!("")),
    ] {
        assert_eq!(row[name], value, "{name} in {row}");
    }
}

#[test]
fn case_138_how_the_client_authenticates_is_told_apart() {
    let origin = Origin::plain();
    let found = |fields: &str| {
        let request = forward("GET", origin.port(), "/", fields);
        let (answer, row) = logged(&bearer(origin.port(), "TOKEN"), Rules::default(), &request);
        assert_eq!(answer.status, 200);
        row.client_auth.map(|auth| (auth.scheme, auth.header))
    };
    for (fields, expected) in [
        ("Authorization: Bearer x\r\n", Some(("bearer", "Authorization"))),
        ("Authorization: bearer x\r\n", Some(("bearer", "Authorization"))),
        ("Authorization: Basic x\r\n", Some(("basic", "Authorization"))),
        ("Authorization: basic x\r\n", Some(("basic", "Authorization"))),
        ("Authorization: Token x\r\n", Some(("api-key", "Authorization"))),
        ("X-Api-Key: x\r\n", Some(("api-key", "X-Api-Key"))),
        ("Api-Key: x\r\n", Some(("api-key", "Api-Key"))),
        ("X-Api-Key: x\r\nAuthorization: Bearer x\r\n", Some(("bearer", "Authorization"))),
        ("", None),
    ] {
        assert_eq!(found(fields), expected, "{fields}");
    }
}

#[test]
fn case_139_no_value_is_ever_logged() {
    // Values nobody invents twice, one for each key.
    let [bearer, user, password, key, custom, query] =
        ["bearer", "user", "password", "key", "custom", "query"].map(|kind| format!("{kind}-9f4c1e77aa"));
    let auths = [
        json!({"type": "bearer", "token": "BEARER"}),
        json!({"type": "basic", "username": "USER", "password": "PASSWORD"}),
        json!({"type": "api-key", "key": "KEY", "header": "X-Api-Key"}),
        json!({"type": "custom", "headers": {"X-Custom": "a {{ CUSTOM }}"}}),
        json!({"type": "query", "key": "QUERY", "param": "token"}),
        json!({"type": "passthrough"}),
    ];
    let origin = Origin::plain();
    let services: Vec<Value> = auths
        .iter()
        .enumerate()
        .map(|(number, auth)| {
            let host = format!("{HOST}:{}/{number}", origin.port());
            json!({"name": format!("service-{number}"), "host": host, "auth": auth})
        })
        .collect();
    for level in ["debug", "info"] {
        let mut broker = Broker::start_with(&origin, &[HOST], &[("AGENT_VAULT_LOG_LEVEL", level)])
            .with_credential("BEARER", &bearer)
            .with_credential("USER", &user)
            .with_credential("PASSWORD", &password)
            .with_credential("KEY", &key)
            .with_credential("CUSTOM", &custom)
            .with_credential("QUERY", &query)
            .with_services(&json!(services));
        let token = broker.agent("bot");
        for (number, keys) in ["BEARER", "USER,PASSWORD", "KEY", "CUSTOM", "QUERY", ""].iter().enumerate() {
            let path = format!("/{number}");
            let own = "Authorization: Bearer own-3b1d\r\n";
            let request = forward("GET", origin.port(), &format!("{path}?q=sought-3b1d"), own)
                .replace("av_agt_test", &token);
            assert_eq!(ask(&mut TcpStream::connect(broker.proxy()).unwrap(), &request).status, 200);
            if level == "debug" {
                let line = broker.log_line(&format!(" path={path} "));
                assert!(line.contains(&format!(" matched_service=service-{number} ")), "{line}");
                let keys = if keys.is_empty() { "\"\"" } else { keys };
                assert!(line.contains(&format!(" credential_keys={keys} ")), "{line}");
            }
        }
        broker.stop();
        let log = broker.log();
        assert!(level == "debug" || !log.contains("proxy_request"), "{log}");
        for secret in [&bearer, &user, &password, &key, &custom, &query, &token] {
            assert!(!log.contains(secret.as_str()), "{secret} in {log}");
        }
        assert!(!log.contains("3b1d"), "{log}");
    }
}

#[test]
fn case_140_each_refusal_has_one_row_and_its_code() {
    let untouched = Script::start(|_, _| panic!("the origin was reached"));
    let get = forward("GET", untouched.port, "/", "");
    let deny = || Rules { policy: UnmatchedPolicy::Deny, ..Rules::default() };
    let small = Rules { limits: Limits { max_request_bytes: 1, ..Limits::default() }, ..Rules::default() };
    let rates = Rates { proxy: Flow { rate: 20.0, burst: 0 }, ..Rates::default() };
    let slow = Rules { limits: Limits { rates: Some(rates), ..Limits::default() }, ..Rules::default() };
    let down = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let blocked = Rules { allow_private: false, ..Rules::default() };
    let body = forward_body(untouched.port, "/", "", "xx");
    for (services, rules, request, status, code) in [
        (json!([]), deny(), &get, 403, "no_match"),
        (bearer(untouched.port, "MISSING"), deny(), &get, 502, "credential_not_found"),
        (json!([]), small, &body, 413, "request_too_large"),
        (json!([]), slow, &get, 429, "rate_limit_scope"),
        (json!([]), Rules::default(), &forward("GET", down, "/", ""), 502, "upstream_error"),
        (json!([]), blocked, &get, 403, "upstream_error"),
    ] {
        let rows = Arc::new(Rows::default());
        let rig = rig_with(&services, Rules { log: Some(Arc::clone(&rows)), ..rules });
        assert_eq!(ask(&mut rig.connect(), request).status, status, "{code}");
        let row = rows.next(0);
        assert_eq!((row.status, row.error_code), (status, code));
        // Every connection is over when the proxy is, and with it every row is written.
        drop(rig);
        assert_eq!(rows.count(), 1, "{code}");
    }

    let rows = Arc::new(Rows::default());
    let rig = rig_with(&json!([]), Rules { log: Some(Arc::clone(&rows)), ..Rules::default() });
    for (line, fields, status) in [
        ("CONNECT a.example:443", AUTH, 200),
        ("CONNECT a.example:443", "", 407),
        ("CONNECT a.example", AUTH, 400),
        ("CONNECT a.example:443", "Proxy-Authorization: Bearer no\r\n", 407),
        ("GET http://a.example/", "", 407),
        ("GET /", AUTH, 400),
    ] {
        let answer = ask(&mut rig.connect(), &format!("{line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
        assert_eq!(answer.status, status, "{line}");
    }
    drop(rig);
    assert_eq!(rows.count(), 0);
}

/// A response that grows beyond its limit has its own code; the status is what the client got.
#[test]
fn case_113_case_140_a_cut_response_is_a_row_too() {
    use std::io::Write as _;
    let script = Script::start(|mut stream, _| {
        crate::support::rig::read_head(&mut stream);
        let chunk = format!("{:x}\r\n{}\r\n0\r\n\r\n", 2560, "x".repeat(2560));
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        drop(stream.write_all(format!("{head}{chunk}").as_bytes()));
    });
    let limits = Limits { max_response_bytes: Some(1024), ..Limits::default() };
    let (answer, row) =
        logged(&json!([]), Rules { limits, ..Rules::default() }, &forward("GET", script.port, "/", ""));
    assert_eq!(answer.status, 200);
    assert_eq!((row.status, row.error_code), (200, "response_truncated"));
}
