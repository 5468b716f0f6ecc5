//! Request and response heads: found, parsed, read.
//!
//! A head keeps the bytes it was parsed from and points into them, so that names keep their case and
//! order and a connection reuses one allocation for all its heads. Heads are never edited: an outgoing
//! head is written field by field from an incoming one.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::fields::Fields;
use super::{Error, MAX_FIELDS, MAX_HEAD_BYTES};

/// HTTP's minor version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    Http10,
    #[default]
    Http11,
}

/// A request's head.
#[derive(Debug, Default)]
pub struct RequestHead {
    method: Range<usize>,
    target: Range<usize>,
    version: Version,
    fields: Fields,
}

/// A response's head.
#[derive(Debug, Default)]
pub struct ResponseHead {
    status: u16,
    reason: Range<usize>,
    version: Version,
    fields: Fields,
}

impl RequestHead {
    /// Parses one head from the front of `input` into `self`; how many bytes it took, or `None` when the
    /// head is not complete. `scanned` remembers what was looked at, so that a head arriving byte by byte
    /// is not searched from its start each time.
    pub fn parse(&mut self, input: &[u8], scanned: &mut usize) -> Result<Option<usize>, Error> {
        let Some(end) = find_end(input, scanned)? else { return Ok(None) };
        self.fields.take(&input[..end]);
        let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(&self.fields.bytes, &mut lines) {
            Ok(httparse::Status::Complete(taken)) if taken == end => {}
            Ok(_) => return Err(Error::BadStartLine),
            Err(error) => return Err(from_httparse(error)),
        }
        let (Some(method), Some(target)) = (request.method, request.path) else {
            return Err(Error::BadStartLine);
        };
        if !target.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::BadStartLine);
        }
        let base = self.fields.bytes.as_ptr().addr();
        self.method = span(base, method.as_bytes());
        self.target = span(base, target.as_bytes());
        self.version = version(request.version);
        self.fields
            .lines
            .extend(request.headers.iter().map(|h| (span(base, h.name.as_bytes()), span(base, h.value))));
        Ok(Some(end))
    }

    pub fn method(&self) -> &str {
        self.fields.text(&self.method)
    }

    /// The request target as sent.
    pub fn target(&self) -> &str {
        self.fields.text(&self.target)
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Bytes it took on the wire.
    #[expect(clippy::len_without_is_empty, reason = "a head is never empty")]
    pub fn len(&self) -> usize {
        self.fields.bytes.len()
    }

    /// Refuses HTTP/1.1 without exactly one `Host` (RFC 9112 §3.2); CONNECT is exempt (contract B.2).
    pub fn check_host(&self) -> Result<(), Error> {
        let hosts = self.fields.all("host").count();
        let required = usize::from(self.version == Version::Http11 && self.method() != "CONNECT");
        if hosts > 1 || hosts < required { Err(Error::Host) } else { Ok(()) }
    }

    /// Whether the client keeps the connection open after this exchange (RFC 9112 §9.3). A proxy's
    /// client may say so in either of two fields.
    pub fn wants_keep_alive(&self) -> bool {
        self.fields.keeps_alive(self.version)
    }
}

