//! Promise: `vault explain` says what the proxy then does, names everything that would be set and shows no
//! value.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};
use support::rig::read_answer;
use support::{Broker, Origin, PATIENCE, SECRET, run};

const HOST: &str = "api.example.test";

/// A broker with one service of each kind of fate; they name the origin's port, so plain http is meant.
fn broker() -> (Origin, Broker) {
    let origin = Origin::plain();
    let names = [HOST, "query.example.test", "off.example.test", "lost.example.test", "aws.example.test"];
    let broker = Broker::start_with(&origin, &names, &[])
        .with_credential("KEY", SECRET)
        .with_credential("OTHER", "other-secret-of-a-test");
    let port = origin.port();
    let bearer = json!({"type": "bearer", "token": "KEY"});
    let services = json!({"services": [
        {"name": "api", "host": format!("{HOST}:{port}/v1/*"), "auth": bearer,
         "substitutions": [{"key": "OTHER", "placeholder": "__other__", "in": ["path", "query"]}]},
        {"name": "safe", "host": format!("{HOST}/safe/*"), "auth": bearer},
        {"name": "query", "host": format!("query.example.test:{port}"),
         "auth": {"type": "query", "key": "KEY", "param": "api_key"}},
        {"name": "off", "host": format!("off.example.test:{port}"), "auth": bearer, "enabled": false},
        {"name": "lost", "host": format!("lost.example.test:{port}"),
         "auth": {"type": "custom", "headers": {"X-Key": "v {{ NOWHERE }}"}}},
        {"name": "aws", "host": format!("aws.example.test:{port}"),
         "auth": {"type": "aws-sigv4", "access_key": "KEY", "secret_key": "OTHER", "session_token": "KEY"}},
    ]});
    let file = broker.operator_home().join("services.json");
    fs::write(&file, services.to_string()).unwrap();
    broker.cli(&["vault", "service", "set", "-f", file.to_str().unwrap(), "--vault", "default"]);
    (origin, broker)
}

#[track_caller]
fn explained(broker: &Broker, method: &str, url: &str) -> Value {
    let output = broker.cli(&["vault", "explain", method, url, "--vault", "default", "--json"]).stdout;
    assert!(!output.contains(SECRET) && !output.contains("other-secret"), "{output}");
    serde_json::from_str(&output).unwrap()
}

