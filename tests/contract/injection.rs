//! Cases 97 to 116: what the upstream sees, and what of its answer the client sees.

use std::io::{Read as _, Write as _};
use std::sync::Mutex;
use std::sync::mpsc;

use agent_vault::authority::Authority;
use agent_vault::proxy::Limits;
use agent_vault::vault::Scheme;
use serde_json::{Value, json};

use super::wire::{HOST, answer, ask, forward, forward_body, rig, rig_with, secure_origin};
use crate::support::Origin;
use crate::support::rig::{Rig, Rules, Script, expect, read_head};

const SECRET: &str = "s3cret-value";

/// A service for the whole origin with this auth; the credential `TOKEN` is [`SECRET`].
fn one(port: u16, auth: &Value) -> Value {
    json!([{"name": "api", "host": format!("{HOST}:{port}"), "auth": auth}])
}

fn bearer(port: u16) -> Value {
    one(port, &json!({"type": "bearer", "token": "TOKEN"}))
}

fn passthrough(port: u16) -> Value {
    one(port, &json!({"type": "passthrough"}))
}

#[test]
fn case_097_each_auth_type_has_its_form() {
    let origin = Origin::plain();
    for (auth, field, value) in [
        (json!({"type": "bearer", "token": "TOKEN"}), "authorization", "Bearer s3cret"),
        // base64 of "key123:"
        (json!({"type": "basic", "username": "USER"}), "authorization", "Basic a2V5MTIzOg=="),
        // base64 of "key123:s3cret"
        (
            json!({"type": "basic", "username": "USER", "password": "TOKEN"}),
            "authorization",
            "Basic a2V5MTIzOnMzY3JldA==",
        ),
        (
            json!({"type": "api-key", "key": "LIVE", "header": "X-API-Key", "prefix": "sk_"}),
            "x-api-key",
            "sk_live123",
        ),
        (json!({"type": "api-key", "key": "LIVE"}), "authorization", "live123"),
        (json!({"type": "custom", "headers": {"X-Tenant": "acme-{{ TENANT }}"}}), "x-tenant", "acme-42"),
    ] {
        let credentials =
            vec![("TOKEN", "s3cret"), ("USER", "key123"), ("LIVE", "live123"), ("TENANT", "42")];
        let rig = rig_with(&one(origin.port(), &auth), Rules { credentials, ..Rules::default() });
        assert_eq!(ask(&mut rig.connect(), &forward("GET", origin.port(), "/", "")).status, 200);
        assert_eq!(origin.last().field(field), Some(value), "{auth}");
    }
}

#[test]
fn case_098_the_auth_slot_is_ours_alone() {
    let origin = Origin::plain();
    let spelt_low =
        json!({"type": "api-key", "key": "TOKEN", "header": "authorization", "prefix": "Bearer "});
    for services in [bearer(origin.port()), one(origin.port(), &spelt_low)] {
        let rig = rig(&services);
        for fields in [
            "Authorization: Bearer attacker\r\n",
            "authorization: Bearer attacker\r\nAUTHORIZATION: Bearer attacker\r\n",
            "Authorization: Bearer attacker\r\nConnection: authorization\r\n",
        ] {
            assert_eq!(ask(&mut rig.connect(), &forward("GET", origin.port(), "/", fields)).status, 200);
            assert_eq!(origin.last().field("authorization"), Some("Bearer s3cret-value"), "{fields}");
        }
    }
}

#[test]
fn case_099_other_fields_arrive_as_they_are() {
    let origin = Origin::plain();
    let rig = rig(&bearer(origin.port()));
    let sent = [
        ("anthropic-version", "2023-06-01"),
        ("Accept", "text/html"),
        ("anthropic-beta", "tools, files"),
        ("X-Trace-Id", "abc"),
        ("accept", "application/json"),
        ("Cookie", "a=b"),
        ("Accept-Encoding", "zstd"),
    ];
    let fields: String = sent.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    ask(&mut rig.connect(), &forward("GET", origin.port(), "/", &fields));
    let host = format!("{HOST}:{}", origin.port());
    let mut expected = vec![("Host", host.as_str())];
    expected.extend(sent);
    expected.push(("Authorization", "Bearer s3cret-value"));
    let seen = origin.last();
    let seen: Vec<_> = seen.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(seen, expected);
}

