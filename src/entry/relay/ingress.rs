//! The broker's proxy, as a place to dial.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::authority::Authority;
use crate::net::tcp::TcpChannel;
use crate::net::{Deadline, dial};

/// Connecting, all addresses together. A broker on a container network answers within milliseconds; one
/// that is silent for this long is away, and the child is told so.
const DIAL_TIME: Duration = Duration::from_secs(5);

/// Where the proxy listens. Its addresses are remembered: a lookup for each connection would cost more
/// than the connection.
pub(super) struct Ingress {
    authority: Authority,
    addresses: Mutex<Arc<[SocketAddr]>>,
}

impl Ingress {
    pub(super) fn new(authority: Authority) -> Self {
        Self { authority, addresses: Mutex::new(Arc::new([])) }
    }

    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Connects, looking the name up again when the remembered addresses do not answer.
    pub(super) fn dial(&self) -> io::Result<TcpChannel> {
        let deadline = Deadline::after(DIAL_TIME);
        let known = Arc::clone(&self.addresses.lock().unwrap_or_else(PoisonError::into_inner));
        if !known.is_empty() {
            match dial::dial(&known, deadline.or_sooner(DIAL_TIME / 2)) {
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
