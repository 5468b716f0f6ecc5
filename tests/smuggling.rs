//! Hostile peers against the proxy's framing: no byte of one message may be read as another's.
//!
//! Each test is a way in which a proxy has been, or could be, talked into reading a message differently
//! from its neighbours: RFC 9112 §11.2, and what a review of our own framing against it came up with.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;

use agent_vault::vault::service::{Auth, Service};
use support::rig::{AUTH, Rig, Rules, Script, bearer, expect, read_answer, read_head};

const HOST: &str = "api.example.test";

fn rig_for(service: Service) -> Rig {
    Rig::start(Rules { services: vec![service], ..Rules::default() })
}

/// A rig with a bearer service for what listens on `port`.
fn rig_to(port: u16) -> Rig {
    rig_for(bearer(HOST, Some(port)))
}

/// An origin that answers each request with `reply` and checks nothing.
fn replying(reply: &'static str) -> Script {
    Script::start(move |mut stream, _| {
        while !read_head(&mut stream).is_empty() {
            stream.write_all(reply.as_bytes()).unwrap();
        }
    })
}

/// An origin that nothing may reach.
fn unreached() -> Script {
    Script::start(|_, _| panic!("the origin was reached"))
}

/// Asserts that the peer says no more and closes.
fn expect_end(client: &mut TcpStream) {
    let mut rest = Vec::new();
    client.shutdown(Shutdown::Write).unwrap();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[test]
fn an_old_client_is_told_where_a_chunked_response_ends() {
    let origin = replying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n");
    let rig = rig_to(origin.port);
    let mut client = rig.connect();
    // Without chunks, only the end of the connection can say where this body ends.
    write!(client, "GET http://{HOST}:{}/ HTTP/1.0\r\n{AUTH}Connection: keep-alive\r\n\r\n", origin.port)
        .unwrap();
    expect(&mut client, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody");
    expect_end(&mut client);
}

#[test]
fn an_old_client_is_not_sent_interim_responses() {
    let origin = Script::start(|mut stream, _| {
        let head = read_head(&mut stream);
        assert!(!head.to_ascii_lowercase().contains("expect"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("upgrade"), "{head}");
        stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
    });
    let rig = rig_for(Service {
        // A body that is looked into is asked for by the proxy itself.
        substitutions: vec![agent_vault::vault::service::Substitution {
            key: "TOKEN".to_owned(),
            placeholder: "__token__".to_owned(),
            surfaces: vec![agent_vault::vault::service::Surface::Body],
        }],
        ..bearer(HOST, Some(origin.port))
    });
    let mut client = rig.connect();
    write!(
        client,
        "POST http://{HOST}:{}/ HTTP/1.0\r\n{AUTH}Expect: 100-continue\r\nContent-Length: 4\r\n\r\n",
        origin.port
    )
    .unwrap();
    client.write_all(b"body").unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200 OK\r\n"));
    let mut client = rig.connect();
    write!(
        client,
        "GET http://{HOST}:{}/ HTTP/1.0\r\n{AUTH}Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        origin.port
    )
    .unwrap();
    assert!(read_head(&mut client).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_resigned_upload_is_never_longer_than_its_head_says() {
    let signature = "0".repeat(64);
    let long = |size: &str, bytes: &str| format!("{size};chunk-signature={signature}\r\n{bytes}");
    // A short signature would be replaced by a long one: what is too much would be the next request.
    for body in [
        "2;chunk-signature=0\r\nab\r\n0;chunk-signature=0\r\n\r\n".to_owned(),
        format!("2;chunk-signature={signature};x=y\r\nab\r\n{}\r\n", long("0", "")),
        format!("{}{}x-amz-trailer-signature:0\r\n\r\n", long("2", "ab\r\n"), long("0", "")),
        format!("{}{}\r\nGET /smuggled HTTP/1.1\r\n\r\n", long("2", "ab\r\n"), long("0", "")),
    ] {
        let (tell, told) = mpsc::channel();
        let origin = Script::start(move |mut stream, _| {
            let head = read_head(&mut stream);
            let mut rest = Vec::new();
            // Ends when the proxy gives the connection up.
            stream.read_to_end(&mut rest).unwrap();
            tell.send((head, rest)).unwrap();
        });
        let rig = rig_for(Service {
            auth: Auth::AwsSigv4 {
                access_key: "TOKEN".to_owned(),
                secret_key: "TOKEN".to_owned(),
                session_token: None,
            },
            ..bearer(HOST, Some(origin.port))
        });
        let mut client = rig.connect();
        write!(
            client,
            "PUT http://{HOST}:{}/key HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}\
             Authorization: AWS4-HMAC-SHA256 Credential=x/20130524/us-east-1/s3/aws4_request, \
             SignedHeaders=host, Signature=0\r\nX-Amz-Date: 20130524T000000Z\r\n\
             X-Amz-Content-Sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER\r\n\
             Content-Length: {}\r\n\r\n{body}",
            origin.port,
            body.len()
        )
        .unwrap();
        let (answer, _) = read_answer(&mut client);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{body:?}\n{answer}");
        let (head, rest) = told.recv().unwrap();
        // Nothing at all, or less than what was announced.
        let announced = format!("Content-Length: {}\r\n", body.len());
        assert!(head.is_empty() || head.contains(&announced), "{head}");
        assert!(rest.len() < body.len(), "{body:?}");
    }
}

#[test]
fn chunks_are_read_in_one_way() {
    for body in [
        "1 1\r\nx\r\n0\r\n\r\n",
        "1\t;a\r\nx\r\n0 0\r\n\r\n",
        "1\r\nx\r\n0\r\nX: a\0b\r\n\r\n",
        "1\r\nx\r\n0\r\nX: a\x01b\r\n\r\n",
        "1\r\nx\r\n0\r\nX: a\r\n folded\r\n\r\n",
        "1\r\nx\r\n0\r\nX : a\r\n\r\n",
        "1\r\nx\r\n0\r\nno colon\r\n\r\n",
        "1\r\nx\r\n0\r\n: a\r\n\r\n",
    ] {
        let origin = unreached();
        let rig = rig_to(origin.port);
        let mut client = rig.connect();
        write!(
            client,
            "POST http://{HOST}:{}/ HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}Transfer-Encoding: chunked\r\n\r\n{body}",
            origin.port
        )
        .unwrap();
        let (head, _) = read_answer(&mut client);
        assert!(
            head.starts_with("HTTP/1.1 400 ") && head.contains("Connection: close\r\n"),
            "{body:?}\n{head}"
        );
        expect_end(&mut client);
    }
}

#[test]
fn a_connect_with_a_body_is_refused() {
    // Whoever reads the body as a body sees the tunnel begin behind it.
    let rig = rig_to(1);
    for (fields, body) in [
        ("Content-Length: 4\r\n", "GET "),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Content-Length: x\r\n", ""),
    ] {
        let mut client = rig.connect();
        write!(client, "CONNECT {HOST}:443 HTTP/1.1\r\n{AUTH}{fields}\r\n{body}").unwrap();
        let (head, _) = read_answer(&mut client);
        assert!(
            head.starts_with("HTTP/1.1 400 ") && head.contains("Connection: close\r\n"),
            "{fields}\n{head}"
        );
        expect_end(&mut client);
    }
    let mut client = rig.connect();
    write!(client, "CONNECT {HOST}:443 HTTP/1.1\r\n{AUTH}Content-Length: 0\r\n\r\n").unwrap();
    expect(&mut client, "HTTP/1.1 200 Connection Established\r\n\r\n");
}

#[test]
fn a_refused_request_takes_its_body_with_it() {
    let origin = unreached();
    let rig = rig_to(origin.port);
    let url = format!("http://{HOST}:{}/", origin.port);
    let inner = format!("GET {url} HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}\r\n");
    for outer in [
        format!("POST {url} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {}\r\n\r\n", inner.len()),
        format!("TRACE {url} HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}Content-Length: {}\r\n\r\n", inner.len()),
        format!(
            "POST {url} HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            u64::MAX
        ),
        format!("CONNECT {HOST}:443 HTTP/1.1\r\nContent-Length: {}\r\n\r\n", inner.len()),
    ] {
        let mut client = rig.connect();
        client.write_all(format!("{outer}{inner}").as_bytes()).unwrap();
        let (head, _) = read_answer(&mut client);
        assert!(head.starts_with("HTTP/1.1 4") && head.contains("Connection: close\r\n"), "{outer}\n{head}");
        expect_end(&mut client);
    }
}

#[test]
fn interim_responses_are_bounded() {
    let origin = Script::start(|mut stream, _| {
        read_head(&mut stream);
        let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(100);
        // Ends when the proxy has had enough.
        while stream.write_all(&interim).is_ok() {}
    });
    let rig = rig_to(origin.port);
    let mut client = rig.connect();
    write!(client, "GET http://{HOST}:{}/ HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}\r\n", origin.port).unwrap();
    let mut seen = 0;
    let last = loop {
        let head = read_head(&mut client);
        if !head.starts_with("HTTP/1.1 103 ") {
            break head;
        }
        seen += 1;
        assert!(seen <= 1000, "interim responses go on and on");
    };
    assert!(last.starts_with("HTTP/1.1 502 ") && last.contains("upstream_malformed"), "{last}");
}

#[test]
fn a_request_is_not_sent_again_once_something_has_come_back() {
    let origin = Script::start(|mut stream, number| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        if number > 0 {
            return;
        }
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
    });
    let rig = rig_to(origin.port);
    let mut client = rig.connect();
    let request = format!("GET http://{HOST}:{}/ HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}\r\n", origin.port);
    client.write_all(request.as_bytes()).unwrap();
    assert!(read_answer(&mut client).0.starts_with("HTTP/1.1 200 OK\r\n"));
    client.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_head(&mut client), "HTTP/1.1 103 Early Hints\r\n\r\n");
    let (head, _) = read_answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("upstream_closed"), "{head}");
}

#[test]
fn a_length_that_no_body_follows_is_still_a_length() {
    for (method, reply, passed) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "Content-Length: 5\r\n"),
        (
            "HEAD",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "Content-Length: 5\r\n",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", ""),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", ""),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: +5\r\n\r\n", ""),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
    ] {
        let origin = replying(reply);
        let rig = rig_to(origin.port);
        let mut client = rig.connect();
        for _ in 0..2 {
            write!(client, "{method} http://{HOST}:{}/ HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}\r\n", origin.port)
                .unwrap();
            let status = reply.lines().next().unwrap();
            expect(&mut client, &format!("{status}\r\n{passed}\r\n"));
        }
    }
}

