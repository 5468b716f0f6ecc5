//! A plain TCP stream as a [`Channel`].

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

use super::buffer::Buffer;
use super::channel::{Channel, Receive};

/// From this size on, bytes are written from where they are instead of being queued first.
const DIRECT_BYTES: usize = 4 * 1024;

/// A connected, non-blocking socket with its two buffers.
pub struct TcpChannel {
    stream: TcpStream,
    incoming: Buffer,
    outgoing: Buffer,
}

impl TcpChannel {
    /// Takes a connected stream. Nagle's delay is off: heads and records are written whole.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, incoming: Buffer::default(), outgoing: Buffer::default() })
    }

    /// Gives up the stream and the bytes already received on it, for a TLS stream to take over.
    pub fn into_parts(self) -> (TcpStream, Buffer) {
        (self.stream, self.incoming)
    }
}

impl Channel for TcpChannel {
    fn socket(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn received(&self) -> &[u8] {
        self.incoming.filled()
    }

    fn consume(&mut self, count: usize) {
        self.incoming.consume(count);
    }

    fn receive(&mut self) -> io::Result<Receive> {
        read_once(&mut self.stream, &mut self.incoming)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // A failed write is told by the flush, so that it is never taken for the fault of who sent the bytes.
        let written = if self.outgoing.is_empty() && bytes.len() >= DIRECT_BYTES {
            write_some(&mut self.stream, bytes).unwrap_or(0)
        } else {
            0
        };
        self.outgoing.push(&bytes[written..]);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<bool> {
        drain(&mut self.stream, &mut self.outgoing)
    }

    fn backlog(&self) -> usize {
        self.outgoing.len()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    fn release(&mut self) {
        self.incoming.release();
        self.outgoing.release();
    }
}

/// Reads once into `buffer`.
pub fn read_once(stream: &mut TcpStream, buffer: &mut Buffer) -> io::Result<Receive> {
    loop {
        match buffer.read_from(stream) {
            Ok(0) => return Ok(Receive::End),
            Ok(_) => return Ok(Receive::Bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Receive::Blocked),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes queued bytes until none is left or the socket is full; true when none is left.
pub fn drain(stream: &mut TcpStream, buffer: &mut Buffer) -> io::Result<bool> {
    if !buffer.is_empty() {
        let written = write_some(stream, buffer.filled())?;
        buffer.consume(written);
    }
    Ok(buffer.is_empty())
}

/// Writes until all is written or the socket is full; how much was written.
fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// A connection of this machine: its outside, and our end of it.
#[cfg(test)]
pub(super) fn pair() -> (TcpStream, TcpChannel) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let outside = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (outside, TcpChannel::new(listener.accept().unwrap().0).unwrap())
}
