//! An HTTP/1.1 peer at the other end of a channel: reading its heads and small bodies, answering it.
//!
//! The blocking phases, where only one side speaks; each takes a deadline. The proxy, the control API
//! and the relay share this, and nothing here knows what a request is for.

pub mod conversation;

use std::io;

use crate::http1::body::{BodyError, BodyReader};
use crate::http1::chunked::Piece;
use crate::http1::framing::Framing;
use crate::http1::head::{RequestHead, ResponseHead};
use crate::http1::respond::{After, Answer};
use crate::http1::{self, MAX_HEAD_BYTES};
use crate::net::Deadline;
use crate::net::channel::{Channel, Receive};

/// Why no head, or no body, was read.
#[derive(Debug)]
pub enum ReadError {
    /// The peer left between messages.
    Closed,
    /// The peer left in the middle of one.
    Cut,
    /// The deadline passed.
    TimedOut,
    /// The bytes are not a message we accept.
    Malformed(http1::Error),
    /// The body is longer than the limit given.
    BodyTooLarge,
    Io(io::Error),
}

impl From<http1::Error> for ReadError {
    fn from(error: http1::Error) -> Self {
        Self::Malformed(error)
    }
}

impl From<BodyError> for ReadError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Malformed(error) => Self::Malformed(error),
            BodyError::Cut => Self::Cut,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Self::Cut,
            _ => Self::Io(error),
        }
    }
}

/// Reads one request head into `head`.
pub fn read_request(
    channel: &mut dyn Channel,
    head: &mut RequestHead,
    deadline: Deadline,
) -> Result<(), ReadError> {
    read_head(channel, deadline, |input, scanned| head.parse(input, scanned))
}

/// Reads one response head into `head`.
pub fn read_response(
    channel: &mut dyn Channel,
    head: &mut ResponseHead,
    deadline: Deadline,
) -> Result<(), ReadError> {
    read_head(channel, deadline, |input, scanned| head.parse(input, scanned))
}

/// Reads a whole body of at most `limit` bytes into memory.
pub fn read_body(
    channel: &mut dyn Channel,
    framing: Framing,
    limit: usize,
    deadline: Deadline,
) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    let mut reader = BodyReader::new(framing);
    let mut ended = false;
    loop {
        let taken = match reader.next(channel.received(), ended)? {
            Piece::Incomplete => {
                ended = channel.receive_by(deadline)? == Receive::End;
                continue;
            }
            Piece::Framing(count) => count,
            Piece::Data(count) if body.len() + count > limit => return Err(ReadError::BodyTooLarge),
            Piece::Data(count) => {
                body.extend_from_slice(&channel.received()[..count]);
                count
            }
            Piece::End(count) => {
                channel.consume(count);
                return Ok(body);
            }
        };
        channel.consume(taken);
    }
}

/// Sends an answer of our own.
pub fn answer(
    channel: &mut dyn Channel,
    answer: &Answer,
    request_method: &str,
    after: After,
    deadline: Deadline,
) -> io::Result<()> {
    channel.send(&answer.to_bytes(request_method, after))?;
    channel.flush_by(deadline)
}

/// Ends a connection after an answer the peer may still be sending against: says that we are done and
/// reads what comes for a moment, so that a reset does not destroy the answer on its way (RFC 9112 §9.6).
pub fn linger(channel: &mut dyn Channel, deadline: Deadline) {
    if channel.finish().is_err() {
        return;
    }
    loop {
        let count = channel.received().len();
        channel.consume(count);
        if !matches!(channel.receive_by(deadline), Ok(Receive::Bytes)) {
            return;
        }
    }
}

fn read_head(
    channel: &mut dyn Channel,
    deadline: Deadline,
    mut parse: impl FnMut(&[u8], &mut usize) -> Result<Option<usize>, http1::Error>,
) -> Result<(), ReadError> {
    let mut scanned = 0;
    loop {
        if let Some(taken) = parse(channel.received(), &mut scanned)? {
            channel.consume(taken);
            return Ok(());
        }
        if channel.received().len() > MAX_HEAD_BYTES {
            return Err(http1::Error::HeadTooLarge.into());
        }
        if channel.receive_by(deadline)? == Receive::End {
            let is_between = channel.received().is_empty();
            return Err(if is_between { ReadError::Closed } else { ReadError::Cut });
        }
    }
}
