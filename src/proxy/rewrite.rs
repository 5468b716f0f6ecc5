//! The heads that go out: hop-by-hop fields out, the auth slot ours alone.
//!
//! Whatever a client sends under the name of an injected field is dropped, in any case and number, so
//! exactly one value, ours, arrives. Everything else keeps its case, order and repetition.

mod response;

use zeroize::Zeroizing;

use super::tunnel::CLIENT_ROOTS;
use crate::authority::Authority;
use crate::http1::fields::{Fields, write_field};
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, Version};
use crate::vault::attach::{Attachment, InjectedField};
use crate::vault::service::{PER_CONNECTION, Surface};
use crate::vault::substitute::{Encoding, decoded};
use crate::vault::{Prepared, Scheme};
pub(super) use response::{ResponseFraming, interim, response, switching};

/// Meant for the broker, never for the upstream (contract D.11).
const FOR_THE_BROKER: [&str; 2] = ["x-vault", CLIENT_ROOTS];

/// What stands around a name and its value: `: ` and the line's end, or `&` and `=`.
const SEPARATORS: usize = 4;
/// For what has no length of its own: the version, a port, the fields that frame the body.
const SPARE: usize = 256;

/// A request on its way out.
pub(super) struct Outbound<'o> {
    pub(super) head: &'o RequestHead,
    pub(super) target: &'o Authority,
    pub(super) scheme: Scheme,
    /// Path with query, as sent.
    pub(super) path: &'o str,
    pub(super) prepared: &'o Prepared,
    pub(super) framing: Framing,
    /// The client has been told to send its body already.
    pub(super) is_continued: bool,
    /// The request asks to become a WebSocket.
    pub(super) is_upgrade: bool,
}

impl Outbound<'_> {
    /// Writes the head for the upstream, with the fields a signature adds.
    pub(super) fn write(&self, out: &mut Vec<u8>, signature: &[InjectedField]) {
        out.extend_from_slice(self.head.method().as_bytes());
        out.push(b' ');
        out.extend_from_slice(&self.request_target());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        self.each_field(|name, value| write_field(out, name, value));
        for field in signature {
            write_field(out, &field.name, field.value.expose());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Bytes that [`Self::write`] takes, unless placeholders make way for values that are much longer.
    pub(super) fn room(&self, signature: &[InjectedField]) -> usize {
        let fields = self.prepared.fields().iter().chain(signature);
        let added: usize = fields.map(|field| field.name.len() + field.value.len() + SEPARATORS).sum();
        self.head.len() + self.target.host().len() + added + self.query_room() + SPARE
    }

    /// Bytes of a credential in the query.
    fn query_room(&self) -> usize {
        match &self.prepared.attachment {
            Attachment::Query { name, value } => name.len() + value.len() + SEPARATORS,
            Attachment::Fields(_) | Attachment::Signature(_) => 0,
        }
    }

    /// Path and query as they go out. A query may hold the credential.
    pub(super) fn request_target(&self) -> Zeroizing<Vec<u8>> {
        let Prepared { attachment, substitutions } = self.prepared;
        let (path, query) = match self.path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.path, None),
        };
        let mut target = Zeroizing::new(Vec::with_capacity(self.path.len() + self.query_room() + SPARE));
        if !path.starts_with(['/', '*']) {
            target.push(b'/');
        }
        let replaced = substitutions.apply(Surface::Path, Encoding::Path, path.as_bytes());
        target.extend_from_slice(replaced.as_deref().unwrap_or(path.as_bytes()));
        let replaced =
            query.and_then(|query| substitutions.apply(Surface::Query, Encoding::Query, query.as_bytes()));
        let query = replaced.as_deref().or(query.map(str::as_bytes));
        match attachment {
            Attachment::Query { name, value } => push_query(&mut target, query, name, value.expose()),
            Attachment::Fields(_) | Attachment::Signature(_) => {
                if let Some(query) = query {
                    target.push(b'?');
                    target.extend_from_slice(query);
                }
            }
        }
        target
    }

    /// Every field that goes out but for a signature's, in order.
    pub(super) fn each_field(&self, mut write: impl FnMut(&str, &[u8])) {
        write("Host", self.target.host_field(self.scheme.default_port()).as_bytes());
        let injected = self.prepared.fields();
        let is_injected = |name: &str| injected.iter().any(|field| is_same(&field.name, name));
        let substitutions = &self.prepared.substitutions;
        let mut replaced =
            |name: &str, value: &[u8]| match substitutions.apply(Surface::Header, Encoding::Raw, value) {
                Some(replaced) => write(name, &replaced),
                None => write(name, value),
            };
        for (name, value) in end_to_end(self.head.fields()) {
            if !is_injected(name) && !self.drops(name) {
                replaced(name, value);
            }
        }
        if self.is_upgrade && !is_injected("upgrade") && !is_injected("connection") {
            replaced("Connection", b"Upgrade");
            replaced("Upgrade", b"websocket");
        }
        for field in injected {
            replaced(&field.name, field.value.expose());
        }
        each_framing_field(self.framing, write);
    }

    fn drops(&self, name: &str) -> bool {
        // Compressed frames cannot be looked into, so compression is not negotiated.
        let is_compression = self.is_upgrade
            && self.prepared.substitutions.covers(Surface::Websocket)
            && name.eq_ignore_ascii_case("sec-websocket-extensions");
        let needs_no_answer = self.is_continued || self.head.version() == Version::Http10;
        let is_answered = needs_no_answer && name.eq_ignore_ascii_case("expect");
        let is_signature = matches!(self.prepared.attachment, Attachment::Signature(_))
            && is_one_of(name, &["authorization", "x-amz-security-token"]);
        name.eq_ignore_ascii_case("host")
            || is_one_of(name, &FOR_THE_BROKER)
            || is_compression
            || is_answered
            || is_signature
    }
}

