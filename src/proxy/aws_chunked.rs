//! The inside of an `aws-chunked` upload: each chunk's signature is made again with the real keys.
//!
//! A chunk's signature stands in front of its bytes and covers them, so a chunk is held until it is
//! complete. Signatures have one length, and one of another length is refused: so the body's length stays
//! what the head announced, and no byte of it can become the upstream's next request.
//! Format: Amazon S3 API Reference, "Signature calculations: transferring payload in multiple chunks".

use std::io;

use crate::http1::Error;
use crate::vault::sigv4::ChunkSigner;

/// Largest chunk held; SDKs use 64 KiB to 1 MiB.
const MAX_CHUNK_BYTES: usize = 8 * 1024 * 1024;
/// Longest line: a chunk's head, or a trailing header.
const MAX_LINE_BYTES: usize = 4 * 1024;
/// Longest section of trailing headers, which are held until they are signed; SDKs send one checksum.
const MAX_TRAILER_BYTES: usize = 16 * 1024;
/// Hexadecimal digits of a signature, the client's and ours.
const SIGNATURE_DIGITS: usize = 64;
const SIGNATURE: &[u8] = b";chunk-signature=";
const TRAILER_SIGNATURE: &[u8] = b"x-amz-trailer-signature:";

/// Re-signs a body as it passes.
pub(super) struct Resigner {
    signer: ChunkSigner,
    held: Vec<u8>,
    part: Part,
}

/// Where in the body the next byte stands.
enum Part {
    Chunks,
    /// Behind the last chunk: the trailing headers so far, as they are signed.
    Trailer(Vec<u8>),
    Over,
}

impl Resigner {
    pub(super) fn new(signer: ChunkSigner) -> Self {
        Self { signer, held: Vec::new(), part: Part::Chunks }
    }

