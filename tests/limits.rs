//! Promise: the limits an operator sets hold on the real broker, say when to come back, and a wrong number
//! is told before anything starts.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::sync::mpsc;

use support::rig::{Script, read_answer, read_head};
use support::{BINARY, Broker, Origin, PATIENCE, TempDir, bare, eventually, run};

const HOST: &str = "api.example.test";

fn broker(more: &[(&str, &str)]) -> (Origin, Broker) {
    let origin = Origin::plain();
    let broker = Broker::start_with(&origin, &[HOST], more);
    (origin, broker)
}

fn connect(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.proxy()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends one request and reads its answer.
fn ask(stream: &mut TcpStream, token: &str, port: u16, rest: &str) -> (String, String) {
    begin(stream, token, port, rest);
    read_answer(stream)
}

fn begin(stream: &mut TcpStream, token: &str, port: u16, rest: &str) {
    write!(
        stream,
        "POST http://{HOST}:{port}/x HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: Bearer {token}\r\n{rest}"
    )
    .unwrap();
}

const EMPTY: &str = "Content-Length: 0\r\n\r\n";

#[track_caller]
fn refused(answer: &(String, String), status: u16, reason: &str) {
    let (head, body) = answer;
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}{body}");
    assert!(head.contains(&format!("X-Agent-Vault-Reason: {reason}\r\n")), "{head}{body}");
    if status == 429 {
        assert!(head.contains("\r\nRetry-After: "), "{head}");
        assert!(body.contains("\"error\":\"too_many_requests\""), "{body}");
    }
}

#[track_caller]
fn served(answer: &(String, String)) {
    assert!(answer.0.starts_with("HTTP/1.1 200 "), "{}{}", answer.0, answer.1);
}

#[test]
fn one_agent_cannot_take_all_connections() {
    let (origin, broker) = broker(&[
        ("AGENT_VAULT_MAX_CONNECTIONS_PER_ACTOR", "2"),
        ("AGENT_VAULT_MAX_CONNECTIONS_PER_VAULT", "3"),
    ]);
    let (greedy, other) = (broker.agent("greedy"), broker.agent("other"));
    let port = origin.port();
    let mut first = connect(&broker);
    served(&ask(&mut first, &greedy, port, EMPTY));
    let mut second = connect(&broker);
    served(&ask(&mut second, &greedy, port, EMPTY));
    refused(&ask(&mut connect(&broker), &greedy, port, EMPTY), 429, "too_many_connections_actor");
    // A CONNECT counts like any other connection.
    let mut tunnel = connect(&broker);
    write!(
        tunnel,
        "CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: Bearer {greedy}\r\n\r\n"
    )
    .unwrap();
    refused(&read_answer(&mut tunnel), 429, "too_many_connections_actor");

    let mut third = connect(&broker);
    served(&ask(&mut third, &other, port, EMPTY));
    refused(&ask(&mut connect(&broker), &other, port, EMPTY), 429, "too_many_connections_vault");
    // Those who are in stay in, and who leaves makes room.
    served(&ask(&mut first, &greedy, port, EMPTY));
    drop(second);
    eventually("the closed connection gives its permit back", || {
        ask(&mut connect(&broker), &other, port, EMPTY).0.starts_with("HTTP/1.1 200 ")
    });
}

#[test]
fn a_rate_and_a_number_in_flight_are_kept() {
    let (origin, broker) = broker(&[
        ("AGENT_VAULT_RATELIMIT_PROXY_RATE", "0.001"),
        ("AGENT_VAULT_RATELIMIT_PROXY_BURST", "3"),
        ("AGENT_VAULT_RATELIMIT_PROXY_CONCURRENCY", "1"),
    ]);
    let token = broker.agent("bot");
    let (arrived, has_arrived) = mpsc::channel();
    let slow = Script::start(move |mut stream, _| {
        read_head(&mut stream);
        arrived.send(stream).unwrap();
    });
    let mut waiting = connect(&broker);
    begin(&mut waiting, &token, slow.port, EMPTY);
    let mut upstream = has_arrived.recv_timeout(PATIENCE).unwrap();
    refused(&ask(&mut connect(&broker), &token, origin.port(), EMPTY), 429, "concurrency_scope");
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    served(&read_answer(&mut waiting));
    served(&ask(&mut waiting, &token, origin.port(), EMPTY));
    let answer = ask(&mut waiting, &token, origin.port(), EMPTY);
    refused(&answer, 429, "rate_limit_scope");
    assert!(answer.0.contains("X-RateLimit-Limit: 3\r\n"), "{}", answer.0);
}

#[test]
fn an_owner_changes_the_limits_of_a_proxy_that_runs() {
    let (origin, broker) =
        broker(&[("AGENT_VAULT_RATELIMIT_PROXY_RATE", "0.001"), ("AGENT_VAULT_RATELIMIT_PROXY_BURST", "2")]);
    let token = broker.agent("bot");
    let port = origin.port();
    let mut client = connect(&broker);
    served(&ask(&mut client, &token, port, EMPTY));
    served(&ask(&mut client, &token, port, EMPTY));
    refused(&ask(&mut client, &token, port, EMPTY), 429, "rate_limit_scope");
    broker.cli(&["owner", "config", "set", "--ratelimit-profile", "off"]);
    for _ in 0..10 {
        served(&ask(&mut client, &token, port, EMPTY));
    }
    broker.cli(&["owner", "config", "set", "--ratelimit-profile", "strict"]);
    refused(&ask(&mut client, &token, port, EMPTY), 429, "rate_limit_scope");
}

