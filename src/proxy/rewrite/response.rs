//! The heads of responses on their way to the client: final, interim, and of a WebSocket's opening.

use super::{each_framing_field, end_to_end, is_one_of};
use crate::http1::fields::write_field;
use crate::http1::framing::Framing;
use crate::http1::head::{ResponseHead, Version};
use crate::http1::respond::After;

/// Writes the head of a 101 for the client: only the handshake's own answer fields pass (contract D.10).
pub(in crate::proxy) fn switching(out: &mut Vec<u8>, head: &ResponseHead) {
    const ANSWERS: [&str; 3] = ["sec-websocket-accept", "sec-websocket-protocol", "sec-websocket-extensions"];
    write_status(out, head);
    for (name, value) in end_to_end(head.fields()) {
        let is_handshake = name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("sec-"));
        if !name.eq_ignore_ascii_case("set-cookie") && (!is_handshake || is_one_of(name, &ANSWERS)) {
            write_field(out, name, value);
        }
    }
    write_field(out, "Connection", b"Upgrade");
    write_field(out, "Upgrade", b"websocket");
    out.extend_from_slice(b"\r\n");
}

/// Writes a response's head for the client. `Set-Cookie` stays here: a session of the upstream's is a
/// credential too (contract D.7).
pub(in crate::proxy) fn response(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    framing: ResponseFraming,
    client: Version,
    after: After,
) {
    write_status(out, head);
    for (name, value) in end_to_end(head.fields()) {
        if !name.eq_ignore_ascii_case("set-cookie") {
            write_field(out, name, value);
        }
    }
    match framing {
        ResponseFraming::Body(framing) => {
            each_framing_field(framing, |name, value| write_field(out, name, value));
        }
        // The length a response to HEAD, or a 304, speaks of belongs to a body that is not sent.
        ResponseFraming::AsDeclared => {
            if let Ok(framing @ Framing::Length(_)) = Framing::announced(head) {
                each_framing_field(framing, |name, value| write_field(out, name, value));
            }
        }
    }
    match (after, client) {
        (After::Close, _) => write_field(out, "Connection", b"close"),
        (After::KeepAlive, Version::Http10) => write_field(out, "Connection", b"keep-alive"),
        (After::KeepAlive, Version::Http11) => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Which framing a response's head announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum ResponseFraming {
    Body(Framing),
    AsDeclared,
}

/// Writes an interim (1xx) response for the client.
pub(in crate::proxy) fn interim(out: &mut Vec<u8>, head: &ResponseHead) {
    write_status(out, head);
    for (name, value) in end_to_end(head.fields()) {
        write_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_status(out: &mut Vec<u8>, head: &ResponseHead) {
    for part in ["HTTP/1.1 ", &head.status().to_string(), " ", head.reason(), "\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_lose_cookies_and_what_their_connection_names() {
        let mut head = ResponseHead::default();
        let text = "HTTP/1.1 200 Fine\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\
                    ETag: e\r\nContent-Length: 3\r\n\r\n";
        head.parse(text.as_bytes(), &mut 0).unwrap().unwrap();
        let mut out = Vec::new();
        let framing = ResponseFraming::Body(Framing::Length(3));
        response(&mut out, &head, framing, Version::Http11, After::Close);
        let expected = "HTTP/1.1 200 Fine\r\nETag: e\r\nContent-Length: 3\r\nConnection: close\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
