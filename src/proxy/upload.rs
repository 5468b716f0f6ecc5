//! What a request's body becomes: streamed as it is, or taken into a small window first.
//!
//! A body whose length changes, or was never known, is read into a window of bounded size. If it ends
//! there, it goes out with its length, which is what most servers want of a small body; if not, it goes
//! out in chunks as it comes. So memory stays bounded whatever the body's size.

use std::io;
use std::time::{Duration, Instant};

use super::body::{Body, Outgoing, Transform, send};
use super::error::Error;
use crate::http1::body::{BodyError, BodyReader};
use crate::http1::chunked::Piece;
use crate::http1::fields::Fields;
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, Version};
use crate::log_event;
use crate::net::Deadline;
use crate::net::channel::{Channel, Receive};
use crate::vault::Prepared;
use crate::vault::service::Surface;
use crate::vault::substitute::{Encoding, Stream};

/// Most bytes held back; larger bodies are streamed.
const WINDOW_BYTES: usize = 64 * 1024;
/// Largest body that is read into memory to be hashed (contract H.2).
const MAX_WHOLE_BYTES: u64 = 64 * 1024 * 1024;
/// Longest wait for the next bytes of a body whose length is unknown: a pause means a stream.
const LULL: Duration = Duration::from_millis(50);
/// Longest wait for the next bytes of a body whose length is known.
const STALL: Duration = Duration::from_secs(60);

/// How much of the body must be known before the head can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Only its framing.
    Head,
    /// All of it: the head will carry its hash.
    Whole,
}

/// A request's body, ready to be sent.
pub(super) struct Upload<'p> {
    /// How the outgoing head announces it.
    pub(super) framing: Framing,
    /// Whether the client has been told to go on; then the upstream is not asked again.
    pub(super) is_continued: bool,
    window: Vec<u8>,
    rest: Body<'p>,
}

impl<'p> Upload<'p> {
    /// Looks at the body as far as that is needed to write the head.
    pub(super) fn prepare(
        client: &mut dyn Channel,
        head: &RequestHead,
        framing: Framing,
        prepared: &'p Prepared,
        limit: u64,
        need: Need,
    ) -> Result<Self, Error> {
        let stream = replacing(head.fields(), framing, prepared);
        let needs_window = framing == Framing::Chunked || stream.is_some() || need == Need::Whole;
        if !needs_window {
            let rest =
                Body::new(BodyReader::new(framing), Outgoing::Plain, limit).guarding(prepared.fields());
            return Ok(Self { framing, is_continued: false, window: Vec::new(), rest });
        }
        let is_continued = tell_to_continue(client, head)?;
        let (capacity, limit) = match need {
            Need::Head => (WINDOW_BYTES, limit),
            Need::Whole => (usize::MAX, limit.min(MAX_WHOLE_BYTES)),
        };
        let patience = if framing == Framing::Chunked && need == Need::Head { LULL } else { STALL };
        let mut window =
            Window { reader: BodyReader::new(framing), stream, bytes: Vec::new(), limit, capacity };
        let is_complete = window.fill(client, patience)?;
        let Window { reader, stream, bytes, .. } = window;
        let (framing, reader, outgoing) = if is_complete {
            (Framing::Length(bytes.len() as u64), BodyReader::new(Framing::Empty), Outgoing::Plain)
        } else {
            (Framing::Chunked, reader, Outgoing::Chunked)
        };
        let stream = stream.filter(|_| !is_complete);
        let transform = stream.map(Transform::Replace);
        let rest = Body::new(reader, outgoing, limit).through(transform).guarding(prepared.fields());
        Ok(Self { framing, is_continued, window: bytes, rest })
    }

    /// The whole body, if it has been read.
    pub(super) fn whole(&self) -> &[u8] {
        &self.window
    }

    /// Sends what the window holds, behind the head.
    pub(super) fn send_window(&self, to: &mut dyn Channel) -> io::Result<()> {
        let outgoing = if self.framing == Framing::Chunked { Outgoing::Chunked } else { Outgoing::Plain };
        send(outgoing, &self.window, to)
    }

