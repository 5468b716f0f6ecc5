//! The proxy on the wire: what goes in, what the origin sees, what comes back, byte by byte.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;

use agent_vault::proxy::{Egress, Limits};
use agent_vault::rate::Flow;
use agent_vault::rate::tiers::Rates;
use agent_vault::vault::UnmatchedPolicy;
use agent_vault::vault::service::{Auth, Service, Substitution, Surface};
use rustls::pki_types::ServerName;
use rustls::{CipherSuite, ClientConnection, StreamOwned};
use support::Origin;
use support::rig::{AUTH, Rig, Rows, Rules, Script, bearer, expect, read_answer, read_head};

const HOST: &str = "api.example.test";

fn rig_for(service: Service) -> Rig {
    Rig::start(Rules { services: vec![service], ..Rules::default() })
}

/// An origin that answers each request with `reply` and checks nothing.
fn replying(reply: &'static str) -> Script {
    Script::start(move |mut stream, _| {
        while !read_head(&mut stream).is_empty() {
            stream.write_all(reply.as_bytes()).unwrap();
        }
    })
}

#[test]
fn a_tunnel_attaches_the_credential_and_keeps_both_sides_open() {
    let origin = Origin::tls(&[HOST]);
    let roots = vec![origin.ca_pem().as_bytes().to_vec()];
    let rig = Rig::start(Rules { services: vec![bearer(HOST, None)], roots, ..Rules::default() });
    let mut tunnel = rig.tunnel(HOST, origin.port());
    for number in 0..3 {
        let request = format!(
            "POST /v1/{number}?q=1 HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer attacker\r\n\
             X-Vault: v\r\nContent-Length: 4\r\n\r\nbody"
        );
        tunnel.write_all(request.as_bytes()).unwrap();
        let (head, _) = read_answer(&mut tunnel);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(!head.contains("s3cret-value"));
        let seen = origin.next(number);
        assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("POST", &b"body"[..]));
        assert_eq!(seen.target, format!("/v1/{number}?q=1"));
        assert_eq!(seen.field("authorization"), Some("Bearer s3cret-value"));
        assert_eq!(seen.field("host"), Some(format!("{HOST}:{}", origin.port()).as_str()));
        assert_eq!(seen.field("x-vault"), None);
    }
}

#[test]
fn absolute_form_goes_to_the_uri_and_not_to_the_host_field() {
    let origin = Origin::plain();
    let rig = rig_for(bearer(HOST, Some(origin.port())));
    let mut client = rig.connect();
    for number in 0..2 {
        let url = format!("http://{HOST}:{}/x", origin.port());
        write!(client, "GET {url} HTTP/1.1\r\nHost: other.example\r\n{AUTH}Accept: a\r\naccept: b\r\n\r\n")
            .unwrap();
        assert!(read_answer(&mut client).0.starts_with("HTTP/1.1 200 "));
        let seen = origin.next(number);
        assert_eq!(seen.field("authorization"), Some("Bearer s3cret-value"));
        assert_eq!(seen.field("proxy-authorization"), None);
        let accepts: Vec<&(String, String)> =
            seen.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("accept")).collect();
        assert_eq!(accepts.len(), 2);
    }
}

#[test]
fn a_loopback_client_may_leave_the_tls_of_its_url_to_the_proxy() {
    let origin = Origin::tls(&[HOST]);
    let roots = vec![origin.ca_pem().as_bytes().to_vec()];
    let rig = Rig::start(Rules { services: vec![bearer(HOST, None)], roots, ..Rules::default() });
    let mut client = rig.connect();
    write!(client, "GET https://{HOST}:{}/x HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n", origin.port()).unwrap();
    assert!(read_answer(&mut client).0.starts_with("HTTP/1.1 200 "));
    assert_eq!(origin.last().field("authorization"), Some("Bearer s3cret-value"));
}

