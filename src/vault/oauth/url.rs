//! The URL of an authorization server, parsed once.

use std::fmt;

use crate::authority::Authority;
use crate::vault::Scheme;

/// An absolute http(s) URL without user, password and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    text: String,
    scheme: Scheme,
    target: Authority,
    /// Path with query; never empty.
    path: String,
}

impl Url {
    /// Parses a URL; `None` when it is none we would call.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = match text.split_once("://")? {
            (scheme, rest) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            (scheme, rest) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            _ => return None,
        };
        if !rest.bytes().all(|b| b.is_ascii_graphic()) || rest.contains('#') {
            return None;
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let target = Authority::parse_or(authority, scheme.default_port()).ok()?;
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Some(Self { text: text.to_owned(), scheme, target, path })
    }

    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    pub fn target(&self) -> &Authority {
        &self.target
    }

    /// Path with query, as it stands in a request line.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Url {
    /// Writes the URL as it was given.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_urls_without_a_user_are_read() {
        for (text, scheme, target, path) in [
            ("https://id.example.com/token", Scheme::Https, "id.example.com:443", "/token"),
            ("http://id.example.com:8080", Scheme::Http, "id.example.com:8080", "/"),
            ("HTTPS://[::1]?a=b", Scheme::Https, "[::1]:443", "/?a=b"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.scheme(), &*url.target().to_string(), url.path()), (scheme, target, path));
            assert_eq!(url.to_string(), text);
        }
    }

    #[test]
    fn others_are_not() {
        for text in [
            "manual",
            "ftp://a.com/",
            "https://",
            "https:///x",
            "https://user@a.com/",
            "https://a.com/#x",
            "https://a.com/a b",
            "https://a.com/\r\nX: y",
            "https://a.com:0/",
            "javascript://a.com/",
        ] {
            assert_eq!(Url::parse(text), None, "{text}");
        }
    }
}
