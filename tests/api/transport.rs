//! Methods, fields, bodies, health and the root certificate: cases 1 to 8.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use crate::site::{OWNER, PASSWORD, Site, refused, text};

/// Sends bytes as they are and reads until the broker closes.
fn raw(site: &Site, bytes: &[u8]) -> String {
    let address = site.address.strip_prefix("http://").expect("an http address");
    let mut stream = TcpStream::connect(address).expect("the broker accepts");
    stream.set_read_timeout(Some(crate::support::PATIENCE)).expect("a socket");
    stream.write_all(bytes).expect("the broker reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the broker answers and closes");
    answer
}

#[test]
fn health_is_for_get_and_head() {
    // 1
    let site = Site::start();
    let nobody = site.nobody();
    assert_eq!(nobody.get("/health").expect(200).body, "{\"status\":\"ok\"}\n");
    let post = nobody.call("POST", "/health", &[], None).expect(405);
    assert_eq!(post.field("allow"), "GET, HEAD");
    let head = nobody.call("HEAD", "/health", &[], None).expect(200);
    assert_eq!((head.body.as_str(), head.field("content-length")), ("", "16"));
    assert_eq!(nobody.get("/nowhere").refusal(), refused(404, "Not found"));
}

#[test]
fn every_answer_has_the_security_fields_and_none_allows_other_origins() {
    // 2
    let site = Site::start();
    let nobody = site.nobody();
    let answers = [
        nobody.get("/health"),
        nobody.get("/nowhere"),
        nobody.get("/discover"),
        nobody.get("/v1/mitm/ca.pem"),
        nobody.call("OPTIONS", "/health", &[("Origin", "http://evil.test")], None),
    ];
    for answer in answers {
        assert_eq!(answer.field("x-content-type-options"), "nosniff");
        assert_eq!(answer.field("x-frame-options"), "DENY");
        assert_eq!(answer.field("referrer-policy"), "no-referrer");
        assert!(answer.field("content-security-policy").starts_with("default-src 'self'; "));
        assert!(answer.fields.keys().all(|name| !name.as_str().starts_with("access-control-")));
    }
    assert!(raw(&site, b"BROKEN\r\n\r\n").contains("\r\nX-Frame-Options: DENY\r\n"));
}

