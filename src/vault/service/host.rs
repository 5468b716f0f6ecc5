//! `host[:port][/path]`: the matcher part of a service, split, checked and joined again.

use std::net::IpAddr;

use super::{HostPattern, InternalNames, Invalid};

/// Longest path pattern.
const MAX_PATH_BYTES: usize = 256;

/// Longest host name (RFC 1035 §2.3.4) and label (§2.3.1).
const MAX_HOST_BYTES: usize = 253;
const MAX_LABEL_BYTES: usize = 63;

/// Names that reach into the machine or its platform; refused unless dev mode lifts that.
const INTERNAL_NAMES: &[&str] = &[
    "localhost",
    "localhost.localdomain",
    "internal",
    "kubernetes",
    "kubernetes.default",
    "metadata.google.internal",
    "metadata.google",
    "instance-data",
];

/// The three parts of a matcher as they were written, not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parts {
    pub(super) host: String,
    /// Wider than a port, so that a number out of range can be named in the error.
    pub(super) port: Option<u64>,
    pub(super) path: String,
}

impl Parts {
    /// Splits the inline form; with a path of its own, `host` is not split at a slash (contract D.1).
    pub(super) fn split(inline: &str, path: &str) -> Self {
        let (host, path) = match inline.char_indices().skip(1).find(|(_, c)| *c == '/') {
            Some((at, _)) if path.is_empty() => inline.split_at(at),
            _ => (inline, path),
        };
        let (host, port) = split_port(host);
        Self { host: host.to_ascii_lowercase(), port, path: path.to_owned() }
    }
}

/// Splits at the last colon if digits follow. An address literal stays whole, so that it is refused as
/// an address and not as an odd name.
fn split_port(host: &str) -> (&str, Option<u64>) {
    if host.parse::<IpAddr>().is_ok() {
        return (host, None);
    }
    let Some((front, digits)) = host.rsplit_once(':') else {
        return (host, None);
    };
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    match digits.parse() {
        Ok(port) if is_number => (front, Some(port)),
        _ => (host, None),
    }
}

/// Checks the host part, in the contract's order.
pub(super) fn check_host(host: &str, internal: InternalNames) -> Result<HostPattern, Invalid> {
    let refuse = |text: &str| Err(Invalid::new(format!("host {host:?}{text}")));
    if host.is_empty() {
        return Err(Invalid::new("host is required"));
    }
    if host.contains('/') {
        return refuse(
            " must not contain \"/\" after ingest (entry should have been split into host + path)",
        );
    }
    if let Some(c) = host.chars().find(|c| "@?# ".contains(*c) || c.is_control()) {
        return refuse(&format!(" contains invalid character {c:?}"));
    }
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    if bare.parse::<IpAddr>().is_ok() {
        return refuse(" must be a hostname, not an IP address");
    }
    if host == "*" {
        return refuse(": bare wildcard is not allowed");
    }
    if let Some(rest) = host.strip_prefix('*') {
        let Some(rest) = rest.strip_prefix('.') else {
            return refuse(": wildcard must be in the form *.example.com");
        };
        if !rest.contains('.') {
            return refuse(": wildcard must have at least two domain levels (e.g. *.example.com)");
        }
        if !is_hostname(rest) {
            return refuse(": invalid hostname in wildcard pattern");
        }
        return Ok(HostPattern::Wildcard(rest.to_owned()));
    }
    if internal == InternalNames::Refused && INTERNAL_NAMES.contains(&host) {
        return refuse(
            " is a local/internal name and is not allowed (set AGENT_VAULT_DEV_MODE=true to override)",
        );
    }
    if !is_hostname(host) {
        return refuse(" is not a valid hostname");
    }
    Ok(HostPattern::Exact(host.to_owned()))
}

