//! Waiting for a response: its head, the interim ones before it, and what a failure on the way means.

use std::io;

use super::body::TooLong;
use super::error::Error;
use super::rewrite;
use crate::http1::body::BodyError;
use crate::http1::head::{ResponseHead, Version};
use crate::net::channel::Channel;
use crate::net::duplex::{Course, Fault, Step};

/// Most interim responses to one request: one every few seconds while a server works for minutes. Each
/// counts as a sign of life, so without a bound they would hold a thread for ever.
const MAX_INTERIMS: usize = 256;

/// Waits for the final response's head; passes interim ones on.
pub(super) struct HeadCourse {
    pub(super) head: ResponseHead,
    scanned: usize,
    client: Version,
    may_switch: bool,
    pub(super) interims: usize,
}

impl HeadCourse {
    pub(super) fn new(client: Version, may_switch: bool) -> Self {
        Self { head: ResponseHead::default(), scanned: 0, client, may_switch, interims: 0 }
    }
}

impl Course for HeadCourse {
    fn step(&mut self, from: &mut dyn Channel, ended: bool, to: &mut dyn Channel) -> io::Result<Step> {
        loop {
            let parsed = self.head.parse(from.received(), &mut self.scanned);
            let parsed = parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let Some(taken) = parsed else {
                return if ended { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(Step::More) };
            };
            from.consume(taken);
            self.scanned = 0;
            match self.head.status() {
                101 if self.may_switch => return Ok(Step::Done),
                // No upgrade was asked for, so this is not an answer to the request.
                101 => return Err(not_an_answer()),
                200.. => return Ok(Step::Done),
                _ if self.interims == MAX_INTERIMS => return Err(not_an_answer()),
                _ => self.interims += 1,
            }
            if self.client == Version::Http11 {
                let mut out = Vec::with_capacity(128);
                rewrite::interim(&mut out, &self.head);
                to.send(&out)?;
            }
        }
    }
}

/// What a fault means while no byte of the response is known.
pub(super) fn before_head(fault: Fault) -> Error {
    match fault {
        Fault::First(error) if is_too_long(&error) => Error::RequestTooLarge,
        Fault::First(error) => match malformed(&error) {
            Some(malformed) => Error::Malformed(malformed),
            None => Error::ClientGone,
        },
        Fault::Second(error) if malformed(&error).is_some() => Error::UpstreamMalformed,
        Fault::Second(_) => Error::UpstreamClosed,
        Fault::Idle => Error::UpstreamTimeout,
    }
}

/// What a fault means once the response has begun.
pub(super) fn in_body(fault: &Fault) -> Error {
    match fault {
        Fault::First(_) => Error::ClientGone,
        Fault::Second(error) if is_too_long(error) => Error::ResponseTruncated,
        Fault::Second(error) if malformed(error).is_some() => Error::UpstreamMalformed,
        Fault::Second(_) => Error::UpstreamClosed,
        Fault::Idle => Error::UpstreamTimeout,
    }
}

/// The protocol error inside an I/O error, if that is what it is.
fn malformed(error: &io::Error) -> Option<crate::http1::Error> {
    let inner = error.get_ref()?;
    match inner.downcast_ref() {
        Some(BodyError::Malformed(error)) => Some(*error),
        Some(BodyError::Cut) => None,
        None => inner.downcast_ref().copied(),
    }
}

fn is_too_long(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<TooLong>()).is_some()
}

fn not_an_answer() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, crate::http1::Error::BadStartLine)
}
