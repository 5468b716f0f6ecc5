//! Bodies on their way through: framing in, placeholders replaced, framing out, nothing kept.

use std::io;

use super::rewrite;
use crate::http1::body::BodyReader;
use crate::http1::chunked::{self, Piece};
use crate::net::channel::Channel;
use crate::net::duplex::{Course, Step};
use crate::vault::attach::InjectedField;
use crate::vault::substitute::Stream;

/// How the bytes are framed for the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// As they are: the head said how many, or the connection's end says it.
    Plain,
    Chunked,
}

/// One body in transit.
pub(super) struct Body<'f> {
    reader: BodyReader,
    outgoing: Outgoing,
    replacing: Option<Stream>,
    injected: &'f [InjectedField],
    limit: u64,
}

/// The body is longer than allowed.
#[derive(Debug)]
pub(super) struct TooLong;

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the body is longer than the limit")
    }
}

impl std::error::Error for TooLong {}

impl<'f> Body<'f> {
    /// A body of at most `limit` bytes, of which `reader` may have read a part.
    pub(super) fn new(reader: BodyReader, outgoing: Outgoing, limit: u64) -> Self {
        Self { reader, outgoing, replacing: None, injected: &[], limit }
    }

    /// Replaces placeholders on the way.
    #[must_use]
    pub(super) fn replacing(mut self, stream: Option<Stream>) -> Self {
        self.replacing = stream;
        self
    }

    /// Keeps trailers from bringing these fields along.
    #[must_use]
    pub(super) fn guarding(mut self, injected: &'f [InjectedField]) -> Self {
        self.injected = injected;
        self
    }

    fn pass(&mut self, count: usize, from: &mut dyn Channel, to: &mut dyn Channel) -> io::Result<()> {
        if self.reader.taken() > self.limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, TooLong));
        }
        let bytes = &from.received()[..count];
        match &mut self.replacing {
            None => send(self.outgoing, bytes, to)?,
            Some(stream) => {
                let mut replaced = Vec::with_capacity(count);
                stream.feed(bytes, &mut replaced);
                send(self.outgoing, &replaced, to)?;
            }
        }
        from.consume(count);
        Ok(())
    }

    fn end(&mut self, trailers: &[u8], to: &mut dyn Channel) -> io::Result<Step> {
        if let Some(stream) = &mut self.replacing {
            let mut kept = Vec::new();
            stream.finish(&mut kept);
            send(self.outgoing, &kept, to)?;
        }
        if self.outgoing == Outgoing::Chunked {
            let mut last = b"0\r\n".to_vec();
            rewrite::trailers(&mut last, trailers, self.injected);
            last.extend_from_slice(b"\r\n");
            to.send(&last)?;
        }
        Ok(Step::Done)
    }
}

impl Course for Body<'_> {
    fn step(&mut self, from: &mut dyn Channel, ended: bool, to: &mut dyn Channel) -> io::Result<Step> {
        loop {
            let piece = self.reader.next(from.received(), ended);
            match piece.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Piece::Incomplete => return Ok(Step::More),
                Piece::Framing(count) => from.consume(count),
                Piece::Data(count) => self.pass(count, from, to)?,
                Piece::End(count) => {
                    let step = self.end(&from.received()[..count], to)?;
                    from.consume(count);
                    return Ok(step);
                }
            }
        }
    }
}

/// Sends body bytes in the receiver's framing; an empty piece is no chunk, since that would be the last.
pub(super) fn send(outgoing: Outgoing, bytes: &[u8], to: &mut dyn Channel) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    if outgoing == Outgoing::Plain {
        return to.send(bytes);
    }
    let mut line = Vec::with_capacity(20);
    chunked::write_size(&mut line, bytes.len());
    to.send(&line)?;
    to.send(bytes)?;
    to.send(b"\r\n")
}
