//! A tunnel: every byte of two plain sockets, both ways, as it comes.
//!
//! Small messages go through the channels' buffers like everything else. Once a read brings much, the
//! kernel moves what follows from socket to socket, through a pipe for each direction (two descriptors), which
//! is closed when the tunnel rests.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::channel::{Channel, Receive};
use super::duplex::{self, Course, Direction, Everything, Fault, Passed, Step, Until};
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
    duplex::run(first, second, &mut up, &mut down, Until::Silence, idle)
}

/// Every byte of one direction.
#[derive(Default)]
struct Bytes {
    is_bulk: bool,
    kernel: Kernel,
}

/// Whether the kernel moves bytes from socket to socket for us.
#[derive(Default)]
enum Kernel {
    #[default]
    Unasked,
    Moves(Conduit),
    /// It, or a sandbox around us, does not; or no descriptor is left for a pipe.
    Refuses,
}

impl Bytes {
    /// Takes from the socket without seeing what; `None` when that does not work here. An error of the
    /// connection is told at once: the kernel tells it once, and a read after it would find a clean end.
    fn take(&mut self, from: BorrowedFd<'_>) -> Option<io::Result<Receive>> {
        if matches!(self.kernel, Kernel::Unasked) {
            self.kernel = Conduit::new().map_or(Kernel::Refuses, Kernel::Moves);
        }
        let Kernel::Moves(conduit) = &mut self.kernel else { return None };
        match conduit.fill(from) {
            Ok(0) => Some(Ok(Receive::End)),
            Ok(count) => {
                self.is_bulk = count >= BULK_BYTES;
                Some(Ok(Receive::Bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Some(Ok(Receive::Blocked)),
            Err(error) if is_refusal(&error) => {
                self.kernel = Kernel::Refuses;
                None
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Whether the call itself is what was refused.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
}

impl Course for Bytes {
    fn receive(&mut self, from: &mut dyn Channel) -> io::Result<Receive> {
        if self.is_bulk
            && from.received().is_empty()
            && let Some(received) = self.take(from.socket())
        {
            return received;
        }
        let received = from.receive();
        self.is_bulk = from.received().len() >= BULK_BYTES;
        received
    }

    fn held(&self) -> usize {
        if let Kernel::Moves(conduit) = &self.kernel { conduit.held() } else { 0 }
    }

    fn step(&mut self, from: &mut dyn Channel, ended: bool, to: &mut dyn Channel) -> io::Result<Step> {
        // What is held came before anything that is still with `from`, and after what waits at `to`.
        if self.held() > 0
            && let Kernel::Moves(conduit) = &mut self.kernel
        {
            if to.backlog() == 0 && conduit.empty(to.socket()).is_err() {
                // The flush finds out what is the matter, and says whose fault it is.
                to.send(&conduit.take_out()?)?;
                self.kernel = Kernel::Refuses;
            }
            if self.held() > 0 {
                return Ok(Step::More);
            }
        }
        Everything.step(from, ended, to)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::Shutdown;
    use std::thread::{self, JoinHandle};

    use super::*;
    use crate::net::duplex::PAUSE;
    use crate::net::tcp::pair;

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
    fn a_reset_in_the_middle_of_bulk_is_no_end_of_the_stream() {
        let (client, mut first) = pair();
        // Closing with a byte unread resets the connection.
        first.send(b"x").unwrap();
        first.flush().unwrap();
        client.peek(&mut [0]).unwrap();
        drop(client);
        let mut bytes = Bytes { is_bulk: true, ..Bytes::default() };
        let error = bytes.receive(&mut first).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn a_silence_lets_an_open_pair_rest_and_not_one_that_is_half_closed() {
        let ((mut client, mut first), (mut server, mut second)) = (pair(), pair());
        let idle = PAUSE + Duration::from_millis(5);
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
