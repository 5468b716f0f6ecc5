//! The origin: an HTTPS server that does as little as a server can.
//!
//! `GET /N` is answered with N bytes, `GET /seen` with the credential that came with it, anything with a
//! body is read to its end and answered with two bytes. It runs as a process of its own.

use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use rustls::{ServerConfig, ServerConnection};

use crate::identity;
use crate::wire::{PIECE, Peer, SCRATCH_BYTES, Wire};

/// As many as the machine has processors, up to here.
const THREADS: usize = 2;
const LISTENER: Token = Token(usize::MAX);

/// Serves until the process is killed; says where on stdout.
pub(crate) fn serve(identity: &Path) -> io::Result<()> {
    let config = Arc::new(identity::server_config(&fs::read_to_string(identity)?)?);
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    writeln!(io::stdout(), "origin listening on {}", listener.local_addr()?.port())?;
    let mut threads = Vec::new();
    for _ in 0..THREADS {
        let (listener, config) = (TcpListener::from_std(listener.try_clone()?), Arc::clone(&config));
        threads.push(thread::Builder::new().spawn(move || turn(listener, &config))?);
    }
    for thread in threads {
        thread.join().map_err(|_| io::Error::other("a thread of the origin panicked"))??;
    }
    Ok(())
}

fn turn(mut listener: TcpListener, config: &Arc<ServerConfig>) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut events, mut scratch) = (Events::with_capacity(1024), vec![0; SCRATCH_BYTES]);
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((socket, _)) = listener.accept() {
                    let at = free.pop().unwrap_or(clients.len());
                    let mut wire = Wire::new(socket, poll.registry(), Token(at))?;
                    wire.start_tls(
                        ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?.into(),
                    );
                    let client = Some(Client { wire, plain: Vec::new(), to_send: 0, to_skip: 0 });
                    if at == clients.len() {
                        clients.push(client);
                    } else {
                        clients[at] = client;
                    }
                }
                continue;
            }
            let at = event.token().0;
            let Some(client) = &mut clients[at] else { continue };
            // A client may go away at any time, in any way.
            if !client.advance(&mut scratch).unwrap_or(false) {
                clients[at] = None;
                free.push(at);
            }
        }
    }
}

struct Client {
    wire: Wire,
    plain: Vec<u8>,
    /// Bytes of the body that are still to be sent.
    to_send: usize,
    /// Bytes of a request's body that are still to come.
    to_skip: usize,
}

impl Client {
    /// Goes as far as the socket allows; false at the end.
    fn advance(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        let peer = self.wire.receive(scratch, &mut self.plain)?;
        loop {
            if !self.wire.flush()? {
                break;
            }
            if self.to_send > 0 {
                let count = self.to_send.min(PIECE.len());
                self.wire.send(&PIECE[..count])?;
                self.to_send -= count;
                continue;
            }
            if !self.request()? {
                break;
            }
        }
        Ok(peer == Peer::Open)
    }

    /// Takes one request, or a part of its body; false when more has to arrive.
    fn request(&mut self) -> io::Result<bool> {
        if self.to_skip > 0 {
            let count = self.to_skip.min(self.plain.len());
            self.plain.drain(..count);
            self.to_skip -= count;
            if self.to_skip == 0 {
                self.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            }
            return Ok(self.to_skip == 0);
        }
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(&self.plain).map_err(io::Error::other)?;
        let httparse::Status::Complete(length) = parsed else { return Ok(false) };
        let path = request.path.unwrap_or_default().trim_start_matches('/');
        let credential = field(request.headers, "authorization").unwrap_or_default();
        let body: usize = field(request.headers, "content-length").unwrap_or("0").parse().unwrap_or(0);
        let size = if path == "seen" { credential.len() } else { path.parse().unwrap_or(0) };
        if body == 0 {
            self.wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").as_bytes())?;
        }
        if path == "seen" {
            self.wire.send(credential.as_bytes())?;
        } else if body == 0 {
            self.to_send = size;
        }
        self.to_skip = body;
        self.plain.drain(..length);
        Ok(true)
    }
}

pub(crate) fn field<'h>(fields: &[httparse::Header<'h>], name: &str) -> Option<&'h str> {
    let found = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    std::str::from_utf8(found.value).ok()
}
