//! Connecting to an address that has been judged.

use std::io;
use std::net::{SocketAddr, TcpStream};

use super::Deadline;
use super::tcp::TcpChannel;

/// Connects to the first address that answers; the last failure is the one that is told.
///
/// Each attempt gets what is left of the deadline divided by the attempts left, so that one silent
/// address cannot use up the others' time.
pub fn dial(addresses: &[SocketAddr], deadline: Deadline) -> io::Result<TcpChannel> {
    let mut failure = io::Error::from(io::ErrorKind::TimedOut);
    let mut attempts_left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let left = deadline.remaining(std::time::Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(address, left / attempts_left) {
            Ok(stream) => return TcpChannel::new(stream),
            Err(error) => failure = error,
        }
        attempts_left -= 1;
    }
    Err(failure)
}
