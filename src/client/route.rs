//! Whether a call to the broker goes through a proxy.
//!
//! The usual variables decide, with three exceptions: a loopback broker, a host in `NO_PROXY`, and the
//! broker named by `AGENT_VAULT_ADDR`. The last lets the command line work inside `run`, where the
//! proxy variables point at the broker's own proxy (contract E.1).

use ureq::Proxy;
use ureq::http::Uri;

use crate::authority::Authority;
use crate::client::Error;

/// The variables that bear on the route, as the process found them.
#[derive(Clone, Debug, Default)]
pub struct ProxyVars {
    http: Option<String>,
    https: Option<String>,
    all: Option<String>,
    no_proxy: Option<String>,
    broker: Option<String>,
}

impl ProxyVars {
    /// Reads them with `var`; the lower-case spelling wins, as curl has it.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Self {
        let either = |lower: &str, upper: &str| {
            var(lower).filter(|v| !v.is_empty()).or_else(|| var(upper).filter(|v| !v.is_empty()))
        };
        Self {
            http: either("http_proxy", "HTTP_PROXY"),
            https: either("https_proxy", "HTTPS_PROXY"),
            all: either("all_proxy", "ALL_PROXY"),
            no_proxy: either("no_proxy", "NO_PROXY"),
            broker: var("AGENT_VAULT_ADDR"),
        }
    }
}

/// The proxy for this broker, if any.
pub(super) fn proxy_for(broker: &Uri, vars: &ProxyVars) -> Result<Option<Proxy>, Error> {
    let Some(url) = choose(broker, vars) else {
        return Ok(None);
    };
    // The URL may carry a password, so it is not repeated in the message.
    let proxy = Proxy::new(url).map_err(|_| {
        Error::Settings("the proxy variable of the environment holds no usable URL".to_owned())
    })?;
    Ok(Some(proxy))
}

fn choose<'a>(broker: &Uri, vars: &'a ProxyVars) -> Option<&'a str> {
    let target = authority_of(broker)?;
    let is_https = broker.scheme_str() == Some("https");
    let url = if is_https { &vars.https } else { &vars.http }.as_ref().or(vars.all.as_ref())?;
    let is_loopback = target.host() == "localhost" || target.ip().is_some_and(|ip| ip.is_loopback());
    let is_own = vars
        .broker
        .as_deref()
        .and_then(|text| text.trim_end_matches('/').parse::<Uri>().ok())
        .and_then(|uri| authority_of(&uri))
        .is_some_and(|own| own == target);
    let is_excluded = vars.no_proxy.as_deref().is_some_and(|list| excludes(list, &target));
    (!is_loopback && !is_own && !is_excluded).then_some(url.as_str())
}

fn authority_of(uri: &Uri) -> Option<Authority> {
    let default_port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    Authority::new(host, uri.port_u16().unwrap_or(default_port)).ok()
}

/// Whether a `NO_PROXY` list names the host: itself, a parent domain, with or without a port, or `*`.
fn excludes(list: &str, target: &Authority) -> bool {
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        let entry = entry.trim_start_matches('*').to_ascii_lowercase();
        let (name, port) = match Authority::parse(entry.trim_start_matches('.')) {
            Ok(named) => (named.host().to_owned(), Some(named.port())),
            Err(_) => (entry.trim_start_matches('.').trim_matches(['[', ']']).to_owned(), None),
        };
        let is_host = target.host() == name
            || target.host().strip_suffix(name.as_str()).is_some_and(|front| front.ends_with('.'));
        is_host && port.is_none_or(|port| port == target.port())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(broker: &str, vars: &[(&str, &str)]) -> Option<String> {
        let vars = ProxyVars::read(|name| {
            vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        });
        choose(&broker.parse().unwrap(), &vars).map(str::to_owned)
    }

    #[test]
    fn the_scheme_chooses_the_variable() {
        let vars = [("http_proxy", "http://a:1"), ("HTTPS_PROXY", "http://b:2")];
        assert_eq!(route("http://broker:14321", &vars).as_deref(), Some("http://a:1"));
        assert_eq!(route("https://broker", &vars).as_deref(), Some("http://b:2"));
        assert_eq!(route("http://broker", &[("ALL_PROXY", "http://c:3")]).as_deref(), Some("http://c:3"));
        assert_eq!(route("http://broker", &[]), None);
    }

    #[test]
    fn loopback_excluded_and_own_brokers_are_called_directly() {
        let proxy = ("HTTP_PROXY", "http://p:1");
        for address in ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"] {
            assert_eq!(route(address, &[proxy]), None, "{address}");
        }
        let own = ("AGENT_VAULT_ADDR", "http://broker:14321/");
        assert_eq!(route("http://broker:14321", &[proxy, own]), None);
        assert!(route("http://broker:9", &[proxy, own]).is_some());
        for list in ["x, broker.corp", "corp", ".corp", "*.corp", "*", "broker.corp:80"] {
            assert_eq!(route("http://broker.corp", &[proxy, ("NO_PROXY", list)]), None, "{list}");
        }
        for list in ["orp", "broker.corp:81", ""] {
            assert!(route("http://broker.corp", &[proxy, ("NO_PROXY", list)]).is_some(), "{list}");
        }
    }
}
