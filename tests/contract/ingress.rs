//! Cases 39 to 60: what may be said to the listener, by whom, and how often.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use agent_vault::proxy::Limits;
use agent_vault::rate::tiers::Rates;
use agent_vault::rate::{Flow, Window};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};

use super::api::Api;
use super::wire::{HOST, ask, forward, rig, rig_with, secure_origin};
use crate::support::rig::{AUTH, Rig, Rows, Rules, Script, TOKEN, UNREADABLE, expect, read_head};
use crate::support::{Broker, Origin};

const REQUIRED: &str = "Proxy-Authorization required\n";
const INVALID: &str = "invalid or expired session\n";

fn connect(target: &str, fields: &str) -> String {
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{fields}\r\n")
}

fn basic(pair: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

/// A proxy that takes its clients for those of another machine, with this many failures allowed.
fn remote(peer: &str, auth_max: u32) -> Rig {
    let rates = Rates { auth: Window { max: auth_max, span: Duration::from_secs(300) }, ..Rates::default() };
    let limits = Limits { rates: Some(rates), ..Limits::default() };
    Rig::start(Rules { limits, peer: Some(address(peer)), ..Rules::default() })
}

fn address(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), 40_000)
}

#[test]
fn case_039_a_connect_without_a_port_is_refused() {
    let rig = rig(&json!([]));
    let answer = ask(&mut rig.connect(), &connect("example.com", AUTH));
    assert_eq!(answer.said(), (400, "CONNECT target must be host:port\n"));
    assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.field("x-agent-vault-proxy-error"), None);
}

#[test]
fn case_040_only_connect_and_absolute_http_are_served() {
    let text = "this endpoint is an HTTP forward proxy; non-CONNECT requests must use absolute-form URLs \
                (http://host/path). Use CONNECT for https:// upstreams.\n";
    for (peer, lines) in [
        (
            "127.0.0.1",
            &["GET /x", "GET gopher://a.example/", "GET ftp://a.example/", "GET ws://a.example/"][..],
        ),
        ("10.0.0.5", &["GET file:///etc/passwd", "OPTIONS *", "POST https://api.example.com/x"]),
    ] {
        let rig = remote(peer, 1);
        for line in lines {
            let answer = ask(&mut rig.connect(), &format!("{line} HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n"));
            assert_eq!(answer.said(), (400, text), "{line}");
        }
    }
}