#[test]
fn a_host_no_service_mentions_is_not_opened_for_a_client_with_public_roots() {
    // Not TLS and not HTTP: only an untouched tunnel carries it.
    let script = Script::start(|mut stream, _| {
        expect(&mut stream, "\u{0}anything");
        stream.write_all(b"back").unwrap();
    });
    let names = vec![HOST, "other.test"];
    let rig = Rig::start(Rules { services: vec![bearer(HOST, None)], names, ..Rules::default() });
    let roots = "X-Agent-Vault-Client-Roots: public\r\n";
    let port = script.port;
    let mut client = rig.connect();
    write!(client, "CONNECT other.test:{port} HTTP/1.1\r\n{AUTH}{roots}\r\n\0any").unwrap();
    expect(&mut client, "HTTP/1.1 200 Connection Established\r\n\r\n");
    client.write_all(b"thing").unwrap();
    expect(&mut client, "back");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    // Without the field, and for a host that a service mentions, the tunnel is read.
    for (host, fields) in [("other.test", ""), (HOST, roots)] {
        let mut client = rig.connect();
        write!(client, "CONNECT {host}:{port} HTTP/1.1\r\n{AUTH}{fields}\r\n\0anything").unwrap();
        expect(&mut client, "HTTP/1.1 200 Connection Established\r\n\r\n");
        assert!(!matches!(client.read(&mut [0]), Ok(1..)));
    }
    let deny = Rules { policy: UnmatchedPolicy::Deny, names: vec!["other.test"], ..Rules::default() };
    let rig = Rig::start(deny);
    let mut tunnel = rig.tunnel_with("other.test", port, roots);
    tunnel.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(read_answer(&mut tunnel).0.starts_with("HTTP/1.1 403 "));
}

/// Which host was called is known, and nothing of what was said there.
#[test]
fn a_tunnel_that_is_not_opened_leaves_one_row() {
    let script = Script::start(|mut stream, _| {
        expect(&mut stream, "secret");
        stream.write_all(b"back").unwrap();
    });
    let rows = Arc::new(Rows::default());
    let log = Some(Arc::clone(&rows));
    let rig = Rig::start(Rules { names: vec!["other.test"], log, ..Rules::default() });
    let connect = |host: &str, port: u16| {
        let mut client = rig.connect();
        let roots = "X-Agent-Vault-Client-Roots: public\r\n";
        write!(client, "CONNECT {host}:{port} HTTP/1.1\r\n{AUTH}{roots}\r\n").unwrap();
        client
    };
    let mut client = connect("other.test", script.port);
    expect(&mut client, "HTTP/1.1 200 Connection Established\r\n\r\n");
    // The tunnel is still open.
    let row = rows.next(0);
    assert_eq!(
        (row.method.as_str(), row.path.as_str(), row.status, row.error_code),
        ("CONNECT", "/", 200, "")
    );
    assert_eq!(row.target.to_string(), format!("other.test:{}", script.port));
    assert!(row.matched_service().is_empty() && row.client_auth.is_none());
    client.write_all(b"secret").unwrap();
    expect(&mut client, "back");
    assert!(read_answer(&mut connect("169.254.169.254", 80)).0.starts_with("HTTP/1.1 403 "));
    let row = rows.next(1);
    assert_eq!((row.method.as_str(), row.status, row.error_code), ("CONNECT", 403, "upstream_error"));
    assert_eq!(row.reason, "network_blocked");
    assert_eq!(rows.count(), 2);
}

#[test]
fn a_tunnel_may_carry_plain_http() {
    let origin = Origin::plain();
    let rig = rig_for(bearer(HOST, Some(origin.port())));
    let mut client = rig.connect();
    // The request comes right behind the CONNECT, before our answer.
    write!(
        client,
        "CONNECT {HOST}:{} HTTP/1.1\r\n{AUTH}\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n",
        origin.port()
    )
    .unwrap();
    expect(&mut client, "HTTP/1.1 200 Connection Established\r\n\r\n");
    assert!(read_answer(&mut client).0.starts_with("HTTP/1.1 200 "));
    assert_eq!(origin.last().field("authorization"), Some("Bearer s3cret-value"));
}

