//! Which service a request belongs to: a host index, then port, path and order.
//!
//! A lookup hashes the host once for the exact tier and once for the wildcard tier, so it costs the same
//! at 5 services and at 5 000. Within a host, rules stand in order of precedence (contract D.2): a port
//! of their own before any port, then the longer literal path, then first declared. The first enabled
//! one that matches wins; a disabled one never shadows it.

use std::collections::HashMap;

use super::path::{self, Ambiguous};
use super::service::{HostPattern, Service};
use crate::authority::Authority;

/// Services by host.
#[derive(Debug, Default)]
pub struct Matcher {
    exact: HashMap<String, Vec<Rule>>,
    wildcard: HashMap<String, Vec<Rule>>,
}

/// What a service asks of a request beyond its host.
#[derive(Debug)]
struct Rule {
    /// Position in declaration order.
    service: usize,
    port: Option<u16>,
    path: String,
    is_enabled: bool,
}

/// What a lookup found; the number is the service's position in declaration order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    Service(usize),
    /// Only disabled services match.
    Disabled(usize),
    Nothing,
}

impl Matcher {
    pub fn new(services: &[Service]) -> Self {
        let mut matcher = Self::default();
        for (number, service) in services.iter().enumerate() {
            let (tier, host) = match &service.host {
                HostPattern::Exact(host) => (&mut matcher.exact, host),
                HostPattern::Wildcard(rest) => (&mut matcher.wildcard, rest),
            };
            let rule = Rule {
                service: number,
                port: service.port,
                path: service.path.clone(),
                is_enabled: service.is_enabled(),
            };
            tier.entry(host.to_ascii_lowercase()).or_default().push(rule);
        }
        for rules in matcher.exact.values_mut().chain(matcher.wildcard.values_mut()) {
            // A stable sort keeps declaration order where the rest is equal.
            rules.sort_by_key(|rule| (rule.port.is_none(), std::cmp::Reverse(literal_len(&rule.path))));
        }
        matcher
    }

    /// Whether any service, enabled or not, could match some path of this target.
    pub fn mentions(&self, target: &Authority) -> bool {
        self.rules(target).any(|rule| rule.port.is_none_or(|port| port == target.port()))
    }

    /// The services of the target's host, whatever their ports and paths, in order of precedence.
    pub fn of_host(&self, target: &Authority) -> impl Iterator<Item = usize> {
        self.rules(target).map(|rule| rule.service)
    }

    /// Finds the service for a target and a raw path without its query.
    pub fn find(&self, target: &Authority, raw_path: &str) -> Result<Found, Ambiguous> {
        let mut normal = None;
        let mut disabled = Found::Nothing;
        for rule in self.rules(target) {
            if rule.port.is_some_and(|port| port != target.port()) {
                continue;
            }
            if !rule.path.is_empty() {
                let path = match &normal {
                    Some(path) => path,
                    None => normal.insert(path::normalise(raw_path)?),
                };
                if !glob_matches(rule.path.as_bytes(), path) {
                    continue;
                }
            }
            if rule.is_enabled {
                return Ok(Found::Service(rule.service));
            }
            if disabled == Found::Nothing {
                disabled = Found::Disabled(rule.service);
            }
        }
        Ok(disabled)
    }

    /// The rules for a host, exact tier first, each tier in order of precedence.
    fn rules(&self, target: &Authority) -> impl Iterator<Item = &Rule> {
        let parent = target.host().split_once('.').map(|(_, rest)| rest);
        let exact = self.exact.get(target.host());
        let wildcard = parent.and_then(|rest| self.wildcard.get(rest));
        exact.into_iter().chain(wildcard).flatten()
    }
}

/// Bytes before the first star.
fn literal_len(pattern: &str) -> usize {
    pattern.find('*').unwrap_or(pattern.len())
}

