//! A byte queue that is filled at the back and consumed from the front.
//!
//! A small one has memory only while something is in it: the next that the thread fills, of whichever
//! connection, takes the same block (`sys::memory`). One that bulk data has made large keeps what it has
//! until the connection is parked. musl's `memmove` is slow, so bytes move only when the room at the back
//! is used up.

use std::io::{self, Read};

/// First size of a buffer: most messages are small, and a busy connection has eight of these. It fits a slot of
/// musl's allocator, where a power of two would waste a part of the next.
const FIRST_BYTES: usize = 2_000;
/// Size a buffer grows to when a read fills it: one TLS record with its overhead (RFC 8446 §5.2) fits.
const RECORD_BYTES: usize = 18 * 1024;
/// Size it grows to when a read fills that, too: four TLS records a read.
const BULK_BYTES: usize = 72 * 1024;
/// Largest size: a request head of 1 MiB (contract B.11) and what arrived behind it.
const MAX_BYTES: usize = 1024 * 1024 + BULK_BYTES;
/// Room a read is worth making for.
const MIN_ROOM: usize = 4_000;

/// Bytes received and not yet used.
#[derive(Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Drops `count` bytes from the front.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.len(), "consumes only what was received");
        self.start = (self.start + count).min(self.end);
        self.rest();
    }

    /// Appends bytes, growing as needed.
    pub fn push(&mut self, bytes: &[u8]) {
        self.make_room(bytes.len());
        self.bytes[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
    }

    /// At least `count` writable bytes at the back; [`Self::advance`] tells how many were used.
    pub fn room(&mut self, count: usize) -> &mut [u8] {
        self.make_room(count);
        &mut self.bytes[self.end..]
    }

    pub fn advance(&mut self, count: usize) {
        self.end += count;
    }

    /// Reads once from `source`; 0 is the end of the stream.
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        if self.len() + MIN_ROOM > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::OutOfMemory, "more bytes in one piece than allowed"));
        }
        self.make_room(MIN_ROOM);
        let room = (self.bytes.len() - self.end).min(MAX_BYTES - self.len());
        let count = source.read(&mut self.bytes[self.end..self.end + room]).inspect_err(|_| self.rest())?;
        self.end += count;
        if count == room {
            // The peer has more than we asked for: ask for more next time.
            let more = if self.bytes.len() < RECORD_BYTES { RECORD_BYTES } else { BULK_BYTES };
            self.bytes.resize(self.bytes.len().max(more), 0);
        }
        Ok(count)
    }

    /// Gives the memory back if nothing is in it.
    pub fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Begins anew once all is consumed, without memory if it was little.
    fn rest(&mut self) {
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
            if self.bytes.len() <= MIN_ROOM {
                self.bytes = Vec::new();
            }
        }
    }

    fn make_room(&mut self, count: usize) {
        if self.bytes.len() - self.end >= count {
            return;
        }
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.bytes.len() - self.end < count {
            let size = (self.bytes.len() * 2).max(FIRST_BYTES).max(self.end + count);
            self.bytes.resize(size, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in_whatever_the_split() {
        let input: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let mut source = &input[..];
        let mut buffer = Buffer::default();
        let mut output = Vec::new();
        while buffer.read_from(&mut source).unwrap() > 0 {
            let take = buffer.len().div_ceil(3);
            output.extend_from_slice(&buffer.filled()[..take]);
            buffer.consume(take);
        }
        output.extend_from_slice(buffer.filled());
        assert_eq!(output, input);
    }

    #[test]
    fn refuses_to_grow_without_end() {
        let mut buffer = Buffer::default();
        let mut endless = io::repeat(b'a');
        let error = loop {
            if let Err(error) = buffer.read_from(&mut endless) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert!(buffer.len() <= MAX_BYTES);
    }

    #[test]
    fn release_keeps_bytes_that_were_not_used() {
        let mut buffer = Buffer::default();
        buffer.push(b"early");
        buffer.release();
        assert_eq!(buffer.filled(), b"early");
        buffer.consume(5);
        buffer.release();
        assert_eq!(buffer.bytes.capacity(), 0);
    }
}
