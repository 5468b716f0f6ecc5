//! The heads that go out: hop-by-hop fields out, the auth slot ours alone.
//!
//! Whatever a client sends under the name of an injected field is dropped, in any case and number, so
//! exactly one value, ours, arrives. Everything else keeps its case, order and repetition.

use crate::authority::Authority;
use crate::http1::framing::Framing;
use crate::http1::head::{Fields, RequestHead, ResponseHead, Version, write_field};
use crate::http1::respond::After;
use crate::vault::Scheme;
use crate::vault::attach::InjectedField;

/// Fields that concern one connection only (RFC 9110 §7.6.1), and those that a proxy's framing replaces.
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "content-length",
];

/// Meant for the broker, never for the upstream (contract D.11).
const FOR_THE_BROKER: [&str; 1] = ["x-vault"];

/// Writes a request's head for the upstream.
pub(super) fn request(
    out: &mut Vec<u8>,
    head: &RequestHead,
    target: &Authority,
    scheme: Scheme,
    path: &str,
    injected: &[InjectedField],
    framing: Framing,
) {
    out.extend_from_slice(head.method().as_bytes());
    out.push(b' ');
    if !path.starts_with(['/', '*']) {
        out.push(b'/');
    }
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(out, "Host", target.host_field(scheme.default_port()).as_bytes());
    for (name, value) in end_to_end(head.fields()) {
        let is_ours = injected.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        let is_dropped = name.eq_ignore_ascii_case("host") || is_one_of(name, &FOR_THE_BROKER);
        if !is_ours && !is_dropped {
            write_field(out, name, value);
        }
    }
    for field in injected {
        write_field(out, &field.name, field.value.expose());
    }
    write_framing(out, framing);
    out.extend_from_slice(b"\r\n");
}

/// Writes a response's head for the client. `Set-Cookie` stays here: a session of the upstream's is a
/// credential too (contract D.7).
pub(super) fn response(
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
        ResponseFraming::Body(framing) => write_framing(out, framing),
        // The length a response to HEAD, or a 304, speaks of belongs to a body that is not sent.
        ResponseFraming::AsDeclared => {
            for value in head.fields().all("content-length").take(1) {
                write_field(out, "Content-Length", value);
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
pub(super) enum ResponseFraming {
    Body(Framing),
    AsDeclared,
}

/// Writes an interim (1xx) response for the client.
pub(super) fn interim(out: &mut Vec<u8>, head: &ResponseHead) {
    write_status(out, head);
    for (name, value) in end_to_end(head.fields()) {
        write_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// The trailer fields that may pass behind a body: end-to-end ones that decide nothing about it.
pub(super) fn trailers(out: &mut Vec<u8>, section: &[u8], injected: &[InjectedField]) {
    for line in section.split(|&b| b == b'\n') {
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let Ok(name) = std::str::from_utf8(&line[..colon]) else { continue };
        let is_token =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let is_kept = is_token
            && !is_one_of(name, &HOP_BY_HOP)
            && !is_one_of(name, &FOR_THE_BROKER)
            && !is_one_of(name, &["host", "authorization", "cookie", "set-cookie"])
            && !injected.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        if is_kept {
            write_field(out, name, line[colon + 1..].trim_ascii());
        }
    }
}

/// The fields that go on to the other side: no hop-by-hop field, none that `Connection` names.
fn end_to_end(fields: &Fields) -> impl Iterator<Item = (&str, &[u8])> {
    let named: Vec<&str> = fields.list("connection").collect();
    fields.iter().filter(move |(name, _)| {
        !is_one_of(name, &HOP_BY_HOP) && !named.iter().any(|known| known.eq_ignore_ascii_case(name))
    })
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn write_status(out: &mut Vec<u8>, head: &ResponseHead) {
    out.extend_from_slice(format!("HTTP/1.1 {} {}\r\n", head.status(), head.reason()).as_bytes());
}

fn write_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::Length(length) => write_field(out, "Content-Length", length.to_string().as_bytes()),
        Framing::Chunked => write_field(out, "Transfer-Encoding", b"chunked"),
        Framing::Empty | Framing::UntilClose => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn rewritten(fields: &str, injected: &[(&str, &str)]) -> String {
        let mut head = RequestHead::default();
        let text = format!("GET /x HTTP/1.1\r\nHost: evil.example\r\n{fields}\r\n");
        head.parse(text.as_bytes(), &mut 0).unwrap().unwrap();
        let injected: Vec<InjectedField> = injected
            .iter()
            .map(|(name, value)| InjectedField { name: (*name).to_owned(), value: Secret::from(*value) })
            .collect();
        let target = Authority::parse("api.test:443").unwrap();
        let mut out = Vec::new();
        request(
            &mut out,
            &head,
            &target,
            Scheme::Https,
            "/x",
            &injected,
            Framing::of_request(&head).unwrap(),
        );
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn exactly_one_value_arrives_in_the_auth_slot() {
        for name in ["Authorization", "authorization"] {
            let out = rewritten(
                "Authorization: Bearer attacker\r\nAUTHORIZATION: again\r\nConnection: authorization\r\n",
                &[(name, "Bearer ours")],
            );
            assert_eq!(out, format!("GET /x HTTP/1.1\r\nHost: api.test\r\n{name}: Bearer ours\r\n\r\n"));
        }
    }

    #[test]
    fn vendor_fields_pass_and_hop_by_hop_fields_do_not() {
        let out = rewritten(
            "anthropic-version: 1\r\nAccept: a\r\nAccept: b\r\nConnection: X-Custom, close\r\nX-Custom: s\r\n\
             TE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTrailer: y\r\nUpgrade: h2c\r\nX-Vault: v\r\n\
             Proxy-Authorization: Basic x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n",
            &[],
        );
        let kept =
            "anthropic-version: 1\r\nAccept: a\r\nAccept: b\r\nExpect: 100-continue\r\nContent-Length: 0\r\n";
        assert_eq!(out, format!("GET /x HTTP/1.1\r\nHost: api.test\r\n{kept}\r\n"));
    }

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

    #[test]
    fn trailers_cannot_smuggle_a_field_that_matters() {
        let mut out = Vec::new();
        let injected = [InjectedField { name: "X-Api-Key".to_owned(), value: Secret::from("k") }];
        let section =
            b"X-Sum: 1\r\nContent-Length: 5\r\nx-api-key: theirs\r\nAuthorization: a\r\nbad name: x\r\n\r\n";
        trailers(&mut out, section, &injected);
        assert_eq!(out, b"X-Sum: 1\r\n");
    }
}
