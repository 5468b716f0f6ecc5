//! A body's bytes told from its framing, whatever the framing is.

use std::fmt;

use super::Error;
use super::chunked::{Decoder, Piece};
use super::framing::Framing;

/// Reads one body, piece by piece.
#[derive(Clone, Copy, Debug)]
pub struct BodyReader {
    framing: Framing,
    decoder: Decoder,
    taken: u64,
}

/// Why a body cannot be read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    Malformed(Error),
    /// The sender stopped before the body was complete.
    Cut,
}

impl BodyReader {
    pub fn new(framing: Framing) -> Self {
        Self { framing, decoder: Decoder::default(), taken: 0 }
    }

    /// Bytes of the body read so far.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// What the front of `input` is; the caller takes it off. `ended` says that nothing follows `input`.
    pub fn next(&mut self, input: &[u8], ended: bool) -> Result<Piece, BodyError> {
        let piece = match self.framing {
            Framing::Empty => Piece::End(0),
            Framing::Length(length) if self.taken == length => Piece::End(0),
            Framing::Length(length) => {
                data(usize::try_from(length - self.taken).unwrap_or(usize::MAX).min(input.len()))
            }
            Framing::Chunked => self.decoder.next(input).map_err(BodyError::Malformed)?,
            Framing::UntilClose if ended && input.is_empty() => Piece::End(0),
            Framing::UntilClose => data(input.len()),
        };
        match piece {
            Piece::Data(count) => self.taken += count as u64,
            Piece::Incomplete if ended => return Err(BodyError::Cut),
            _ => {}
        }
        Ok(piece)
    }
}

fn data(count: usize) -> Piece {
    if count == 0 { Piece::Incomplete } else { Piece::Data(count) }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Cut => f.write_str("the body ended early"),
        }
    }
}

impl std::error::Error for BodyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_framing_ends_where_it_says() {
        for (framing, input, body) in [
            (Framing::Empty, "rest", ""),
            (Framing::Length(4), "bodyrest", "body"),
            (Framing::Chunked, "4\r\nbody\r\n0\r\n\r\nrest", "body"),
        ] {
            let (mut reader, mut rest, mut found) = (BodyReader::new(framing), input.as_bytes(), Vec::new());
            loop {
                match reader.next(rest, false).unwrap() {
                    Piece::Incomplete => panic!("{framing:?} is complete"),
                    Piece::Framing(count) => rest = &rest[count..],
                    Piece::Data(count) => {
                        found.extend_from_slice(&rest[..count]);
                        rest = &rest[count..];
                    }
                    Piece::End(count) => {
                        rest = &rest[count..];
                        break;
                    }
                }
            }
            assert_eq!((found.as_slice(), rest), (body.as_bytes(), &b"rest"[..]));
            assert_eq!(reader.taken(), body.len() as u64);
        }
    }

    #[test]
    fn only_a_body_that_ends_with_the_connection_may_end_anywhere() {
        assert_eq!(BodyReader::new(Framing::UntilClose).next(b"", true), Ok(Piece::End(0)));
        assert_eq!(BodyReader::new(Framing::UntilClose).next(b"", false), Ok(Piece::Incomplete));
        assert_eq!(BodyReader::new(Framing::Length(1)).next(b"", true), Err(BodyError::Cut));
        assert_eq!(BodyReader::new(Framing::Chunked).next(b"1\r", true), Err(BodyError::Cut));
    }
}