/// Appends a query without the parameters of this name, and with ours.
fn push_query(target: &mut Vec<u8>, query: Option<&[u8]>, name: &str, value: &[u8]) {
    target.push(b'?');
    for pair in query.unwrap_or_default().split(|&b| b == b'&').filter(|pair| !pair.is_empty()) {
        let theirs = pair.split(|&b| b == b'=').next().unwrap_or_default();
        if decoded(theirs) != name.as_bytes() {
            target.extend_from_slice(pair);
            target.push(b'&');
        }
    }
    target.extend_from_slice(name.as_bytes());
    target.push(b'=');
    target.extend_from_slice(value);
}

/// The trailer fields that may pass behind a body: end-to-end ones that decide nothing about it.
pub(super) fn trailers(out: &mut Vec<u8>, section: &[u8], injected: &[InjectedField]) {
    for line in section.split(|&b| b == b'\n') {
        let Some(colon) = line.iter().position(|&b| b == b':') else { continue };
        let Ok(name) = std::str::from_utf8(&line[..colon]) else { continue };
        let is_token =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let is_kept = is_token
            && !is_one_of(name, &PER_CONNECTION)
            && !is_one_of(name, &FOR_THE_BROKER)
            && !is_one_of(name, &["host", "authorization", "cookie", "set-cookie"])
            && !injected.iter().any(|field| is_same(&field.name, name));
        if is_kept {
            write_field(out, name, line[colon + 1..].trim_ascii());
        }
    }
}

/// The fields that go on to the other side: no hop-by-hop field, none that `Connection` names.
fn end_to_end(fields: &Fields) -> impl Iterator<Item = (&str, &[u8])> {
    let named: Vec<&str> = fields.list("connection").collect();
    fields.iter().filter(move |(name, _)| {
        !is_one_of(name, &PER_CONNECTION) && !named.iter().any(|known| known.eq_ignore_ascii_case(name))
    })
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|known| is_same(known, name))
}

/// Whether two names are one field to whoever reads them. Gateway interfaces (RFC 3875 §4.1.18) turn a
/// hyphen into an underscore, so to a program behind one both spellings are the same variable.
fn is_same(known: &str, name: &str) -> bool {
    let folded = |b: u8| if b == b'_' { b'-' } else { b.to_ascii_lowercase() };
    known.len() == name.len() && known.bytes().map(folded).eq(name.bytes().map(folded))
}

fn each_framing_field(framing: Framing, mut write: impl FnMut(&str, &[u8])) {
    match framing {
        Framing::Length(length) => write("Content-Length", length.to_string().as_bytes()),
        Framing::Chunked => write("Transfer-Encoding", b"chunked"),
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
        let outbound = Outbound {
            head: &head,
            target: &target,
            scheme: Scheme::Https,
            path: "/x",
            prepared: &Prepared { attachment: Attachment::Fields(injected), ..Prepared::default() },
            framing: Framing::of_request(&head).unwrap(),
            is_continued: false,
            is_upgrade: false,
        };
        let mut out = Vec::new();
        outbound.write(&mut out, &[]);
        assert!(out.len() <= outbound.room(&[]), "{} bytes", out.len());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_long_credential_has_room_from_the_start() {
        let long = "s".repeat(10_000);
        assert!(rewritten("Accept: a\r\n", &[("Authorization", &long), ("X-Key", &long)]).len() > 20_000);
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
    fn a_query_parameter_of_ours_stands_alone() {
        for (query, expected) in [
            (None, "/x?key=v"),
            (Some("a=1&key=theirs&b"), "/x?a=1&b&key=v"),
            (Some("k%65y=theirs&key&keys=2&"), "/x?keys=2&key=v"),
        ] {
            let mut target = b"/x".to_vec();
            push_query(&mut target, query.map(str::as_bytes), "key", b"v");
            assert_eq!(String::from_utf8(target).unwrap(), expected);
        }
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
