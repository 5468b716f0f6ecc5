//! A non-blocking stream, plain or TLS, as both ends of a measurement use it.
//!
//! Shares no code with the product: a client that gets faster with every commit of ours would hide what
//! the commit did. One read takes up to 64 KiB from the socket, so that bulk costs both ends few calls.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use rustls::Connection;

/// Read from a socket at once.
pub(crate) const SCRATCH_BYTES: usize = 64 * 1024;

/// Queued at once of a large body.
pub(crate) static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];

/// Whether the peer may still send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Open,
    Gone,
}

pub(crate) struct Wire {
    socket: TcpStream,
    tls: Option<Connection>,
    /// Plain bytes that wait for the socket.
    queued: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(mut socket: TcpStream, registry: &Registry, token: Token) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket, tls: None, queued: Vec::new() })
    }

    /// From here on everything is TLS; what is sent before the handshake is over follows it.
    pub(crate) fn start_tls(&mut self, mut connection: Connection) {
        connection.set_buffer_limit(None);
        self.tls = Some(connection);
    }

    /// Queues bytes; [`Wire::flush`] sends them.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes),
            None => {
                self.queued.extend_from_slice(bytes);
                Ok(())
            }
        }
    }

    /// Writes what is queued; true when nothing is left.
    pub(crate) fn flush(&mut self) -> io::Result<bool> {
        while !self.queued.is_empty() {
            match self.socket.write(&self.queued) {
                Ok(count) => drop(self.queued.drain(..count)),
                Err(error) if is_blocked(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if is_blocked(&error) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Appends what has arrived to `plain`.
    pub(crate) fn receive(&mut self, scratch: &mut [u8], plain: &mut Vec<u8>) -> io::Result<Peer> {
        loop {
            let count = match self.socket.read(scratch) {
                Ok(0) => return Ok(Peer::Gone),
                Ok(count) => count,
                Err(error) if is_blocked(&error) => return Ok(Peer::Open),
                Err(error) => return Err(error),
            };
            match &mut self.tls {
                Some(tls) => decrypt(tls, &scratch[..count], plain)?,
                None => plain.extend_from_slice(&scratch[..count]),
            }
            // A short read has emptied the socket: what comes later is another event.
            if count < scratch.len() {
                return Ok(Peer::Open);
            }
        }
    }

    /// Says goodbye as well-behaved clients do.
    pub(crate) fn close(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        // The peer may have gone first.
        self.flush().unwrap_or_default();
    }
}

fn decrypt(tls: &mut Connection, mut ciphertext: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
    while !ciphertext.is_empty() {
        tls.read_tls(&mut ciphertext)?;
        let state = tls.process_new_packets().map_err(io::Error::other)?;
        let at = plain.len();
        plain.resize(at + state.plaintext_bytes_to_read(), 0);
        tls.reader().read_exact(&mut plain[at..])?;
    }
    Ok(())
}

fn is_blocked(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}
