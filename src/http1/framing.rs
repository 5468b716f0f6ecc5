//! How long is this body? The only code that decides (RFC 9112 §6.3).

use super::Error;
use super::fields::Fields;
use super::head::{RequestHead, ResponseHead, Version};

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// After this many bytes.
    Length(u64),
    /// With the last chunk and its trailers.
    Chunked,
    /// When the sender closes; responses only.
    UntilClose,
}

impl Framing {
    /// The body behind a request's head. CONNECT has none (RFC 9110 §9.3.6).
    pub fn of_request(head: &RequestHead) -> Result<Self, Error> {
        let framing = Self::of_any_request(head)?;
        if head.method() == "CONNECT" && !matches!(framing, Self::Empty | Self::Length(0)) {
            return Err(Error::BodyOfConnect);
        }
        Ok(framing)
    }

    fn of_any_request(head: &RequestHead) -> Result<Self, Error> {
        let length = match lengths(head.fields())? {
            Lengths::None => None,
            Lengths::One(length) => Some(length),
            Lengths::Repeated(_) => return Err(Error::TwoLengths),
        };
        match (is_chunked(head.fields(), head.version())?, length) {
            (true, Some(_)) => Err(Error::LengthAndCoding),
            (true, None) => Ok(Self::Chunked),
            (false, Some(length)) => Ok(Self::Length(length)),
            (false, None) => Ok(Self::Empty),
        }
    }

    /// The body behind a response's head, which depends on what was asked.
    pub fn of_response(head: &ResponseHead, request_method: &str) -> Result<Self, Error> {
        if request_method == "HEAD" || matches!(head.status(), 100..=199 | 204 | 304) {
            return Ok(Self::Empty);
        }
        Self::announced(head)
    }

    /// The body a response's fields speak of, sent or not: a response to HEAD, and a 304, tell the length
    /// of one that does not follow.
    pub fn announced(head: &ResponseHead) -> Result<Self, Error> {
        // Agreeing lengths are common enough in responses, and change nothing.
        let length = match lengths(head.fields())? {
            Lengths::None => None,
            Lengths::One(length) | Lengths::Repeated(length) => Some(length),
        };
        match (is_chunked(head.fields(), head.version())?, length) {
            (true, Some(_)) => Err(Error::LengthAndCoding),
            (true, None) => Ok(Self::Chunked),
            (false, Some(length)) => Ok(Self::Length(length)),
            (false, None) => Ok(Self::UntilClose),
        }
    }
}

enum Lengths {
    None,
    One(u64),
    Repeated(u64),
}

fn lengths(fields: &Fields) -> Result<Lengths, Error> {
    let mut found = Lengths::None;
    for value in fields.all("content-length") {
        let length = decimal(value).ok_or(Error::BadLength)?;
        found = match found {
            Lengths::None => Lengths::One(length),
            Lengths::One(known) | Lengths::Repeated(known) if known == length => Lengths::Repeated(length),
            _ => return Err(Error::TwoLengths),
        };
    }
    Ok(found)
}

/// Digits only: the standard parser would take a plus sign.
fn decimal(value: &[u8]) -> Option<u64> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_number)?.parse().ok()
}

fn is_chunked(fields: &Fields, version: Version) -> Result<bool, Error> {
    let mut codings = fields.all("transfer-encoding");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(false),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") && version == Version::Http11 => {
            Ok(true)
        }
        _ => Err(Error::UnknownCoding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &str) -> Result<Framing, Error> {
        let mut head = RequestHead::default();
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        head.parse(text.as_bytes(), &mut 0).unwrap().unwrap();
        Framing::of_request(&head)
    }

    fn response(line: &str, fields: &str, method: &str) -> Result<Framing, Error> {
        let mut head = ResponseHead::default();
        head.parse(format!("{line}\r\n{fields}\r\n").as_bytes(), &mut 0).unwrap().unwrap();
        Framing::of_response(&head, method)
    }

    #[test]
    fn request_bodies() {
        let cases = [
            ("", Ok(Framing::Empty)),
            ("Content-Length: 0\r\n", Ok(Framing::Length(0))),
            ("content-length: 17\r\n", Ok(Framing::Length(17))),
            ("Transfer-Encoding: Chunked\r\n", Ok(Framing::Chunked)),
            ("Content-Length: +5\r\n", Err(Error::BadLength)),
            ("Content-Length: -1\r\n", Err(Error::BadLength)),
            ("Content-Length: 5, 5\r\n", Err(Error::BadLength)),
            ("Content-Length: 0x5\r\n", Err(Error::BadLength)),
            ("Content-Length:\r\n", Err(Error::BadLength)),
            ("Content-Length: 18446744073709551616\r\n", Err(Error::BadLength)),
            ("Content-Length: 5\r\nContent-Length: 5\r\n", Err(Error::TwoLengths)),
            ("Content-Length: 5\r\nContent-Length: 6\r\n", Err(Error::TwoLengths)),
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", Err(Error::LengthAndCoding)),
            ("Transfer-Encoding: gzip, chunked\r\n", Err(Error::UnknownCoding)),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Err(Error::UnknownCoding)),
            ("Transfer-Encoding: xchunked\r\n", Err(Error::UnknownCoding)),
            ("Transfer-Encoding: identity\r\n", Err(Error::UnknownCoding)),
        ];
        for (fields, framing) in cases {
            assert_eq!(request(fields), framing, "{fields}");
        }
    }

    #[test]
    fn response_bodies() {
        let ok = "HTTP/1.1 200 OK";
        let length = "Content-Length: 5\r\n";
        let twice = "Content-Length: 5\r\nContent-Length: 5\r\n";
        let chunked = "Transfer-Encoding: chunked\r\n";
        assert_eq!(response(ok, length, "GET"), Ok(Framing::Length(5)));
        assert_eq!(response(ok, twice, "GET"), Ok(Framing::Length(5)));
        assert_eq!(response(ok, length, "HEAD"), Ok(Framing::Empty));
        assert_eq!(response("HTTP/1.1 204 No Content", length, "GET"), Ok(Framing::Empty));
        assert_eq!(response("HTTP/1.1 304 Not Modified", chunked, "GET"), Ok(Framing::Empty));
        assert_eq!(response("HTTP/1.1 103 Early Hints", "", "GET"), Ok(Framing::Empty));
        assert_eq!(response(ok, chunked, "GET"), Ok(Framing::Chunked));
        assert_eq!(response(ok, "", "GET"), Ok(Framing::UntilClose));
        assert_eq!(response("HTTP/1.0 200 OK", chunked, "GET"), Err(Error::UnknownCoding));
        assert_eq!(response(ok, &format!("{length}{chunked}"), "GET"), Err(Error::LengthAndCoding));
    }
}
