//! Promise: every request of an authenticated client leaves one row that says what happened and holds no
//! secret; those who look after a vault can read it.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::rig::{Script, read_answer, read_head};
use support::{Broker, Origin, PATIENCE, Running, SECRET, contains, eventually, run};

const HOST: &str = "api.example.test";

/// A broker with a service for the origin, and an agent's token.
fn site(more: &[(&str, &str)]) -> (Origin, Broker, String) {
    let origin = Origin::plain();
    let broker = Broker::start_with(&origin, &[HOST], more).with_credential("KEY", SECRET).with_service(
        "stripe",
        &format!("{HOST}:{}/v1/*", origin.port()),
        "KEY",
    );
    let token = broker.agent("bot");
    (origin, broker, token)
}

/// Sends one request to the proxy; `fields` are whole lines.
fn send(broker: &Broker, token: &str, request_line: &str, fields: &str) -> (String, String) {
    ask(&mut connect(broker), token, request_line, fields)
}

fn connect(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect(broker.proxy()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, token: &str, request_line: &str, fields: &str) -> (String, String) {
    write!(
        stream,
        "{request_line} HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: Bearer {token}\r\n{fields}\r\n"
    )
    .unwrap();
    read_answer(stream)
}

/// The log as the command prints it, once it has so many rows.
#[track_caller]
fn logs(broker: &Broker, count: usize, flags: &[&str]) -> Value {
    let mut answer = Value::Null;
    eventually("the rows are written", || {
        let args = [&["vault", "logs", "--vault", "default", "--json"], flags].concat();
        answer = serde_json::from_str(&broker.cli(&args).stdout).unwrap();
        answer["logs"].as_array().unwrap().len() == count
    });
    answer
}

#[test]
fn a_request_leaves_one_row_without_a_value() {
    let (origin, mut broker, token) = site(&[("AGENT_VAULT_LOG_REQUESTS", "json")]);
    let base = format!("http://{HOST}:{}", origin.port());
    let request = format!("GET {base}/v1/a%20b?key=query-secret-7");
    let own = "Authorization: Bearer client-secret-7\r\nCookie: cookie-secret-7\r\n";
    let (head, _) = send(&broker, &token, &request, own);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // A row follows its response, so connections of their own would race for the order.
    logs(&broker, 1, &[]);
    send(&broker, &token, &format!("DELETE {base}/other"), "X-Api-Key: client-secret-7\r\n");
    logs(&broker, 2, &[]);
    // Who is nobody leaves no row.
    let (head, _) = send(&broker, "av_agt_wrong", &request, "");
    assert!(head.starts_with("HTTP/1.1 407 "), "{head}");
    send(&broker, &token, "TRACE http://127.0.0.1:1/", "");

    let answer = logs(&broker, 3, &[]);
    let newest = &answer["logs"][0];
    assert_eq!((&answer["next_cursor"], &answer["latest_id"]), (&Value::Null, &newest["id"]));
    assert_eq!((&newest["method"], &newest["status"]), (&json!("TRACE"), &json!(405)));
    let unmatched = &answer["logs"][1];
    assert_eq!((&unmatched["matched_service"], &unmatched["credential_keys"]), (&json!(""), &json!([])));
    let row = &answer["logs"][2];
    let host = format!("{HOST}:{}", origin.port());
    for (key, value) in [
        ("ingress", json!("mitm")),
        ("method", json!("GET")),
        ("host", json!(host)),
        ("path", json!("/v1/a b")),
        ("matched_service", json!("stripe")),
        ("credential_keys", json!(["KEY"])),
        ("status", json!(200)),
        ("error_code", json!("")),
        ("actor_type", json!("agent")),
        ("actor_name", json!("bot")),
    ] {
        assert_eq!(row[key], value, "{key} in {row}");
    }
    assert!(row["latency_ms"].is_u64() && row["actor_id"].as_str().unwrap().len() == 36);
    assert!(row["created_at"].as_str().unwrap().ends_with('Z') && row.get("auth_scheme").is_none());

    broker.stop();
    let log = broker.log();
    let lines: Vec<Value> = log
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert_eq!(
        (&lines[0]["matched_service"], &lines[0]["matched_path"]),
        (&json!("stripe"), &json!("/v1/*"))
    );
    assert_eq!(lines[2]["reason"], "method_refused");
    let stored = broker.stored_bytes();
    assert!(contains(&stored, "/v1/a b"));
    for secret in [SECRET, "client-secret-7", "query-secret-7", "cookie-secret-7", token.as_str()] {
        assert!(!log.contains(secret) && !contains(&stored, secret), "{secret} was written");
    }
}

#[test]
fn refusals_are_rows_and_the_log_can_be_asked_for_them() {
    let (origin, broker, token) = site(&[]);
    let base = format!("http://{HOST}:{}", origin.port());
    broker.cli(&["vault", "credential", "delete", "KEY", "--vault", "default"]);
    send(&broker, &token, &format!("GET {base}/v1/x"), "");
    send(&broker, &token, &format!("GET {base}/fine"), "");
    send(&broker, &token, "GET http://169.254.169.254/latest", "");
    logs(&broker, 3, &[]);
    let failed = logs(&broker, 2, &["--status", "err"]);
    let codes: Vec<&str> =
        failed["logs"].as_array().unwrap().iter().map(|row| row["error_code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["upstream_error", "credential_not_found"]);
    assert_eq!(failed["logs"][1]["credential_keys"], json!(["KEY"]));
    assert_eq!(logs(&broker, 1, &["--service", "stripe"])["logs"][0]["status"], 502);
    assert!(logs(&broker, 1, &["--status", "2xx", "--limit", "1"])["next_cursor"].is_u64());
    let table = broker.cli(&["vault", "logs", "--vault", "default", "--status", "5xx"]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("TIME") && lines[0].ends_with("ERROR") && lines.len() == 2, "{table}");
    assert!(lines[1].contains("/v1/x") && lines[1].ends_with("credential_not_found"), "{table}");
    let wrong = run(&mut broker.operator(&["vault", "logs", "--status", "6xx"]), b"");
    assert_eq!(wrong.stderr.trim_end(), "status_bucket must be one of 2xx, 3xx, 4xx, 5xx, err");

    // A tool that only uses the proxy does not read the log.
    let mut as_agent = broker.operator(&["vault", "logs"]);
    let refused = run(as_agent.env("AGENT_VAULT_TOKEN", &token).env("AGENT_VAULT_VAULT", "default"), b"");
    assert_eq!(refused.stderr.trim_end(), "Member role required");
}

#[test]
fn what_was_answered_before_the_end_is_written_and_old_rows_go_at_the_next_start() {
    let (origin, mut broker, token) = site(&[]);
    let request = |stream: &mut TcpStream, number: u32| {
        let line = format!("GET http://{HOST}:{}/kept/{number}", origin.port());
        assert!(ask(stream, &token, &line, "").0.starts_with("HTTP/1.1 200 "));
    };
    let mut stream = connect(&broker);
    for number in 0..5 {
        request(&mut stream, number);
    }
    broker.restart_with(&[("AGENT_VAULT_LOGS_MAX_ROWS_PER_VAULT", "2")]);
    let kept = logs(&broker, 2, &[]);
    assert_eq!((&kept["logs"][0]["path"], &kept["logs"][1]["path"]), (&json!("/kept/4"), &json!("/kept/3")));
    broker.restart_with(&[("AGENT_VAULT_LOGS_MAX_AGE_HOURS", "0.0000001")]);
    // A row is as old as its second, so the ones of this second may stay for the moment.
    request(&mut connect(&broker), 9);
    let newest = kept["latest_id"].as_u64().unwrap();
    eventually("the new row has a number of its own", || {
        let answer: Value =
            serde_json::from_str(&broker.cli(&["vault", "logs", "--vault", "default", "--json"]).stdout)
                .unwrap();
        answer["latest_id"].as_u64().unwrap() > newest
    });
}

/// Who follows sees each row once, oldest first, also when a page does not hold all that came.
#[test]
fn the_log_can_be_followed() {
    let (origin, broker, token) = site(&[]);
    let mut stream = connect(&broker);
    let mut request = |path: &str| {
        let line = format!("GET http://{HOST}:{}{path}", origin.port());
        assert!(ask(&mut stream, &token, &line, "").0.starts_with("HTTP/1.1 200 "));
    };
    for number in 0..3 {
        request(&format!("/old/{number}"));
    }
    logs(&broker, 3, &[]);
    let words = ["vault", "logs", "--vault", "default", "--follow"];
    let mut follow =
        Running::start(broker.operator(&words).args(["--json", "--limit", "2", "--status", "2xx"]));
    let next_path = |follow: &mut Running| -> String {
        let row: Value = serde_json::from_str(&format!("{{{}", follow.line_after("{"))).unwrap();
        row["path"].as_str().unwrap().to_owned()
    };
    assert_eq!((next_path(&mut follow), next_path(&mut follow)), ("/old/1".to_owned(), "/old/2".to_owned()));
    // While it stands still, more than a page comes together.
    follow.signal(Signal::SIGSTOP);
    for number in 0..205 {
        request(&format!("/new/{number}"));
    }
    eventually("the rows are written", || {
        logs(&broker, 1, &["--limit", "1"])["logs"][0]["path"] == "/new/204"
    });
    follow.signal(Signal::SIGCONT);
    for number in 0..205 {
        assert_eq!(next_path(&mut follow), format!("/new/{number}"));
    }
    follow.signal(Signal::SIGINT);
    let status = follow.wait();
    assert_eq!((status.signal(), status.code()), (Some(Signal::SIGINT as i32), None));
    assert!(!follow.output().lines().any(|line| !line.starts_with('{')), "nothing but rows was written");

    // A reader that has seen enough ends it, although no row comes any more.
    let mut command = broker.operator(&words);
    let mut table = command.args(["--service", "stripe"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(table.stdout.take().unwrap()).lines();
    let header = lines.next().unwrap().unwrap();
    assert!(header.starts_with("TIME                  STATUS  METHOD   HOST "), "{header}");
    request("/v1/matched");
    let row = lines.next().unwrap().unwrap();
    assert!(row.contains("  200     GET      ") && row.contains("/v1/matched"), "{row}");
    drop(lines);
    let mut ended = None;
    eventually("the command ends with its reader", || {
        ended = table.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(0));

    let both = run(broker.operator(&words).args(["--before", "5"]), b"");
    assert_eq!(both.code(), Some(2));
}

/// What an app calls behind our relay is known by host, also where the broker does not look inside.
#[test]
fn hosts_without_a_service_are_listed() {
    let (origin, broker, token) = site(&[]);
    let base = format!("http://{HOST}:{}", origin.port());
    send(&broker, &token, &format!("GET {base}/v1/x"), "");
    logs(&broker, 1, &[]);
    send(&broker, &token, "GET http://169.254.169.254/latest", "Authorization: Basic eDp5\r\n");
    logs(&broker, 2, &[]);
    let mut tunnel = connect(&broker);
    let roots = "X-Agent-Vault-Client-Roots: public\r\n";
    let (head, _) = ask(&mut tunnel, &token, "CONNECT 169.254.169.253:443", roots);
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    logs(&broker, 3, &[]);
    assert_eq!(logs(&broker, 1, &["--ingress", "mitm", "--limit", "1"])["logs"][0]["method"], "CONNECT");
    logs(&broker, 0, &["--ingress", "explicit"]);
    let all = logs(&broker, 3, &[]);
    let oldest = all["logs"][1]["id"].to_string();
    assert_eq!(logs(&broker, 1, &["--before", &oldest])["logs"][0]["path"], "/v1/x");
    let page = broker.cli(&["vault", "logs", "--limit", "2"]);
    assert_eq!(page.stderr, format!("There may be older ones: --before {oldest}\n"));

    let table = broker.cli(&["vault", "hosts"]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("HOST             REQUESTS  LAST SEEN"), "{table}");
    assert_eq!(lines.len(), 3, "the host with a service is not among them\n{table}");
    assert!(lines.iter().any(|line| line.ends_with("basic in Authorization")), "{table}");
    let first = broker.cli(&["vault", "hosts", "--limit", "1"]);
    assert_eq!(first.stderr, "1 of 2 hosts: --limit shows more\n");
    let json: Value = serde_json::from_str(&broker.cli(&["vault", "hosts", "--json"]).stdout).unwrap();
    assert_eq!(json["total"], 2);
}

/// The row of a WebSocket is there while it is still open.
#[test]
fn a_websocket_is_logged_when_it_opens() {
    let (_origin, broker, token) = site(&[]);
    let origin = Script::start(|mut stream, _| {
        read_head(&mut stream);
        let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        stream.write_all(answer.as_bytes()).unwrap();
        // Open until the other side ends it.
        stream.read_to_end(&mut Vec::new()).unwrap_or(0);
    });
    let mut stream = connect(&broker);
    write!(
        stream,
        "GET http://{HOST}:{}/v1/ws HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: Bearer {token}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Version: 13\r\n\r\n",
        origin.port
    )
    .unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 101");
    assert_eq!(logs(&broker, 1, &[])["logs"][0]["status"], 101);
}

#[test]
fn refusals_are_counted_by_reason() {
    let (origin, mut broker, token) = site(&[("AGENT_VAULT_LOG_LEVEL", "debug")]);
    for _ in 0..2 {
        send(&broker, "av_agt_wrong", &format!("GET http://{HOST}:{}/v1/x", origin.port()), "");
    }
    send(&broker, &token, "GET /not-for-a-proxy", "");
    send(&broker, &token, "GET http://169.254.169.254/latest", "");
    broker.stop();
    let log = broker.log();
    let line = log.lines().find(|line| line.contains("requests refused since the start")).unwrap();
    assert!(line.ends_with(" not_a_proxy_request=1 invalid_token=2 network_blocked=1"), "{line}");
}