#[test]
fn a_tunnel_has_the_suite_that_is_cheap_here_unless_the_client_wants_another() {
    let rig = rig_for(bearer(HOST, None));
    let negotiated = |keep: fn(&str) -> bool| {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.cipher_suites.retain(|suite| keep(&format!("{:?}", suite.suite())));
        let name = ServerName::try_from(HOST).unwrap();
        let connection = ClientConnection::new(Arc::new(rig.client_config_with(provider)), name).unwrap();
        let mut stream = StreamOwned::new(connection, rig.open(HOST, 443, ""));
        stream.conn.complete_io(&mut stream.sock).unwrap();
        stream.conn.negotiated_cipher_suite().unwrap().suite()
    };
    let cheap = agent_vault::tls::provider().cipher_suites[0].suite();
    // A client of many libraries, whose first wish is AES-256.
    assert_eq!(negotiated(|_| true), cheap);
    assert_eq!(negotiated(|name| name.contains("AES_256")), CipherSuite::TLS13_AES_256_GCM_SHA384);
    assert_eq!(negotiated(|name| name.contains("CHACHA20")), CipherSuite::TLS13_CHACHA20_POLY1305_SHA256);
    let last = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    assert_eq!(negotiated(|name| name == "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"), last);
}

#[test]
fn refusals_have_their_status_and_reason() {
    let rig = Rig::start(Rules {
        services: vec![bearer(HOST, None)],
        policy: UnmatchedPolicy::Deny,
        names: vec![HOST, "other.test"],
        ..Rules::default()
    });
    let bad_auth = "Proxy-Authorization: Bearer nope\r\n";
    let wrong_vault = "Proxy-Authorization: Basic YXZfYWd0X3Rlc3Q6cHJvZA==\r\n";
    let url = format!("http://{HOST}/");
    for (line, fields, status, reason) in [
        ("CONNECT api.example.test", AUTH, 400, "no_target_port"),
        ("CONNECT has@at.com:443", AUTH, 400, "invalid_host"),
        ("GET /x", AUTH, 400, "not_a_proxy_request"),
        ("CONNECT api.example.test:443", "", 407, "authorization_required"),
        ("CONNECT api.example.test:443", bad_auth, 407, "invalid_token"),
        ("CONNECT api.example.test:443", wrong_vault, 403, "vault_forbidden"),
        ("GET http://other.test/", AUTH, 403, "forbidden"),
        (&format!("GET {url}"), AUTH, 403, "plain_http"),
        (&format!("TRACE {url}"), AUTH, 405, "method_refused"),
    ] {
        let mut client = rig.connect();
        write!(client, "{line} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").unwrap();
        let (head, body) = read_answer(&mut client);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {head}{body}");
        assert!(head.contains(&format!("X-Agent-Vault-Reason: {reason}\r\n")), "{line}: {head}");
        assert_eq!(head.contains("Proxy-Authenticate: Basic realm=\"agent-vault\"\r\n"), status == 407);
    }
}