#[test]
fn bytes_behind_a_response_without_a_body_answer_nothing() {
    // The second head is not asked for: it must not become the answer to the next request.
    let origin = replying(
        "HTTP/1.1 204 No Content\r\nContent-Length: 40\r\n\r\nHTTP/1.1 200 Smuggled\r\nContent-Length: 0\r\n\r\n",
    );
    let rig = rig_to(origin.port);
    let mut client = rig.connect();
    for _ in 0..3 {
        write!(client, "GET http://{HOST}:{}/ HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}\r\n", origin.port).unwrap();
        expect(&mut client, "HTTP/1.1 204 No Content\r\n\r\n");
    }
}

#[test]
fn no_spelling_of_an_owned_field_reaches_the_upstream() {
    let (tell, told) = mpsc::channel();
    let origin = Script::start(move |mut stream, _| {
        tell.send(read_head(&mut stream)).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let rig = rig_for(Service {
        auth: Auth::ApiKey { key: "TOKEN".to_owned(), header: Some("X-Api-Key".to_owned()), prefix: None },
        ..bearer(HOST, Some(origin.port))
    });
    let mut client = rig.connect();
    // Gateway interfaces turn both - and _ into _, so these are one field to the program behind them.
    write!(
        client,
        "GET http://{HOST}:{}/ HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}x_api_key: theirs\r\nX-API_Key: theirs\r\n\
         Content_Length: 9\r\nTransfer_Encoding: chunked\r\nProxy_Authorization: theirs\r\nX_Vault: theirs\r\n\
         Connection: host, content-length, transfer-encoding, x-api-key\r\nX_Other: kept\r\n\r\n",
        origin.port
    )
    .unwrap();
    read_answer(&mut client);
    let port = origin.port;
    assert_eq!(
        told.recv().unwrap(),
        format!("GET / HTTP/1.1\r\nHost: {HOST}:{port}\r\nX_Other: kept\r\nX-Api-Key: s3cret-value\r\n\r\n")
    );
}

#[test]
fn an_absolute_form_inside_a_tunnel_does_not_move_it() {
    let (tell, told) = mpsc::channel();
    let origin = Script::start(move |mut stream, _| {
        for _ in 0..2 {
            tell.send(read_head(&mut stream)).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    let rig = rig_to(origin.port);
    let mut client = rig.connect();
    let port = origin.port;
    write!(client, "CONNECT {HOST}:{port} HTTP/1.1\r\n{AUTH}\r\n").unwrap();
    expect(&mut client, "HTTP/1.1 200 Connection Established\r\n\r\n");
    for target in ["http://evil.example/x?y", "https://u:p@evil.example:1/x?y"] {
        write!(client, "GET {target} HTTP/1.1\r\nHost: evil.example\r\nConnection: host\r\n\r\n").unwrap();
        read_answer(&mut client);
        assert_eq!(
            told.recv().unwrap(),
            format!("GET /x?y HTTP/1.1\r\nHost: {HOST}:{port}\r\nAuthorization: Bearer s3cret-value\r\n\r\n")
        );
    }
}

#[test]
fn an_answer_that_ends_the_upload_arrives_though_the_origin_resets() {
    let origin = Script::start(|mut stream, _| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno").unwrap();
        // Closed with bytes unread, so the proxy's next write fails.
    });
    let rig = rig_to(origin.port);
    let piece = vec![b'a'; 64 * 1024];
    for _ in 0..8 {
        let mut client = rig.connect();
        write!(
            client,
            "POST http://{HOST}:{}/ HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}Content-Length: {}\r\n\r\n",
            origin.port,
            100 * piece.len()
        )
        .unwrap();
        // The proxy stops reading when it has answered; then a write may fail, and the answer is there.
        for _ in 0..10 {
            if client.write_all(&piece).is_err() {
                break;
            }
        }
        let (head, body) = read_answer(&mut client);
        assert_eq!(
            (head.as_str(), body.as_str()),
            ("HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\n", "no")
        );
    }
}

#[test]
fn a_request_to_upgrade_with_a_body_is_no_upgrade() {
    let (tell, told) = mpsc::channel();
    let origin = Script::start(move |mut stream, _| {
        let head = read_head(&mut stream);
        let mut body = [0; 4];
        stream.read_exact(&mut body).unwrap();
        tell.send((head, body)).unwrap();
        // Not asked for any more, so it is not an answer.
        stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n").unwrap();
    });
    let rig = rig_to(origin.port);
    let mut client = rig.connect();
    write!(
        client,
        "POST http://{HOST}:{}/ HTTP/1.1\r\nHost: {HOST}\r\n{AUTH}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Content-Length: 4\r\n\r\nbody",
        origin.port
    )
    .unwrap();
    let (head, body) = told.recv().unwrap();
    assert!(!head.to_ascii_lowercase().contains("upgrade"), "{head}");
    assert_eq!(&body, b"body");
    let (head, _) = read_answer(&mut client);
    assert!(head.starts_with("HTTP/1.1 502 ") && head.contains("upstream_malformed"), "{head}");
}