    /// Takes the next piece; appends to `out` what is complete.
    pub(super) fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.held.extend_from_slice(piece);
        let mut held = std::mem::take(&mut self.held);
        let mut taken = 0;
        loop {
            let rest = &held[taken..];
            let count = match self.part {
                Part::Chunks => self.chunk(rest, out)?,
                Part::Trailer(_) => self.trailer_line(rest, out)?,
                Part::Over if rest.is_empty() => 0,
                Part::Over => return Err(bad_chunk()),
            };
            if count == 0 {
                break;
            }
            taken += count;
        }
        held.drain(..taken);
        self.held = held;
        Ok(())
    }

    /// The body is over: nothing may be left.
    pub(super) fn finish(&self) -> io::Result<()> {
        if self.held.is_empty() && matches!(self.part, Part::Over) { Ok(()) } else { Err(bad_chunk()) }
    }

    /// One chunk with its head; how many bytes it took, 0 if it is not complete.
    fn chunk(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        let Some(line) = line(input)? else { return Ok(0) };
        let at = line.windows(SIGNATURE.len()).position(|part| part == SIGNATURE).ok_or_else(bad_chunk)?;
        if !is_signature(&line[at + SIGNATURE.len()..]) {
            return Err(bad_chunk());
        }
        let digits = std::str::from_utf8(&line[..at]).map_err(|_| bad_chunk())?;
        let is_hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let size = usize::from_str_radix(digits, 16).ok().filter(|size| is_hex && *size <= MAX_CHUNK_BYTES);
        let size = size.ok_or_else(bad_chunk)?;
        let head = line.len() + 2;
        if size == 0 {
            self.write_head(digits, b"", out);
            self.part = Part::Trailer(Vec::new());
            return Ok(head);
        }
        let Some(rest) = input.get(head..head + size + 2) else { return Ok(0) };
        let (bytes, end) = rest.split_at(size);
        if end != b"\r\n" {
            return Err(bad_chunk());
        }
        self.write_head(digits, bytes, out);
        out.extend_from_slice(rest);
        Ok(head + rest.len())
    }

    fn write_head(&mut self, digits: &str, bytes: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(digits.as_bytes());
        out.extend_from_slice(SIGNATURE);
        out.extend_from_slice(self.signer.chunk(bytes).as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    /// One line behind the last chunk: a trailing header, its signature, or the empty line at the end.
    fn trailer_line(&mut self, input: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
        let Some(line) = line(input)? else { return Ok(0) };
        let Part::Trailer(signed) = &mut self.part else { return Err(bad_chunk()) };
        if let Some(signature) = line.strip_prefix(TRAILER_SIGNATURE) {
            if !is_signature(signature) {
                return Err(bad_chunk());
            }
            out.extend_from_slice(TRAILER_SIGNATURE);
            out.extend_from_slice(self.signer.trailer(signed).as_bytes());
        } else {
            signed.extend_from_slice(line);
            signed.push(b'\n');
            if signed.len() > MAX_TRAILER_BYTES {
                return Err(bad_chunk());
            }
            out.extend_from_slice(line);
        }
        if line.is_empty() {
            self.part = Part::Over;
        }
        out.extend_from_slice(b"\r\n");
        Ok(line.len() + 2)
    }
}

fn is_signature(text: &[u8]) -> bool {
    text.len() == SIGNATURE_DIGITS && text.iter().all(u8::is_ascii_hexdigit)
}

/// The first line without its CRLF; `None` if it is not complete.
fn line(input: &[u8]) -> io::Result<Option<&[u8]>> {
    let end = input.iter().take(MAX_LINE_BYTES).position(|&b| b == b'\n');
    match end {
        Some(end) if end > 0 && input[end - 1] == b'\r' => Ok(Some(&input[..end - 1])),
        Some(_) => Err(bad_chunk()),
        None if input.len() >= MAX_LINE_BYTES => Err(bad_chunk()),
        None => Ok(None),
    }
}

fn bad_chunk() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Error::BadChunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::vault::sigv4::{Claim, Keys, ToSign};

    /// The published example of a chunked upload, its seed signature made.
    fn signer() -> ChunkSigner {
        let names = "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
                     x-amz-decoded-content-length;x-amz-storage-class";
        let claim = format!(
            "AWS4-HMAC-SHA256 Credential=x/20130524/us-east-1/s3/aws4_request,SignedHeaders={names},Signature=0"
        );
        let fields = [
            ("content-encoding", "aws-chunked"),
            ("content-length", "66824"),
            ("host", "s3.amazonaws.com"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("x-amz-date", "20130524T000000Z"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ]
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()));
        let request = ToSign {
            method: "PUT",
            target: "/examplebucket/chunkObject.txt",
            fields: &fields,
            payload_hash: "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
            date: "20130524T000000Z",
        };
        let keys = Keys {
            access_key: Secret::from("AKIAIOSFODNN7EXAMPLE"),
            secret_key: Secret::from("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
            session_token: None,
        };
        Claim::parse(&claim).unwrap().sign(&request, &keys).chunks
    }

    fn body(signatures: [&str; 3]) -> Vec<u8> {
        let [first, second, last] = signatures;
        let (long, short) = ("a".repeat(65536), "a".repeat(1024));
        format!(
            "10000;chunk-signature={first}\r\n{long}\r\n400;chunk-signature={second}\r\n{short}\r\n\
             0;chunk-signature={last}\r\n\r\n"
        )
        .into_bytes()
    }

    #[test]
    fn the_published_upload_is_signed_again_whatever_the_split() {
        let sent = body([&"0".repeat(64), &"1".repeat(64), &"2".repeat(64)]);
        assert_eq!(sent.len(), 66824);
        let expected = body([
            "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
        ]);
        for size in [1000, 1017, 70_000] {
            let (mut resigner, mut out) = (Resigner::new(signer()), Vec::new());
            for piece in sent.chunks(size) {
                resigner.feed(piece, &mut out).unwrap();
            }
            resigner.finish().unwrap();
            assert!(out == expected, "pieces of {size}");
        }
    }

    #[test]
    fn no_split_changes_an_upload_or_its_refusal() {
        let zeros = "0".repeat(SIGNATURE_DIGITS);
        let good = format!(
            "3;chunk-signature={zeros}\r\nabc\r\n0;chunk-signature={zeros}\r\nx-amz-checksum:x\r\n\
             x-amz-trailer-signature:{zeros}\r\n\r\n"
        );
        let bad = [good.replace("abc\r\n", "abcd\r\n"), good.replace("sum:x\r", "sum:x"), format!("{good}x")];
        for sent in std::iter::once(good).chain(bad) {
            let signed = |size: usize| {
                let (mut resigner, mut out) = (Resigner::new(signer()), Vec::new());
                let fed = sent.as_bytes().chunks(size).try_for_each(|piece| resigner.feed(piece, &mut out));
                let end = fed.and_then(|()| resigner.finish());
                end.map(|()| out).map_err(|error| error.to_string())
            };
            let whole = signed(sent.len());
            for size in 1..sent.len() {
                assert_eq!(signed(size), whole, "{sent} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_trailer_is_signed_too() {
        let (mut resigner, mut out) = (Resigner::new(signer()), Vec::new());
        let sent = format!(
            "0;chunk-signature={0}\r\nx-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:{0}\r\n\r\n",
            "0".repeat(64)
        );
        resigner.feed(sent.as_bytes(), &mut out).unwrap();
        resigner.finish().unwrap();
        assert_eq!(out.len(), sent.len());
        assert!(!out.windows(64).any(|part| part == [b'0'; 64]), "both signatures are new");
    }

    #[test]
    fn what_is_not_aws_chunked_is_refused() {
        let good = "0".repeat(SIGNATURE_DIGITS);
        for sent in [
            "hello\r\n".to_owned(),
            format!("+5;chunk-signature={good}\r\n"),
            format!("2;chunk-signature={good}\r\nabX\r\n"),
            format!("ffffffff;chunk-signature={good}\r\n"),
            "2;chunk-signature=0\r\nab\r\n".to_owned(),
            format!("2;chunk-signature={good};a=b\r\nab\r\n"),
            format!("2;chunk-signature={}\r\nab\r\n", "x".repeat(SIGNATURE_DIGITS)),
            format!("0;chunk-signature={good}\r\nx-amz-trailer-signature:0\r\n"),
            format!("0;chunk-signature={good}\r\n\r\nmore"),
            format!("0;chunk-signature={good}\r\n{}", "a:b\r\n".repeat(MAX_TRAILER_BYTES)),
        ] {
            assert!(Resigner::new(signer()).feed(sent.as_bytes(), &mut Vec::new()).is_err(), "{sent}");
        }
        for cut in [format!("5;chunk-signature={good}\r\nhel"), format!("0;chunk-signature={good}\r\n")] {
            let mut resigner = Resigner::new(signer());
            resigner.feed(cut.as_bytes(), &mut Vec::new()).unwrap();
            assert!(resigner.finish().is_err(), "{cut}");
        }
    }
}
