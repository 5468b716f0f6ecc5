//! HTTP/1.1 on the wire, sans-IO: slices in, values out.
//!
//! Where we are stricter than RFC 9112 allows: a bare CR or LF ends the conversation, two
//! `Content-Length` fields are refused even when they agree (in requests), a length beside
//! `Transfer-Encoding` is refused, and the only transfer coding known is `chunked`. A message whose end
//! can be read in two ways is how one client's bytes become another's request.

pub mod body;
pub mod chunked;
pub mod fields;
pub mod framing;
pub mod head;
pub mod respond;

use std::fmt;

/// Longest head (contract B.11); past it 431.
pub const MAX_HEAD_BYTES: usize = 1024 * 1024;

/// Most fields in a head; the parser needs a table of this size on the stack (8 KiB).
pub const MAX_FIELDS: usize = 256;

/// Why bytes are not a message we accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The request or status line cannot be read.
    BadStartLine,
    /// A field line cannot be read: folded, space before the colon, forbidden byte.
    BadField,
    /// A CR or LF that is not part of CRLF.
    BareLineBreak,
    /// Longer than [`MAX_HEAD_BYTES`].
    HeadTooLarge,
    /// More than [`MAX_FIELDS`] fields.
    TooManyFields,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// HTTP/1.1 without a `Host` field, or more than one of them.
    Host,
    /// `Content-Length` is not a plain decimal number.
    BadLength,
    /// More than one `Content-Length`.
    TwoLengths,
    /// `Content-Length` beside `Transfer-Encoding`.
    LengthAndCoding,
    /// A transfer coding other than `chunked`, or any in HTTP/1.0.
    UnknownCoding,
    /// A chunk's size line, end or the trailer section cannot be read.
    BadChunk,
    /// A CONNECT with a body, which another reader would take for the tunnel's first bytes.
    BodyOfConnect,
}

impl Error {
    /// The status a client is answered with.
    pub fn status(self) -> u16 {
        match self {
            Self::HeadTooLarge | Self::TooManyFields => 431,
            Self::UnknownCoding => 501,
            Self::Version => 505,
            _ => 400,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadStartLine => "the start line is malformed",
            Self::BadField => "a header field is malformed",
            Self::BareLineBreak => "a line break is not CRLF",
            Self::HeadTooLarge => "the head is longer than 1 MiB",
            Self::TooManyFields => "the head has more than 256 fields",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            Self::Host => "exactly one Host field is required",
            Self::BadLength => "Content-Length is not a decimal number",
            Self::TwoLengths => "more than one Content-Length",
            Self::LengthAndCoding => "Content-Length and Transfer-Encoding together",
            Self::UnknownCoding => "the only transfer coding known is chunked",
            Self::BadChunk => "the chunked body is malformed",
            Self::BodyOfConnect => "a CONNECT request has no body",
        })
    }
}

impl std::error::Error for Error {}