#[test]
fn a_client_may_bring_its_credential_on_the_second_try() {
    let origin = Origin::plain();
    let rig = rig_for(bearer(HOST, Some(origin.port())));
    let mut client = rig.connect();
    let url = format!("http://{HOST}:{}/", origin.port());
    write!(client, "GET {url} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(read_answer(&mut client).0.starts_with("HTTP/1.1 407 "));
    write!(client, "GET {url} HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n").unwrap();
    assert!(read_answer(&mut client).0.starts_with("HTTP/1.1 200 "));
}

#[test]
fn malformed_requests_are_refused_and_the_connection_ends() {
    let rig = rig_for(bearer(HOST, None));
    let url = format!("POST http://{HOST}/ HTTP/1.1\r\nHost: h\r\n{AUTH}");
    for (request, status) in [
        ("GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned(), 505),
        ("GET http://a.test/ HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET http://a.test/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
        (format!("{url}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"), 400),
        (format!("{url}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400),
        (format!("{url}Content-Length: +5\r\n\r\nhello"), 400),
        (format!("{url}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501),
        (format!("{url}X : y\r\n\r\n"), 400),
    ] {
        let mut client = rig.connect();
        client.write_all(request.as_bytes()).unwrap();
        let (head, _) = read_answer(&mut client);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {head}");
        assert!(head.contains("Connection: close\r\n"), "{head}");
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_small_body_of_unknown_length_goes_out_with_its_length() {
    let origin = Origin::plain();
    let rig = rig_for(bearer(HOST, Some(origin.port())));
    let mut client = rig.connect();
    let url = format!("http://{HOST}:{}/", origin.port());
    let fields = format!("{AUTH}Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n");
    write!(client, "POST {url} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").unwrap();
    expect(&mut client, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"c\r\nhello, world\r\n").unwrap();
    client.write_all(b"5\r\nagain\r\n0\r\n\r\n").unwrap();
    assert!(read_answer(&mut client).0.starts_with("HTTP/1.1 200 "));
    let seen = origin.last();
    assert_eq!((seen.field("content-length"), seen.field("transfer-encoding")), (Some("17"), None));
    assert_eq!(seen.field("expect"), None);
    assert_eq!(seen.body, b"hello, worldagain");
}

#[test]
fn placeholders_are_replaced_where_the_service_says() {
    let origin = Origin::plain();
    let all = vec![Surface::Path, Surface::Query, Surface::Header, Surface::Body];
    let substitution = |key: &str, placeholder: &str, surfaces: Vec<Surface>| Substitution {
        key: key.to_owned(),
        placeholder: placeholder.to_owned(),
        surfaces,
    };
    let service = Service {
        substitutions: vec![
            substitution("SID", "__sid__", all),
            substitution("TOKEN", "__tok__", vec![Surface::Path]),
        ],
        ..bearer(HOST, Some(origin.port()))
    };
    let credentials = vec![("TOKEN", "s3cret-value"), ("SID", "a/b&c=\"d\"")];
    let rig = Rig::start(Rules { services: vec![service], credentials, ..Rules::default() });
    let mut client = rig.connect();
    let mut post = |path: &str, fields: &str, body: &str| {
        let url = format!("http://{HOST}:{}{path}", origin.port());
        let length = body.len();
        let head =
            format!("POST {url} HTTP/1.1\r\nHost: h\r\n{AUTH}{fields}Content-Length: {length}\r\n\r\n");
        client.write_all(format!("{head}{body}").as_bytes()).unwrap();
        assert!(read_answer(&mut client).0.starts_with("HTTP/1.1 200 "));
        origin.last()
    };
    let seen = post("/A/__sid__/__tok__?x=__sid__&y=__tok__", "X-Sid: <__sid__>\r\n", "");
    assert_eq!(seen.target, "/A/a%2Fb&c=%22d%22/s3cret-value?x=a%2Fb%26c%3D%22d%22&y=__tok__");
    assert_eq!(seen.field("x-sid"), Some("<a/b&c=\"d\">"));
    for (fields, body, arrives) in [
        (
            "Content-Type: application/json; charset=utf-8\r\n",
            "{\"a\":\"__sid__\"}",
            "{\"a\":\"a/b&c=\\\"d\\\"\"}",
        ),
        ("Content-Type: application/problem+json\r\n", "__sid__", "a/b&c=\\\"d\\\""),
        ("Content-Type: application/x-www-form-urlencoded\r\n", "a=__sid__", "a=a%2Fb%26c%3D%22d%22"),
        ("Content-Type: text/plain\r\n", "__sid__ __tok__", "a/b&c=\"d\" __tok__"),
        ("Content-Type: multipart/form-data; boundary=x\r\n", "__sid__", "__sid__"),
        ("Content-Encoding: gzip\r\n", "__sid__", "__sid__"),
    ] {
        let seen = post("/", fields, body);
        assert_eq!(String::from_utf8_lossy(&seen.body), arrives, "{fields}");
        assert_eq!(seen.field("content-length"), Some(arrives.len().to_string().as_str()));
    }
    // A body beyond the window is streamed, and a placeholder across any cut is found.
    let body = "x".repeat(65_533) + "__sid__" + &"y".repeat(200_000);
    let seen = post("/", "Content-Type: text/plain\r\n", &body);
    assert_eq!(seen.field("transfer-encoding"), Some("chunked"));
    assert!(seen.body == body.replace("__sid__", "a/b&c=\"d\"").into_bytes());
}

#[test]
fn a_websocket_is_opened_with_the_credential_and_its_text_frames_are_looked_into() {
    let script = Script::start(|mut stream, _| {
        let head = read_head(&mut stream);
        let lines = [
            "Authorization: Bearer s3cret-value",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: k",
        ];
        for line in lines {
            assert_eq!(head.matches(&format!("{line}\r\n")).count(), 1, "{line}: {head}");
        }
        assert!(!head.contains("Sec-WebSocket-Extensions"), "{head}");
        let reply = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Accept: a\r\nSec-Other: o\r\nSet-Cookie: c=d\r\n\r\nearly";
        stream.write_all(reply.as_bytes()).unwrap();
        let mut frames = Vec::new();
        stream.read_to_end(&mut frames).unwrap();
        let (ping, rest) = frames.split_at(6);
        assert_eq!(ping, b"\x89\x80\x01\x02\x03\x04");
        let (plain, rest) = rest.split_at(8);
        assert_eq!(plain, b"\x81\x82\x00\x00\x00\x00hi");
        let (text, close) = rest.split_at(6 + 14);
        let unmasked: Vec<u8> = text[6..].iter().zip(text[2..6].iter().cycle()).map(|(b, m)| b ^ m).collect();
        assert_eq!((&text[..2], unmasked.as_slice()), (&b"\x81\x8e"[..], &b"<s3cret-value>"[..]));
        assert_eq!(close, b"\x88\x80\x00\x00\x00\x00");
        stream.write_all(b"last").unwrap();
    });
    let substitution = Substitution {
        key: "TOKEN".to_owned(),
        placeholder: "__t__".to_owned(),
        surfaces: vec![Surface::Websocket],
    };
    let rig = rig_for(Service { substitutions: vec![substitution], ..bearer(HOST, Some(script.port)) });
    let mut client = rig.connect();
    let url = format!("http://{HOST}:{}/", script.port);
    let handshake = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\
                     Sec-WebSocket-Extensions: permessage-deflate\r\n";
    write!(client, "GET {url} HTTP/1.1\r\nHost: h\r\n{AUTH}{handshake}\r\n").unwrap();
    expect(
        &mut client,
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: a\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\n\r\nearly",
    );
    // A ping, a text frame without and one with a placeholder, a close; all masked, some with zeros.
    client
        .write_all(b"\x89\x80\x01\x02\x03\x04\x81\x82\x00\x00\x00\x00hi\x81\x87\x00\x00\x00\x00<__t")
        .unwrap();
    client.write_all(b"__>\x88\x80\x00\x00\x00\x00").unwrap();
    expect(&mut client, "last");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_chunked_upload_and_a_chunked_response_keep_their_framing() {
    let script = Script::start(|mut stream, _| {
        let head = read_head(&mut stream);
        assert!(
            head.contains("Transfer-Encoding: chunked\r\n") && !head.contains("Content-Length"),
            "{head}"
        );
        let (mut sent, mut byte) = (Vec::new(), [0]);
        while !sent.ends_with(b"0\r\nX-Sum: 1\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            sent.push(byte[0]);
        }
        assert_eq!(sent.iter().filter(|&&b| b == b'x').count(), 70_000);
        assert!(sent.windows(10).any(|window| window == b"5\r\nhello\r\n"));
        let reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Kept: 1\r\n\r\n\
                     3\r\nabc\r\n0\r\nX-End: 2\r\n\r\n";
        stream.write_all(reply.as_bytes()).unwrap();
    });
    let rig = rig_for(bearer(HOST, Some(script.port)));
    let mut client = rig.connect();
    let url = format!("http://{HOST}:{}/", script.port);
    let fields = format!("Host: h\r\n{AUTH}Transfer-Encoding: chunked\r\n");
    write!(client, "POST {url} HTTP/1.1\r\n{fields}\r\n11170\r\n{}\r\n", "x".repeat(70_000)).unwrap();
    client.write_all(b"5;ext=1\r\nhello\r\n0\r\nX-Sum: 1\r\nAuthorization: no\r\n\r\n").unwrap();
    expect(
        &mut client,
        "HTTP/1.1 200 OK\r\nX-Kept: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-End: 2\r\n\r\n",
    );
}

#[test]
fn a_body_that_ends_with_the_connection_becomes_chunked() {
    let script = Script::start(|mut stream, _| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it").unwrap();
    });
    let rig = rig_for(bearer(HOST, Some(script.port)));
    let url = format!("http://{HOST}:{}/", script.port);
    let mut client = rig.connect();
    write!(client, "GET {url} HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n").unwrap();
    assert_eq!(read_head(&mut client), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut old = rig.connect();
    write!(old, "GET {url} HTTP/1.0\r\n{AUTH}\r\n").unwrap();
    let mut all = String::new();
    old.read_to_string(&mut all).unwrap();
    assert_eq!(all, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
}

#[test]
fn interim_responses_pass_and_an_early_answer_ends_the_upload() {
    let script = Script::start(|mut stream, _| {
        read_head(&mut stream);
        let reply = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n\
                     HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno";
        stream.write_all(reply.as_bytes()).unwrap();
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
    });
    let rig = rig_for(bearer(HOST, Some(script.port)));
    let mut client = rig.connect();
    let url = format!("http://{HOST}:{}/", script.port);
    write!(
        client,
        "PUT {url} HTTP/1.1\r\nHost: h\r\n{AUTH}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    )
    .unwrap();
    expect(
        &mut client,
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n\
         HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno",
    );
}

#[test]
fn a_reused_upstream_that_died_costs_one_safe_replay() {
    // Each connection serves one request, then closes without notice.
    let script = Script::start(|mut stream, number| {
        read_head(&mut stream);
        let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}");
        stream.write_all(reply.as_bytes()).unwrap();
        // The second request on this connection is swallowed.
        read_head(&mut stream);
    });
    let rig = rig_for(bearer(HOST, Some(script.port)));
    let mut client = rig.connect();
    let url = format!("http://{HOST}:{}/", script.port);
    for number in ["0", "1"] {
        write!(client, "GET {url} HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n").unwrap();
        let (head, body) = read_answer(&mut client);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body, number);
    }
    write!(client, "POST {url} HTTP/1.1\r\nHost: h\r\n{AUTH}Content-Length: 1\r\n\r\nx").unwrap();
    let (head, body) = read_answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 502 "), "a POST is not sent twice: {head}{body}");
    assert!(head.contains("X-Agent-Vault-Reason: upstream_closed\r\n"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let script = replying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let rig = rig_for(bearer(HOST, Some(script.port)));
    let mut client = rig.connect();
    let one = format!("GET http://{HOST}:{}/ HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n", script.port);
    client.write_all(one.repeat(5).as_bytes()).unwrap();
    for _ in 0..5 {
        expect(&mut client, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

#[test]
fn limits_refuse_before_the_upstream_is_touched() {
    let script = Script::start(|_, _| panic!("the upstream was touched"));
    let limits = Limits { max_request_bytes: 512, ..Limits::default() };
    let service = bearer(HOST, Some(script.port));
    let rig = Rig::start(Rules { services: vec![service], limits, ..Rules::default() });
    let mut client = rig.connect();
    let url = format!("http://{HOST}:{}/", script.port);
    write!(client, "POST {url} HTTP/1.1\r\nHost: h\r\n{AUTH}Content-Length: 1024\r\n\r\n").unwrap();
    let (head, body) = read_answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 413 ") && body == "Request Entity Too Large\n", "{head}{body}");
}

#[test]
fn an_actor_that_asks_too_often_is_told_when_to_come_back() {
    let script = replying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let rates = Rates { proxy: Flow { rate: 0.001, burst: 2 }, ..Rates::default() };
    let limits = Limits { rates: Some(rates), ..Limits::default() };
    let service = bearer(HOST, Some(script.port));
    let rig = Rig::start(Rules { services: vec![service], limits, ..Rules::default() });
    let mut client = rig.connect();
    let one = format!("GET http://{HOST}:{}/ HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n", script.port);
    client.write_all(one.repeat(3).as_bytes()).unwrap();
    for _ in 0..2 {
        assert!(read_answer(&mut client).0.starts_with("HTTP/1.1 200 "));
    }
    let (head, body) = read_answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 429 ") && head.contains("X-RateLimit-Limit: 2\r\n"), "{head}");
    assert!(head.contains("Retry-After: 1000\r\n") && !head.contains("X-Agent-Vault-Proxy-Error"), "{head}");
    let message = "Proxy rate limit exceeded for this scope";
    assert_eq!(body, format!("{{\"error\":\"too_many_requests\",\"message\":\"{message}\"}}\n"));
}

#[test]
fn one_actor_in_flight_makes_the_next_wait() {
    let (begun, has_begun) = std::sync::mpsc::channel();
    let script = Script::start(move |mut stream, number| {
        read_head(&mut stream);
        begun.send(()).unwrap();
        // The first exchange stays open until its client leaves.
        if number > 0 || stream.read(&mut [0]).is_ok() {
            drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        }
    });
    let rates = Rates { proxy_in_flight: 1, ..Rates::default() };
    let limits = Limits { rates: Some(rates), ..Limits::default() };
    let service = bearer(HOST, Some(script.port));
    let rig = Rig::start(Rules { services: vec![service], limits, ..Rules::default() });
    let url = format!("http://{HOST}:{}/", script.port);
    let mut first = rig.connect();
    write!(first, "POST {url} HTTP/1.1\r\nHost: h\r\n{AUTH}Content-Length: 1\r\n\r\n").unwrap();
    has_begun.recv().unwrap();
    let mut second = rig.connect();
    write!(second, "GET {url} HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n").unwrap();
    let (head, body) = read_answer(&mut second);
    assert!(head.starts_with("HTTP/1.1 429 ") && body.contains("concurrency limit"), "{head}{body}");
    first.write_all(b"x").unwrap();
    assert!(read_answer(&mut first).0.starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_proxy_of_the_sites_own_carries_the_tunnel_and_sees_no_credential() {
    let origin = Origin::tls(&[HOST]);
    let port = origin.port();
    let corporate = Script::start(move |mut stream, _| {
        let head = read_head(&mut stream);
        assert_eq!(
            head,
            format!(
                "CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\nProxy-Authorization: Basic dTpw\r\n\r\n"
            )
        );
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n").unwrap();
        let upstream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut from_client, mut to_origin) = (stream.try_clone().unwrap(), upstream.try_clone().unwrap());
        let up = std::thread::Builder::new()
            .spawn(move || std::io::copy(&mut from_client, &mut to_origin))
            .unwrap();
        drop(std::io::copy(&mut &upstream, &mut &stream));
        drop(stream.shutdown(Shutdown::Both));
        drop(up.join());
    });
    let roots = vec![origin.ca_pem().as_bytes().to_vec()];
    let egress = Egress::parse(&format!("http://u:p@127.0.0.1:{}", corporate.port), "excluded.test").ok();
    // The name resolves nowhere here: only the corporate proxy knows it.
    let rules =
        Rules { services: vec![bearer(HOST, None)], roots, egress, names: Vec::new(), ..Rules::default() };
    let rig = Rig::start(rules);
    let mut tunnel = rig.tunnel(HOST, port);
    tunnel.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(read_answer(&mut tunnel).0.starts_with("HTTP/1.1 200 "));
    assert_eq!(origin.last().field("authorization"), Some("Bearer s3cret-value"));
}

#[test]
fn a_proxy_of_the_sites_own_that_refuses_is_named() {
    let corporate = replying("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    let egress = Egress::parse(&format!("http://127.0.0.1:{}", corporate.port), "").ok();
    let service = bearer(HOST, Some(81));
    let rig = Rig::start(Rules { services: vec![service], egress, ..Rules::default() });
    let mut client = rig.connect();
    write!(client, "GET http://{HOST}:81/ HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n").unwrap();
    let (head, _) = read_answer(&mut client);
    assert!(
        head.starts_with("HTTP/1.1 502 ") && head.contains("X-Agent-Vault-Reason: upstream_proxy\r\n"),
        "{head}"
    );
}

#[test]
fn upstream_failures_have_names() {
    let unreachable = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let garbage = replying("SSH-2.0-OpenSSH\r\n\r\n");
    let closing = Script::start(|mut stream, _| drop(read_head(&mut stream)));
    let untrusted = Origin::tls(&[HOST]);
    for (port, status, reason) in [
        (unreachable, 502, "upstream_unreachable"),
        (garbage.port, 502, "upstream_malformed"),
        (closing.port, 502, "upstream_closed"),
    ] {
        let rig = rig_for(bearer(HOST, Some(port)));
        let mut client = rig.connect();
        write!(client, "GET http://{HOST}:{port}/ HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n").unwrap();
        let (head, body) = read_answer(&mut client);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}{body}");
        assert!(head.contains(&format!("X-Agent-Vault-Reason: {reason}\r\n")), "{head}");
        assert!(head.contains("X-Agent-Vault-Proxy-Error: true\r\n") && !body.contains("s3cret"));
    }
    let wrong_name = Origin::tls(&["another.test"]);
    let not_tls = Script::start(|mut stream, _| {
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    });
    for (origin, port, words) in [
        (Some(&untrusted), untrusted.port(), "not issued by a trusted root"),
        (Some(&wrong_name), wrong_name.port(), "for other names"),
        (None, not_tls.port, "it may not speak TLS"),
    ] {
        let trusted = origin.filter(|_| port != untrusted.port());
        let roots = trusted.map(|origin| origin.ca_pem().as_bytes().to_vec()).into_iter().collect();
        let rig = Rig::start(Rules { services: vec![bearer(HOST, None)], roots, ..Rules::default() });
        let mut tunnel = rig.tunnel(HOST, port);
        tunnel.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let (head, body) = read_answer(&mut tunnel);
        assert!(
            head.contains("X-Agent-Vault-Reason: upstream_tls\r\n") && body.contains(words),
            "{head}{body}"
        );
        assert!(body.contains("bad gateway") && origin.is_none_or(|origin| origin.requests().is_empty()));
    }
}

#[test]
fn a_private_address_is_not_dialled_by_default() {
    let script = Script::start(|_, _| panic!("the upstream was touched"));
    let service = bearer(HOST, Some(script.port));
    let rig = Rig::start(Rules { services: vec![service], allow_private: false, ..Rules::default() });
    let mut client = rig.connect();
    write!(client, "GET http://{HOST}:{}/ HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n", script.port).unwrap();
    let (head, _) = read_answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 403 ") && head.contains("X-Agent-Vault-Reason: network_blocked\r\n"));
}

#[test]
fn passthrough_leaves_the_clients_own_credential_alone() {
    let origin = Origin::plain();
    let service = Service { auth: Auth::Passthrough, ..bearer(HOST, None) };
    let rig = rig_for(service);
    let mut client = rig.connect();
    let url = format!("http://{HOST}:{}/", origin.port());
    write!(client, "GET {url} HTTP/1.1\r\nHost: h\r\n{AUTH}Authorization: own\r\nCookie: c=1\r\n\r\n")
        .unwrap();
    assert!(read_answer(&mut client).0.starts_with("HTTP/1.1 200 "));
    assert_eq!(origin.last().field("authorization"), Some("own"));
    assert_eq!(origin.last().field("cookie"), Some("c=1"));
}

#[test]
fn an_idle_tunnel_is_parked_and_wakes_up() {
    let origin = Origin::tls(&[HOST]);
    let roots = vec![origin.ca_pem().as_bytes().to_vec()];
    let rig = Rig::start(Rules { services: vec![bearer(HOST, None)], roots, ..Rules::default() });
    let mut tunnels: Vec<_> = (0..8).map(|_| rig.tunnel(HOST, origin.port())).collect();
    for round in 0..2 {
        // Each round outlasts the time a thread lingers for the tunnels served first.
        for (number, tunnel) in tunnels.iter_mut().enumerate() {
            tunnel.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
            assert!(read_answer(tunnel).0.starts_with("HTTP/1.1 200 "));
            origin.next(round * 8 + number);
        }
        let pause = std::sync::mpsc::channel::<()>();
        assert!(pause.1.recv_timeout(std::time::Duration::from_millis(250)).is_err());
    }
}
