//! The site's own way out: an HTTP proxy that upstreams are reached through.
//!
//! For networks whose only exit is a corporate proxy (`AGENT_VAULT_UPSTREAM_PROXY`). Every upstream
//! connection is a CONNECT through it, so TLS is still verified end to end and no credential is seen by
//! it. Hosts on the exclusion list are dialled directly (`AGENT_VAULT_UPSTREAM_NO_PROXY`).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::Error;
use crate::authority::Authority;
use crate::http1::fields::write_field;
use crate::http1::head::ResponseHead;
use crate::log_event;
use crate::net::Deadline;
use crate::net::channel::Channel;
use crate::net::dial::dial;
use crate::net::guard::Cidr;
use crate::net::tcp::TcpChannel;
use crate::peer;
use crate::secret::Secret;

/// Longest wait for the proxy's answer to a CONNECT.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// A proxy to reach upstreams through.
#[derive(Clone, Debug)]
pub struct Egress {
    proxy: Authority,
    /// The whole `Proxy-Authorization` value.
    authorization: Option<Secret>,
    exclusions: Vec<Exclusion>,
}

/// A target that is dialled directly.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exclusion {
    /// This name, and every name below it.
    Domain(String),
    Network(Cidr),
}

impl Egress {
    /// Parses `http://[user:password@]host:port` and a comma-separated exclusion list. The error says what
    /// is wrong and repeats no part of the URL, which may hold a password.
    pub fn parse(url: &str, exclusions: &str) -> Result<Self, &'static str> {
        let rest = url.trim_end_matches('/').strip_prefix("http://").ok_or("not an http:// URL")?;
        let (user, authority) = match rest.rsplit_once('@') {
            Some((user, authority)) => (Some(user), authority),
            None => (None, rest),
        };
        let proxy = Authority::parse(authority)
            .map_err(|_| "host and port are needed, such as http://proxy.corp:3128")?;
        let authorization = user.map(|user| {
            let pair = Secret::new(crate::vault::substitute::decoded(user.as_bytes()));
            Secret::from(format!("Basic {}", STANDARD.encode(pair.expose())))
        });
        let exclusions =
            exclusions.split(',').map(str::trim).filter(|text| !text.is_empty()).map(exclusion).collect();
        Ok(Self { proxy, authorization, exclusions })
    }

    /// Whether a target is reached through the proxy.
    pub(super) fn serves(&self, target: &Authority) -> bool {
        let ip = target.ip();
        !self.exclusions.iter().any(|exclusion| match exclusion {
            Exclusion::Domain(name) => {
                target.host().strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
            Exclusion::Network(network) => ip.is_some_and(|ip| network.contains(ip)),
        })
    }

    /// Opens a tunnel to the target.
    pub(super) fn connect(&self, target: &Authority, deadline: Deadline) -> Result<TcpChannel, Error> {
        let failed = |cause: &dyn std::fmt::Display| {
            log_event!(
                Warn,
                "upstream proxy failed",
                proxy = self.proxy,
                target_host = target,
                cause = cause
            );
            Error::UpstreamProxy
        };
        let addresses = self.proxy.resolve().map_err(|error| failed(&error))?;
        let mut channel = dial(&addresses, deadline).map_err(|error| failed(&error))?;
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
        if let Some(authorization) = &self.authorization {
            write_field(&mut request, "Proxy-Authorization", authorization.expose());
        }
        request.extend_from_slice(b"\r\n");
        let deadline = deadline.or_sooner(ANSWER_TIME);
        channel.send(&request).and_then(|()| channel.flush_by(deadline)).map_err(|error| failed(&error))?;
        let mut head = ResponseHead::default();
        loop {
            peer::read_response(&mut channel, &mut head, deadline)
                .map_err(|_| failed(&"no answer to CONNECT"))?;
            match head.status() {
                100..=199 => {}
                200..=299 => return Ok(channel),
                status => return Err(failed(&format_args!("CONNECT was answered with {status}"))),
            }
        }
    }
}

fn exclusion(text: &str) -> Exclusion {
    match Cidr::parse(text) {
        Some(network) => Exclusion::Network(network),
        None => Exclusion::Domain(text.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_address_and_credential() {
        let egress = Egress::parse("http://us%40er:p%3Aw@proxy.corp:3128/", "").unwrap();
        assert_eq!(egress.proxy.to_string(), "proxy.corp:3128");
        let expected = Secret::from(format!("Basic {}", STANDARD.encode("us@er:p:w")));
        assert_eq!(egress.authorization, Some(expected));
        for bad in
            ["proxy.corp:3128", "https://proxy.corp:3128", "http://proxy.corp", "http://", "socks5://a:1"]
        {
            assert!(Egress::parse(bad, "").is_err(), "{bad}");
        }
    }

    #[test]
    fn exclusions_are_names_below_a_name_and_networks() {
        let egress =
            Egress::parse("http://p:1", "corp.example, *.svc.local,.dotted.test,10.0.0.0/8,::1").unwrap();
        for (target, through_proxy) in [
            ("corp.example:443", false),
            ("a.b.CORP.example:443", false),
            ("notcorp.example:443", true),
            ("x.svc.local:443", false),
            ("a.dotted.test:443", false),
            ("10.1.2.3:443", false),
            ("11.1.2.3:443", true),
            ("[::1]:443", false),
        ] {
            assert_eq!(egress.serves(&Authority::parse(target).unwrap()), through_proxy, "{target}");
        }
    }
}
