//! The chunked coding (RFC 9112 §7.1): a strict decoder, and what an encoder writes.
//!
//! Sizes are hexadecimal digits only, line breaks are CRLF only, and both the extensions and the trailer
//! section are bounded: what a library forgives, two parsers forgive differently.

use super::{Error, fields};

/// Longest size line with its extensions.
const MAX_SIZE_LINE: usize = 4 * 1024;
/// Longest trailer section.
const MAX_TRAILER_BYTES: usize = 16 * 1024;
/// Digits of a size that fits in 60 bits; leading zeros count.
const MAX_SIZE_DIGITS: usize = 15;

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Where in a chunked body the decoder stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decoder {
    /// Before a chunk's size line.
    #[default]
    Size,
    /// Inside a chunk, this many bytes before its end.
    Data(u64),
    /// Before the CRLF behind a chunk's bytes.
    DataEnd,
    /// Behind the last chunk: field lines, then an empty line.
    Trailers,
    /// The body is over.
    Done,
}

/// What the front of the input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Not decidable yet.
    Incomplete,
    /// This many bytes of framing.
    Framing(usize),
    /// This many bytes of the body.
    Data(usize),
    /// This many bytes of trailers, the closing empty line included; the body is over.
    End(usize),
}

impl Decoder {
    /// Reads one piece from the front of `input`, which the caller then takes off.
    pub fn next(&mut self, input: &[u8]) -> Result<Piece, Error> {
        match *self {
            Self::Size => self.size_line(input),
            Self::Data(_) if input.is_empty() => Ok(Piece::Incomplete),
            Self::Data(left) => {
                let here = usize::try_from(left).unwrap_or(usize::MAX).min(input.len());
                let left = left - here as u64;
                *self = if left == 0 { Self::DataEnd } else { Self::Data(left) };
                Ok(Piece::Data(here))
            }
            Self::DataEnd => match input {
                [b'\r', b'\n', ..] => {
                    *self = Self::Size;
                    Ok(Piece::Framing(2))
                }
                [] | [b'\r'] => Ok(Piece::Incomplete),
                _ => Err(Error::BadChunk),
            },
            Self::Trailers => self.trailers(input),
            Self::Done => Ok(Piece::End(0)),
        }
    }

    fn size_line(&mut self, input: &[u8]) -> Result<Piece, Error> {
        let Some(end) = line_end(input, MAX_SIZE_LINE)? else { return Ok(Piece::Incomplete) };
        let line = &input[..end - 2];
        let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        // Space behind the size is bad but known; what follows it is an extension or nothing.
        let extension = line[digits..].trim_ascii_start();
        let is_well_formed = (1..=MAX_SIZE_DIGITS).contains(&digits)
            && matches!(extension.first(), None | Some(b';'))
            && fields::is_field_value(&line[digits..]);
        let size =
            std::str::from_utf8(&line[..digits]).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let Some(size) = size.filter(|_| is_well_formed) else { return Err(Error::BadChunk) };
        *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
        Ok(Piece::Framing(end))
    }

    fn trailers(&mut self, input: &[u8]) -> Result<Piece, Error> {
        let mut at = 0;
        loop {
            let Some(end) = line_end(&input[at..], MAX_TRAILER_BYTES)? else {
                let is_long = input.len() > MAX_TRAILER_BYTES;
                return if is_long { Err(Error::BadChunk) } else { Ok(Piece::Incomplete) };
            };
            at += end;
            if at > MAX_TRAILER_BYTES {
                return Err(Error::BadChunk);
            }
            if end == 2 {
                *self = Self::Done;
                return Ok(Piece::End(at));
            }
            if !fields::is_field_line(&input[at - end..at - 2]) {
                return Err(Error::BadChunk);
            }
        }
    }
}

/// Appends a chunk's size line.
pub fn write_size(out: &mut Vec<u8>, size: usize) {
    out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
}

/// The end of the first line, its CRLF included; `None` when it is not complete.
fn line_end(input: &[u8], limit: usize) -> Result<Option<usize>, Error> {
    for (at, &byte) in input.iter().enumerate().take(limit) {
        match byte {
            b'\r' => match input.get(at + 1) {
                None => return Ok(None),
                Some(b'\n') => return Ok(Some(at + 2)),
                Some(_) => return Err(Error::BadChunk),
            },
            b'\n' => return Err(Error::BadChunk),
            _ => {}
        }
    }
    if input.len() >= limit { Err(Error::BadChunk) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A body and the bytes left behind it.
    type Decoded = Option<(Vec<u8>, Vec<u8>)>;

    /// Decodes input that arrives in pieces of `step` bytes.
    fn decode(input: &[u8], step: usize) -> Result<Decoded, Error> {
        let mut decoder = Decoder::default();
        let (mut body, mut at, mut known) = (Vec::new(), 0, 0);
        loop {
            match decoder.next(&input[at..known])? {
                Piece::Incomplete if known == input.len() => return Ok(None),
                Piece::Incomplete => known = (known + step).min(input.len()),
                Piece::Framing(count) => at += count,
                Piece::Data(count) => {
                    body.extend_from_slice(&input[at..at + count]);
                    at += count;
                }
                Piece::End(count) => return Ok(Some((body, input[at + count..].to_vec()))),
            }
        }
    }

    #[test]
    fn the_split_of_the_input_changes_nothing() {
        let input = b"5\r\nhello\r\n6;name=\"v\"\r\n world\r\n0010\r\n0123456789abcdef\r\n0\r\nA: b\r\nC: d\r\n\r\nGET";
        for step in 1..=input.len() {
            let (body, rest) = decode(input, step).unwrap().unwrap();
            assert_eq!(body, b"hello world0123456789abcdef", "step {step}");
            assert_eq!(rest, b"GET");
        }
    }

    #[test]
    fn refuses_loose_framing() {
        let cases: [&[u8]; 20] = [
            b"\r\n",
            b"+5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n",
            b"5;a\nb\r\n",
            b"5;\x00\r\n",
            b"g\r\n",
            b"1234567890abcdef\r\n",
            b"-1\r\n",
            b"5\rhello",
            b"0\r\nA: b\n\r\n",
            b"5 6\r\nhello\r\n",
            b"0\r\nA: b\0\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: b\r\n folded\r\n\r\n",
            b"0\r\n: b\r\n\r\n",
            b"0\r\nA\r\n\r\n",
        ];
        for input in cases {
            assert_eq!(decode(input, 1), Err(Error::BadChunk), "{}", String::from_utf8_lossy(input));
        }
        let long = [b"5;".as_slice(), &[b'a'; MAX_SIZE_LINE], b"\r\n"].concat();
        assert_eq!(decode(&long, 64), Err(Error::BadChunk));
        let trailers = [b"0\r\n".as_slice(), b"A: bcdefg\r\n".repeat(2000).as_slice(), b"\r\n"].concat();
        assert_eq!(decode(&trailers, 512), Err(Error::BadChunk));
    }

    #[test]
    fn a_cut_body_is_not_an_end() {
        for input in [b"5\r\nhel".as_slice(), b"5\r\nhello\r\n", b"0\r\n", b"0\r\nA: b\r\n"] {
            assert_eq!(decode(input, 1), Ok(None));
        }
    }
}
