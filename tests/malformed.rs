//! What is not HTTP/1.1 as we read it, from both sides, and the exact answer to each.
//!
//! A message that can be read in two ways is refused, and the connection is closed: whatever follows it
//! might be the inside of what somebody else reads as its body.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use support::rig::{AUTH, Rig, Rules, Script, bearer, read_answer, read_head};

const HOST: &str = "api.example.test";

/// `{A}` is a good start: request line to the origin, Host, credential. `{H}` is the same without the
/// credential's line, `{U}` the URL.
const REQUESTS: &[(&str, u16, &str)] = &[
    // Start lines.
    ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not_a_proxy_request"),
    ("GET  {U} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("GET {U}  HTTP/1.1\r\nHost: a\r\n\r\n", 505, "malformed_request"),
    (" GET {U} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("GET {U}\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("GET {U} HTTP/1.2\r\nHost: a\r\n\r\n", 505, "malformed_request"),
    ("GET {U} HTTP/0.9\r\nHost: a\r\n\r\n", 505, "malformed_request"),
    ("GET {U} HTTP/2.0\r\nHost: a\r\n\r\n", 505, "malformed_request"),
    ("GET {U} http/1.1\r\nHost: a\r\n\r\n", 505, "malformed_request"),
    ("GET {U} HTTP/1.1 \r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("G\x01T {U} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("G(T {U} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("\r\n\r\nGET {U} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "malformed_request"),
    ("GET {U}/\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("GET {U}/\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not_a_proxy_request"),
    ("GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not_a_proxy_request"),
    ("GET http:/a/x HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not_a_proxy_request"),
    ("GET {U}/#fragment HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not_a_proxy_request"),
    ("GET ftp://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not_a_proxy_request"),
    ("GET ws://a.test/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not_a_proxy_request"),
    ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400, "not_a_proxy_request"),
    // Targets.
    ("CONNECT a.test HTTP/1.1\r\n\r\n", 400, "no_target_port"),
    ("CONNECT a.test: HTTP/1.1\r\n\r\n", 400, "no_target_port"),
    ("CONNECT a.test:0 HTTP/1.1\r\n\r\n", 400, "no_target_port"),
    ("CONNECT a.test:65536 HTTP/1.1\r\n\r\n", 400, "no_target_port"),
    ("CONNECT a.test:+443 HTTP/1.1\r\n\r\n", 400, "no_target_port"),
    ("CONNECT a.test:4 43 HTTP/1.1\r\n\r\n", 505, "malformed_request"),
    ("CONNECT /x:443 HTTP/1.1\r\n\r\n", 400, "invalid_host"),
    ("CONNECT user@a.test:443 HTTP/1.1\r\n\r\n", 400, "invalid_host"),
    ("CONNECT .a.test:443 HTTP/1.1\r\n\r\n", 400, "invalid_host"),
    ("CONNECT a.test.:443 HTTP/1.1\r\n\r\n", 400, "invalid_host"),
    ("CONNECT a%2etest:443 HTTP/1.1\r\n\r\n", 400, "invalid_host"),
    ("CONNECT [::1%25lo]:443 HTTP/1.1\r\n\r\n", 400, "invalid_host"),
    ("CONNECT [a.test]:443 HTTP/1.1\r\n\r\n", 400, "invalid_host"),
    ("CONNECT ::1:443 HTTP/1.1\r\n\r\n", 400, "no_target_port"),
    ("GET http://a\\b.test/ HTTP/1.1\r\nHost: a\r\n\r\n", 400, "invalid_host"),
    // Line breaks.
    ("GET {U} HTTP/1.1\nHost: a\r\n\r\n", 400, "malformed_request"),
    ("GET {U} HTTP/1.1\r\nHost: a\n\r\n", 400, "malformed_request"),
    ("GET {U} HTTP/1.1\r\nHost: a\r\n\n", 400, "malformed_request"),
    ("GET {U} HTTP/1.1\r\nHost: a\rX: y\r\n\r\n", 400, "malformed_request"),
    ("GET {U} HTTP/1.1\r\r\nHost: a\r\n\r\n", 400, "malformed_request"),
    // Fields.
    ("{A}X : y\r\n\r\n", 400, "malformed_request"),
    ("{A} X: y\r\n\r\n", 400, "malformed_request"),
    ("{A}X: y\r\n folded\r\n\r\n", 400, "malformed_request"),
    ("{A}X: y\r\n\tfolded\r\n\r\n", 400, "malformed_request"),
    ("{A}: y\r\n\r\n", 400, "malformed_request"),
    ("{A}no colon\r\n\r\n", 400, "malformed_request"),
    ("{A}X: a\0b\r\n\r\n", 400, "malformed_request"),
    ("{A}X: a\x7fb\r\n\r\n", 400, "malformed_request"),
    ("{A}X(Y): z\r\n\r\n", 400, "malformed_request"),
    ("{A}Host: again\r\n\r\n", 400, "malformed_request"),
    ("GET {U} HTTP/1.1\r\n\r\n", 400, "malformed_request"),
    // Framing.
    ("{A}Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400, "malformed_request"),
    ("{A}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400, "malformed_request"),
    ("{A}Content-Length: 1, 1\r\n\r\nx", 400, "malformed_request"),
    ("{A}Content-Length: +1\r\n\r\nx", 400, "malformed_request"),
    ("{A}Content-Length: -1\r\n\r\nx", 400, "malformed_request"),
    ("{A}Content-Length: 0x1\r\n\r\nx", 400, "malformed_request"),
    ("{A}Content-Length: 1_0\r\n\r\nx", 400, "malformed_request"),
    ("{A}Content-Length: \r\n\r\n", 400, "malformed_request"),
    ("{A}Content-Length: 99999999999999999999\r\n\r\n", 400, "malformed_request"),
    ("{A}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    ("{A}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    ("{A}Transfer-Encoding: identity\r\n\r\n", 501, "malformed_request"),
    ("{A}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "malformed_request"),
    ("{A}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 501, "malformed_request"),
    (
        "{A}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        501,
        "malformed_request",
    ),
    ("{A}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, "malformed_request"),
    ("{A}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501, "malformed_request"),
    ("POST {U} HTTP/1.0\r\n{P}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501, "malformed_request"),
    // Chunks; the origin is never reached, since the body breaks within the window.
    ("{A}Transfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n", 400, "malformed_request"),
    ("{A}Transfer-Encoding: chunked\r\n\r\n0x1\r\nx\r\n0\r\n\r\n", 400, "malformed_request"),
    ("{A}Transfer-Encoding: chunked\r\n\r\n1\nx\r\n0\r\n\r\n", 400, "malformed_request"),
    ("{A}Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n", 400, "malformed_request"),
    ("{A}Transfer-Encoding: chunked\r\n\r\n\r\n1\r\nx\r\n0\r\n\r\n", 400, "malformed_request"),
    ("{A}Transfer-Encoding: chunked\r\n\r\n1;a=\"\n\"\r\nx\r\n0\r\n\r\n", 400, "malformed_request"),
    ("{A}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n", 400, "malformed_request"),
    ("{A}Transfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n", 400, "malformed_request"),
    // Methods that are not forwarded.
    ("TRACE {U} HTTP/1.1\r\nHost: a\r\n{P}\r\n", 405, "method_refused"),
    ("TRACK {U} HTTP/1.1\r\nHost: a\r\n{P}\r\n", 405, "method_refused"),
];

#[test]
fn each_malformed_request_has_its_answer() {
    assert!(REQUESTS.len() >= 60);
    let origin = Script::start(|_, _| panic!("the origin was reached"));
    let service = bearer(HOST, Some(origin.port));
    let rig = Rig::start(Rules { services: vec![service], ..Rules::default() });
    let url = format!("http://{HOST}:{}", origin.port);
    let good = format!("POST {url}/ HTTP/1.1\r\nHost: a\r\n{AUTH}");
    for (request, status, reason) in REQUESTS {
        let request = request.replace("{A}", &good).replace("{P}", AUTH).replace("{U}", &url);
        let mut client = rig.connect();
        client.write_all(request.as_bytes()).unwrap();
        let (head, _) = read_answer(&mut client);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}\n{head}");
        assert!(head.contains(&format!("X-Agent-Vault-Reason: {reason}\r\n")), "{request:?}\n{head}");
        // A refused method is well framed, so its connection may go on; all else ends here.
        if *reason != "method_refused" {
            assert!(head.contains("Connection: close\r\n"), "{request:?}\n{head}");
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(client.read(&mut [0]).unwrap(), 0, "{request:?}");
        }
    }
}

/// Responses that are refused before a byte of them has been passed on: 502 and this reason.
const RESPONSES: &[(&str, &str)] = &[
    ("", "upstream_closed"),
    ("HTTP/1.1", "upstream_closed"),
    ("HTTP/1.1 200 OK\r\n", "upstream_closed"),
    ("HTTP/1.1 200 OK\r\nX: y", "upstream_closed"),
    ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "upstream_malformed"),
    ("HTTP/2.0 200 OK\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.2 200 OK\r\n\r\n", "upstream_malformed"),
    ("http/1.1 200 OK\r\n\r\n", "upstream_malformed"),
    ("ICY 200 OK\r\n\r\n", "upstream_malformed"),
    (" HTTP/1.1 200 OK\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 20 OK\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 2000 OK\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 abc OK\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 099 Low\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1  200 OK\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nX : y\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\n: y\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\nx", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "upstream_malformed"),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "upstream_malformed",
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 101 Switching Protocols\r\n\r\n", "upstream_malformed"),
    ("HTTP/1.1 100 Continue\r\n\r\n", "upstream_closed"),
];

#[test]
fn each_malformed_response_is_a_bad_gateway() {
    assert!(RESPONSES.len() >= 30);
    for (response, reason) in RESPONSES {
        let origin = Script::start(move |mut stream, _| {
            read_head(&mut stream);
            stream.write_all(response.as_bytes()).unwrap();
        });
        let rig = Rig::start(Rules { services: vec![bearer(HOST, Some(origin.port))], ..Rules::default() });
        let mut client = rig.connect();
        let url = format!("http://{HOST}:{}/", origin.port);
        // HTTP/1.0 clients are sent no interim responses, so the first head is the answer.
        write!(client, "GET {url} HTTP/1.0\r\n{AUTH}\r\n").unwrap();
        let (head, body) = read_answer(&mut client);
        assert!(head.starts_with("HTTP/1.1 502 "), "{response:?}\n{head}");
        assert!(head.contains(&format!("X-Agent-Vault-Reason: {reason}\r\n")), "{response:?}\n{head}");
        assert!(body.contains("bad gateway"), "{response:?}\n{body}");
    }
}

/// Responses that break after their head: what was sent arrives, and then a cut, never a clean end.
const CUT: &[(&str, &str)] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "abc"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "3\r\nabc\r\n"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n+1\r\nx\r\n0\r\n\r\n", "3\r\nabc\r\n"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n", "3\r\nabc\r\n"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\n\r\n", "3\r\nabc\r\n"),
];

#[test]
fn a_response_that_breaks_off_is_cut_for_the_client_too() {
    for (response, delivered) in CUT {
        let origin = Script::start(move |mut stream, _| {
            read_head(&mut stream);
            stream.write_all(response.as_bytes()).unwrap();
        });
        let rig = Rig::start(Rules { services: vec![bearer(HOST, Some(origin.port))], ..Rules::default() });
        let mut client = rig.connect();
        write!(client, "GET http://{HOST}:{}/ HTTP/1.1\r\nHost: h\r\n{AUTH}\r\n", origin.port).unwrap();
        assert!(read_head(&mut client).starts_with("HTTP/1.1 200 OK\r\n"));
        let mut body = Vec::new();
        // The cut may come as an end or as a reset.
        drop(client.read_to_end(&mut body));
        assert_eq!(String::from_utf8_lossy(&body), *delivered, "{response:?}");
    }
}
