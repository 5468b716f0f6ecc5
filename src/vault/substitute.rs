//! Placeholders in a client's request become credential values (contract D.4).
//!
//! A surface that is not listed is never looked at, whatever a client puts there. What a value looks
//! like depends on where it goes, so each surface has its own encodings, made once per snapshot. Every
//! occurrence is replaced, in declaration order: a later placeholder may match inside an earlier value.
//! Bodies pass through a [`Stream`] of bounded memory, whatever their size.

use std::collections::HashMap;

use super::attach::{self, AttachError};
use super::service::{Substitution, Surface};
use crate::secret::Secret;

/// How a value is written where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Percent-encoded so that it cannot leave its path segment.
    Path,
    /// Percent-encoded as one form or query value; a space becomes a plus sign.
    Query,
    /// Escaped as the inside of a JSON string.
    Json,
    Raw,
}

impl Encoding {
    /// The value as it is written in this place.
    pub fn encode(self, value: &Secret) -> Secret {
        match self {
            Self::Path => percent_encoded(value, b"-_.~$&+:=@", None),
            Self::Query => percent_encoded(value, b"-_.~", Some(b'+')),
            Self::Json => json_escaped(value),
            Self::Raw => value.clone(),
        }
    }
}

/// The substitutions of one service, ready for each surface.
#[derive(Debug, Default)]
pub struct Substitutions(Vec<Entry>);

#[derive(Debug)]
struct Entry {
    placeholder: String,
    surfaces: Vec<Surface>,
    path: Secret,
    query: Secret,
    json: Secret,
    raw: Secret,
}

impl Substitutions {
    pub const NONE: Self = Self(Vec::new());

    /// Looks the values up and encodes them.
    pub fn new(
        declared: &[Substitution],
        credentials: &HashMap<String, Secret>,
    ) -> Result<Self, AttachError> {
        let entry = |substitution: &Substitution| {
            let raw = credentials
                .get(&substitution.key)
                .ok_or_else(|| AttachError::CredentialNotFound(substitution.key.clone()))?;
            if !attach::is_field_safe(raw.expose()) && substitution.surfaces.contains(&Surface::Header) {
                return Err(AttachError::UnsafeValue(substitution.key.clone()));
            }
            Ok(Entry {
                placeholder: substitution.placeholder.clone(),
                surfaces: substitution.surfaces.clone(),
                path: Encoding::Path.encode(raw),
                query: Encoding::Query.encode(raw),
                json: Encoding::Json.encode(raw),
                raw: Encoding::Raw.encode(raw),
            })
        };
        declared.iter().map(entry).collect::<Result<_, _>>().map(Self)
    }

    /// Whether anything is replaced on this surface.
    pub fn covers(&self, surface: Surface) -> bool {
        self.0.iter().any(|entry| entry.surfaces.contains(&surface))
    }

    /// Replaces in `text` what this surface's substitutions name; `None` when nothing occurs.
    pub fn apply(&self, surface: Surface, encoding: Encoding, text: &[u8]) -> Option<Vec<u8>> {
        let mut changed: Option<Vec<u8>> = None;
        for (placeholder, value) in self.pairs(surface, encoding) {
            let current = changed.as_deref().unwrap_or(text);
            if find(current, placeholder).is_some() {
                let mut stage = Stage::new(placeholder, value);
                let mut out = Vec::with_capacity(current.len() + value.len());
                stage.feed(current, &mut out);
                stage.finish(&mut out);
                changed = Some(out);
            }
        }
        changed
    }

    /// A streaming replacer for a body in this encoding.
    pub fn stream(&self, surface: Surface, encoding: Encoding) -> Stream {
        Stream(
            self.pairs(surface, encoding)
                .map(|(placeholder, value)| Stage::new(placeholder, value))
                .collect(),
        )
    }

    fn pairs(&self, surface: Surface, encoding: Encoding) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().filter(move |entry| entry.surfaces.contains(&surface)).map(move |entry| {
            let value = match encoding {
                Encoding::Path => &entry.path,
                Encoding::Query => &entry.query,
                Encoding::Json => &entry.json,
                Encoding::Raw => &entry.raw,
            };
            (entry.placeholder.as_bytes(), value.expose())
        })
    }
}

/// Replaces placeholders in bytes that come in pieces. Keeps back, per placeholder, only the end of a
/// piece that may be its beginning.
#[derive(Debug)]
pub struct Stream(Vec<Stage>);

#[derive(Debug)]
struct Stage {
    placeholder: Vec<u8>,
    value: Secret,
    kept: Vec<u8>,
}

impl Stream {
    /// Appends to `out` what is certain after this piece.
    pub fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.run(piece, false, out);
    }

    /// Appends what was kept back; the body is over.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.run(b"", true, out);
    }

    fn run(&mut self, piece: &[u8], is_last: bool, out: &mut Vec<u8>) {
        let mut current = piece.to_vec();
        for stage in &mut self.0 {
            let mut next = Vec::with_capacity(current.len());
            stage.feed(&current, &mut next);
            if is_last {
                stage.finish(&mut next);
            }
            current = next;
        }
        out.extend_from_slice(&current);
    }
}

impl Stage {
    fn new(placeholder: &[u8], value: &[u8]) -> Self {
        Self { placeholder: placeholder.to_vec(), value: Secret::new(value.to_vec()), kept: Vec::new() }
    }

    fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.kept.extend_from_slice(piece);
        let mut rest = self.kept.as_slice();
        while let Some(at) = find(rest, &self.placeholder) {
            out.extend_from_slice(&rest[..at]);
            out.extend_from_slice(self.value.expose());
            rest = &rest[at + self.placeholder.len()..];
        }
        let longest = rest.len().min(self.placeholder.len() - 1);
        let unsure = (1..=longest).rev().find(|&len| self.placeholder.starts_with(&rest[rest.len() - len..]));
        let certain = rest.len() - unsure.unwrap_or(0);
        out.extend_from_slice(&rest[..certain]);
        self.kept = rest[certain..].to_vec();
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.kept);
    }
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(at) = text.get(from..)?.iter().position(|&b| b == first) {
        if text[from + at..].starts_with(needle) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// Undoes percent escapes; what is not one stays as it is.
pub fn decoded(bytes: &[u8]) -> Vec<u8> {
    let digit = |at: usize| {
        bytes.get(at).and_then(|&b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok())
    };
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

fn percent_encoded(value: &Secret, kept: &[u8], space: Option<u8>) -> Secret {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = Vec::with_capacity(value.len() * 3);
    for &byte in value.expose() {
        match space {
            Some(plus) if byte == b' ' => encoded.push(plus),
            _ if byte.is_ascii_alphanumeric() || kept.contains(&byte) => encoded.push(byte),
            _ => encoded.extend_from_slice(&[
                b'%',
                DIGITS[usize::from(byte >> 4)],
                DIGITS[usize::from(byte & 15)],
            ]),
        }
    }
    Secret::new(encoded)
}

/// Escapes what a JSON string must not hold (RFC 8259 §7); other bytes stay as they are.
fn json_escaped(value: &Secret) -> Secret {
    let mut escaped = Vec::with_capacity(value.len() + 8);
    for &byte in value.expose() {
        match byte {
            b'"' | b'\\' => escaped.extend_from_slice(&[b'\\', byte]),
            b'\n' => escaped.extend_from_slice(b"\\n"),
            b'\r' => escaped.extend_from_slice(b"\\r"),
            b'\t' => escaped.extend_from_slice(b"\\t"),
            0..=0x1f => escaped.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => escaped.push(byte),
        }
    }
    Secret::new(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(value: &str, surfaces: &[Surface]) -> Result<Substitutions, AttachError> {
        let declared = Substitution {
            key: "KEY".to_owned(),
            placeholder: "__sid__".to_owned(),
            surfaces: surfaces.to_vec(),
        };
        Substitutions::new(&[declared], &HashMap::from([("KEY".to_owned(), Secret::from(value))]))
    }

    fn applied(value: &str, surface: Surface, encoding: Encoding, text: &str) -> Option<String> {
        let out = one(value, &[surface]).unwrap().apply(surface, encoding, text.as_bytes());
        out.map(|out| String::from_utf8(out).unwrap())
    }

    #[test]
    fn each_place_has_its_encoding() {
        for (value, surface, encoding, text, out) in [
            ("abc/def", Surface::Path, Encoding::Path, "/A/__sid__/M", "/A/abc%2Fdef/M"),
            ("a:b=@", Surface::Path, Encoding::Path, "/__sid____sid__", "/a:b=@a:b=@"),
            ("secret&value=oops", Surface::Query, Encoding::Query, "id=__sid__", "id=secret%26value%3Doops"),
            ("s3cr&t=val+ue x", Surface::Body, Encoding::Query, "a=__sid__&b", "a=s3cr%26t%3Dval%2Bue+x&b"),
            (
                "val\"with\\slash\n",
                Surface::Body,
                Encoding::Json,
                "{\"a\":\"__sid__\"}",
                "{\"a\":\"val\\\"with\\\\slash\\n\"}",
            ),
            ("r\"aw", Surface::Body, Encoding::Raw, "x __sid__", "x r\"aw"),
        ] {
            assert_eq!(applied(value, surface, encoding, text).as_deref(), Some(out));
        }
        assert_eq!(applied("v", Surface::Path, Encoding::Path, "/__SID__/__sid_"), None);
    }

    #[test]
    fn only_listed_surfaces_are_looked_at() {
        let path_only = one("v", &[Surface::Path]).unwrap();
        assert!(path_only.covers(Surface::Path) && !path_only.covers(Surface::Query));
        assert_eq!(path_only.apply(Surface::Query, Encoding::Query, b"__sid__"), None);
    }

    #[test]
    fn a_line_break_is_refused_for_headers_whether_or_not_it_occurs() {
        assert!(one("a\r\nb", &[Surface::Header]).is_err());
        assert!(one("a\r\nb", &[Surface::Body]).is_ok());
    }

    #[test]
    fn no_split_of_the_input_changes_the_output() {
        let declared = ["__a__", "__ab__"].map(|placeholder| Substitution {
            key: placeholder.to_uppercase().replace('_', ""),
            placeholder: placeholder.to_owned(),
            surfaces: vec![Surface::Body],
        });
        // The first value holds the second placeholder.
        let values = [("A".to_owned(), Secret::from("<__ab__>")), ("AB".to_owned(), Secret::from("2"))];
        let substitutions = Substitutions::new(&declared, &HashMap::from(values)).unwrap();
        let text = b"____a__ __ab__ __a_ __a____a__ _";
        let whole = substitutions.apply(Surface::Body, Encoding::Raw, text).unwrap();
        assert_eq!(whole, b"__<2> 2 __a_ <2><2> _");
        for size in 1..text.len() {
            let mut stream = substitutions.stream(Surface::Body, Encoding::Raw);
            let mut out = Vec::new();
            for piece in text.chunks(size) {
                stream.feed(piece, &mut out);
            }
            stream.finish(&mut out);
            assert_eq!(out, whole, "pieces of {size}");
        }
    }
}
