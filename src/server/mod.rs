//! The broker's order of things: settings → claim → store → root → bind → serve → drain.
//!
//! The control API is the broker: if it cannot listen, nothing starts. The proxy may be missing; that is
//! a warning, and `/v1/mitm/ca.pem` says so to those who ask (contract D.2).

mod detach;
mod gauges;
mod keeper;
mod lookout;
mod pidfile;
mod proxy;
mod unlock;

use std::fmt;
use std::io::{self, Write as _};
use std::net::{TcpListener, ToSocketAddrs as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::api::serve::Control;
use crate::api::{self, Api, Measure, Surroundings};
use crate::authority::Authority;
use crate::config::server::{SECRET_VARIABLES, Settings};
use crate::failure::Failure;
use crate::health::Beacon;
use crate::log::Level;
use crate::log_event;
use crate::net::reactor::{Reactor, Wake};
use crate::proxy::explain::{Explainer, Imagined};
use crate::proxy::journal::Journal;
use crate::proxy::{Ingress, Proxy, TokenClient};
use crate::store::Store;
use crate::sys;
use crate::sys::signals::{Mask, Signal, Signals};
pub use detach::{Detached, detach};
use keeper::{Bounds, Keeper};
use lookout::Lookout;
use pidfile::PidFile;
use proxy::Ground;

/// What open connections get to end by themselves (contract D.2).
const GRACE: Duration = Duration::from_secs(5);
/// What the request log gets to be written to its end (contract F.1).
const LOG_GRACE: Duration = Duration::from_secs(3);

/// Runs the broker until it is asked to end.
pub fn run(mut settings: Settings) -> Result<(), Failure> {
    crate::log::set_level(settings.log_level);
    let mut claim = claim(&settings.data_dir)?;
    let unlocked = unlock::open(&settings)?;
    unlock::seed_owner(&unlocked, &settings)?;
    let store = Arc::new(unlocked.store);
    // Nothing needs the passwords any more: they are wiped here and where the process was given them.
    settings.master_password = None;
    settings.owner = None;
    sys::environ::overwrite(SECRET_VARIABLES);
    harden();
    if settings.expects_mail {
        log_event!(
            Warn,
            "AGENT_VAULT_SMTP_HOST is set, and this broker sends no e-mail: codes are lines of this log, and an \
             invite's link is shown to whoever invites",
        );
    }

    let signals =
        Signals::block(Mask::without_faults()).map_err(|error| cannot("receive signals", &error))?;
    let (control, control_port) = bind(&settings.host, settings.port).map_err(|error| {
        let failure = cannot(&format!("listen on {}", place(&settings.host, settings.port)), &error);
        failure.with_hint("another program may be running there; choose another port with --port")
    })?;
    let base_url = settings
        .base_url
        .clone()
        .unwrap_or_else(|| format!("http://{}", place(&settings.host, control_port)));
    let explainer = Explainer {
        network: Some((settings.guard.clone(), settings.egress.clone())),
        base_url: base_url.clone(),
    };
    let bounds = Bounds::default();
    let keeper = Keeper::new(Arc::clone(&store), settings.request_lines, Arc::clone(&bounds));
    let journal = Arc::new(Journal::start(keeper).map_err(|error| cannot("start", &error))?);
    let proxy: Arc<OnceLock<Arc<Proxy>>> = Arc::default();
    let mut reactor = Reactor::new(settings.connections).map_err(|error| cannot("start", &error))?;
    let measure = gauges::measure(&store, &journal, &proxy, reactor.meter());
    let surroundings = surroundings(explainer, measure, &proxy, &journal, bounds);
    let api = Arc::new(Api::new(
        Arc::clone(&store),
        api::Settings {
            base_url: base_url.clone(),
            is_base_url_chosen: settings.base_url.is_some(),
            internal_names: settings.internal_names,
            trusted_proxies: settings.trusted_proxies.clone(),
            rates: settings.rates,
            retention: settings.retention,
            watchers: settings.watchers,
        },
        surroundings,
    ));
    let here = control.local_addr().ok().and_then(|here| Authority::parse(&here.to_string()).ok());
    reactor.listen(control, Arc::new(Control(Arc::clone(&api)))).map_err(|error| cannot("listen", &error))?;
    let mut lines = format!("Agent Vault server listening on {base_url}\n");
    let outward = proxy::outward(&settings);
    // Without it the proxy does not start either, and says why.
    if let Ok(outward) = &outward {
        store.set_token_endpoint(Box::new(TokenClient::new(outward.clone())));
    }
    let ground =
        Ground { settings: &settings, store: &store, journal: &journal, outward, base_url: &base_url };
    if let Some(listening) = proxy::start(&ground) {
        lines.push_str(&format!(
            "Agent Vault transparent proxy listening on {}\n",
            place(&settings.host, listening.notice.port)
        ));
        let ingress = Arc::new(Ingress(Arc::clone(&listening.proxy)));
        reactor.listen(listening.listener, ingress).map_err(|error| cannot("listen", &error))?;
        api.announce_proxy(listening.notice);
        drop(proxy.set(listening.proxy));
    }
    api.apply_settings().map_err(failed)?;
    if !store.has_users().map_err(failed)? {
        lines.push_str("No owner account yet: agent-vault auth register creates it\n");
    }
    claim.announce().map_err(|error| cannot("write the PID file", &error))?;
    // A closed stdout is no reason not to serve.
    drop(io::stdout().write_all(lines.as_bytes()));
    let serving = proxy.get().map(|proxy| &**proxy);
    let beacon = Beacon::bind(settings.health_name.as_deref(), here.as_ref())
        .inspect_err(|error| log_event!(Warn, "agent-vault health will find nothing here", err = error));
    let ended = serve(&mut reactor, &signals, serving, (&store, &api), beacon.as_ref().ok());
    journal.close(Instant::now() + LOG_GRACE);
    keeper::write_uses(&store);
    if let Some(proxy) = proxy.get() {
        tell_refusals(proxy);
    }
    ended
}

/// What the control API asks and tells the rest of the broker. The proxy starts after it, if at all.
fn surroundings(
    explainer: Explainer,
    measure: Measure,
    proxy: &Arc<OnceLock<Arc<Proxy>>>,
    journal: &Arc<Journal>,
    bounds: Bounds,
) -> Surroundings {
    let (proxy, journal) = (Arc::clone(proxy), Arc::clone(journal));
    Surroundings {
        explain: Box::new(move |rules, vault, method, url| {
            explainer.explain(rules, Imagined { vault, method, url })
        }),
        measure,
        set_rates: Box::new(move |rates| {
            if let Some(proxy) = proxy.get() {
                proxy.set_rates(rates);
            }
        }),
        set_retention: Box::new(move |retention| {
            *bounds.lock().unwrap_or_else(PoisonError::into_inner) = Some(retention);
            journal.tend();
        }),
    }
}

/// Says at the end how often the proxy refused, and why.
fn tell_refusals(proxy: &Proxy) {
    let counts = proxy.counts();
    let given = counts.iter().filter(|(_, number)| *number > 0);
    let fields: Vec<(&str, &dyn fmt::Display)> =
        given.map(|(reason, number)| (*reason, number as &dyn fmt::Display)).collect();
    crate::log::event(Level::Debug, "requests refused since the start", &fields);
}

/// Ends the broker of a data directory.
pub fn stop(data_dir: &Path) -> Result<(), Failure> {
    pidfile::stop(data_dir, |pid| {
        drop(writeln!(io::stderr(), "Stopping server (PID {pid})..."));
    })
}

/// A data directory whose broker is stopped, and cannot start while this lives.
#[must_use = "the directory is free again when this is dropped"]
pub struct Stopped {
    _claim: PidFile,
}

/// Makes sure that no broker uses a data directory, which has to be there.
pub fn hold(data_dir: &Path) -> Result<Stopped, Failure> {
    PidFile::claim(data_dir).map(|claim| Stopped { _claim: claim })
}

/// Turns the reactor until a signal asks for the end, then lets go in order.
fn serve(
    reactor: &mut Reactor,
    signals: &Signals,
    proxy: Option<&Proxy>,
    (store, api): (&Store, &Api),
    beacon: Option<&Beacon>,
) -> Result<(), Failure> {
    let failed = |error: io::Error| cannot("go on serving", &error);
    let signal_wake = reactor.watch(signals.as_fd().as_raw_fd()).map_err(failed)?;
    if let Some(beacon) = beacon {
        reactor.watch(beacon.descriptor()).map_err(failed)?;
    }
    let mut lookout = Lookout::new();
    loop {
        let now = Instant::now();
        let purge_at = proxy.and_then(|proxy| proxy.purge(now));
        let look_at = lookout.look(store, api, now);
        match reactor.turn(purge_at.into_iter().chain([look_at]).min()).map_err(failed)? {
            Wake::Deadline => {}
            Wake::Watched(number) if number == signal_wake => {
                if is_asked_to_end(signals).map_err(failed)? {
                    break;
                }
            }
            Wake::Watched(_) => {
                if let Some(beacon) = beacon {
                    beacon.answer();
                }
            }
        }
    }
    reactor.stop_accepting();
    let open = reactor.drain(Instant::now() + GRACE).map_err(failed)?;
    log_event!(Info, "server stopped", open_connections = open);
    Ok(())
}

/// Reads every signal that has arrived.
fn is_asked_to_end(signals: &Signals) -> io::Result<bool> {
    let mut ends = false;
    while let Some(arrived) = signals.next()? {
        ends |= matches!(arrived.signal, Signal::INT | Signal::QUIT | Signal::TERM);
    }
    Ok(ends)
}

/// The data directory has to be there for the claim.
fn claim(data_dir: &Path) -> Result<PidFile, Failure> {
    crate::store::create_private_dir(data_dir).map_err(failed)?;
    PidFile::claim(data_dir)
}

/// Each step makes an attack harder and none is needed to serve.
fn harden() {
    if let Err(error) = sys::harden::protect() {
        log_event!(Warn, "this process's memory is not protected", err = error);
    }
    if let Err(error) = sys::harden::raise_descriptor_limit() {
        log_event!(Warn, "the limit of open descriptors stays as it is", err = error);
    }
}

/// Binds to the first address the host stands for; the port that was given or taken.
fn bind(host: &str, port: u16) -> io::Result<(TcpListener, u16)> {
    let addresses: Vec<_> = (host, port).to_socket_addrs()?.collect();
    let listener = TcpListener::bind(&addresses[..])?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// `host:port` as it stands in a URL.
fn place(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::new(format!("cannot {what}: {}", plain(error)))
}

fn failed(error: impl fmt::Display) -> Failure {
    Failure::new(error.to_string())
}

/// An error of the system without its number, where there is a usual word for it.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use".to_owned(),
        io::ErrorKind::AddrNotAvailable => "address not available".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_bracketed_where_a_url_needs_it() {
        assert_eq!(place("::", 5), "[::]:5");
        assert_eq!(place("127.0.0.1", 5), "127.0.0.1:5");
    }
}