#[test]
fn the_root_is_served_only_while_the_proxy_listens() {
    // 3
    let on = Site::start();
    let answer = on.nobody().get("/v1/mitm/ca.pem").expect(200);
    assert!(answer.body.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(answer.field("content-type"), "application/x-pem-file");
    assert_eq!(answer.field("content-disposition"), "attachment; filename=\"agent-vault-ca.pem\"");
    assert!(answer.field("x-mitm-port").parse::<u16>().is_ok_and(|port| port > 0));

    let off = Site::start_with(&["--mitm-port", "0"], &[]);
    let answer = off.nobody().get("/v1/mitm/ca.pem").expect(404);
    assert_eq!(answer.body, "MITM proxy is not enabled on this server\n");
    assert_eq!(answer.field("content-type"), "text/plain; charset=utf-8");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let mut unbound = Site::start_with(&["--mitm-port", &port], &[]);
    unbound.nobody().get("/v1/mitm/ca.pem").expect(404);
    unbound.process.line_with("warning: transparent proxy unavailable: ");
}

#[test]
fn before_there_is_an_account_most_is_closed() {
    // 4
    let site = Site::start();
    let nobody = site.nobody();
    let login = nobody.post("/v1/auth/login", &json!({"email": OWNER, "password": PASSWORD})).expect(503);
    assert_eq!(text(&login.json(), "error"), "not_initialized");
    assert!(text(&login.json(), "message").starts_with("No owner account exists."));
    nobody.get("/discover").expect(503);
    let status = nobody.get("/v1/status").expect(200).json();
    assert_eq!((&status["initialized"], &status["needs_first_user"]), (&json!(false), &json!(true)));
    nobody.get("/v1/mitm/ca.pem").expect(200);
    site.owner();
    let status = nobody.get("/v1/status").expect(200).json();
    assert_eq!((&status["initialized"], &status["needs_first_user"]), (&json!(true), &json!(false)));
    // 5
    assert!(status.get("base_url").is_none());
}

#[test]
fn bodies_have_a_limit_and_unknown_keys_do_not_matter() {
    // 6
    let site = Site::start();
    let owner = site.owner();
    let body = |length: usize| {
        let frame = r#"{"credentials":{"BIG":""},"unknown":[1]}"#.len();
        format!(r#"{{"credentials":{{"BIG":"{}"}},"unknown":[1]}}"#, "x".repeat(length - frame))
    };
    owner.call("POST", "/v1/credentials", &[], Some(body(1 << 20))).expect(200);
    let refusal = owner.call("POST", "/v1/credentials", &[], Some(body((1 << 20) + 1))).refusal();
    assert_eq!(refusal, refused(400, "Invalid request body: longer than 1048576 bytes"));
    for bad in ["", "[]", "{", "\"x\"", "null"] {
        let refusal = owner.call("POST", "/v1/credentials", &[], Some(bad.to_owned())).refusal();
        assert_eq!(refusal, refused(400, "Invalid request body"), "{bad}");
    }
}

#[test]
fn what_is_wrong_in_a_body_is_named_by_its_field_and_not_quoted() {
    let site = Site::start();
    let owner = site.owner();
    for (method, path, body, wrong) in [
        ("POST", "/v1/auth/login", r#"{"email":["av_agt_1"]}"#, r#""email" must be a string"#),
        ("POST", "/v1/auth/login", r#"{"email":"a","email":"b"}"#, r#""email" is given more than once"#),
        ("POST", "/v1/credentials", r#"{"credentials":"av_agt_1"}"#, r#""credentials" must be an object"#),
        ("POST", "/v1/credentials", r#"{"credentials":{"K":1}}"#, r#""credentials.K" must be a string"#),
        ("DELETE", "/v1/credentials", r#"{"keys":[true]}"#, r#""keys[0]" must be a string"#),
        (
            "POST",
            "/v1/sessions",
            r#"{"vault":"default","ttl_seconds":"av_agt_1"}"#,
            r#""ttl_seconds" must be a whole number"#,
        ),
        ("POST", "/v1/sessions", r#"{"vault":{}}"#, r#""vault" must be a string"#),
        ("POST", "/v1/vaults", r#"{"name":7}"#, r#""name" must be a string"#),
        (
            "PATCH",
            "/v1/vaults/default/settings",
            r#"{"unmatched_host_policy":0}"#,
            r#""unmatched_host_policy" must be a string"#,
        ),
        ("PUT", "/v1/vaults/default/services", r#"{"services":{}}"#, r#""services" must be a list"#),
        (
            "PUT",
            "/v1/vaults/default/services",
            r#"{"services":[{"a":1,"a":1}]}"#,
            r#""a" is given more than once"#,
        ),
        (
            "PATCH",
            "/v1/vaults/default/services/x",
            r#"{"enabled":"no"}"#,
            r#""enabled" must be true or false"#,
        ),
        (
            "POST",
            "/v1/agents",
            r#"{"name":"a","vaults":[{"vault_name":3}]}"#,
            r#""vaults[0].vault_name" must be a string"#,
        ),
    ] {
        let refusal = owner.call(method, path, &[], Some(body.to_owned())).refusal();
        assert_eq!(refusal, refused(400, &format!("Invalid request body: {wrong}")), "{method} {path}");
    }
    // Where the contract has words of the route's own for a body that is none, they stand.
    let refusal = owner.call("POST", "/v1/sessions", &[], Some("{".to_owned())).refusal();
    assert_eq!(refusal, refused(400, "Vault is required"));
}

#[test]
fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let site = Site::start();
    for head in [
        "GET /health HTTP/1.1\r\n\r\n",
        "POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET /health HTTP/1.1\nHost: x\n\n",
    ] {
        let answer = raw(&site, head.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head:?}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{head:?}: {answer}");
    }
}

#[test]
fn requests_of_one_connection_are_answered_in_order() {
    let site = Site::start();
    let pipelined = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n\
        POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n\
        GET http://x/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = raw(&site, pipelined.as_bytes());
    let statuses: Vec<&str> = answer.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).collect();
    assert_eq!(statuses, ["200 OK", "503 Service Unavailable", "200 OK"]);
}

#[test]
fn a_body_that_has_to_be_asked_for_is_asked_for() {
    let site = Site::start();
    let answer = raw(
        &site,
        b"POST /v1/auth/register HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n\
          Content-Length: 2\r\n\r\n{}",
    );
    assert!(answer.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 400 Bad Request\r\n"), "{answer}");
}
