//! WebSocket: the handshake's fields, and placeholders in the client's text frames (RFC 6455).
//!
//! Frames from the upstream, and all frames when nothing is to be replaced, pass as bytes. Otherwise each
//! client frame's head is read: an unfragmented, uncompressed text frame of bounded size is unmasked, has
//! its placeholders replaced, and goes out masked afresh; every other frame goes out byte for byte.

use std::io;

use ring::rand::{SecureRandom as _, SystemRandom};

use crate::http1::head::{RequestHead, Version};
use crate::log_event;
use crate::net::channel::Channel;
use crate::net::duplex::{Course, Step};
use crate::vault::service::Surface;
use crate::vault::substitute::{Encoding, Substitutions};

/// Largest text frame that is looked into (contract D.10).
const MAX_FRAME_BYTES: u64 = 1024 * 1024;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;

/// Whether a request asks to become a WebSocket. HTTP/1.0 knows no upgrade (RFC 9110 §7.8).
pub(super) fn is_upgrade(head: &RequestHead) -> bool {
    let fields = head.fields();
    head.version() == Version::Http11
        && fields.lists("upgrade", "websocket")
        && fields.lists("connection", "upgrade")
}

/// The client's frames on their way to the upstream.
pub(super) struct Frames<'s> {
    substitutions: &'s Substitutions,
    random: SystemRandom,
    /// Bytes of a frame that passes untouched.
    passing: u64,
    is_closing: bool,
    /// The log says once per connection that a frame was not looked into: a client chooses how many.
    has_warned: bool,
}

/// The head of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FrameHead {
    first: u8,
    mask: Option<[u8; 4]>,
    len: u64,
    head_len: usize,
}

impl<'s> Frames<'s> {
    pub(super) fn new(substitutions: &'s Substitutions) -> Self {
        Self { substitutions, random: SystemRandom::new(), passing: 0, is_closing: false, has_warned: false }
    }

    /// Sends one frame, or as much of it as is there; false when more input is needed.
    fn frame(&mut self, from: &mut dyn Channel, to: &mut dyn Channel) -> io::Result<bool> {
        let Some(head) = FrameHead::parse(from.received())? else { return Ok(false) };
        let is_text = head.first & 0x0f == TEXT;
        let is_looked_into = head.first & (FIN | RSV1 | 0x0f) == FIN | TEXT && head.len <= MAX_FRAME_BYTES;
        let Some(mask) = head.mask.filter(|_| is_looked_into) else {
            if is_text && !self.has_warned {
                self.has_warned = true;
                log_event!(Warn, "websocket frame not looked into for placeholders", bytes = head.len);
            }
            self.is_closing = head.first & 0x0f == CLOSE;
            self.passing = head.head_len as u64 + head.len;
            return Ok(true);
        };
        let whole = head.head_len + usize::try_from(head.len).unwrap_or(usize::MAX);
        let Some(frame) = from.received().get(..whole) else { return Ok(false) };
        let payload = masked(&frame[head.head_len..], mask);
        match self.substitutions.apply(Surface::Websocket, Encoding::Raw, &payload) {
            None => to.send(frame)?,
            Some(replaced) => {
                let mut fresh = [0; 4];
                self.random.fill(&mut fresh).map_err(|_| io::Error::other("no random numbers"))?;
                to.send(&text_frame(&replaced, fresh))?;
            }
        }
        from.consume(whole);
        Ok(true)
    }
}

impl Course for Frames<'_> {
    fn step(&mut self, from: &mut dyn Channel, ended: bool, to: &mut dyn Channel) -> io::Result<Step> {
        loop {
            if self.passing > 0 {
                let count = usize::try_from(self.passing).unwrap_or(usize::MAX).min(from.received().len());
                to.send(&from.received()[..count])?;
                from.consume(count);
                self.passing -= count as u64;
            }
            if self.passing == 0 && self.is_closing {
                return Ok(Step::Done);
            }
            if self.passing > 0 || !self.frame(from, to)? {
                return Ok(if ended { Step::Done } else { Step::More });
            }
        }
    }
}

impl FrameHead {
    /// Reads a frame's head; `None` when it is not complete. A length with its top bit set is refused
    /// (RFC 6455 §5.2).
    fn parse(input: &[u8]) -> io::Result<Option<Self>> {
        let &[first, second, ..] = input else { return Ok(None) };
        let (extended, short) = match second & !MASKED {
            126 => (2, 0),
            127 => (8, 0),
            short => (0, u64::from(short)),
        };
        let mask_len = if second & MASKED == 0 { 0 } else { 4 };
        let head_len = 2 + extended + mask_len;
        let Some(head) = input.get(..head_len) else { return Ok(None) };
        let len = head[2..2 + extended].iter().fold(short, |len, &byte| len << 8 | u64::from(byte));
        if len >> 63 != 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame's length has its top bit set"));
        }
        let mask = <[u8; 4]>::try_from(&head[2 + extended..]).ok();
        Ok(Some(Self { first, mask, len, head_len }))
    }
}

/// Masking is its own inverse (RFC 6455 §5.3).
fn masked(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect()
}

