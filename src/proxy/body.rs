//! Bodies on their way through: framing in, framing out, nothing kept.

use std::io;

use super::rewrite;
use crate::http1::chunked::{self, Decoder, Piece};
use crate::http1::framing::Framing;
use crate::net::channel::Channel;
use crate::net::duplex::{Course, Step};
use crate::vault::attach::InjectedField;

/// How the bytes are framed for the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outgoing {
    /// As they are: the head said how many, or the connection's end says it.
    Plain,
    Chunked,
}

/// One body in transit.
pub(super) struct Body<'f> {
    framing: Framing,
    outgoing: Outgoing,
    decoder: Decoder,
    injected: &'f [InjectedField],
    moved: u64,
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
    /// `injected` names the fields a trailer must not bring along; `limit` bounds the bytes of the body.
    pub(super) fn new(
        framing: Framing,
        outgoing: Outgoing,
        injected: &'f [InjectedField],
        limit: u64,
    ) -> Self {
        Self { framing, outgoing, decoder: Decoder::default(), injected, moved: 0, limit }
    }

    fn pass(&mut self, count: usize, from: &mut dyn Channel, to: &mut dyn Channel) -> io::Result<()> {
        self.moved += count as u64;
        if self.moved > self.limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, TooLong));
        }
        match self.outgoing {
            Outgoing::Plain => to.send(&from.received()[..count])?,
            Outgoing::Chunked => {
                let mut line = Vec::with_capacity(20);
                chunked::write_size(&mut line, count);
                to.send(&line)?;
                to.send(&from.received()[..count])?;
                to.send(b"\r\n")?;
            }
        }
        from.consume(count);
        Ok(())
    }

    fn end(&self, trailers: &[u8], to: &mut dyn Channel) -> io::Result<Step> {
        if self.outgoing == Outgoing::Chunked {
            let mut last = b"0\r\n".to_vec();
            rewrite::trailers(&mut last, trailers, self.injected);
            last.extend_from_slice(b"\r\n");
            to.send(&last)?;
        }
        Ok(Step::Done)
    }

    fn step_chunked(
        &mut self,
        from: &mut dyn Channel,
        ended: bool,
        to: &mut dyn Channel,
    ) -> io::Result<Step> {
        loop {
            let piece = self.decoder.next(from.received());
            match piece.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Piece::Incomplete => return more(ended),
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

impl Course for Body<'_> {
    fn step(&mut self, from: &mut dyn Channel, ended: bool, to: &mut dyn Channel) -> io::Result<Step> {
        let received = from.received().len();
        match self.framing {
            Framing::Empty => Ok(Step::Done),
            Framing::Length(length) => {
                let left = length - self.moved;
                let count = usize::try_from(left).unwrap_or(usize::MAX).min(received);
                if count > 0 {
                    self.pass(count, from, to)?;
                }
                if count as u64 == left { Ok(Step::Done) } else { more(ended) }
            }
            Framing::Chunked => self.step_chunked(from, ended, to),
            Framing::UntilClose => {
                if received > 0 {
                    self.pass(received, from, to)?;
                }
                if ended { self.end(b"", to) } else { Ok(Step::More) }
            }
        }
    }
}

fn more(ended: bool) -> io::Result<Step> {
    if ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Step::More) }
}