#[test]
fn case_100_fields_of_one_connection_stay_on_it() {
    let origin = Origin::plain();
    let rig = rig(&passthrough(origin.port()));
    let fields = "Connection: X-Custom, close\r\nX-Custom: s\r\nTE: trailers\r\nKeep-Alive: timeout=5\r\n\
                  Proxy-Connection: keep-alive\r\nTrailer: X-Sum\r\nUpgrade: h2c\r\nX-Kept: 1\r\n";
    assert_eq!(ask(&mut rig.connect(), &forward("GET", origin.port(), "/", fields)).status, 200);
    let names: Vec<String> = origin.last().fields.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Host", "X-Kept"]);
}

#[test]
fn case_101_what_is_meant_for_the_broker_goes_no_further() {
    let (origin, roots) = secure_origin();
    for services in [json!([]), passthrough(origin.port()), bearer(origin.port())] {
        let rig = rig_with(&services, Rules { roots: roots.clone(), ..Rules::default() });
        let mut tunnel = rig.tunnel(HOST, origin.port());
        let request = "GET / HTTP/1.1\r\nHost: h\r\nX-Vault: default\r\nx-vault: v\r\n\
                       Proxy-Authorization: Bearer av_agt_test\r\n\r\n";
        assert_eq!(ask(&mut tunnel, request).status, 200);
        let seen = format!("{:?}", origin.last()).to_ascii_lowercase();
        assert!(!seen.contains("x-vault") && !seen.contains("proxy-") && !seen.contains("av_agt"), "{seen}");
    }
}

#[test]
fn case_102_a_passthrough_service_adds_and_takes_nothing() {
    let origin = Origin::plain();
    let rig = rig(&passthrough(origin.port()));
    let fields = "Authorization: Bearer own\r\nCookie: a=b\r\n";
    assert_eq!(ask(&mut rig.connect(), &forward("GET", origin.port(), "/", fields)).status, 200);
    let seen = origin.last();
    assert_eq!((seen.field("authorization"), seen.field("cookie")), (Some("Bearer own"), Some("a=b")));
}

/// The ports that matter are privileged, so the field is asked for where the proxy asks for it.
#[test]
fn case_103_the_host_field_drops_its_schemes_default_port() {
    for (target, scheme, field) in [
        ("x:443", Scheme::Https, "x"),
        ("x:80", Scheme::Http, "x"),
        ("x:8443", Scheme::Https, "x:8443"),
        ("x:443", Scheme::Http, "x:443"),
        ("x:80", Scheme::Https, "x:80"),
        ("[::1]:443", Scheme::Https, "[::1]"),
        ("[::1]:8443", Scheme::Https, "[::1]:8443"),
    ] {
        let authority = Authority::parse(target).unwrap();
        assert_eq!(authority.host_field(scheme.default_port()), field, "{target} {scheme:?}");
    }
}

#[test]
fn case_105_a_key_may_serve_auth_and_a_substitution() {
    let origin = Origin::plain();
    let mut services = bearer(origin.port());
    services[0]["substitutions"] = json!([{"key": "TOKEN", "placeholder": "__token__", "in": ["path"]}]);
    let keys: Vec<String> =
        super::wire::check(&services).unwrap()[0].credential_keys().iter().map(ToString::to_string).collect();
    assert_eq!(keys, ["TOKEN"]);
    let rig = rig(&services);
    assert_eq!(ask(&mut rig.connect(), &forward("GET", origin.port(), "/__token__", "")).status, 200);
    let seen = origin.last();
    assert_eq!(
        (seen.target.as_str(), seen.field("authorization")),
        ("/s3cret-value", Some("Bearer s3cret-value"))
    );
}

#[test]
fn case_106_case_107_a_missing_key_shows_nothing_of_the_others() {
    let origin = Script::start(|_, _| panic!("the origin was reached"));
    let mut services = one(origin.port, &json!({"type": "bearer", "token": "MISSING"}));
    services[0]["substitutions"] = json!([{"key": "TOKEN", "placeholder": "__token__", "in": ["path"]}]);
    let rig = rig(&services);
    let refused = ask(&mut rig.connect(), &forward("GET", origin.port, "/__token__", ""));
    assert_eq!((refused.status, refused.reason()), (502, Some("credential_not_found")));
    assert_eq!(refused.field("x-agent-vault-proxy-error"), Some("true"));
    assert_eq!(
        refused.json(),
        json!({
            "error": "credential_not_found",
            "message": "A required credential could not be resolved; check vault configuration",
            "reason": "credential_not_found",
            "help": "To see available services, GET http://broker.test/discover. For usage instructions \
                     including how to create a proposal, GET http://broker.test/v1/skills/cli",
        })
    );
    assert!(!format!("{refused:?}").contains(SECRET));
}