/// `*` matches any run of bytes, `/` included; without one the path must be equal.
fn glob_matches(pattern: &[u8], path: &[u8]) -> bool {
    let mut pieces = pattern.split(|&b| b == b'*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = path.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        let found =
            if piece.is_empty() { Some(0) } else { rest.windows(piece.len()).position(|w| w == piece) };
        let Some(at) = found else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::service::Auth;

    fn service(host: &str) -> Service {
        let (host, path) = match host.find('/') {
            Some(at) => host.split_at(at),
            None => (host, ""),
        };
        let (host, port) = match host.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().unwrap())),
            None => (host, None),
        };
        let host = match host.strip_prefix("*.") {
            Some(rest) => HostPattern::Wildcard(rest.to_owned()),
            None => HostPattern::Exact(host.to_owned()),
        };
        Service {
            name: String::new(),
            host,
            port,
            path: path.to_owned(),
            enabled: None,
            auth: Auth::Passthrough,
            substitutions: Vec::new(),
        }
    }

    fn find(hosts: &[&str], target: &str, path: &str) -> Found {
        let services: Vec<Service> = hosts.iter().copied().map(service).collect();
        Matcher::new(&services).find(&Authority::parse(target).unwrap(), path).unwrap()
    }

    #[test]
    fn hosts_match_exactly_or_by_one_label() {
        assert_eq!(find(&["api.stripe.com"], "API.stripe.com:443", "/"), Found::Service(0));
        assert_eq!(find(&["api.stripe.com"], "x.api.stripe.com:443", "/"), Found::Nothing);
        for (target, found) in [
            ("api.github.com:443", Found::Service(0)),
            ("uploads.github.com:443", Found::Service(0)),
            ("github.com:443", Found::Nothing),
            ("a.b.github.com:443", Found::Nothing),
        ] {
            assert_eq!(find(&["*.github.com"], target, "/"), found, "{target}");
        }
    }

    #[test]
    fn the_longer_literal_path_wins_in_any_order() {
        let wide = "slack.com/api/*";
        let narrow = "slack.com/api/apps.connections.*";
        for hosts in [[wide, narrow], [narrow, wide]] {
            let at = |host| Found::Service(hosts.iter().position(|known| *known == host).unwrap());
            assert_eq!(find(&hosts, "slack.com:443", "/api/apps.connections.open"), at(narrow));
            assert_eq!(find(&hosts, "slack.com:443", "/api/chat.postMessage"), at(wide));
        }
        assert_eq!(find(&["a.com/x/*", "a.com/y*"], "a.com:443", "/z"), Found::Nothing);
        assert_eq!(find(&["slack.com/api/*", "slack.com"], "slack.com:443", "/oauth/v2"), Found::Service(1));
        assert_eq!(find(&["a.com/api/*", "a.com/api/*"], "a.com:443", "/api/x"), Found::Service(0));
    }

    #[test]
    fn exact_hosts_beat_wildcards_and_ports_beat_none() {
        let hosts = ["*.slack.com/api/apps.connections.*", "api.slack.com"];
        assert_eq!(find(&hosts, "api.slack.com:443", "/api/apps.connections.open"), Found::Service(1));
        assert_eq!(find(&["a.com", "a.com:443"], "a.com:443", "/"), Found::Service(1));
        assert_eq!(find(&["a.com:8080"], "a.com:9090", "/"), Found::Nothing);
        assert_eq!(find(&["*.x.com:3000", "a.x.com"], "a.x.com:3000", "/"), Found::Service(1));
    }

    #[test]
    fn a_disabled_service_never_shadows_an_enabled_one() {
        let mut off = service("a.com/api/*");
        off.enabled = Some(false);
        let target = Authority::parse("a.com:443").unwrap();
        let both = Matcher::new(&[off.clone(), service("a.com")]);
        assert_eq!(both.find(&target, "/api/x"), Ok(Found::Service(1)));
        assert_eq!(Matcher::new(&[off]).find(&target, "/api/x"), Ok(Found::Disabled(0)));
    }

    #[test]
    fn a_host_is_mentioned_whatever_the_path_and_the_switch() {
        let mut off = service("off.com/x");
        off.enabled = Some(false);
        let matcher = Matcher::new(&[off, service("*.wild.com"), service("port.com:8443")]);
        for (target, mentioned) in [
            ("off.com:443", true),
            ("a.wild.com:443", true),
            ("wild.com:443", false),
            ("port.com:8443", true),
            ("port.com:443", false),
        ] {
            assert_eq!(matcher.mentions(&Authority::parse(target).unwrap()), mentioned, "{target}");
        }
    }

    #[test]
    fn a_path_cannot_be_dressed_up_to_miss_or_meet_a_rule() {
        let hosts = ["a.com/admin/*", "a.com/public/*"];
        assert_eq!(find(&hosts, "a.com:443", "/public/../admin/x"), Found::Service(0));
        assert_eq!(find(&hosts, "a.com:443", "/public/%2e%2e/admin/x"), Found::Service(0));
        let matcher = Matcher::new(&[service("a.com/admin/*")]);
        let target = Authority::parse("a.com:443").unwrap();
        assert_eq!(matcher.find(&target, "/%252e%252e/admin/x"), Err(Ambiguous));
        // Without a path rule on the host nothing depends on the path.
        let free = Matcher::new(&[service("a.com")]);
        assert_eq!(free.find(&target, "/%252e"), Ok(Found::Service(0)));
    }

    #[test]
    fn globs() {
        for (pattern, path, matches) in [
            ("/api/*", "/api/foo/bar/baz", true),
            ("/api/*", "/api", false),
            ("/api", "/api/", false),
            ("/repos/*/issues", "/repos/a/b/issues", true),
            ("/repos/*/issues", "/repos/a/issues/1", false),
            ("/a*b*c", "/aXbYc", true),
            ("/a*b*c", "/aXcYb", false),
            ("*", "/anything", true),
            ("/a*a", "/a", false),
        ] {
            assert_eq!(glob_matches(pattern.as_bytes(), path.as_bytes()), matches, "{pattern} {path}");
        }
    }
}