/// What the proxy does with the same request: the status, and the reason if it is the proxy's own.
fn done(broker: &Broker, token: &str, method: &str, url: &str) -> (u16, Option<String>) {
    let mut stream = TcpStream::connect(broker.proxy()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {url} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer {token}\r\n\r\n")
        .unwrap();
    let (head, _) = read_answer(&mut stream);
    let reason = head.lines().find_map(|line| line.strip_prefix("X-Agent-Vault-Reason: "));
    (head[9..12].parse().unwrap(), reason.map(str::to_owned))
}

#[test]
fn what_is_told_is_what_happens() {
    let (origin, broker) = broker();
    let token = broker.agent("bot");
    let port = origin.port();
    let at = |host: &str, path: &str| format!("http://{host}:{port}{path}");
    for (method, url, outcome, service, reason) in [
        ("GET", at(HOST, "/v1/x?secret=1"), "attach", "api", None),
        ("GET", at(HOST, "/other"), "forward", "", None),
        ("GET", at("query.example.test", ""), "attach", "query", None),
        ("TRACE", at(HOST, "/v1/x"), "refuse", "api", Some("method_refused")),
        ("GET", at(HOST, "/safe/x"), "refuse", "safe", Some("plain_http")),
        ("GET", at(HOST, "/%2541"), "refuse", "", Some("ambiguous_path")),
        ("GET", at("off.example.test", "/"), "refuse", "off", Some("service_disabled")),
        ("GET", at("lost.example.test", "/"), "refuse", "lost", Some("credential_not_found")),
        ("GET", "http://169.254.169.254/latest".to_owned(), "refuse", "", Some("network_blocked")),
    ] {
        let told = explained(&broker, method, &url);
        assert_eq!(told["outcome"], outcome, "{method} {url}: {told}");
        assert_eq!(told["service"]["name"].as_str().unwrap_or_default(), service, "{method} {url}");
        assert_eq!(told["refusal"]["reason"].as_str(), reason, "{method} {url}");
        let (status, seen) = done(&broker, &token, method, &url);
        assert_eq!(seen.as_deref(), reason, "{method} {url}");
        assert_eq!(told["refusal"]["status"].as_u64().unwrap_or(200), u64::from(status), "{method} {url}");
    }
    // A vault that denies what no service matches.
    set_policy(&broker, "deny");
    let told = explained(&broker, "GET", &at(HOST, "/other?x"));
    assert_eq!((&told["refusal"]["reason"], &told["path"]), (&json!("forbidden"), &json!("/other")));
    assert_eq!(told["services_of_host"], json!(["api", "safe"]));
    assert_eq!(done(&broker, &token, "GET", &at(HOST, "/other")), (403, Some("forbidden".to_owned())));
}

fn set_policy(broker: &Broker, policy: &str) {
    let session = fs::read_to_string(broker.operator_home().join(".agent-vault/session.json")).unwrap();
    let session: Value = serde_json::from_str(&session).unwrap();
    let token = session["token"].as_str().unwrap();
    let url = format!("{}/v1/vaults/default/settings", broker.address());
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let body = json!({"unmatched_host_policy": policy}).to_string();
    agent.patch(&url).header("Authorization", format!("Bearer {token}")).send(body).unwrap();
}

#[test]
fn names_are_told_and_people_can_read_it() {
    let (origin, broker) = broker();
    let port = origin.port();
    let api = explained(&broker, "GET", &format!("http://user:pass@{HOST}:{port}/v1/x?token=7"));
    assert_eq!(api["target"], format!("{HOST}:{port}"));
    assert_eq!(api["service"]["sets"], json!([{"in": "header", "name": "Authorization"}]));
    assert_eq!(api["service"]["credentials"], json!(["KEY", "OTHER"]));
    let substitution = json!([{"placeholder": "__other__", "credential": "OTHER", "in": ["path", "query"]}]);
    assert_eq!(api["service"]["substitutions"], substitution);
    assert_eq!(api["network"], json!({"verdict": "allowed", "addresses": ["127.0.0.1"]}));
    assert!(!api.to_string().contains("token=7") && !api.to_string().contains("pass"), "{api}");
    let query = explained(&broker, "GET", &format!("http://query.example.test:{port}/"));
    assert_eq!(query["service"]["sets"], json!([{"in": "query", "name": "api_key"}]));
    let aws = explained(&broker, "PUT", &format!("http://aws.example.test:{port}/"));
    let signed =
        json!([{"in": "header", "name": "Authorization"}, {"in": "header", "name": "X-Amz-Security-Token"}]);
    assert_eq!(aws["service"]["sets"], signed);

    let url = format!("http://lost.example.test:{port}/x");
    let table = broker.cli(&["vault", "explain", "GET", &url, "--vault", "default"]).stdout;
    assert_eq!(
        table,
        format!(
            "ABOUT        GET {url}\n\
             target       lost.example.test:{port}\n\
             service      lost (lost.example.test:{port}), custom\n\
             credentials  NOWHERE\n\
             missing      NOWHERE\n\
             network      may be dialled at 127.0.0.1\n\
             outcome      refused with 502: credential_not_found\n\
             because      A required credential could not be resolved; check vault configuration\n\
             to do        set it: agent-vault vault credential set KEY\n"
        )
    );

    for (method, url, message) in [
        ("G T", "http://a.com/", "method must be an HTTP method such as GET"),
        ("GET", "a.com/x", "url must be an http:// or https:// URL with a host"),
    ] {
        let ended = run(&mut broker.operator(&["vault", "explain", method, url]), b"");
        assert_eq!((ended.code(), ended.stderr.trim_end()), (Some(1), message));
    }
    // A tool that only uses the proxy learns nothing of the vault's rules.
    let mut as_agent = broker.operator(&["vault", "explain", "GET", "http://a.com/"]);
    as_agent.env("AGENT_VAULT_TOKEN", broker.agent("bot")).env("AGENT_VAULT_VAULT", "default");
    assert_eq!(run(&mut as_agent, b"").stderr.trim_end(), "Member role required");
}