impl ResponseHead {
    /// As [`RequestHead::parse`], for a response.
    pub fn parse(&mut self, input: &[u8], scanned: &mut usize) -> Result<Option<usize>, Error> {
        let Some(end) = find_end(input, scanned)? else { return Ok(None) };
        self.fields.take(&input[..end]);
        let mut lines = [const { MaybeUninit::uninit() }; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut []);
        let config = httparse::ParserConfig::default();
        match config.parse_response_with_uninit_headers(&mut response, &self.fields.bytes, &mut lines) {
            Ok(httparse::Status::Complete(taken)) if taken == end => {}
            Ok(_) => return Err(Error::BadStartLine),
            Err(error) => return Err(from_httparse(error)),
        }
        let base = self.fields.bytes.as_ptr().addr();
        self.status = response.code.ok_or(Error::BadStartLine)?;
        self.reason = span(base, response.reason.unwrap_or_default().as_bytes());
        self.version = version(response.version);
        self.fields
            .lines
            .extend(response.headers.iter().map(|h| (span(base, h.name.as_bytes()), span(base, h.value))));
        if self.status < 100 { Err(Error::BadStartLine) } else { Ok(Some(end)) }
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    pub fn reason(&self) -> &str {
        self.fields.text(&self.reason)
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Whether the upstream keeps the connection open after this response.
    pub fn wants_keep_alive(&self) -> bool {
        self.fields.keeps_alive(self.version)
    }
}

/// Finds the empty line behind a head. Every line break on the way must be CRLF.
fn find_end(input: &[u8], scanned: &mut usize) -> Result<Option<usize>, Error> {
    // One empty line in front of a request is tolerated (RFC 9112 §2.2).
    let skip = if input.starts_with(b"\r\n") { 2 } else { 0 };
    let mut at = (*scanned).max(skip);
    // The bound holds however much arrives at once.
    let known = input.len().min(MAX_HEAD_BYTES);
    let is_break = |b: &u8| matches!(b, b'\r' | b'\n');
    *scanned = loop {
        let rest = input.get(at..known).unwrap_or_default();
        let Some(step) = rest.iter().position(is_break) else { break known };
        at += step;
        match input[at] {
            b'\n' if at == 0 || input[at - 1] != b'\r' => return Err(Error::BareLineBreak),
            b'\n' if at >= skip + 3 && input[at - 2] == b'\n' => return Ok(Some(at + 1)),
            b'\n' if at < skip + 2 => return Err(Error::BadStartLine),
            b'\r' if input.get(at + 1).is_some_and(|&next| next != b'\n') => {
                return Err(Error::BareLineBreak);
            }
            // Whether it is a CRLF is seen when the next byte is there.
            b'\r' if at + 1 == input.len() => break at,
            _ => at += 1,
        }
    };
    if input.len() > MAX_HEAD_BYTES { Err(Error::HeadTooLarge) } else { Ok(None) }
}

/// Where `part` lies in the bytes that start at address `base`.
fn span(base: usize, part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr().wrapping_sub(base);
    if part.is_empty() { 0..0 } else { start..start + part.len() }
}

fn version(minor: Option<u8>) -> Version {
    if minor == Some(0) { Version::Http10 } else { Version::Http11 }
}

fn from_httparse(error: httparse::Error) -> Error {
    match error {
        httparse::Error::HeaderName | httparse::Error::HeaderValue => Error::BadField,
        httparse::Error::NewLine => Error::BareLineBreak,
        httparse::Error::TooManyHeaders => Error::TooManyFields,
        httparse::Error::Version => Error::Version,
        httparse::Error::Status | httparse::Error::Token => Error::BadStartLine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(input: &[u8]) -> Result<Option<(RequestHead, usize)>, Error> {
        let mut head = RequestHead::default();
        Ok(head.parse(input, &mut 0)?.map(|taken| (head, taken)))
    }

    #[test]
    fn keeps_case_order_and_repetition() {
        let input = b"GET /x?y=1 HTTP/1.1\r\nHost: a\r\nAccept: one\r\naccept:two \r\nX-Empty:\r\n\r\nrest";
        let (head, taken) = parse(input).unwrap().unwrap();
        assert_eq!(&input[taken..], b"rest");
        assert_eq!((head.method(), head.target(), head.version()), ("GET", "/x?y=1", Version::Http11));
        let fields: Vec<(&str, &[u8])> = head.fields().iter().collect();
        let expected: [(&str, &[u8]); 4] =
            [("Host", b"a"), ("Accept", b"one"), ("accept", b"two"), ("X-Empty", b"")];
        assert_eq!(fields, expected);
        assert_eq!(head.fields().all("ACCEPT").count(), 2);
    }

    #[test]
    fn a_head_in_pieces_parses_as_the_whole_does() {
        let input = b"\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        for cut in 0..input.len() {
            let mut head = RequestHead::default();
            let mut scanned = 0;
            let first = head.parse(&input[..cut], &mut scanned).unwrap();
            let taken = match first {
                Some(taken) => taken,
                None => head.parse(input, &mut scanned).unwrap().unwrap(),
            };
            assert_eq!(&input[taken..], b"abc", "cut at {cut}");
            assert_eq!(head.method(), "POST");
        }
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        let cases: [(&[u8], Error); 13] = [
            (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Error::BareLineBreak),
            (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Error::BareLineBreak),
            (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", Error::BareLineBreak),
            (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Error::BadField),
            (b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n", Error::BadField),
            (b"GET / HTTP/1.1\r\n: b\r\n\r\n", Error::BadField),
            (b"GET / HTTP/1.1\r\nA: b\0c\r\n\r\n", Error::BadField),
            (b"GET / HTTP/2.0\r\n\r\n", Error::Version),
            (b"GET /a b HTTP/1.1\r\n\r\n", Error::Version),
            (b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n", Error::BadStartLine),
            (b"G(T / HTTP/1.1\r\n\r\n", Error::BadStartLine),
            (b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", Error::BadStartLine),
            (b"GET /\r\n\r\n", Error::BadStartLine),
        ];
        for (input, error) in cases {
            assert_eq!(parse(input).map(|_| ()), Err(error), "{}", String::from_utf8_lossy(input));
        }
    }

    #[test]
    fn limits_hold() {
        let long = [b"GET / HTTP/1.1\r\nA: ".as_slice(), &vec![b'a'; MAX_HEAD_BYTES]].concat();
        assert_eq!(parse(&long).map(|_| ()), Err(Error::HeadTooLarge));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_FIELDS + 1));
        assert_eq!(parse(many.as_bytes()).map(|_| ()), Err(Error::TooManyFields));
    }

    #[test]
    fn exactly_one_host_but_for_connect() {
        for (head, good) in [
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
            ("GET / HTTP/1.1\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", false),
            ("CONNECT a:1 HTTP/1.1\r\n\r\n", true),
        ] {
            assert_eq!(parse(head.as_bytes()).unwrap().unwrap().0.check_host().is_ok(), good, "{head}");
        }
    }

    #[test]
    fn keep_alive_follows_version_and_field() {
        for (head, keeps) in [
            ("GET / HTTP/1.1\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n", false),
            ("GET / HTTP/1.0\r\n\r\n", false),
            ("GET / HTTP/1.0\r\nProxy-Connection: keep-alive\r\n\r\n", true),
        ] {
            assert_eq!(parse(head.as_bytes()).unwrap().unwrap().0.wants_keep_alive(), keeps, "{head}");
        }
    }

    #[test]
    fn a_status_line_may_lack_its_reason() {
        let mut head = ResponseHead::default();
        assert_eq!(head.parse(b"HTTP/1.1 204\r\n\r\n", &mut 0), Ok(Some(16)));
        assert_eq!((head.status(), head.reason()), (204, ""));
        assert_eq!(
            head.parse(b"HTTP/1.0 200 Very OK\r\nA: b\r\n\r\n", &mut 0).map(|n| n.is_some()),
            Ok(true)
        );
        assert_eq!((head.status(), head.reason(), head.version()), (200, "Very OK", Version::Http10));
    }
}
