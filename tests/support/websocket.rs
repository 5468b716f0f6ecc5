//! The server's side of WebSocket (RFC 6455), as little of it as a test needs.
//!
//! Shares no code with the product, so that a mistake about frames cannot hide on both sides.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

use super::origin::{Received, Wire};

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const BINARY: u8 = 0x2;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xa;

/// Appended to the client's key before it is hashed (RFC 6455 §1.3).
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Agrees to speak WebSocket; extensions are not negotiated.
pub(crate) fn accept(request: &Received, wire: &mut dyn Wire) -> io::Result<()> {
    let key = request.field("sec-websocket-key").unwrap_or_default();
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    write!(
        wire,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        STANDARD.encode(hash)
    )?;
    wire.flush()
}

/// Reads one message of the client's: its opcode and its payload, fragments joined.
pub(crate) fn read(wire: &mut dyn Wire) -> io::Result<(u8, Vec<u8>)> {
    let mut message = Vec::new();
    let mut opcode = 0;
    loop {
        let mut head = [0; 2];
        wire.read_exact(&mut head)?;
        assert_eq!(head[0] & 0x70, 0, "a reserved bit is set");
        assert_ne!(head[1] & MASKED, 0, "a client masks its frames");
        let len = match head[1] & !MASKED {
            126 => u64::from(u16::from_be_bytes(bytes(wire)?)),
            127 => u64::from_be_bytes(bytes(wire)?),
            short => u64::from(short),
        };
        let mask: [u8; 4] = bytes(wire)?;
        let start = message.len();
        message.resize(start + usize::try_from(len).map_err(io::Error::other)?, 0);
        wire.read_exact(&mut message[start..])?;
        message[start..].iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        opcode |= head[0] & 0x0f;
        if head[0] & FIN != 0 {
            return Ok((opcode, message));
        }
    }
}

fn bytes<const N: usize>(wire: &mut dyn Wire) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    wire.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Sends one message in one frame.
pub(crate) fn write(wire: &mut dyn Wire, opcode: u8, payload: &[u8]) -> io::Result<()> {
    let mut frame = vec![FIN | opcode];
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => frame.push(short),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    wire.write_all(&frame)?;
    wire.write_all(payload)?;
    wire.flush()
}