#[test]
fn case_041_without_authorization_the_client_is_asked_for_it() {
    let rig = rig(&json!([]));
    for request in
        [connect("example.com:443", ""), "GET http://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()]
    {
        let answer = ask(&mut rig.connect(), &request);
        assert_eq!(answer.said(), (407, REQUIRED));
        assert_eq!(answer.field("proxy-authenticate"), Some("Basic realm=\"agent-vault\""));
        assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(answer.field("x-agent-vault-proxy-error"), None);
    }
}

/// The token of the rig knows no other vault than `default`, so a hint shows in the answer.
#[test]
fn case_042_a_bearer_token_names_no_vault() {
    let rig = rig(&json!([]));
    for field in [format!("Bearer {TOKEN}"), format!("bearer {TOKEN}"), format!("BEARER {TOKEN}")] {
        let request = connect("example.com:443", &format!("Proxy-Authorization: {field}\r\n"));
        let mut client = rig.connect();
        client.write_all(request.as_bytes()).unwrap();
        assert_eq!(read_head(&mut client), "HTTP/1.1 200 Connection Established\r\n\r\n", "{field}");
    }
}

#[test]
fn case_043_a_basic_pair_is_token_and_vault() {
    let rig = rig(&json!([]));
    for (pair, status) in [
        (TOKEN.to_owned(), 200),
        (format!("{TOKEN}:"), 200),
        (format!("{TOKEN}:default"), 200),
        (format!("{TOKEN}:prod"), 403),
        (format!("{TOKEN}:default:x"), 403),
    ] {
        let answer = ask(&mut rig.connect(), &connect("example.com:443", &basic(&pair)));
        assert_eq!(answer.status, status, "{pair}");
    }
}

#[test]
fn case_044_what_is_no_credential_is_asked_for_again() {
    let rig = rig(&json!([]));
    for field in [
        "Digest x".to_owned(),
        "Basic not-base64!@#".to_owned(),
        format!("Basic {}", STANDARD.encode(":default")),
        "Bearer ".to_owned(),
        "Bearer".to_owned(),
        format!("Basic {}", STANDARD.encode(TOKEN).trim_end_matches('=')),
    ] {
        let request = connect("example.com:443", &format!("Proxy-Authorization: {field}\r\n"));
        assert_eq!(ask(&mut rig.connect(), &request).said(), (407, REQUIRED), "{field}");
    }
}

/// `CONNECT` with this token and hint at a real broker.
fn knock(broker: &Broker, pair: &str) -> (u16, String) {
    let mut client = std::net::TcpStream::connect(broker.proxy()).unwrap();
    let answer = ask(&mut client, &connect("example.com:443", &basic(pair)));
    (answer.status, answer.body)
}

fn said(status: u16, text: &str) -> (u16, String) {
    (status, text.to_owned())
}

#[test]
fn case_045_a_scoped_token_stays_in_its_vault() {
    let broker = Broker::start(&Origin::plain(), &[]);
    let api = Api::owner(&broker);
    api.post("/v1/vaults", &json!({"name": "prod"})).expect(201);
    let minted = api.post("/v1/sessions", &json!({"vault": "default"})).expect(200);
    let token = minted["token"].as_str().unwrap();
    assert_eq!(knock(&broker, token), said(200, ""));
    assert_eq!(knock(&broker, &format!("{token}:default")), said(200, ""));
    assert_eq!(knock(&broker, &format!("{token}:prod")), said(403, "forbidden\n"));
}

#[test]
fn case_046_case_047_an_agent_reaches_what_it_was_granted() {
    let broker = Broker::start(&Origin::plain(), &[]);
    let api = Api::owner(&broker);
    for vault in ["prod", "other"] {
        api.post("/v1/vaults", &json!({"name": vault})).expect(201);
    }
    let agent = |name: &str, vaults: &[&str]| {
        let grants: Vec<Value> =
            vaults.iter().map(|vault| json!({"vault_name": vault, "vault_role": "proxy"})).collect();
        let made = api.post("/v1/agents", &json!({"name": name, "vaults": grants})).expect(201);
        made["av_agent_token"].as_str().unwrap().to_owned()
    };
    let unclear = "set vault via HTTPS_PROXY=http://<token>:<vault>@host:port\n";
    let one = agent("one", &["prod"]);
    assert_eq!(knock(&broker, &one), said(200, ""));
    assert_eq!(knock(&broker, &agent("none", &[])), said(400, unclear));
    let two = agent("two", &["prod", "other"]);
    assert_eq!(knock(&broker, &two), said(400, unclear));
    assert_eq!(knock(&broker, &format!("{two}:other")), said(200, ""));
    assert_eq!(knock(&broker, &format!("{one}:nowhere")), said(404, "vault not found\n"));
    assert_eq!(knock(&broker, &format!("{one}:other")), said(403, "forbidden\n"));
}

#[test]
fn case_048_dead_tokens_and_logins_open_nothing() {
    let broker = Broker::start(&Origin::plain(), &[]);
    let api = Api::owner(&broker);
    let minted = api.post("/v1/sessions", &json!({"vault": "default"})).expect(200);
    let token = minted["token"].as_str().unwrap();
    // The token has not been used yet, so nothing of it is cached.
    api.store("UPDATE sessions SET expires_at = '2020-01-01 00:00:00' WHERE vault_id IS NOT NULL");
    assert_eq!(knock(&broker, token), said(407, INVALID));
    assert_eq!(knock(&broker, ""), said(407, REQUIRED));
    assert_eq!(knock(&broker, "av_sess_unknown"), said(407, INVALID));
    let unclear = "set vault via HTTPS_PROXY=http://<token>:<vault>@host:port\n";
    assert_eq!(knock(&broker, api.token()), said(400, unclear));
    assert_eq!(knock(&broker, &format!("{}:default", api.token())), said(400, unclear));
}

#[test]
fn case_049_hosts_are_checked_before_anything_else() {
    let rig = rig(&json!([]));
    for host in ["example.com", "localhost", "127.0.0.1", "[::1]", &"a".repeat(253)] {
        let answer = ask(&mut rig.connect(), &connect(&format!("{host}:443"), AUTH));
        assert_eq!(answer.status, 200, "{host}");
    }
    for host in [
        "",
        "has@at.com",
        "has/slash.com",
        "has?query.com",
        "has#fragment.com",
        "has%25percent.com",
        ".leading",
        "trailing.",
        &"a".repeat(254),
    ] {
        // Without a credential: the host is judged first.
        let answer = ask(&mut rig.connect(), &connect(&format!("{host}:443"), ""));
        assert_eq!(answer.said(), (400, "invalid host\n"), "{host}");
    }
    // A space ends the target, so what is left is no HTTP version.
    let answer = ask(&mut rig.connect(), &connect("has space.com:443", ""));
    assert_eq!(answer.status, 505);
}

#[test]
fn case_050_an_ipv6_target_has_brackets_once() {
    let origin = Origin::plain();
    let rig = rig_with(&json!([]), Rules { names: vec!["::1"], ..Rules::default() });
    let url = format!("http://[::1]:{}/x", origin.port());
    ask(&mut rig.connect(), &format!("GET {url} HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n"));
    assert_eq!(origin.last().field("host"), Some(format!("[::1]:{}", origin.port()).as_str()));
    assert_eq!(origin.last().target, "/x");
}

#[test]
fn case_051_the_uri_wins_over_the_host_field() {
    let origin = Origin::plain();
    let rig = rig(&json!([]));
    let url = format!("http://user:pass@{HOST}:{}", origin.port());
    let answer = ask(&mut rig.connect(), &format!("GET {url} HTTP/1.1\r\nHost: other.example\r\n{AUTH}\r\n"));
    assert_eq!(answer.status, 200);
    let seen = origin.last();
    assert_eq!(seen.field("host"), Some(format!("{HOST}:{}", origin.port()).as_str()));
    assert_eq!((seen.target.as_str(), seen.field("authorization")), ("/", None));
}

#[test]
fn case_052_each_request_of_a_connection_is_authenticated() {
    let origin = Origin::plain();
    let rows = Arc::new(Rows::default());
    let rig = rig_with(&json!([]), Rules { log: Some(Arc::clone(&rows)), ..Rules::default() });
    let mut client = rig.connect();
    for number in 0..2 {
        assert_eq!(ask(&mut client, &forward("GET", origin.port(), "/x", "")).status, 200);
        assert_eq!(origin.requests().len(), number + 1);
        assert_eq!(rows.next(number).status, 200);
    }
    let bare = forward("GET", origin.port(), "/x", "").replace(AUTH, "");
    assert_eq!(ask(&mut client, &bare).said(), (407, REQUIRED));
    drop((client, rig));
    assert_eq!((origin.requests().len(), rows.count()), (2, 2));
}

#[test]
fn case_053_a_tunnel_goes_to_its_connect_target() {
    let (origin, roots) = secure_origin();
    let rig = rig_with(&json!([]), Rules { roots, ..Rules::default() });
    let mut tunnel = rig.tunnel(HOST, origin.port());
    for target in ["/x", "https://evil.example/x", "http://evil.example:1/x"] {
        let answer = ask(&mut tunnel, &format!("GET {target} HTTP/1.1\r\nHost: evil.example\r\n\r\n"));
        assert_eq!(answer.status, 200, "{target}");
        let seen = origin.last();
        assert_eq!(seen.field("host"), Some(format!("{HOST}:{}", origin.port()).as_str()));
        assert_eq!(seen.target, "/x");
    }
}

#[test]
fn case_054_a_tunnel_speaks_http_1_and_nothing_else() {
    let rig = rig(&json!([]));
    let negotiate = |offered: &[&[u8]]| {
        let mut config = rig.client_config();
        config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(HOST).unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = StreamOwned::new(connection, rig.open(HOST, 443, ""));
        let done = stream.conn.complete_io(&mut stream.sock);
        done.map(|_| stream.conn.alpn_protocol().map(<[u8]>::to_vec)).map_err(|error| error.to_string())
    };
    assert_eq!(negotiate(&[]), Ok(None));
    assert_eq!(negotiate(&[b"h2", b"http/1.1"]), Ok(Some(b"http/1.1".to_vec())));
    assert_eq!(negotiate(&[b"h2"]), Err("received fatal alert: NoApplicationProtocol".to_owned()));
}

#[test]
fn case_055_guessing_is_stopped() {
    let bad = "Proxy-Authorization: Bearer av_sess_guess\r\n";
    for (field, text) in [(bad, INVALID), ("", REQUIRED)] {
        let rig = remote("10.0.0.5", 3);
        let url = "GET http://a.example/ HTTP/1.1\r\nHost: a\r\n";
        for _ in 0..3 {
            assert_eq!(ask(&mut rig.connect(), &connect("a.example:443", field)).said(), (407, text));
        }
        for (request, message) in [
            (connect("a.example:443", field), "Too many CONNECT attempts"),
            (format!("{url}{field}\r\n"), "Too many proxy requests"),
        ] {
            let answer = ask(&mut rig.connect(), &request);
            let document = json!({"error": "too_many_requests", "message": message});
            assert_eq!((answer.status, answer.json()), (429, document));
            let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
            assert!((1..=300).contains(&wait), "{wait}");
        }
        // Who has a good token shares the address with the guesser and is not locked out.
        assert_eq!(ask(&mut rig.connect(), &connect("a.example:443", AUTH)).status, 200);
    }
}

#[test]
fn case_056_good_tokens_never_count() {
    let origin = Origin::plain();
    let rig = remote("10.0.0.5", 3);
    for _ in 0..10 {
        assert_eq!(ask(&mut rig.connect(), &connect("a.example:443", AUTH)).status, 200);
        assert_eq!(ask(&mut rig.connect(), &forward("GET", origin.port(), "/", "")).status, 200);
    }
}

#[test]
fn case_057_loopback_is_exempt() {
    for (peer, is_exempt) in [
        ("127.0.0.1", true),
        ("127.1.2.3", true),
        ("::1", true),
        ("10.0.0.5", false),
        ("172.17.0.1", false),
        ("2001:db8::1", false),
    ] {
        let rig = remote(peer, 1);
        assert_eq!(ask(&mut rig.connect(), &connect("a.example:443", "")).status, 407);
        let second = ask(&mut rig.connect(), &connect("a.example:443", "")).status;
        assert_eq!(second, if is_exempt { 407 } else { 429 }, "{peer}");
    }
}

#[test]
fn case_058_an_open_websocket_holds_its_slot() {
    let script = Script::start(|mut stream, _| {
        read_head(&mut stream);
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(switch.as_bytes()).unwrap();
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let rates = Rates { proxy_in_flight: 1, ..Rates::default() };
    let limits = Limits { rates: Some(rates), ..Limits::default() };
    let rig = rig_with(&json!([]), Rules { limits, ..Rules::default() });
    let mut socket = rig.connect();
    let upgrade = forward("GET", script.port, "/", "Connection: Upgrade\r\nUpgrade: websocket\r\n");
    assert_eq!(ask(&mut socket, &upgrade).status, 101);
    let started = Instant::now();
    let refused = ask(&mut rig.connect(), &forward("GET", script.port, "/", ""));
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(refused.status, 429);
    assert_eq!(refused.reason(), Some("concurrency_scope"));
    assert!(refused.field("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(
        refused.body,
        "{\"error\":\"too_many_requests\",\"message\":\"Proxy at concurrency limit for this scope\"}\n"
    );
}

#[test]
fn case_059_a_429_is_not_marked_as_a_broker_error() {
    let rates = Rates { proxy: Flow { rate: 0.001, burst: 1 }, ..Rates::default() };
    let limits = Limits { rates: Some(rates), ..Limits::default() };
    let origin = Origin::plain();
    let rig = rig_with(&json!([]), Rules { limits, ..Rules::default() });
    let mut client = rig.connect();
    assert_eq!(ask(&mut client, &forward("GET", origin.port(), "/", "")).status, 200);
    let answer = ask(&mut client, &forward("GET", origin.port(), "/", ""));
    assert_eq!(
        answer.said(),
        (429, "{\"error\":\"too_many_requests\",\"message\":\"Proxy rate limit exceeded for this scope\"}\n")
    );
    assert_eq!(answer.field("content-type"), Some("application/json"));
    assert_eq!(answer.field("x-ratelimit-limit"), Some("1"));
    assert_eq!(answer.field("x-ratelimit-remaining"), Some("0"));
    assert_eq!(answer.field("retry-after"), Some("1000"));
    assert_eq!(answer.field("x-agent-vault-proxy-error"), None);
}

#[test]
fn case_060_a_limiter_that_is_off_never_says_429() {
    let limits = Limits { rates: None, ..Limits::default() };
    let rig = Rig::start(Rules { limits, peer: Some(address("10.0.0.5")), ..Rules::default() });
    let mut client = rig.connect();
    for _ in 0..1000 {
        client.write_all(connect("a.example:443", "").as_bytes()).unwrap();
    }
    let (done, is_done) = mpsc::channel();
    let reader = std::thread::Builder::new();
    let reading = reader.spawn(move || {
        for _ in 0..1000 {
            expect(&mut client, "HTTP/1.1 407 ");
            read_head(&mut client);
            expect(&mut client, REQUIRED);
        }
        done.send(()).unwrap();
    });
    is_done.recv().unwrap();
    drop(reading);
}

#[test]
fn a_token_that_cannot_be_looked_up_is_told_like_one_that_is_unknown() {
    // B.6, for a tunnel and for a request: nothing goes out, and the reason says whose fault it is.
    let origin = Script::start(|_, _| panic!("the origin was reached"));
    let rig = rig(&json!([]));
    let credential = format!("Proxy-Authorization: Bearer {UNREADABLE}\r\n");
    for start in [format!("CONNECT {HOST}:{}", origin.port), format!("GET http://{HOST}:{}/", origin.port)] {
        let answer = ask(&mut rig.connect(), &format!("{start} HTTP/1.1\r\nHost: h\r\n{credential}\r\n"));
        assert_eq!(answer.said(), (407, INVALID));
        assert_eq!(answer.field("proxy-authenticate"), Some("Basic realm=\"agent-vault\""));
        assert_eq!(answer.reason(), Some("scope_unavailable"));
    }
}
