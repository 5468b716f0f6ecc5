//! What a client sends and gets, byte by byte.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::Signal;

use crate::status;
use crate::support::rig::{Script, expect, read_answer, read_head};
use crate::support::{CA_PEM, Run, StandIn, TOKEN, answer};

const REQUIRED: &str = "Proxy-Authorization required\n";
const INVALID: &str = "invalid or expired session\n";

fn basic(pair: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

#[track_caller]
fn is_closed(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
}

#[test]
fn only_the_runs_credential_opens_it() {
    let stand_in = StandIn::start();
    let run = stand_in.stay();
    let before = stand_in.lines().len();
    let own = run.credential();
    let cases = [
        (String::new(), 407, REQUIRED),
        (basic(":v"), 407, REQUIRED),
        ("Proxy-Authorization: Digest x\r\n".to_owned(), 407, REQUIRED),
        (basic("av_sess_other:v"), 407, INVALID),
        // The broker's own token is no credential here: the child is not to have it.
        (basic(&format!("{TOKEN}:v")), 407, INVALID),
        (basic(&format!("{own}x:v")), 407, INVALID),
        (basic(&format!("{own}:other")), 403, "forbidden\n"),
    ];
    for (field, code, text) in &cases {
        for request in ["CONNECT a.example:443 HTTP/1.1\r\n", "GET http://a.example/ HTTP/1.1\r\nHost: a\r\n"]
        {
            let mut stream = run.send(&format!("{request}{field}\r\n"));
            let (head, body) = read_answer(&mut stream);
            assert_eq!((status(&head), body.as_str()), (*code, *text), "{field}");
            assert_eq!(
                head.contains("\r\nProxy-Authenticate: Basic realm=\"agent-vault\"\r\n"),
                *code == 407
            );
        }
    }
    assert_eq!(stand_in.lines().len(), before, "nothing of it reaches the broker");
    for field in [
        basic(&format!("{own}:v")),
        basic(own),
        basic(&format!("{own}:")),
        format!("proxy-authorization: bearer {own}\r\n"),
    ] {
        let mut stream = run.send(&format!("CONNECT a.example:443 HTTP/1.1\r\n{field}\r\n"));
        assert_eq!(read_head(&mut stream), "HTTP/1.1 200 Connection Established\r\n\r\n");
    }
    run.stop();
}

#[test]
fn a_client_may_ask_first_without_credentials_on_the_same_connection() {
    let stand_in = StandIn::start();
    let run = stand_in.stay();
    let mut stream = run.send("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n");
    assert_eq!(status(&read_answer(&mut stream).0), 407);
    write!(stream, "CONNECT a.example:443 HTTP/1.1\r\n{}\r\n", run.authorization()).unwrap();
    assert_eq!(status(&read_head(&mut stream)), 200);
    // With a body on the way there is no second request to be told from it.
    let mut stream = run.send("POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    let (head, _) = read_answer(&mut stream);
    assert_eq!(status(&head), 407);
    assert!(head.contains("\r\nConnection: close\r\n"), "{head}");
    is_closed(&mut stream);
    run.stop();
}

#[test]
fn a_tunnel_carries_the_token_in_place_of_the_credential() {
    let stand_in = StandIn::start();
    let run = stand_in.stay();
    let field = run.authorization();
    // The first bytes of the tunnel come right behind the head.
    let early = "GET /early HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut stream =
        run.send(&format!("CONNECT a.example:443 HTTP/1.1\r\nX-Mine: 1\r\n{field}X-More: 2\r\n\r\n{early}"));
    assert_eq!(read_head(&mut stream), "HTTP/1.1 200 Connection Established\r\n\r\n");
    assert_eq!(read_answer(&mut stream).1, "GET /early ");
    stream.write_all(b"GET /more HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).1, "GET /more ");
    stream.shutdown(Shutdown::Write).unwrap();
    is_closed(&mut stream);

    let seen = stand_in.requests();
    let connect = seen.iter().find(|seen| seen.method == "CONNECT").expect("a CONNECT");
    let pair = STANDARD.encode(format!("{TOKEN}:v"));
    let fields: Vec<_> = connect.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    let credential = format!("Proxy-Authorization: Basic {pair}");
    assert_eq!(fields, ["X-Mine: 1", "X-More: 2", &credential, "X-Agent-Vault-Client-Roots: public"]);
    run.stop();
}

#[test]
fn every_request_of_a_connection_gets_the_token() {
    let stand_in = StandIn::start();
    let run = stand_in.stay();
    let field = run.authorization();
    let before = stand_in.requests().len();
    let head = |method: &str, path: &str, more: &str| {
        format!("{method} http://a.example{path} HTTP/1.1\r\nHost: a.example\r\n{field}{more}\r\n")
    };
    // Pipelined: a body with a length, one in chunks with trailers, and one without.
    let all = [
        head("POST", "/1", "Content-Length: 5\r\n"),
        "hello".to_owned(),
        head("PUT", "/2", "Transfer-Encoding: chunked\r\n"),
        "3\r\none\r\n4;x=y\r\nmore\r\n0\r\nX-Trailer: t\r\n\r\n".to_owned(),
        head("GET", "/3", ""),
    ];
    let mut stream = run.send(&all.concat());
    for expected in
        ["POST http://a.example/1 hello", "PUT http://a.example/2 onemore", "GET http://a.example/3 "]
    {
        assert_eq!(read_answer(&mut stream).1, expected);
    }
    let pair = format!("Basic {}", STANDARD.encode(format!("{TOKEN}:v")));
    let seen = stand_in.requests();
    assert_eq!(seen.len() - before, 3);
    for request in &seen[before..] {
        assert_eq!(request.field("proxy-authorization"), Some(pair.as_str()));
        assert!(!format!("{request:?}").contains(run.credential()));
    }
    // The credential of one request does not open the next.
    stream.write_all(b"GET http://a.example/4 HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(status(&read_answer(&mut stream).0), 407);
    run.stop();
}

#[test]
fn bodies_without_an_end_of_their_own_and_upgrades_pass() {
    let stand_in = StandIn::start();
    stand_in.answers(
        "GET http://a/stream",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_vec(),
    );
    stand_in.answers(
        "GET http://a/hint",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".to_vec(),
    );
    stand_in.answers(
        "GET http://a/ws",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nframes".to_vec(),
    );
    let run = stand_in.stay();
    let get = |path: &str| format!("GET http://a{path} HTTP/1.1\r\nHost: a\r\n{}\r\n", run.authorization());
    let mut stream = run.send(&get("/stream"));
    expect(&mut stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    stream.write_all(get("/hint").as_bytes()).unwrap();
    expect(&mut stream, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    stream.write_all(get("/ws").as_bytes()).unwrap();
    expect(&mut stream, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nframes");
    // From here on the bytes are nobody's requests: what looks like one needs no credential.
    stream.write_all(b"GET /frame HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(read_answer(&mut stream).1, "GET /frame ");
    run.stop();
}

#[test]
fn a_kept_connection_that_the_broker_closed_costs_nobody_a_request() {
    // A proxy that closes after each answer, without saying so.
    let proxy = Script::start(|mut stream, number| {
        if !read_head(&mut stream).is_empty() {
            let body = number.to_string();
            stream.write_all(&answer(200, &[], &body)).unwrap();
        }
    });
    let stand_in = StandIn::start();
    stand_in.answers("GET /v1/mitm/ca.pem", answer(200, &[("X-MITM-Port", &proxy.port.to_string())], CA_PEM));
    let run = stand_in.stay();
    let mut stream = run.connect();
    for number in 0..3 {
        write!(stream, "GET http://a/ HTTP/1.1\r\nHost: a\r\n{}\r\n", run.authorization()).unwrap();
        assert_eq!(read_answer(&mut stream).1, number.to_string());
    }
    run.stop();
}

#[test]
fn what_may_have_been_acted_on_is_not_sent_again() {
    // A proxy that answers once, reads the next request and goes away without a word.
    let proxy = Script::start(|mut stream, number| {
        read_head(&mut stream);
        stream.write_all(&answer(200, &[], &number.to_string())).unwrap();
        read_head(&mut stream);
    });
    let stand_in = StandIn::start();
    stand_in.answers("GET /v1/mitm/ca.pem", answer(200, &[("X-MITM-Port", &proxy.port.to_string())], CA_PEM));
    let run = stand_in.stay();
    for (method, code) in [("POST", 502), ("GET", 200)] {
        let mut stream = run.connect();
        let mut ask = |method: &str| {
            write!(stream, "{method} http://a/ HTTP/1.1\r\nHost: a\r\n{}\r\n", run.authorization()).unwrap();
            read_answer(&mut stream)
        };
        assert_eq!(status(&ask("GET").0), 200);
        assert_eq!(status(&ask(method).0), code, "{method}");
    }
    run.stop();
}

#[test]
fn a_connect_with_a_body_goes_nowhere() {
    let stand_in = StandIn::start();
    let run = stand_in.stay();
    let before = stand_in.requests().len();
    for framing in ["Content-Length: 9", "Transfer-Encoding: chunked"] {
        let request = format!("CONNECT a:443 HTTP/1.1\r\n{}{framing}\r\n\r\n", run.authorization());
        let mut stream = run.send(&request);
        assert_eq!(status(&read_answer(&mut stream).0), 400);
        is_closed(&mut stream);
    }
    assert_eq!(stand_in.requests().len(), before);
    run.stop();
}

/// Within milliseconds, once it is known; `outages` tells how long the first waits.
#[test]
fn a_broker_that_is_away_is_a_typed_502() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // One port where nobody listens, and one that closes without a word.
    let mute = Script::start(|mut stream, _| drop(read_head(&mut stream)));
    for port in [unused, mute.port] {
        let stand_in = StandIn::start();
        stand_in.answers("GET /v1/mitm/ca.pem", answer(200, &[("X-MITM-Port", &port.to_string())], CA_PEM));
        let run = Run::start(stand_in.agent().args(["run", "--retry", "0s", "--"]));
        for request in ["CONNECT a:443 HTTP/1.1\r\n", "GET http://a/ HTTP/1.1\r\nHost: a\r\n"] {
            let mut stream = run.send(&format!("{request}{}\r\n", run.authorization()));
            let (head, body) = read_answer(&mut stream);
            assert_eq!(status(&head), 502, "{head}");
            assert!(head.contains("\r\nX-Agent-Vault-Proxy-Error: true\r\n"), "{head}");
            assert!(head.contains("\r\nX-Agent-Vault-Reason: broker_unreachable\r\n"), "{head}");
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(body["error"], "broker_unreachable");
            assert!(body["message"].as_str().unwrap().contains(&format!("127.0.0.1:{port}")), "{body}");
        }
        run.stop();
    }
}

#[test]
fn the_agent_protocol_is_passed_on_and_nothing_else() {
    let stand_in = StandIn::start();
    stand_in.answers("GET /v1/proposals/7", answer(404, &[], "{\"error\":\"Proposal 7 not found\"}\n"));
    let run = stand_in.stay();
    let before = stand_in.requests().len();
    let ask = |line: &str, credential: &str, body: &str| {
        let length = body.len();
        let mut stream = run.send(&format!(
            "{line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {credential}\r\nX-Vault: other\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ));
        let (head, body) = read_answer(&mut stream);
        assert!(head.contains("\r\nContent-Type: application/json\r\n"), "{head}");
        (status(&head), body)
    };
    let own = run.credential();
    assert_eq!(ask("GET /discover", own, ""), (200, "{\"vault\":\"v\",\"services\":[]}".to_owned()));
    let proposal = "{\"services\":[],\"message\":\"why\"}";
    assert_eq!(ask("POST /v1/proposals", own, proposal), (200, format!("POST /v1/proposals {proposal}")));
    assert_eq!(
        ask("GET /v1/proposals/7", own, ""),
        (404, "{\"error\":\"Proposal 7 not found\"}\n".to_owned())
    );
    for request in &stand_in.requests()[before..] {
        assert_eq!(request.field("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
        assert_eq!(request.field("x-vault"), Some("v"));
    }
    let before = stand_in.requests().len();
    let invalid = (401, "{\"error\":\"Invalid or expired session\"}\n".to_owned());
    assert_eq!(ask("GET /discover", TOKEN, ""), invalid);
    assert_eq!(ask("POST /v1/proposals", "", "{}"), invalid);
    for line in [
        "GET /v1/credentials?vault=v&reveal=true",
        "POST /v1/sessions",
        "GET /v1/proposals/%2e%2e/credentials",
        "GET /v1/mitm/ca.pem",
        "GET /",
    ] {
        assert_eq!(ask(line, own, ""), (404, "{\"error\":\"Not found\"}\n".to_owned()), "{line}");
    }
    assert_eq!(ask("POST /v1/proposals", own, "no json").0, 400);
    assert_eq!(stand_in.requests().len(), before);
    run.stop();
}

#[test]
fn malformed_requests_are_refused() {
    let stand_in = StandIn::start();
    let run = stand_in.stay();
    let before = stand_in.requests().len();
    let field = run.authorization();
    for (request, code) in [
        (format!("GET http://a/ HTTP/1.1\r\n{field}\r\n"), 400),
        (
            format!(
                "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n{field}\r\n"
            ),
            400,
        ),
        (
            format!(
                "POST http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n{field}\r\n"
            ),
            400,
        ),
        (format!("GET http://a/ HTTP/1.1\nHost: a\n{field}\n"), 400),
        ("GET http://a/ HTTP/2.0\r\n\r\n".to_owned(), 505),
    ] {
        let mut stream = run.send(&request);
        assert_eq!(status(&read_answer(&mut stream).0), code, "{request:?}");
        is_closed(&mut stream);
    }
    assert_eq!(stand_in.requests().len(), before);
    run.stop();
}

#[test]
fn the_relay_serves_until_the_child_has_gone() {
    let stand_in = StandIn::start();
    let run = stand_in.stay();
    let bundle = run.bundle().to_owned();
    let port = run.port();
    assert!(bundle.exists());
    let (status, _) = run.stop();
    assert_eq!(status.code(), Some(128 + Signal::SIGTERM as i32));
    assert!(!bundle.exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}
