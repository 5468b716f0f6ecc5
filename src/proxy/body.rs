//! Bodies on their way through: framing in, placeholders replaced, framing out, nothing kept.

use std::io;

use super::aws_chunked::Resigner;
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

/// What happens to a body's bytes on the way.
pub(super) enum Transform {
    /// Placeholders are replaced.
    Replace(Stream),
    /// Chunk signatures are made again.
    Resign(Box<Resigner>),
}

impl Transform {
    fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Replace(stream) => stream.feed(piece, out),
            Self::Resign(chunks) => chunks.feed(piece, out)?,
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Replace(stream) => stream.finish(out),
            Self::Resign(chunks) => chunks.finish()?,
        }
        Ok(())
    }
}

/// One body in transit.
pub(super) struct Body<'f> {
    reader: BodyReader,
    outgoing: Outgoing,
    transform: Option<Transform>,
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
        Self { reader, outgoing, transform: None, injected: &[], limit }
    }

    /// Changes the bytes on the way.
    #[must_use]
    pub(super) fn through(mut self, transform: Option<Transform>) -> Self {
        self.transform = transform;
        self
    }

    /// Signs the chunks of an `aws-chunked` body again; nothing of it has passed yet.
    pub(super) fn resign(&mut self, chunks: Resigner) {
        self.transform = Some(Transform::Resign(Box::new(chunks)));
    }

    /// Keeps trailers from bringing these fields along.
    #[must_use]
    pub(super) fn guarding(mut self, injected: &'f [InjectedField]) -> Self {
        self.injected = injected;
        self
    }

    fn pass(&mut self, count: usize, from: &mut dyn Channel, to: &mut dyn Channel) -> io::Result<()> {
        // What the limit lets through goes out before the cut (contract D.7).
        let excess = self.reader.taken().saturating_sub(self.limit);
        let kept = count.saturating_sub(usize::try_from(excess).unwrap_or(usize::MAX));
        let bytes = &from.received()[..kept];
        match &mut self.transform {
            None => send(self.outgoing, bytes, to)?,
            Some(transform) => {
                let mut changed = Vec::with_capacity(count);
                transform.feed(bytes, &mut changed)?;
                send(self.outgoing, &changed, to)?;
            }
        }
        from.consume(count);
        if excess > 0 {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, TooLong));
        }
        Ok(())
    }

    fn end(&mut self, trailers: &[u8], to: &mut dyn Channel) -> io::Result<Step> {
        if let Some(transform) = &mut self.transform {
            let mut kept = Vec::new();
            transform.finish(&mut kept)?;
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
