//! One call into rustls, by its unbuffered API; the only file that drives it.
//!
//! Invariant: every call hands rustls the same unread ciphertext from its first byte on, since it keeps
//! offsets into it between calls.

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

use crate::net::buffer::Buffer;

/// Largest plaintext of a record (RFC 8446 §5.1).
pub(super) const RECORD_BYTES: usize = 16 * 1024;
/// More than any record adds: header, explicit nonce, tag, content type.
const RECORD_OVERHEAD: usize = 64;

/// Which end of the connection we are.
pub(super) enum Side {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

/// What a call into rustls asks of us next.
pub(super) enum Turn {
    /// Call again at once.
    Again,
    /// More ciphertext is needed before the handshake can go on.
    Handshaking,
    /// Application data can be sent; what was given has been encrypted.
    Open,
    /// Both sides have said goodbye.
    Closed,
    Failed(rustls::Error),
}

/// What to do when application data can be sent.
#[derive(Clone, Copy)]
pub(super) enum Say<'p> {
    Nothing,
    Data(&'p [u8]),
    Goodbye,
}

impl Side {
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Self::Client(connection) => connection.is_handshaking(),
            Self::Server(connection) => connection.is_handshaking(),
        }
    }

    /// Whether rustls has records of its own to send.
    pub(super) fn has_output(&self) -> bool {
        match self {
            Self::Client(connection) => connection.wants_write(),
            Self::Server(connection) => connection.wants_write(),
        }
    }

    /// Lets rustls see the ciphertext received, and do what comes next: plaintext goes to `plain`, ciphertext
    /// to `outgoing`. `peer_closed` is set when the peer has said goodbye.
    pub(super) fn turn(
        &mut self,
        incoming: &mut Buffer,
        plain: &mut Buffer,
        outgoing: &mut Buffer,
        peer_closed: &mut bool,
        say: Say<'_>,
    ) -> Turn {
        let ciphertext = incoming.filled_mut();
        let (discard, turn) = match self {
            Self::Client(connection) => {
                take(connection.process_tls_records(ciphertext), plain, outgoing, peer_closed, say)
            }
            Self::Server(connection) => {
                take(connection.process_tls_records(ciphertext), plain, outgoing, peer_closed, say)
            }
        };
        incoming.consume(discard);
        turn
    }
}

/// Handles one state of the connection; how much ciphertext is used up, and what comes next.
fn take<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    plain: &mut Buffer,
    outgoing: &mut Buffer,
    peer_closed: &mut bool,
    say: Say<'_>,
) -> (usize, Turn) {
    let UnbufferedStatus { mut discard, state, .. } = status;
    let turn = match state {
        Err(error) => Turn::Failed(error),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    discard += record.discard;
                    plain.push(record.payload);
                }
                Some(Err(error)) => break Turn::Failed(error),
                None => break Turn::Again,
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut record)) => {
            let written = write_growing(outgoing, RECORD_OVERHEAD, |room| match record.encode(room) {
                Ok(written) => Written::Bytes(written),
                Err(EncodeError::InsufficientSize(size)) => Written::Needs(size.required_size),
                Err(EncodeError::AlreadyEncoded) => Written::Nothing,
            });
            if written { Turn::Again } else { Turn::Failed(rustls::Error::EncryptError) }
        }
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            // The outgoing buffer keeps the order, so queued is as good as sent.
            transmit.done();
            Turn::Again
        }
        Ok(ConnectionState::BlockedHandshake) => Turn::Handshaking,
        Ok(ConnectionState::WriteTraffic(mut traffic)) => {
            let written = match say {
                Say::Nothing => true,
                Say::Data(bytes) => write_growing(outgoing, ciphertext_len(bytes.len()), |room| {
                    written(&traffic.encrypt(bytes, room))
                }),
                Say::Goodbye => write_growing(outgoing, RECORD_OVERHEAD, |room| {
                    written(&traffic.queue_close_notify(room))
                }),
            };
            if written { Turn::Open } else { Turn::Failed(rustls::Error::EncryptError) }
        }
        Ok(ConnectionState::PeerClosed) => {
            *peer_closed = true;
            Turn::Again
        }
        Ok(ConnectionState::Closed) => Turn::Closed,
        // Early data is never offered or accepted here; a state of a later library is not known.
        Ok(_) => Turn::Failed(rustls::Error::General("unexpected TLS state".to_owned())),
    };
    (discard, turn)
}

enum Written {
    Bytes(usize),
    Needs(usize),
    Nothing,
}

fn written(result: &Result<usize, EncryptError>) -> Written {
    match result {
        Ok(count) => Written::Bytes(*count),
        Err(EncryptError::InsufficientSize(size)) => Written::Needs(size.required_size),
        Err(EncryptError::EncryptExhausted) => Written::Nothing,
    }
}

/// Lets `write` fill the back of the buffer, with more room when it asks for it.
fn write_growing(
    outgoing: &mut Buffer,
    first_room: usize,
    mut write: impl FnMut(&mut [u8]) -> Written,
) -> bool {
    let mut room = first_room;
    loop {
        match write(outgoing.room(room)) {
            Written::Bytes(count) => {
                outgoing.advance(count);
                return true;
            }
            Written::Needs(more) if more > room => room = more,
            Written::Needs(_) | Written::Nothing => return false,
        }
    }
}

fn ciphertext_len(plaintext: usize) -> usize {
    plaintext + (plaintext / RECORD_BYTES + 1) * RECORD_OVERHEAD
}
