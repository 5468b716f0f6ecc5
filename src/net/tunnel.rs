//! A tunnel: every byte of two plain sockets, both ways, as it comes.
//!
//! Small messages go through the channels' buffers like everything else. A direction in which they come
//! faster than that is left to the kernel, which moves the pages themselves from socket to socket.

use std::io;
use std::time::Duration;

use super::channel::{Channel, Receive};
use super::duplex::{self, Course, Direction, Fault, Passed, Step};
use super::tcp::TcpChannel;
use crate::sys::conduit::Conduit;

/// What one read has to bring for the next to be left to the kernel: below, two copies of the bytes cost less
/// than the calls into a pipe and out of it.
const BULK_BYTES: usize = 16 * 1024;

/// Carries every byte both ways, until both sides have finished or a silence begins. `idle` bounds the time
/// in which nothing moves once one side has finished.
pub fn pass_on(first: &mut TcpChannel, second: &mut TcpChannel, idle: Duration) -> Result<Passed, Fault> {
    let (mut a, mut b) = (Bytes::default(), Bytes::default());
    let (mut up, mut down) = (Direction::new(&mut a), Direction::new(&mut b));
    duplex::run_or_rest(first, second, &mut up, &mut down, idle)
}

/// Every byte of one direction.
#[derive(Default)]
struct Bytes {
    is_bulk: bool,
    conduit: Option<Conduit>,
    /// This kernel or its sandbox does not move bytes between sockets.
    is_refused: bool,
}

impl Bytes {
    /// Takes from the socket without seeing what; `None` when that does not work here.
    fn take(&mut self, from: &dyn Channel) -> Option<Receive> {
        if self.conduit.is_none() {
            self.conduit = Conduit::new().ok();
        }
        match self.conduit.as_mut()?.fill(from.socket()) {
            Ok(0) => Some(Receive::End),
            Ok(count) => {
                self.is_bulk = count >= BULK_BYTES;
                Some(Receive::Bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Receive::Blocked),
            Err(_) => None,
        }
    }
}

impl Course for Bytes {
    fn receive(&mut self, from: &mut dyn Channel) -> io::Result<Receive> {
        if self.is_bulk && !self.is_refused && from.received().is_empty() {
            if let Some(received) = self.take(from) {
                return Ok(received);
            }
            self.is_refused = true;
        }
        let received = from.receive();
        self.is_bulk = from.received().len() >= BULK_BYTES;
        received
    }

    fn held(&self) -> usize {
        self.conduit.as_ref().map_or(0, Conduit::held)
    }

    fn step(&mut self, from: &mut dyn Channel, ended: bool, to: &mut dyn Channel) -> io::Result<Step> {
        // What is held came before anything that is still with `from`, and after what waits at `to`.
        if let Some(conduit) = self.conduit.as_mut().filter(|conduit| conduit.held() > 0) {
            if to.backlog() == 0 && conduit.empty(to.socket()).is_err() {
                // The flush finds out what is the matter, and says whose fault it is.
                to.send(&conduit.take_out()?)?;
                self.is_refused = true;
            }
            if conduit.held() > 0 {
                return Ok(Step::More);
            }
        }
        let count = from.received().len();
        if count > 0 {
            to.send(from.received())?;
            from.consume(count);
        }
        Ok(if ended { Step::Done } else { Step::More })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::thread::{self, JoinHandle};

    use super::*;

    fn pair() -> (TcpStream, TcpChannel) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let outside = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (outside, TcpChannel::new(listener.accept().unwrap().0).unwrap())
    }

    fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        thread::Builder::new().spawn(work).unwrap()
    }

    /// Bytes of which no two pieces are alike.
    fn numbers(count: u32) -> Vec<u8> {
        (0..count).flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn much_and_little_arrive_in_order_both_ways_at_once() {
        let ((client, mut first), (server, mut second)) = (pair(), pair());
        let ends = [client, server].map(|mut end| {
            let mut writer = end.try_clone().unwrap();
            let write = start(move || {
                // Far more than sockets and pipe hold, then bytes by the few, then much again.
                for piece in [2_000_000, 1, 3, 1_000_000] {
                    writer.write_all(&numbers(piece)).unwrap();
                }
                writer.shutdown(Shutdown::Write).unwrap();
            });
            (
                write,
                start(move || {
                    let mut received = Vec::new();
                    end.read_to_end(&mut received).map(|_| received).unwrap()
                }),
            )
        });
        assert_eq!(pass_on(&mut first, &mut second, Duration::from_secs(10)).unwrap(), Passed::All);
        let expected = [2_000_000, 1, 3, 1_000_000].map(numbers).concat();
        for (write, read) in ends {
            write.join().unwrap();
            assert!(read.join().unwrap() == expected);
        }
    }

    #[test]
    fn what_comes_in_bulk_is_left_to_the_kernel() {
        let ((mut client, mut first), (_server, mut second)) = (pair(), pair());
        client.set_nonblocking(true).unwrap();
        let flood = vec![7; BULK_BYTES];
        let mut sent = 0;
        while let Ok(count) = client.write(&flood) {
            sent += count;
        }
        let mut bytes = Bytes::default();
        let mut most = 0;
        while bytes.receive(&mut first).unwrap() == Receive::Bytes && bytes.held() == 0 {
            most = most.max(first.received().len());
            assert_eq!(bytes.step(&mut first, false, &mut second).unwrap(), Step::More);
            assert!(second.flush().unwrap());
        }
        assert!(most >= BULK_BYTES && bytes.held() > 0 && first.received().is_empty());
        assert!(sent > most + bytes.held());
        second.finish().unwrap();
        assert_eq!(bytes.step(&mut first, true, &mut second).unwrap(), Step::Done);
        assert!(second.backlog() > 0 && second.flush().is_err(), "the fault is the flush's to tell");
    }

    #[test]
    fn a_silence_lets_an_open_pair_rest_and_not_one_that_is_half_closed() {
        let ((mut client, mut first), (mut server, mut second)) = (pair(), pair());
        let idle = Duration::from_millis(1005);
        client.write_all(b"x").unwrap();
        assert_eq!(pass_on(&mut first, &mut second, idle).unwrap(), Passed::SoFar);
        server.read_exact(&mut [0]).unwrap();
        server.write_all(b"y").unwrap();
        assert_eq!(pass_on(&mut first, &mut second, idle).unwrap(), Passed::SoFar);
        client.read_exact(&mut [0]).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert!(matches!(pass_on(&mut first, &mut second, idle), Err(Fault::Idle)));
    }
}
