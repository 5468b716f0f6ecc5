//! The broker's proxy, as a place to dial.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::outage::{Outage, Patience};
use crate::authority::Authority;
use crate::net::tcp::TcpChannel;
use crate::net::{Deadline, dial};

/// Connecting, all addresses together. A broker on a container network answers within milliseconds; one
/// that is silent for this long is away, and the child is told so.
const DIAL_TIME: Duration = Duration::from_secs(5);

/// The same for a broker that has been away long enough already: silence is what is expected of it.
const DIAL_TIME_AWAY: Duration = Duration::from_millis(500);

/// Where the proxy listens. Its addresses are remembered: a lookup for each connection would cost more
/// than the connection.
pub(super) struct Ingress {
    authority: Authority,
    addresses: Mutex<Arc<[SocketAddr]>>,
    pub(super) outage: Outage,
}

impl Ingress {
    pub(super) fn new(authority: Authority, patience: Duration) -> Self {
        Self { authority, addresses: Mutex::new(Arc::new([])), outage: Outage::new(patience) }
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Connects, again and again while there is patience.
    pub(super) fn dial(&self, patience: &mut Patience<'_>) -> io::Result<TcpChannel> {
        loop {
            let is_known = self.outage.is_known(Instant::now());
            match self.dial_once(if is_known { DIAL_TIME_AWAY } else { DIAL_TIME }) {
                Err(_) if patience.lasts() => {}
                outcome => return outcome,
            }
        }
    }

    /// Connects, looking the name up again when the remembered addresses do not answer.
    fn dial_once(&self, time: Duration) -> io::Result<TcpChannel> {
        let deadline = Deadline::after(time);
        let known = Arc::clone(&self.addresses.lock().unwrap_or_else(PoisonError::into_inner));
        if !known.is_empty() {
            match dial::dial(&known, deadline.or_sooner(time / 2)) {
                Ok(channel) => return Ok(channel),
                Err(error) if self.authority.ip().is_some() => return Err(error),
                Err(_) => {}
            }
        }
        let found: Arc<[SocketAddr]> =
            (self.authority.host(), self.authority.port()).to_socket_addrs()?.collect();
        let channel = dial::dial(&found, deadline)?;
        *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(channel)
    }
}
