//! TLS over a net stream, both roles.
//!
//! The library encrypts and decrypts ([`super::turn`]), the buffers are ours. Ciphertext is read in large
//! pieces and decrypted record by record into one plaintext buffer; small plaintexts are gathered into
//! one record, large ones are encrypted from where they are.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;

use super::turn::{RECORD_BYTES, Say, Side, Turn};
use crate::net::Deadline;
use crate::net::buffer::Buffer;
use crate::net::channel::{Channel, Receive, wait_readable};
use crate::net::tcp::{TcpChannel, drain, read_once};

/// Plaintexts below this size are gathered into one record.
const GATHER_BYTES: usize = 4 * 1024;

/// A TLS stream as a [`Channel`].
pub struct TlsChannel {
    stream: TcpStream,
    side: Side,
    incoming: Buffer,
    plain: Buffer,
    gathered: Buffer,
    outgoing: Buffer,
    peer_closed: bool,
}

impl TlsChannel {
    pub(super) fn client(stream: TcpChannel, connection: UnbufferedClientConnection) -> Self {
        Self::new(stream, Side::Client(Box::new(connection)))
    }

    pub(super) fn server(stream: TcpChannel, connection: UnbufferedServerConnection) -> Self {
        Self::new(stream, Side::Server(Box::new(connection)))
    }

    /// Bytes the peer sent before the handshake was due are its beginning.
    fn new(stream: TcpChannel, side: Side) -> Self {
        let (stream, incoming) = stream.into_parts();
        let [plain, gathered, outgoing] = [(); 3].map(|()| Buffer::default());
        Self { stream, side, incoming, plain, gathered, outgoing, peer_closed: false }
    }