#[test]
fn case_108_an_upstream_that_is_not_trusted_gets_nothing() {
    let (origin, _) = secure_origin();
    let rig = rig(&bearer(origin.port()));
    let mut tunnel = rig.tunnel(HOST, origin.port());
    let refused = ask(&mut tunnel, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let target = format!("{HOST}:{}", origin.port());
    assert_eq!((refused.status, refused.reason()), (502, Some("upstream_tls")));
    assert_eq!(refused.field("x-agent-vault-proxy-error"), Some("true"));
    let document = refused.json();
    assert_eq!(document["error"], "upstream_tls");
    assert_eq!(
        document["message"],
        format!(
            "bad gateway: the TLS handshake with \"{target}\" failed: its certificate is not issued by a trusted \
             root (--upstream-ca adds one)"
        )
    );
    assert!(origin.requests().is_empty());
}

#[test]
fn case_109_cookies_of_the_upstream_stay_behind() {
    for (status, is_upgrade) in [("200 OK", false), ("302 Found", false), ("101 Switching Protocols", true)] {
        let script = Script::start(move |mut stream, _| {
            read_head(&mut stream);
            let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
            let framing = if is_upgrade { upgrade } else { "Content-Length: 0\r\n" };
            let cookies = "Set-Cookie: a=b\r\nset-cookie: c=d\r\nX-Kept: 1\r\n";
            write!(stream, "HTTP/1.1 {status}\r\n{cookies}{framing}\r\n").unwrap();
        });
        let rig = rig(&bearer(script.port));
        let fields = if is_upgrade { "Connection: Upgrade\r\nUpgrade: websocket\r\n" } else { "" };
        let seen = ask(&mut rig.connect(), &forward("GET", script.port, "/", fields));
        assert!(seen.head.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{}", seen.head);
        assert_eq!(seen.field("x-kept"), Some("1"));
        assert!(!seen.head.to_ascii_lowercase().contains("cookie"), "{}", seen.head);
    }
}

#[test]
fn case_110_a_chunked_body_goes_out_with_its_length() {
    let origin = Origin::plain();
    let rig = rig(&bearer(origin.port()));
    let request = forward("POST", origin.port(), "/", "Transfer-Encoding: chunked\r\n");
    assert_eq!(
        ask(&mut rig.connect(), &format!("{request}c\r\nhello, world\r\n5\r\nagain\r\n0\r\n\r\n")).status,
        200
    );
    let seen = origin.last();
    assert_eq!((seen.field("content-length"), seen.field("transfer-encoding")), (Some("17"), None));
    assert_eq!(seen.body, b"hello, worldagain");
}

#[test]
fn case_111_an_empty_body_says_so() {
    let origin = Origin::plain();
    let rig = rig(&bearer(origin.port()));
    for method in ["POST", "PUT", "PATCH"] {
        let request = forward(method, origin.port(), "/", "Content-Length: 0\r\n");
        assert_eq!(ask(&mut rig.connect(), &request).status, 200);
        let seen = origin.last();
        assert_eq!((seen.field("content-length"), seen.field("transfer-encoding")), (Some("0"), None));
    }
}

/// A proxy that lets requests of so many bytes through.
fn limited(services: &Value, max_request_bytes: u64) -> Rig {
    let limits = Limits { max_request_bytes, ..Limits::default() };
    rig_with(services, Rules { limits, ..Rules::default() })
}

#[test]
fn case_112_a_request_beyond_its_limit_is_refused() {
    let untouched = Script::start(|_, _| panic!("the origin was reached"));
    let rig = limited(&bearer(untouched.port), 512);
    let declared = forward("POST", untouched.port, "/", "Content-Length: 1024\r\n");
    let chunked = forward("POST", untouched.port, "/", "Transfer-Encoding: chunked\r\n");
    let body = format!("201\r\n{}\r\n0\r\n\r\n", "x".repeat(513));
    for request in [declared, chunked + &body] {
        let refused = ask(&mut rig.connect(), &request);
        assert_eq!(refused.said(), (413, "Request Entity Too Large\n"));
        assert_eq!(refused.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(refused.field("x-agent-vault-proxy-error"), None);
    }

    // A body that is streamed has begun to arrive when it exceeds the limit: its end never does.
    let (arrived, seen) = mpsc::channel();
    let origin = Script::start(move |mut stream, _| {
        read_head(&mut stream);
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest));
        arrived.send(rest).unwrap();
    });
    let rig = limited(&bearer(origin.port), 100_000);
    let chunk = format!("{:x}\r\n{}\r\n", 50_000, "x".repeat(50_000));
    let request = forward("POST", origin.port, "/", "Transfer-Encoding: chunked\r\n");
    let mut client = rig.connect();
    client.write_all((request + &chunk.repeat(3)).as_bytes()).unwrap();
    assert_eq!(answer(&mut client).said(), (413, "Request Entity Too Large\n"));
    let rest = seen.recv().unwrap();
    assert!(rest.len() < 110_000 && !rest.ends_with(b"0\r\n\r\n"), "{}", rest.len());
}

/// A response of so many bytes, with its length or in chunks.
fn sized(declared: bool, bytes: usize) -> Script {
    Script::start(move |mut stream, _| {
        read_head(&mut stream);
        let body = "x".repeat(bytes);
        let response = if declared {
            format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n{body}")
        } else {
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n{body}\r\n0\r\n\r\n")
        };
        // The proxy may have left before all of it was sent.
        drop(stream.write_all(response.as_bytes()));
    })
}

#[test]
fn case_113_a_response_beyond_its_limit_is_refused_or_cut() {
    let respond = |script: &Script, limit: Option<u64>| {
        let limits = Limits { max_response_bytes: limit, ..Limits::default() };
        let rig = rig_with(&bearer(script.port), Rules { limits, ..Rules::default() });
        let mut client = rig.connect();
        client.write_all(forward("GET", script.port, "/", "Connection: close\r\n").as_bytes()).unwrap();
        let mut all = String::new();
        // A cut may come as an end or as a reset.
        drop(client.read_to_string(&mut all));
        all
    };
    let refused = respond(&sized(true, 2048), Some(1024));
    let (head, body) = refused.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
    assert!(head.contains("\r\nX-Agent-Vault-Proxy-Error: true\r\n"), "{head}");
    let document: Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        document,
        json!({
            "error": "response_too_large",
            "message": "Upstream response body (2048 bytes) exceeds the proxy response-size limit (1024 bytes).",
            "reason": "response_too_large",
        })
    );

    let cut = respond(&sized(false, 2560), Some(1024));
    assert!(cut.starts_with("HTTP/1.1 200 OK\r\n"), "{cut}");
    assert_eq!(cut.matches('x').count(), 1024);
    assert!(!cut.ends_with("0\r\n\r\n"), "{cut}");

    for (declared, bytes, limit) in
        [(true, 1024, Some(1024)), (false, 1024, Some(1024)), (true, 8192, None), (false, 8192, None)]
    {
        let whole = respond(&sized(declared, bytes), limit);
        assert_eq!(whole.matches('x').count(), bytes);
        assert!(declared || whole.ends_with("0\r\n\r\n"), "{whole}");
    }
}

