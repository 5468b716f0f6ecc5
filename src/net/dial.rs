//! Connecting to an address that has been judged.
//!
//! All addresses of a name are tried, the two families in turn, each a short while after the one before
//! (RFC 8305): one that does not answer costs that while and not the whole deadline. The first that
//! connects is used, the others are dropped.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use super::Deadline;
use super::tcp::TcpChannel;
use crate::sys::ready::{self, Watch};

/// Time an attempt has before the next address is tried beside it (RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to one of the addresses; the last failure is the one that is told.
pub fn dial(addresses: &[SocketAddr], deadline: Deadline) -> io::Result<TcpChannel> {
    let mut untried = in_turn(addresses).into_iter();
    let mut pending: Vec<TcpStream> = Vec::new();
    let mut failure = io::Error::from(io::ErrorKind::TimedOut);
    let mut next_at = Instant::now();
    loop {
        let now = Instant::now();
        if now >= next_at || pending.is_empty() {
            match untried.next() {
                Some(address) => {
                    match mio::net::TcpStream::connect(address) {
                        Ok(stream) => pending.push(TcpStream::from(OwnedFd::from(stream))),
                        Err(error) => failure = error,
                    }
                    next_at = now + STAGGER;
                    continue;
                }
                None if pending.is_empty() => return Err(failure),
                None => next_at = deadline.moment(),
            }
        }
        if deadline.has_passed(now) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        for settled in wait(&mut pending, next_at.min(deadline.moment()))? {
            match outcome(&settled) {
                Ok(()) => return TcpChannel::new(settled),
                Err(error) => failure = error,
            }
        }
    }
}

/// Takes the attempts that are decided by `until` out of the pending ones.
fn wait(pending: &mut Vec<TcpStream>, until: Instant) -> io::Result<Vec<TcpStream>> {
    let watches: Vec<Watch<'_>> =
        pending.iter().map(|stream| Watch::new(stream.as_fd()).writable(true)).collect();
    let Some(found) = ready::wait_any(&watches, Some(until))? else { return Ok(Vec::new()) };
    let mut is_ready = found.iter().map(|readiness| readiness.writable);
    Ok(pending.extract_if(.., |_| is_ready.next() == Some(true)).collect())
}

fn outcome(stream: &TcpStream) -> io::Result<()> {
    match stream.take_error()? {
        Some(error) => Err(error),
        None => stream.peer_addr().map(drop),
    }
}

/// The addresses with the families taking turns, in the resolver's order otherwise.
fn in_turn(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.iter().copied().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::with_capacity(addresses.len());
    while turns.len() < addresses.len() {
        turns.extend(first.next());
        turns.extend(second.next());
    }
    turns
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::net::channel::Channel as _;

    fn closed() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    fn soon() -> Deadline {
        Deadline::after(Duration::from_secs(10))
    }

    #[test]
    fn a_refused_address_leads_to_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let channel = dial(&[closed(), listener.local_addr().unwrap()], soon()).unwrap();
        assert!(channel.is_quiet());
        assert!(listener.accept().is_ok());
    }

    #[test]
    fn no_address_is_an_error_of_its_own() {
        assert_eq!(dial(&[closed()], soon()).map(drop).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(dial(&[], soon()).is_err());
    }

    #[test]
    fn families_take_turns() {
        let addresses = ["[::1]:1", "[::1]:2", "[::1]:3", "127.0.0.1:1"].map(|text| text.parse().unwrap());
        let shown: Vec<String> = in_turn(&addresses).iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["[::1]:1", "127.0.0.1:1", "[::1]:2", "[::1]:3"]);
    }
}
