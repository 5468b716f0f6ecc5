//! One connection of the load: to the origin, or through a proxy to it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Registry, Token};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::identity::HOST;
use crate::origin::field;
use crate::wire::{PIECE, Peer, Wire};

/// How clients reach an origin.
#[derive(Clone)]
pub(crate) struct Target {
    /// Ports of the origins: what is fetched comes from one, what is sent goes to the other.
    pub(crate) fetch_port: u16,
    pub(crate) send_port: u16,
    pub(crate) proxy: Option<Proxy>,
    /// Trusts who answers for the origin; every handshake is a full one.
    pub(crate) tls: Arc<ClientConfig>,
    /// The same with tickets.
    pub(crate) resuming: Arc<ClientConfig>,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// Fields of each CONNECT, one of them for each connection in turn.
    pub(crate) fields: Vec<String>,
}

/// One kind of request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Get(usize),
    Put(usize),
    /// Which credential did the origin see?
    Seen,
}

impl Ask {
    fn head(self, port: u16) -> String {
        let (method, path, body) = match self {
            Self::Get(size) => ("GET", size.to_string(), String::new()),
            Self::Put(size) => ("PUT", "upload".to_owned(), format!("Content-Length: {size}\r\n")),
            Self::Seen => ("GET", "seen".to_owned(), String::new()),
        };
        format!(
            "{method} /{path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: */*\r\nUser-Agent: load\r\n{body}\r\n"
        )
    }
}

pub(crate) struct Client {
    wire: Wire,
    plain: Vec<u8>,
    ask: Ask,
    /// The head of every request.
    request: Vec<u8>,
    /// Set until the proxy has opened the tunnel: the TLS to begin then.
    tunnel: Option<ClientConnection>,
    asked: Option<Instant>,
    to_send: usize,
    /// Bytes of the response that are still to come, once its head is read.
    to_come: Option<usize>,
    body: Vec<u8>,
}

/// What came of looking at a connection.
pub(crate) enum Progress {
    Waits,
    /// A response is complete.
    Done(Duration),
}

impl Client {
    pub(crate) fn open(
        target: &Target,
        ask: Ask,
        config: &Arc<ClientConfig>,
        registry: &Registry,
        at: usize,
    ) -> io::Result<Self> {
        let port = if matches!(ask, Ask::Get(_)) { target.fetch_port } else { target.send_port };
        let origin = SocketAddr::from(([127, 0, 0, 1], port));
        let socket = TcpStream::connect(target.proxy.as_ref().map_or(origin, |proxy| proxy.address))?;
        let mut wire = Wire::new(socket, registry, Token(at))?;
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        let mut tunnel = Some(ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?);
        if let Some(proxy) = &target.proxy {
            let fields = proxy.fields.get(at % proxy.fields.len().max(1)).map_or("", String::as_str);
            let connect = format!("CONNECT {HOST}:{port} HTTP/1.1\r\nHost: {HOST}:{port}\r\n{fields}\r\n");
            wire.send(connect.as_bytes())?;
        } else if let Some(tls) = tunnel.take() {
            wire.start_tls(tls.into());
        }
        let mut client = Self {
            wire,
            plain: Vec::new(),
            ask,
            request: ask.head(port).into_bytes(),
            tunnel,
            asked: None,
            to_send: 0,
            to_come: None,
            body: Vec::new(),
        };
        client.asked = Some(Instant::now());
        if client.tunnel.is_none() {
            client.say()?;
        }
        client.push()?;
        Ok(client)
    }

    /// Sends the next request.
    pub(crate) fn request(&mut self) -> io::Result<()> {
        self.asked = Some(Instant::now());
        self.say()?;
        self.push()
    }

    /// Whether an answer is still to come.
    pub(crate) fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// The body of the last response, if it was one of words.
    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(crate) fn close(self) {
        self.wire.close();
    }

    fn say(&mut self) -> io::Result<()> {
        if let Ask::Put(size) = self.ask {
            self.to_send = size;
        }
        self.wire.send(&self.request)
    }

    fn push(&mut self) -> io::Result<()> {
        while self.wire.flush()? && self.to_send > 0 {
            let count = self.to_send.min(PIECE.len());
            self.wire.send(&PIECE[..count])?;
            self.to_send -= count;
        }
        Ok(())
    }

    /// Goes as far as the socket allows.
    pub(crate) fn advance(&mut self, scratch: &mut [u8]) -> io::Result<Progress> {
        self.push()?;
        let peer = self.wire.receive(scratch, &mut self.plain)?;
        self.push()?;
        let Some(asked) = self.asked else {
            return if peer == Peer::Open { Ok(Progress::Waits) } else { Err(gone()) };
        };
        while self.to_come.is_some() || !self.plain.is_empty() {
            let Some(to_come) = self.to_come else {
                if self.head()? {
                    continue;
                }
                break;
            };
            let count = to_come.min(self.plain.len());
            if matches!(self.ask, Ask::Seen) {
                self.body.extend_from_slice(&self.plain[..count]);
            }
            self.plain.drain(..count);
            self.to_come = Some(to_come - count);
            if to_come > count {
                break;
            }
            self.to_come = None;
            // An answer before the last byte of the request ends nothing: the rest is still owed.
            if self.to_send == 0 {
                self.asked = None;
                return Ok(Progress::Done(asked.elapsed()));
            }
        }
        if peer == Peer::Open { Ok(Progress::Waits) } else { Err(gone()) }
    }

    /// Takes a response's head; false when more of it has to arrive.
    fn head(&mut self) -> io::Result<bool> {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(&self.plain).map_err(io::Error::other)?;
        let httparse::Status::Complete(length) = parsed else { return Ok(false) };
        let status = response.code.unwrap_or_default();
        if status != 200 {
            let said = String::from_utf8_lossy(&self.plain).chars().take(300).collect::<String>();
            return Err(io::Error::other(format!("answered {status}: {said:?}")));
        }
        let body = field(response.headers, "content-length").and_then(|text| text.parse().ok());
        self.plain.drain(..length);
        if let Some(tls) = self.tunnel.take() {
            self.wire.start_tls(tls.into());
            self.say()?;
            self.push()?;
            return Ok(true);
        }
        self.body.clear();
        self.to_come = Some(body.ok_or_else(|| io::Error::other("a response without a length"))?);
        Ok(true)
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended early")
}
