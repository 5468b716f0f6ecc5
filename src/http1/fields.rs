//! The fields of a head: read in any case of their names, written as they came.

use std::ops::Range;

use super::head::Version;

/// The fields of a head, in the order and case in which they came.
#[derive(Debug, Default)]
pub struct Fields {
    pub(super) bytes: Vec<u8>,
    /// Where in them each name and its value are.
    pub(super) lines: Vec<(Range<usize>, Range<usize>)>,
}

impl Fields {
    /// Name and value of each field.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter().map(|(name, value)| (self.text(name), self.slice(value)))
    }

    /// The values of every field of this name, in any case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        // Bytes, not text: a head is searched for a dozen names, and all but a few lines are others.
        let is_named = |known: &[u8]| known.eq_ignore_ascii_case(name.as_bytes());
        self.lines
            .iter()
            .filter(move |(known, _)| is_named(self.slice(known)))
            .map(|(_, value)| self.slice(value))
    }

    /// The first value of this name.
    pub fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// The members of a comma-separated list field, over all its lines (RFC 9110 §5.6.1).
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.all(name)
            .filter_map(|value| std::str::from_utf8(value).ok())
            .flat_map(|value| value.split(','))
            .map(|member| member.trim_matches([' ', '\t']))
            .filter(|member| !member.is_empty())
    }

    /// Whether a list field has this member, in any case.
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.list(name).any(|known| known.eq_ignore_ascii_case(member))
    }

    pub(super) fn keeps_alive(&self, version: Version) -> bool {
        let says = |member| self.lists("connection", member) || self.lists("proxy-connection", member);
        match version {
            Version::Http11 => !says("close"),
            Version::Http10 => says("keep-alive") && !says("close"),
        }
    }

    pub(super) fn take(&mut self, head: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(head);
        self.lines.clear();
    }

    fn slice(&self, span: &Range<usize>) -> &[u8] {
        self.bytes.get(span.clone()).unwrap_or_default()
    }

    /// Names, methods and targets are ASCII by the parser's own check.
    pub(super) fn text(&self, span: &Range<usize>) -> &str {
        std::str::from_utf8(self.slice(span)).unwrap_or_default()
    }
}

/// Appends one field line.
pub fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend(*b": ");
    out.extend_from_slice(value);
    out.extend(*b"\r\n");
}

/// Whether bytes may be a field's value: visible, space, tab or beyond ASCII (RFC 9110 §5.5).
pub fn is_field_value(value: &[u8]) -> bool {
    value.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

/// Whether bytes are a method or a field's name (RFC 9110 §5.6.2).
pub fn is_token(bytes: &[u8]) -> bool {
    let is_allowed = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    !bytes.is_empty() && bytes.iter().all(is_allowed)
}

/// Whether a line, its CRLF taken off, is one whole field: a token, a colon, a value.
pub fn is_field_line(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|&b| b == b':') else { return false };
    is_token(&line[..colon]) && is_field_value(&line[colon + 1..])
}