/// Each piece is sent when the client has the one before, so none can wait for another.
#[test]
fn case_114_pieces_arrive_apart() {
    let (seen, is_seen) = mpsc::channel::<()>();
    let is_seen = Mutex::new(is_seen);
    let script = Script::start(move |mut stream, _| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for number in 0..5 {
            stream.write_all(format!("8\r\ndata: {number}\n\r\n").as_bytes()).unwrap();
            is_seen.lock().unwrap().recv().unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    });
    let rig = rig(&bearer(script.port));
    let mut client = rig.connect();
    client.write_all(forward("GET", script.port, "/", "").as_bytes()).unwrap();
    expect(&mut client, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for number in 0..5 {
        expect(&mut client, &format!("8\r\ndata: {number}\n\r\n"));
        seen.send(()).unwrap();
    }
    expect(&mut client, "0\r\n\r\n");
}

#[test]
fn case_115_a_401_comes_back_with_its_body_and_is_asked_for_once() {
    for services in [bearer as fn(u16) -> Value, passthrough] {
        let origin = Origin::plain().answering(|_| {
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 2\r\n\r\nno".to_vec()
        });
        let rig = rig(&services(origin.port()));
        let mut client = rig.connect();
        let post = forward_body(origin.port(), "/", "", "x");
        for request in [forward("GET", origin.port(), "/", ""), post] {
            let seen = ask(&mut client, &request);
            assert_eq!(seen.said(), (401, "no"));
            assert_eq!(seen.field("www-authenticate"), Some("Bearer"));
        }
        assert_eq!(origin.requests().len(), 2);
    }
}

#[test]
fn case_116_a_redirect_is_the_clients_to_follow() {
    let origin = Origin::plain().answering(|_| {
        b"HTTP/1.1 302 Found\r\nLocation: http://other.example/\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let rig = rig(&bearer(origin.port()));
    let seen = ask(&mut rig.connect(), &forward("GET", origin.port(), "/", ""));
    assert_eq!((seen.status, seen.field("location")), (302, Some("http://other.example/")));
    assert_eq!(origin.requests().len(), 1);
}