/// Two or more labels, the last of letters only (or punycode, as internationalised top levels are).
fn is_hostname(host: &str) -> bool {
    let is_label = |label: &str| {
        (1..=MAX_LABEL_BYTES).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_top = |label: &str| {
        label.starts_with("xn--") || (label.len() >= 2 && label.bytes().all(|b| b.is_ascii_alphabetic()))
    };
    host.len() <= MAX_HOST_BYTES
        && host.split('.').all(is_label)
        && host.rsplit_once('.').is_some_and(|(_, top)| is_top(top))
}

/// Checks the path pattern, in the contract's order.
pub(super) fn check_path(path: &str) -> Result<(), Invalid> {
    let refuse = |text: &str| Err(Invalid::new(format!("path {path:?} {text}")));
    if path.is_empty() {
        return Ok(());
    }
    if path.len() > MAX_PATH_BYTES {
        return refuse("is too long (max 256 characters)");
    }
    if !path.starts_with('/') {
        return refuse("must start with \"/\"");
    }
    if path.contains("**") {
        return refuse("must not contain \"**\" (segment-bounded globs are not supported)");
    }
    if path.chars().any(char::is_control) {
        return refuse("must not contain control characters");
    }
    match path.chars().find(|c| " ?#[]\\|<>\"".contains(*c)) {
        Some(c) => refuse(&format!("must not contain {}", quoted(c))),
        None => Ok(()),
    }
}

/// A character in single quotes, without escapes: what is named here is printable.
fn quoted(c: char) -> String {
    format!("'{c}'")
}

/// Checks the port's range.
pub(super) fn check_port(port: Option<u64>) -> Result<Option<u16>, Invalid> {
    match port.map(u16::try_from) {
        None => Ok(None),
        Some(Ok(port)) if port > 0 => Ok(Some(port)),
        _ => {
            Err(Invalid::new(format!("port {} is out of range (must be 1-65535)", port.unwrap_or_default())))
        }
    }
}

/// Joins the three parts: the exact inverse of splitting them.
pub(super) fn join(host: &HostPattern, port: Option<u16>, path: &str) -> String {
    let mut text = match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(rest) => format!("*.{rest}"),
    };
    if let Some(port) = port {
        text.push_str(&format!(":{port}"));
    }
    text + path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> Result<HostPattern, String> {
        check_host(&Parts::split(text, "").host, InternalNames::Refused).map_err(|e| e.to_string())
    }

    #[test]
    fn the_inline_form_splits_and_joins() {
        for (inline, name, port, path) in [
            ("api.x.com", "api.x.com", None, ""),
            ("*.x.com", "*.x.com", None, ""),
            ("x.com:8443", "x.com", Some(8443), ""),
            ("x.com/api/*", "x.com", None, "/api/*"),
            ("internal.corp.com:3000/api/*", "internal.corp.com", Some(3000), "/api/*"),
            ("x.com/a:80", "x.com", None, "/a:80"),
        ] {
            let parts = Parts::split(inline, "");
            assert_eq!((parts.host.as_str(), parts.port, parts.path.as_str()), (name, port, path));
            let pattern = check_host(&parts.host, InternalNames::Refused).unwrap();
            assert_eq!(join(&pattern, check_port(parts.port).unwrap(), &parts.path), inline);
        }
        assert_eq!(Parts::split("x.com/a", "/b").host, "x.com/a");
        assert_eq!(Parts::split("foo.com:abc", "").host, "foo.com:abc");
        assert_eq!(Parts::split("foo.com:+5", "").host, "foo.com:+5");
    }

    #[test]
    fn hosts_that_are_accepted() {
        for text in ["*.github.com", "api.x.ai", "API.Stripe.com", "a-b.c1.io", "x.xn--p1ai"] {
            assert!(host(text).is_ok(), "{text}");
        }
        assert_eq!(host("API.Stripe.com"), Ok(HostPattern::Exact("api.stripe.com".to_owned())));
        let dev = |name| check_host(name, InternalNames::Allowed);
        assert!(dev("metadata.google.internal").is_ok());
        assert!(dev("localhost").unwrap_err().to_string().ends_with("is not a valid hostname"));
    }

    #[test]
    fn hosts_that_are_refused_and_why() {
        for (text, why) in [
            ("", "host is required"),
            (
                "/x",
                "host \"/x\" must not contain \"/\" after ingest (entry should have been split into host + path)",
            ),
            ("foo bar.com", "host \"foo bar.com\" contains invalid character ' '"),
            ("a.com?x", "host \"a.com?x\" contains invalid character '?'"),
            ("u@a.com", "host \"u@a.com\" contains invalid character '@'"),
            ("10.0.0.1", "host \"10.0.0.1\" must be a hostname, not an IP address"),
            ("10.0.0.1:80", "host \"10.0.0.1\" must be a hostname, not an IP address"),
            ("::1", "host \"::1\" must be a hostname, not an IP address"),
            ("[::1]:443", "host \"[::1]\" must be a hostname, not an IP address"),
            ("*", "host \"*\": bare wildcard is not allowed"),
            ("*x.com", "host \"*x.com\": wildcard must be in the form *.example.com"),
            ("*.com", "host \"*.com\": wildcard must have at least two domain levels (e.g. *.example.com)"),
            ("*.-a.com", "host \"*.-a.com\": invalid hostname in wildcard pattern"),
            ("*.*.com", "host \"*.*.com\": invalid hostname in wildcard pattern"),
            ("foo.com:abc", "host \"foo.com:abc\" is not a valid hostname"),
            ("single", "host \"single\" is not a valid hostname"),
            ("a.b1", "host \"a.b1\" is not a valid hostname"),
            ("a..com", "host \"a..com\" is not a valid hostname"),
            ("a.com.", "host \"a.com.\" is not a valid hostname"),
        ] {
            assert_eq!(host(text), Err(why.to_owned()));
        }
        for name in INTERNAL_NAMES {
            assert_eq!(
                host(&name.to_ascii_uppercase()),
                Err(format!(
                    "host {name:?} is a local/internal name and is not allowed \
                     (set AGENT_VAULT_DEV_MODE=true to override)"
                ))
            );
        }
    }

    #[test]
    fn paths_and_ports_that_are_refused_and_why() {
        for (path, why) in [
            ("x", "path \"x\" must start with \"/\""),
            ("/a/**", "path \"/a/**\" must not contain \"**\" (segment-bounded globs are not supported)"),
            ("/a\u{1}", "path \"/a\\u{1}\" must not contain control characters"),
            ("/a b", "path \"/a b\" must not contain ' '"),
            ("/a?b", "path \"/a?b\" must not contain '?'"),
            ("/\\", "path \"/\\\\\" must not contain '\\'"),
            ("/\"", "path \"/\\\"\" must not contain '\"'"),
        ] {
            assert_eq!(check_path(path).unwrap_err().to_string(), why);
        }
        let long = format!("/{}", "a".repeat(256));
        assert!(check_path(&long).unwrap_err().to_string().ends_with("is too long (max 256 characters)"));
        assert_eq!(check_path(""), Ok(()));
        assert_eq!(check_path("/api/*/x"), Ok(()));
        for port in [0, 65_536, 70_000] {
            let why = format!("port {port} is out of range (must be 1-65535)");
            assert_eq!(check_port(Some(port)).unwrap_err().to_string(), why);
        }
        assert_eq!(check_port(Some(65_535)), Ok(Some(65_535)));
    }
}
