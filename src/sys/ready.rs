//! Waiting for sockets inside a connection's thread.
//!
//! `poll(2)`, not epoll: a thread waits for one or two sockets and forgets them, and registering a
//! socket with epoll would cost a system call per exchange that poll does not need. The main thread,
//! which waits for thousands, uses mio.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv};
use std::os::fd::AsRawFd;

/// One socket and what is awaited of it; errors and hang-ups are always awaited.
pub struct Watch<'fd> {
    socket: BorrowedFd<'fd>,
    readable: bool,
    writable: bool,
}

/// What a wait found out about one socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    pub readable: bool,
    pub writable: bool,
    /// Both directions are shut, or the socket has failed.
    pub gone: bool,
}

impl<'fd> Watch<'fd> {
    pub fn new(socket: BorrowedFd<'fd>) -> Self {
        Self { socket, readable: false, writable: false }
    }

    #[must_use]
    pub fn readable(mut self, wanted: bool) -> Self {
        self.readable = wanted;
        self
    }

    #[must_use]
    pub fn writable(mut self, wanted: bool) -> Self {
        self.writable = wanted;
        self
    }

    fn to_poll(&self) -> PollFd<'fd> {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, self.readable);
        flags.set(PollFlags::POLLOUT, self.writable);
        PollFd::new(self.socket, flags)
    }
}

/// Waits until one of the sockets is ready; `None` when `until` passed first.
pub fn wait<const N: usize>(
    watches: &[Watch<'_>; N],
    until: Option<Instant>,
) -> io::Result<Option<[Readiness; N]>> {
    let mut sockets = watches.each_ref().map(Watch::to_poll);
    Ok(wait_for(&mut sockets, until)?.then(|| sockets.each_ref().map(readiness)))
}

/// As [`wait`], for a number of sockets that is not known before.
pub fn wait_any(watches: &[Watch<'_>], until: Option<Instant>) -> io::Result<Option<Vec<Readiness>>> {
    let mut sockets: Vec<PollFd<'_>> = watches.iter().map(Watch::to_poll).collect();
    Ok(wait_for(&mut sockets, until)?.then(|| sockets.iter().map(readiness).collect()))
}

fn wait_for(sockets: &mut [PollFd<'_>], until: Option<Instant>) -> io::Result<bool> {
    loop {
        let timeout = match until {
            None => PollTimeout::NONE,
            Some(until) => timeout(until.saturating_duration_since(Instant::now())),
        };
        match poll(sockets, timeout) {
            Ok(0) => {
                if until.is_some_and(|until| Instant::now() >= until) {
                    return Ok(false);
                }
            }
            Ok(_) => return Ok(true),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Whether an idle connection can carry another request: nothing has arrived on it and it is open.
pub fn is_quiet(socket: BorrowedFd<'_>) -> bool {
    let mut byte = [0];
    recv(socket.as_raw_fd(), &mut byte, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) == Err(Errno::EAGAIN)
}

/// Rounds up to whole milliseconds, so that a wait never ends just before its time and spins.
fn timeout(left: Duration) -> PollTimeout {
    let millis = left.as_nanos().div_ceil(1_000_000);
    i32::try_from(millis)
        .ok()
        .and_then(|millis| PollTimeout::try_from(millis).ok())
        .unwrap_or(PollTimeout::MAX)
}

fn readiness(socket: &PollFd<'_>) -> Readiness {
    let events = socket.revents().unwrap_or(PollFlags::empty());
    let gone = events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL);
    Readiness {
        // A socket that has failed is ready: the next read or write tells the error.
        readable: events.contains(PollFlags::POLLIN) || gone,
        writable: events.contains(PollFlags::POLLOUT) || gone,
        gone,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_passed_deadline_ends_the_wait() {
        let (a, _b) = pair();
        let found = wait(&[Watch::new(a.as_fd()).readable(true)], Some(Instant::now())).unwrap();
        assert_eq!(found, None);
    }

    #[test]
    fn tells_which_socket_is_ready() {
        let (a, mut b) = pair();
        b.write_all(b"x").unwrap();
        let found = wait(&[Watch::new(a.as_fd()).readable(true), Watch::new(b.as_fd()).readable(true)], None)
            .unwrap();
        let ready = Readiness { readable: true, ..Readiness::default() };
        assert_eq!(found, Some([ready, Readiness::default()]));
    }

    #[test]
    fn a_connection_with_bytes_or_an_end_is_not_quiet() {
        let (a, mut b) = pair();
        assert!(is_quiet(a.as_fd()));
        b.write_all(b"x").unwrap();
        assert!(wait(&[Watch::new(a.as_fd()).readable(true)], None).unwrap().is_some());
        assert!(!is_quiet(a.as_fd()));
        drop(a);
        assert!(wait(&[Watch::new(b.as_fd()).readable(true)], None).unwrap().is_some());
        assert!(!is_quiet(b.as_fd()));
    }
}