/// A masked text frame with its length in the shortest form.
fn text_frame(payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(FIN | TEXT);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => frame.push(MASKED | short),
        (_, Ok(medium)) => {
            frame.push(MASKED | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(MASKED | 127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend_from_slice(&masked(payload, mask));
    frame
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::os::fd::BorrowedFd;

    use super::*;
    use crate::net::channel::Receive;
    use crate::secret::Secret;
    use crate::vault::service::Substitution;

    /// A channel that is two buffers.
    #[derive(Default)]
    struct Memory {
        received: Vec<u8>,
        sent: Vec<u8>,
    }

    impl Channel for Memory {
        fn socket(&self) -> BorrowedFd<'_> {
            unreachable!("nobody waits for memory")
        }

        fn received(&self) -> &[u8] {
            &self.received
        }

        fn consume(&mut self, count: usize) {
            self.received.drain(..count);
        }

        fn receive(&mut self) -> io::Result<Receive> {
            Ok(Receive::Blocked)
        }

        fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.sent.extend_from_slice(bytes);
            Ok(())
        }

        fn flush(&mut self) -> io::Result<bool> {
            Ok(true)
        }

        fn backlog(&self) -> usize {
            0
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn release(&mut self) {}
    }

    fn substitutions() -> Substitutions {
        let declared = Substitution {
            key: "KEY".to_owned(),
            placeholder: "__key__".to_owned(),
            surfaces: vec![Surface::Websocket],
        };
        Substitutions::new(&[declared], &HashMap::from([("KEY".to_owned(), Secret::from("v"))])).unwrap()
    }

    /// What goes out when the frames come in pieces, masks taken off; and whether the direction is done.
    fn carried(input: &[u8], size: usize) -> (Vec<(u8, Vec<u8>)>, bool) {
        let substitutions = substitutions();
        let (mut frames, mut from, mut to) =
            (Frames::new(&substitutions), Memory::default(), Memory::default());
        let mut is_done = false;
        for piece in input.chunks(size) {
            from.received.extend_from_slice(piece);
            is_done |= frames.step(&mut from, false, &mut to).unwrap() == Step::Done;
        }
        let (mut rest, mut seen) = (to.sent.as_slice(), Vec::new());
        while let Some(head) = FrameHead::parse(rest).unwrap() {
            let end = head.head_len + usize::try_from(head.len).unwrap();
            seen.push((head.first, masked(&rest[head.head_len..end], head.mask.unwrap_or_default())));
            rest = &rest[end..];
        }
        assert!(rest.is_empty(), "a frame is cut");
        (seen, is_done)
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = text_frame(payload, [9, 8, 7, 6]);
        frame[0] = first;
        frame
    }

    #[test]
    fn no_split_changes_what_is_carried() {
        let long = [b"__key__".as_slice(), &[b'x'; 300]].concat();
        let input = [
            frame(FIN | TEXT, b"a __key__ b"),
            frame(FIN | 0x2, b"__key__"),
            frame(TEXT, b"__key__"),
            frame(FIN, b"__key__"),
            frame(FIN | RSV1 | TEXT, b"__key__"),
            vec![FIN | TEXT, 7, b'_', b'_', b'k', b'e', b'y', b'_', b'_'],
            frame(FIN | 0x9, b""),
            frame(FIN | TEXT, &long),
            frame(FIN | TEXT, b""),
            frame(FIN | CLOSE, b"\x03\xe8"),
        ]
        .concat();
        let replaced = [b"v".as_slice(), &[b'x'; 300]].concat();
        let expected = [
            (FIN | TEXT, b"a v b".to_vec()),
            (FIN | 0x2, b"__key__".to_vec()),
            (TEXT, b"__key__".to_vec()),
            (FIN, b"__key__".to_vec()),
            (FIN | RSV1 | TEXT, b"__key__".to_vec()),
            (FIN | TEXT, b"__key__".to_vec()),
            (FIN | 0x9, Vec::new()),
            (FIN | TEXT, replaced),
            (FIN | TEXT, Vec::new()),
            (FIN | CLOSE, b"\x03\xe8".to_vec()),
        ];
        for size in (1..80).chain([input.len()]) {
            assert_eq!(carried(&input, size), (expected.to_vec(), true), "pieces of {size}");
        }
    }

    #[test]
    fn nothing_follows_a_close() {
        let input = [frame(FIN | CLOSE, b""), frame(FIN | TEXT, b"late")].concat();
        assert_eq!(carried(&input, input.len()), (vec![(FIN | CLOSE, Vec::new())], true));
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written() {
        for len in [0, 1, 125, 126, 215, 65_535, 65_536] {
            let payload = vec![b'x'; len];
            let frame = text_frame(&payload, [1, 2, 3, 4]);
            let head = FrameHead::parse(&frame).unwrap().unwrap();
            assert_eq!((head.first, head.mask, head.len), (0x81, Some([1, 2, 3, 4]), len as u64));
            assert_eq!(masked(&frame[head.head_len..], [1, 2, 3, 4]), payload);
            for cut in 0..head.head_len {
                assert_eq!(FrameHead::parse(&frame[..cut]).unwrap(), None);
            }
        }
    }

    #[test]
    fn a_length_that_cannot_be_is_refused() {
        assert!(FrameHead::parse(&[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]).is_err());
    }
}
