//! A host and a port that have been parsed: the word for a target that all rooms share.
//!
//! The rules are the proxy's host check (contract B.3): 1 to 253 bytes, none of `@ ? # / \ %` or space,
//! no control byte, no leading or trailing dot. IPv6 literals are accepted in brackets and stored
//! without them; zone identifiers are not. Host names are folded to lower case, since DNS compares so.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

/// Longest host name (RFC 1035 §2.3.4, without the trailing dot).
const MAX_HOST_BYTES: usize = 253;

/// A checked `host:port`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority {
    /// Shared: pool keys, records and connections all name the target.
    host: Arc<str>,
    port: u16,
}

/// Why a text is not an [`Authority`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityError {
    /// No `:port`, or the port is not 1–65535 in digits.
    NoPort,
    /// The host breaks the rules in the module's head.
    InvalidHost,
}

impl Authority {
    /// Parses `host:port`; the port is required.
    pub fn parse(text: &str) -> Result<Self, AuthorityError> {
        let (host, port) = split(text)?;
        Self::new(host, port.ok_or(AuthorityError::NoPort)?)
    }

    /// Parses `host[:port]`; an absent or empty port is `default_port`.
    pub fn parse_or(text: &str, default_port: u16) -> Result<Self, AuthorityError> {
        let (host, port) = split(text)?;
        Self::new(host, port.unwrap_or(default_port))
    }

    /// Checks `host` (without brackets) and folds its case.
    pub fn new(host: &str, port: u16) -> Result<Self, AuthorityError> {
        let is_forbidden = |b: u8| b <= b' ' || b == 0x7f || b"@?#/\\%".contains(&b);
        if host.is_empty()
            || host.len() > MAX_HOST_BYTES
            || host.starts_with('.')
            || host.ends_with('.')
            || host.bytes().any(is_forbidden)
            || (host.contains(':') && host.parse::<std::net::Ipv6Addr>().is_err())
        {
            return Err(AuthorityError::InvalidHost);
        }
        Ok(Self { host: host.to_ascii_lowercase().into(), port })
    }

    /// The host in lower case, an IPv6 literal without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host as an address, when it is an IP literal.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Asks the resolver for addresses; the caller judges them.
    pub fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = (&*self.host, self.port).to_socket_addrs()?.collect();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found)
    }

    /// The `Host` field for this target: the port is dropped when it is `default_port` (contract D.6).
    pub fn host_field(&self, default_port: u16) -> String {
        match (self.port == default_port, self.host.contains(':')) {
            (true, false) => String::from(&*self.host),
            (true, true) => format!("[{}]", self.host),
            (false, _) => self.to_string(),
        }
    }
}

impl fmt::Display for Authority {
    /// Writes `host:port`, an IPv6 literal in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [open, close] = if self.host.contains(':') { ["[", "]:"] } else { ["", ":"] };
        [open, &self.host, close].iter().try_for_each(|part| f.write_str(part))?;
        write!(f, "{}", self.port)
    }
}

/// Splits at the port's colon and takes brackets off.
fn split(text: &str) -> Result<(&str, Option<u16>), AuthorityError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(AuthorityError::InvalidHost)?;
        if !host.contains(':') {
            return Err(AuthorityError::InvalidHost);
        }
        match after.strip_prefix(':') {
            Some(port) => (host, port),
            None if after.is_empty() => (host, ""),
            None => return Err(AuthorityError::InvalidHost),
        }
    } else {
        match text.split_once(':') {
            // More than one colon without brackets is a bare IPv6 literal: no port can be told from it.
            Some((_, rest)) if rest.contains(':') => (text, ""),
            Some(parts) => parts,
            None => (text, ""),
        }
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    // `u16::from_str` takes a leading plus sign; a port is digits only (RFC 3986 §3.2.3).
    if !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AuthorityError::NoPort);
    }
    match port.parse() {
        Ok(0) | Err(_) => Err(AuthorityError::NoPort),
        Ok(port) => Ok((host, Some(port))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_names_and_literals_and_folds_case() {
        for (text, shown) in [
            ("Example.com:443", "example.com:443"),
            ("localhost:1", "localhost:1"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            ("[::1]:65535", "[::1]:65535"),
        ] {
            assert_eq!(Authority::parse(text).map(|a| a.to_string()).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn refuses_what_is_not_a_host() {
        for text in [
            ":443",
            "has space.com:1",
            "has@at.com:1",
            "has/slash.com:1",
            "has?query.com:1",
            ".leading:1",
            "trailing.:1",
            "fe80::1%eth0:1",
            "[fe80::1%25eth0]:1",
            "[nope]:1",
            "[::1]x:1",
            "a\u{7f}b:1",
        ] {
            assert!(Authority::parse(text).is_err(), "{text}");
        }
        assert_eq!(Authority::new(&"a".repeat(254), 1), Err(AuthorityError::InvalidHost));
    }

    #[test]
    fn a_port_is_digits_only() {
        for text in ["a.com", "a.com:", "a.com:+5", "a.com:0", "a.com:65536", "a.com:x", "::1"] {
            assert_eq!(Authority::parse(text), Err(AuthorityError::NoPort), "{text}");
        }
        assert_eq!(Authority::parse_or("a.com:", 80).map(|a| a.port()), Ok(80));
    }

    #[test]
    fn the_host_field_drops_the_default_port() {
        let authority = |text| Authority::parse(text).unwrap();
        assert_eq!(authority("x:443").host_field(443), "x");
        assert_eq!(authority("x:443").host_field(80), "x:443");
        assert_eq!(authority("[::1]:443").host_field(443), "[::1]");
    }
}