    /// What is still to come from the client.
    pub(super) fn rest(&mut self) -> &mut Body<'p> {
        &mut self.rest
    }
}

/// The beginning of a body, decoded and replaced.
struct Window {
    reader: BodyReader,
    stream: Option<Stream>,
    bytes: Vec<u8>,
    limit: u64,
    capacity: usize,
}

impl Window {
    /// Reads until the body ends (true), the window is full, or a body of unknown length pauses (false).
    fn fill(&mut self, client: &mut dyn Channel, patience: Duration) -> Result<bool, Error> {
        let mut ended = false;
        loop {
            match self.reader.next(client.received(), ended).map_err(unreadable)? {
                Piece::Framing(count) => client.consume(count),
                Piece::Data(count) => self.take(count, client)?,
                // Trailers of a body that goes out with its length have no place to go.
                Piece::End(count) => {
                    client.consume(count);
                    if let Some(stream) = &mut self.stream {
                        stream.finish(&mut self.bytes);
                    }
                    return Ok(true);
                }
                Piece::Incomplete => match client.receive_by(Deadline::at(Instant::now() + patience)) {
                    Ok(received) => ended = received == Receive::End,
                    Err(error) if error.kind() == io::ErrorKind::TimedOut && patience == LULL => {
                        return Ok(false);
                    }
                    Err(_) => return Err(Error::ClientGone),
                },
            }
            if self.bytes.len() >= self.capacity {
                return Ok(false);
            }
        }
    }

    fn take(&mut self, count: usize, client: &mut dyn Channel) -> Result<(), Error> {
        // What is held is bounded too: a value may be much longer than its placeholder.
        if self.reader.taken() > self.limit || self.bytes.len() as u64 > MAX_WHOLE_BYTES {
            return Err(Error::RequestTooLarge);
        }
        let piece = &client.received()[..count];
        match &mut self.stream {
            Some(stream) => stream.feed(piece, &mut self.bytes),
            None => self.bytes.extend_from_slice(piece),
        }
        client.consume(count);
        Ok(())
    }
}

fn unreadable(error: BodyError) -> Error {
    match error {
        BodyError::Malformed(error) => Error::Malformed(error),
        BodyError::Cut => Error::ClientGone,
    }
}

/// A client that waits to be told to send its body is told so, once the body is needed. One that speaks
/// HTTP/1.0 would take that for its answer (RFC 9110 §10.1.1).
fn tell_to_continue(client: &mut dyn Channel, head: &RequestHead) -> Result<bool, Error> {
    if head.version() == Version::Http10 || !head.fields().lists("expect", "100-continue") {
        return Ok(false);
    }
    if client.received().is_empty() {
        let sent = client.send(b"HTTP/1.1 100 Continue\r\n\r\n");
        sent.and_then(|()| client.flush_by(Deadline::after(STALL))).map_err(|_| Error::ClientGone)?;
    }
    Ok(true)
}

/// The replacer for this body, if it is of a kind that placeholders are looked for in (contract D.4): not
/// multipart, not compressed.
fn replacing(fields: &Fields, framing: Framing, prepared: &Prepared) -> Option<Stream> {
    let is_empty = matches!(framing, Framing::Empty | Framing::Length(0));
    if is_empty || !prepared.substitutions.covers(Surface::Body) {
        return None;
    }
    if fields.first("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
        log_event!(Warn, "compressed body not looked into for placeholders");
        return None;
    }
    let media_type = fields.first("content-type").unwrap_or_default().to_ascii_lowercase();
    let media_type = media_type.split(|&b| b == b';').next().unwrap_or_default().trim_ascii();
    let encoding = match media_type {
        b"application/x-www-form-urlencoded" => Encoding::Query,
        b"application/json" => Encoding::Json,
        _ if media_type.ends_with(b"+json") => Encoding::Json,
        _ if media_type.starts_with(b"multipart/") => return None,
        _ => Encoding::Raw,
    };
    Some(prepared.substitutions.stream(Surface::Body, encoding))
}
