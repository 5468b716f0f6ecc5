//! Answers we write ourselves, from one table of shapes.

use super::fields::write_field;

/// Whether the connection serves another request afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    KeepAlive,
    Close,
}

/// A complete response of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub fields: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Plain text, a newline behind it (contract B.9).
    pub fn text(status: u16, text: &str) -> Self {
        let fields = vec![
            ("Content-Type", "text/plain; charset=utf-8".to_owned()),
            ("X-Content-Type-Options", "nosniff".to_owned()),
        ];
        Self { status, fields, body: format!("{text}\n").into_bytes() }
    }

    /// A JSON document, a newline behind it.
    pub fn json(status: u16, document: &serde_json::Value) -> Self {
        let fields = vec![("Content-Type", "application/json".to_owned())];
        Self { status, fields, body: format!("{document}\n").into_bytes() }
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// The bytes on the wire. A response to HEAD has the length of the body and not the body.
    pub fn to_bytes(&self, request_method: &str, after: After) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.body.len());
        out.extend_from_slice(format!("HTTP/1.1 {} {}\r\n", self.status, reason(self.status)).as_bytes());
        for (name, value) in &self.fields {
            write_field(&mut out, name, value.as_bytes());
        }
        write_field(&mut out, "Content-Length", self.body.len().to_string().as_bytes());
        if after == After::Close {
            write_field(&mut out, "Connection", b"close");
        }
        out.extend_from_slice(b"\r\n");
        if request_method != "HEAD" {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

/// The standard phrase of a status (RFC 9110 §15) that we send.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_head_and_body() {
        let answer = Answer::text(407, "Proxy-Authorization required")
            .with("Proxy-Authenticate", "Basic realm=\"agent-vault\"");
        let expected = "HTTP/1.1 407 Proxy Authentication Required\r\n\
            Content-Type: text/plain; charset=utf-8\r\n\
            X-Content-Type-Options: nosniff\r\n\
            Proxy-Authenticate: Basic realm=\"agent-vault\"\r\n\
            Content-Length: 29\r\n\r\nProxy-Authorization required\n";
        assert_eq!(answer.to_bytes("CONNECT", After::KeepAlive), expected.as_bytes());
    }

    #[test]
    fn head_gets_the_length_without_the_body() {
        let bytes = Answer::text(404, "gone").to_bytes("HEAD", After::Close);
        assert!(bytes.ends_with(b"Content-Length: 5\r\nConnection: close\r\n\r\n"));
    }
}