#[test]
fn a_shorter_retention_holds_without_a_restart() {
    let (origin, broker) = broker(&[]);
    let token = broker.agent("bot");
    let mut client = connect(&broker);
    for _ in 0..3 {
        served(&ask(&mut client, &token, origin.port(), EMPTY));
    }
    let rows = || {
        let shown = broker.cli(&["vault", "logs", "--json", "--vault", "default"]).stdout;
        let answer: serde_json::Value = serde_json::from_str(&shown).unwrap();
        answer["logs"].as_array().unwrap().len()
    };
    eventually("the rows are written", || rows() == 3);
    let set = |body: &str| {
        let session =
            std::fs::read_to_string(broker.operator_home().join(".agent-vault/session.json")).unwrap();
        let session: serde_json::Value = serde_json::from_str(&session).unwrap();
        let agent = ureq::Agent::config_builder().proxy(None).build().new_agent();
        let request = agent.put(format!("{}/v1/admin/settings", broker.address()));
        let login = format!("Bearer {}", session["token"].as_str().unwrap());
        request.header("Authorization", login).send(body).unwrap();
    };
    set(r#"{"logs_retention":{"max_rows_per_vault":1}}"#);
    eventually("rows beyond the new bound are deleted", || rows() == 1);
}

#[test]
fn what_owners_set_is_shown_and_nothing_to_set_is_an_error() {
    let (_origin, broker) = broker(&[("AGENT_VAULT_RATELIMIT_PROXY_RATE", "0.5")]);
    broker.cli(&["owner", "config", "set", "--invite-only", "--allowed-domains", "B.test, a.test"]);
    let shown = broker.cli(&["owner", "config", "get"]).stdout;
    assert_eq!(
        shown,
        "SETTING            VALUE                                         FROM\n\
         invite-only        true\n\
         allowed-domains    b.test,a.test\n\
         e-mail             off\n\
         ratelimit-profile  default\n\
         AUTH               max=50 window=5m0s                            default\n\
         AUTHED             rate=10 burst=240                             default\n\
         GLOBAL             rate=2000 burst=4000 concurrency=512          default\n\
         PROXY              rate=0.5 burst=200 concurrency=64             env\n\
         VERIFY_FAIL        max=10                                        default\n\
         logs-retention     max_age_hours=168.0 max_rows_per_vault=10000  default\n"
    );
    broker.cli(&["owner", "config", "set", "--invite-only=false", "--allowed-domains", ""]);
    let shown = broker.cli(&["owner", "config", "get", "--json"]).stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["invite_only"], &shown["allowed_email_domains"]),
        (&false.into(), &serde_json::json!([]))
    );
    let ended = run(&mut broker.operator(&["owner", "config", "set"]), b"");
    assert_eq!(
        (ended.code(), ended.stderr.as_str()),
        (Some(2), "nothing to set: give --invite-only, --allowed-domains or --ratelimit-profile\n")
    );
    let ended = run(&mut broker.operator(&["owner", "email", "test", "--to", "a@b.test"]), b"");
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(1), "SMTP is not configured\n"));
}

#[test]
fn bodies_are_bounded_both_ways() {
    let (origin, broker) =
        broker(&[("AGENT_VAULT_MAX_REQUEST_BYTES", "10"), ("AGENT_VAULT_MAX_RESPONSE_BYTES", "5")]);
    let token = broker.agent("bot");
    let long = ask(&mut connect(&broker), &token, origin.port(), "Content-Length: 11\r\n\r\n");
    refused(&long, 413, "request_too_large");
    let answer = ask(&mut connect(&broker), &token, origin.port(), "Content-Length: 10\r\n\r\n0123456789");
    refused(&answer, 502, "response_too_large");
}

#[test]
fn wrong_numbers_are_told_together_and_nothing_starts() {
    let home = TempDir::new();
    let mut server = bare(Path::new(BINARY), home.path());
    server.args(["server", "--max-response-bytes", "-1"]).envs([
        ("AGENT_VAULT_MAX_CONNECTIONS", "none"),
        ("AGENT_VAULT_MAX_CONNECTIONS_PER_VAULT", "0"),
        ("AGENT_VAULT_RATELIMIT_PROXY_RATE", "fast"),
        ("AGENT_VAULT_RATELIMIT_GLOBAL_MAX", "5"),
        ("AGENT_VAULT_RATELIMIT_AUTH_WINDOW", "5"),
        ("AGENT_VAULT_LOGS_MAX_ROWS_PER_VAULT", "-5"),
    ]);
    let ended = run(&mut server, b"");
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(2), ""));
    assert_eq!(
        ended.stderr,
        "AGENT_VAULT_MAX_CONNECTIONS: \"none\" is not a number\n\
         AGENT_VAULT_LOGS_MAX_ROWS_PER_VAULT: \"-5\" is not a number of rows\n\
         AGENT_VAULT_RATELIMIT_AUTH_WINDOW: \"5\" is not a span like 90s, 5m or 1h30m\n\
         AGENT_VAULT_RATELIMIT_GLOBAL_MAX: this tier has RATE, BURST and CONCURRENCY only\n\
         AGENT_VAULT_RATELIMIT_PROXY_RATE: \"fast\" is not a number\n\
         --max-response-bytes: \"-1\" is not a number of bytes\n\
         AGENT_VAULT_MAX_CONNECTIONS_PER_VAULT must be more than 0\n"
    );
    assert!(!home.join(".agent-vault").exists());
}
