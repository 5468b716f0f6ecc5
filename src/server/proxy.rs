//! Bringing the proxy up: its root, its way to upstreams, its port.
//!
//! The broker serves without it, so what goes wrong here is a warning (contract D.2).

use std::io::{self, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::SystemTime;

use super::bind;
use crate::api::ProxyNotice;
use crate::authority::Authority;
use crate::config::server::{ProxyPort, Settings};
use crate::log::Level;
use crate::proxy::journal::Journal;
use crate::proxy::{Outward, Proxy};
use crate::store::Store;
use crate::tls::ca::Root;
use crate::tls::leaf::Leaves;
use crate::tls::{Acceptor, Connector};
use crate::vault::scope::Directory;

/// A proxy that listens.
pub(super) struct Listening {
    pub(super) proxy: Arc<Proxy>,
    pub(super) listener: TcpListener,
    pub(super) notice: ProxyNotice,
}

/// What the proxy stands on.
pub(super) struct Ground<'s> {
    pub(super) settings: &'s Settings,
    pub(super) store: &'s Arc<Store>,
    pub(super) journal: &'s Arc<Journal>,
    pub(super) outward: Result<Outward, String>,
    pub(super) base_url: &'s str,
}

/// Brings the proxy up, or says why there is none.
pub(super) fn start(ground: &Ground<'_>) -> Option<Listening> {
    let port = match ground.settings.proxy_port {
        ProxyPort::Off => return None,
        ProxyPort::Auto => 0,
        ProxyPort::Port(port) => port,
    };
    let root = match load_root(ground.store) {
        Ok(root) => root,
        Err(error) => {
            warn(&format!(
                "transparent proxy disabled (CA init failed: {error}); pass --mitm-port 0 to suppress"
            ));
            return None;
        }
    };
    match listen(ground, root, port) {
        Ok(listening) => Some(listening),
        Err(error) => {
            warn(&format!("transparent proxy unavailable: {error}"));
            None
        }
    }
}

/// The way to upstreams and token endpoints.
pub(super) fn outward(settings: &Settings) -> Result<Outward, String> {
    let connector = Connector::new(&settings.upstream_roots).map_err(|error| error.to_string())?;
    Ok(Outward { guard: settings.guard.clone(), connector, egress: settings.egress.clone() })
}

fn listen(ground: &Ground<'_>, root: Root, port: u16) -> Result<Listening, Box<dyn std::error::Error>> {
    let Ground { settings, store, journal, ref outward, base_url } = *ground;
    let root_pem = root.pem().to_owned();
    let host = host_of(base_url);
    let leaves = Arc::new(Leaves::new(root, host.as_deref())?);
    let outward = outward.clone()?;
    let (listener, port) = bind(&settings.host, port)?;
    let directory: Arc<dyn Directory> = Arc::<Store>::clone(store);
    let proxy = Proxy::new(directory, Acceptor::new(leaves)?, outward, settings.limits, Some(base_url))
        .with_log(Arc::<Journal>::clone(journal));
    Ok(Listening { proxy: Arc::new(proxy), listener, notice: ProxyNotice { root_pem, port } })
}

/// The stored root; a new one is made only where there is none at all.
fn load_root(store: &Store) -> Result<Root, Box<dyn std::error::Error>> {
    if let Some((pem, key)) = store.load_ca()? {
        return Ok(Root::load(&pem, &key)?);
    }
    let root = Root::generate(SystemTime::now())?;
    let key = root.key_sec1().ok_or("the new key cannot be stored")?;
    store.save_ca(root.pem(), &key)?;
    Ok(root)
}

fn host_of(url: &str) -> Option<String> {
    let rest = url.split_once("://")?.1;
    let authority = rest.split('/').next()?;
    Authority::parse_or(authority, 443).ok().map(|authority| authority.host().to_owned())
}

fn warn(text: &str) {
    if crate::log::is_enabled(Level::Warn) {
        // A closed stderr is no reason not to serve.
        drop(writeln!(io::stderr(), "warning: {text}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_has_a_host() {
        for (url, host) in [
            ("http://127.0.0.1:1", Some("127.0.0.1")),
            ("https://av.example.com/x", Some("av.example.com")),
            ("http://[::1]:5", Some("::1")),
            ("nothing", None),
        ] {
            assert_eq!(host_of(url).as_deref(), host);
        }
    }
}