    /// Completes the handshake before the deadline.
    pub(super) fn handshake(&mut self, deadline: Deadline) -> io::Result<()> {
        loop {
            let is_open = self.pump(Say::Nothing)?;
            let has_spoken = !self.outgoing.is_empty();
            self.flush_by(deadline)?;
            if is_open && !self.side.is_handshaking() {
                return Ok(());
            }
            if has_spoken {
                // The peer has not read it yet.
                wait_readable(self.stream.as_fd(), deadline)?;
            }
            match read_once(&mut self.stream, &mut self.incoming)? {
                Receive::Bytes => {}
                Receive::Blocked => wait_readable(self.stream.as_fd(), deadline)?,
                Receive::End => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Works through the ciphertext received; true when application data may be sent, and has been
    /// encrypted if some was given.
    fn pump(&mut self, say: Say<'_>) -> io::Result<bool> {
        loop {
            match self.turn(say) {
                Turn::Again => {}
                Turn::Closed if !matches!(say, Say::Nothing) => return Err(io::ErrorKind::BrokenPipe.into()),
                Turn::Handshaking | Turn::Closed => return Ok(false),
                Turn::Open => return Ok(true),
                Turn::Failed(error) => {
                    self.send_alert();
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }

    fn turn(&mut self, say: Say<'_>) -> Turn {
        let Self { side, incoming, plain, outgoing, peer_closed, .. } = self;
        side.turn(incoming, plain, outgoing, peer_closed, say)
    }

    /// After a failure rustls has an alert for the peer, perhaps behind a part of the handshake: it is sent
    /// if the socket takes it at once.
    fn send_alert(&mut self) {
        // Only as long as there is output: the input that caused the failure must not be read again.
        while self.side.has_output() && matches!(self.turn(Say::Nothing), Turn::Again) {}
        // The failure that is already being reported matters more.
        drop(drain(&mut self.stream, &mut self.outgoing));
    }

    fn encrypt_gathered(&mut self) -> io::Result<()> {
        let gathered = std::mem::take(&mut self.gathered);
        let done = self.pump(Say::Data(gathered.filled()));
        self.gathered = gathered;
        self.gathered.consume(self.gathered.len());
        done.map(drop)
    }
}

impl Channel for TlsChannel {
    fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn received(&self) -> &[u8] {
        self.plain.filled()
    }

    fn consume(&mut self, count: usize) {
        self.plain.consume(count);
    }

    /// An end of the TCP stream without a goodbye is an error: a body that ends with the connection may
    /// have been cut by anybody.
    fn receive(&mut self) -> io::Result<Receive> {
        if self.peer_closed {
            return Ok(Receive::End);
        }
        let before = self.plain.len();
        match read_once(&mut self.stream, &mut self.incoming)? {
            Receive::Bytes => self.pump(Say::Nothing)?,
            Receive::Blocked => return Ok(Receive::Blocked),
            Receive::End => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        Ok(match (self.plain.len() > before, self.peer_closed) {
            (true, _) => Receive::Bytes,
            (false, true) => Receive::End,
            (false, false) => Receive::Blocked,
        })
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < GATHER_BYTES && self.gathered.len() + bytes.len() <= RECORD_BYTES {
            self.gathered.push(bytes);
            return Ok(());
        }
        if !self.gathered.is_empty() {
            self.encrypt_gathered()?;
        }
        self.pump(Say::Data(bytes)).map(drop)
    }

    fn flush(&mut self) -> io::Result<bool> {
        if !self.gathered.is_empty() {
            self.encrypt_gathered()?;
        }
        drain(&mut self.stream, &mut self.outgoing)
    }

    fn backlog(&self) -> usize {
        self.gathered.len() + self.outgoing.len()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.pump(Say::Goodbye)?;
        drain(&mut self.stream, &mut self.outgoing)?;
        self.stream.shutdown(Shutdown::Write)
    }

    fn release(&mut self) {
        for buffer in [&mut self.incoming, &mut self.plain, &mut self.gathered, &mut self.outgoing] {
            buffer.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::tls::ca::Root;
    use crate::tls::leaf::Leaves;
    use crate::tls::{Acceptor, Connector};

    fn pair() -> (TcpChannel, TcpChannel) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (TcpChannel::new(client).unwrap(), TcpChannel::new(listener.accept().unwrap().0).unwrap())
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    /// Client and server ends of one connection to `name`, and what the client said about it.
    fn connect(name: &'static str) -> (io::Result<TlsChannel>, io::Result<TlsChannel>) {
        let leaves = Arc::new(Leaves::new(Root::generate(SystemTime::now()).unwrap(), None).unwrap());
        let connector = Connector::new(&[leaves.root_pem().as_bytes().to_vec()]).unwrap();
        let (client, server) = pair();
        let accept = thread::Builder::new()
            .spawn(move || Acceptor::new(leaves).unwrap().accept(server, "127.0.0.1", soon()))
            .unwrap();
        let client = connector.connect(client, name, soon());
        (client, accept.join().unwrap())
    }

    #[test]
    fn both_ends_exchange_what_was_sent_and_say_goodbye() {
        for name in ["api.example.test", "127.0.0.1"] {
            let (client, server) = connect(name);
            let (mut client, mut server) = (client.unwrap(), server.unwrap());
            let body: Vec<u8> = (0..300_000u32).map(|n| n.to_le_bytes()[0]).collect();
            let expected = body.clone();
            let echo = thread::Builder::new()
                .spawn(move || {
                    let mut all = Vec::new();
                    while server.receive_by(soon()).unwrap() == Receive::Bytes {
                        all.extend_from_slice(server.received());
                        server.consume(server.received().len());
                    }
                    server.send(&all).unwrap();
                    server.flush_by(soon()).unwrap();
                    server.finish().unwrap();
                })
                .unwrap();
            for piece in body.chunks(7_001) {
                client.send(piece).unwrap();
                client.flush_by(soon()).unwrap();
            }
            client.finish().unwrap();
            while client.receive_by(soon()).unwrap() == Receive::Bytes {}
            assert!(client.received() == expected);
            echo.join().unwrap();
        }
    }

    #[test]
    fn a_second_connection_resumes_the_first() {
        let leaves = Arc::new(Leaves::new(Root::generate(SystemTime::now()).unwrap(), None).unwrap());
        let connector = Connector::new(&[leaves.root_pem().as_bytes().to_vec()]).unwrap();
        let acceptor = Arc::new(Acceptor::new(leaves).unwrap());
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let ((client, server), acceptor) = (pair(), Arc::clone(&acceptor));
            let accept = thread::Builder::new()
                .spawn(move || {
                    let mut server = acceptor.accept(server, "x", soon()).unwrap();
                    server.send(b"hello").unwrap();
                    server.flush_by(soon()).unwrap();
                    server
                })
                .unwrap();
            let mut client = connector.connect(client, "api.example.test", soon()).unwrap();
            // The ticket comes before the first bytes.
            assert_eq!(client.receive_by(soon()).unwrap(), Receive::Bytes);
            let Side::Client(connection) = &client.side else { panic!("a client") };
            kinds.push(connection.handshake_kind());
            drop(accept.join());
        }
        use rustls::HandshakeKind::{Full, Resumed};
        assert_eq!(kinds, [Some(Full), Some(Resumed)]);
    }

    #[test]
    fn a_cut_is_not_an_end() {
        let (client, server) = connect("api.example.test");
        let mut client = client.unwrap();
        drop(server);
        assert_eq!(client.receive_by(soon()).map_err(|e| e.kind()), Err(io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn an_unknown_root_is_refused_on_both_sides() {
        let leaves = Arc::new(Leaves::new(Root::generate(SystemTime::now()).unwrap(), None).unwrap());
        let (client, server) = pair();
        let accept = thread::Builder::new()
            .spawn(move || Acceptor::new(leaves).unwrap().accept(server, "x", soon()).map(drop))
            .unwrap();
        let error =
            Connector::new(&[]).unwrap().connect(client, "api.example.test", soon()).map(drop).unwrap_err();
        assert!(error.to_string().contains("UnknownIssuer"), "{error}");
        // The alert reached the server, which therefore knows why.
        assert!(accept.join().unwrap().unwrap_err().to_string().contains("UnknownCA"));
    }
}
