//! Two streams, both directions at once, each half closed in its turn.
//!
//! Knows nothing of HTTP or TLS: what travels in a direction is a [`Course`], so bodies, upgraded
//! connections and the relay share this loop. Memory is bounded by the two channels' buffers: a
//! direction reads only while its other end keeps up.
//! Invariant: when one side ends, the other's write half is shut down before the next wait.

use std::io;
use std::time::{Duration, Instant};

use super::channel::{Channel, Receive};
use crate::sys::ready::{self, Watch};

/// A direction is fed while less than this waits to be written at its end, so that a head and the first
/// bytes of its body leave in one piece.
const LOW_WATER: usize = 16 * 1024;

/// A silence after which buffers are given back: what streams cost while nothing passes is not what they
/// cost while something does.
pub(super) const PAUSE: Duration = Duration::from_secs(1);

/// Whether a direction wants more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// All usable input is moved; more may come.
    More,
    /// This direction has carried everything it will carry.
    Done,
}

/// What travels in one direction.
pub trait Course {
    /// Moves what it can of `from.received()` to `to.send()`. `ended` says that no more input comes: a
    /// course that still needs some answers with an error.
    fn step(&mut self, from: &mut dyn Channel, ended: bool, to: &mut dyn Channel) -> io::Result<Step>;

    /// Tries once to receive more of what travels.
    fn receive(&mut self, from: &mut dyn Channel) -> io::Result<Receive> {
        from.receive()
    }

    /// Bytes that were received and are with neither channel: no more are asked for until a step has written
    /// them.
    fn held(&self) -> usize {
        0
    }
}

/// When a run is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// The second stream's direction is done and written out; the first's may be unfinished.
    DownDone,
    /// Both are done; an end of one side is passed on to the other.
    BothDone,
    /// The same, or nothing comes for a moment while both sides are open.
    Silence,
}

/// Why a run ended early, by the stream that is to blame.
#[derive(Debug)]
pub enum Fault {
    First(io::Error),
    Second(io::Error),
    /// Nothing moved in either direction for the idle span.
    Idle,
}

/// Every byte as it comes, until the source ends.
pub struct Everything;

impl Course for Everything {
    fn step(&mut self, from: &mut dyn Channel, ended: bool, to: &mut dyn Channel) -> io::Result<Step> {
        let count = from.received().len();
        if count > 0 {
            to.send(from.received())?;
            from.consume(count);
        }
        Ok(if ended { Step::Done } else { Step::More })
    }
}

/// Where a pair of streams stands after [`run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// Both sides have finished.
    All,
    /// Both are open, nothing is under way and nothing has come for a moment: buffers have been given back,
    /// and the pair can wait for the next byte of either wherever that costs least. [`Until::Silence`] alone
    /// ends so.
    SoFar,
}

/// One direction and how far it has come. Kept by the caller between runs, so that a body upload goes on
/// while the response changes from head to body.
pub struct Direction<'c> {
    course: &'c mut dyn Course,
    ended: bool,
    done: bool,
    /// The other end takes no more: what is still to come stays unread.
    stopped: bool,
    finished: bool,
}

impl<'c> Direction<'c> {
    pub fn new(course: &'c mut dyn Course) -> Self {
        Self { course, ended: false, done: false, stopped: false, finished: false }
    }

    /// Whether everything this direction carries has been taken in.
    pub fn is_done(&self) -> bool {
        self.done
    }

    fn wants_input(&self, to: &dyn Channel) -> bool {
        self.is_open() && !self.ended && to.backlog() < LOW_WATER && self.course.held() == 0
    }

    /// Whether all that was taken in has been written.
    fn is_written(&self, to: &dyn Channel) -> bool {
        to.backlog() == 0 && self.course.held() == 0
    }

    fn is_open(&self) -> bool {
        !self.done && !self.stopped
    }
}

/// Moves both directions until `until` holds. `idle` bounds the time in which nothing moves.
///
/// A failed write to `second` only stops the direction towards it: the answer that explains the failure
/// may already be on its way back.
pub fn run(
    first: &mut dyn Channel,
    second: &mut dyn Channel,
    up: &mut Direction<'_>,
    down: &mut Direction<'_>,
    until: Until,
    idle: Duration,
) -> Result<Passed, Fault> {
    let mut idle_until = Instant::now() + idle;
    loop {
        if up.is_open() && second.backlog() < LOW_WATER {
            advance(up, first, second).map_err(Fault::First)?;
        }
        if !up.stopped && second.backlog() > 0 && second.flush().is_err() {
            up.stopped = true;
        }
        if !down.done && first.backlog() < LOW_WATER {
            advance(down, second, first).map_err(Fault::Second)?;
        }
        first.flush().map_err(Fault::First)?;
        if until != Until::DownDone {
            pass_end(up, second).map_err(Fault::Second)?;
            pass_end(down, first).map_err(Fault::First)?;
        }
        let written =
            down.is_written(first) && (until == Until::DownDone || up.stopped || up.is_written(second));
        if down.done && written && (until == Until::DownDone || !up.is_open()) {
            return Ok(Passed::All);
        }
        let is_still = !up.ended && !down.ended && written && first.received().is_empty();
        let may_rest = until == Until::Silence && is_still && second.received().is_empty();
        match wait(first, second, up, down, idle_until, may_rest)? {
            Waited::Moved => idle_until = Instant::now() + idle,
            Waited::Woken => {}
            Waited::InVain => return Ok(Passed::SoFar),
        }
    }
}

fn advance(way: &mut Direction<'_>, from: &mut dyn Channel, to: &mut dyn Channel) -> io::Result<()> {
    if way.course.step(from, way.ended, to)? == Step::Done {
        way.done = true;
    }
    Ok(())
}

/// Shuts the write half behind a direction that is done and written out.
fn pass_end(way: &mut Direction<'_>, to: &mut dyn Channel) -> io::Result<()> {
    if way.done && !way.finished && to.backlog() == 0 {
        way.finished = true;
        to.finish()?;
    }
    Ok(())
}

/// What came of a wait.
enum Waited {
    Moved,
    /// A socket was ready and nothing moved.
    Woken,
    /// A silence began.
    InVain,
}

/// Waits for the sockets and receives from those that are ready. With `may_rest` it waits for a moment only.
fn wait(
    first: &mut dyn Channel,
    second: &mut dyn Channel,
    up: &mut Direction<'_>,
    down: &mut Direction<'_>,
    idle_until: Instant,
    may_rest: bool,
) -> Result<Waited, Fault> {
    let read_first = up.wants_input(second);
    let read_second = down.wants_input(first);
    let write_first = !down.is_written(first);
    let write_second = !up.stopped && !up.is_written(second);
    let ready_by = |first: &dyn Channel, second: &dyn Channel, deadline: Instant| {
        let watches = [
            Watch::new(first.socket()).readable(read_first).writable(write_first),
            Watch::new(second.socket()).readable(read_second).writable(write_second),
        ];
        ready::wait(&watches, Some(deadline)).map_err(Fault::First)
    };
    let mut ready = ready_by(first, second, idle_until.min(Instant::now() + PAUSE))?;
    if ready.is_none() {
        first.release();
        second.release();
        if may_rest {
            return Ok(Waited::InVain);
        }
        ready = ready_by(first, second, idle_until)?;
    }
    let [at_first, at_second] = ready.ok_or(Fault::Idle)?;
    let mut moved = at_first.writable || at_second.writable;
    if at_first.readable && read_first {
        moved |= receive(first, up).map_err(Fault::First)?;
    } else if at_first.gone {
        return Err(Fault::First(io::ErrorKind::ConnectionReset.into()));
    }
    if at_second.readable && read_second {
        moved |= receive(second, down).map_err(Fault::Second)?;
    } else if at_second.gone {
        return Err(Fault::Second(io::ErrorKind::ConnectionReset.into()));
    }
    Ok(if moved { Waited::Moved } else { Waited::Woken })
}

fn receive(from: &mut dyn Channel, way: &mut Direction<'_>) -> io::Result<bool> {
    let received = way.course.receive(from)?;
    way.ended |= received == Receive::End;
    Ok(received != Receive::Blocked)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::Shutdown;
    use std::os::fd::BorrowedFd;

    use super::*;
    use crate::net::tcp::{TcpChannel, pair};

    #[test]
    fn carries_both_directions_and_passes_each_end_on() {
        let ((mut client, mut first), (mut server, mut second)) = (pair(), pair());
        let echo = std::thread::Builder::new()
            .spawn(move || {
                let mut request = Vec::new();
                server.read_to_end(&mut request).unwrap();
                server.write_all(&request).unwrap();
            })
            .unwrap();
        let talk = std::thread::Builder::new()
            .spawn(move || {
                let body = vec![7; 1_000_000];
                client.write_all(&body).unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                let mut reply = Vec::new();
                client.read_to_end(&mut reply).unwrap();
                assert!(reply == body);
            })
            .unwrap();
        let (mut a, mut b) = (Everything, Everything);
        let (mut up, mut down) = (Direction::new(&mut a), Direction::new(&mut b));
        let ten = Duration::from_secs(10);
        run(&mut first, &mut second, &mut up, &mut down, Until::BothDone, ten).unwrap();
        talk.join().unwrap();
        echo.join().unwrap();
    }

    /// Carries this many bytes.
    struct Count(usize);

    impl Course for Count {
        fn step(&mut self, from: &mut dyn Channel, _: bool, to: &mut dyn Channel) -> io::Result<Step> {
            let count = self.0.min(from.received().len());
            to.send(&from.received()[..count])?;
            from.consume(count);
            self.0 -= count;
            Ok(if self.0 == 0 { Step::Done } else { Step::More })
        }
    }

    /// What is left of a body that the server stopped reading must not pass for the client's next message.
    #[test]
    fn a_write_that_fails_does_not_make_its_direction_done() {
        for piece in [10, 10_000] {
            let ((mut client, mut first), (mut server, mut second)) = (pair(), pair());
            client.write_all(&vec![b'a'; piece]).unwrap();
            // Closing with a byte unread resets the connection, the answer before it notwithstanding.
            second.send(b"x").unwrap();
            second.flush().unwrap();
            server.peek(&mut [0]).unwrap();
            server.write_all(b"answer").unwrap();
            drop(server);
            first.receive_by(crate::net::Deadline::after(Duration::from_secs(10))).unwrap();
            let (mut a, mut b) = (Count(100_000), Count(6));
            let (mut up, mut down) = (Direction::new(&mut a), Direction::new(&mut b));
            let ten = Duration::from_secs(10);
            run(&mut first, &mut second, &mut up, &mut down, Until::DownDone, ten).unwrap();
            assert!(down.is_done() && !up.is_done(), "pieces of {piece}");
            let mut answer = [0; 6];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"answer");
        }
    }

    /// Counts how often its buffers are given back.
    struct Counting(TcpChannel, usize);

    impl Channel for Counting {
        fn socket(&self) -> BorrowedFd<'_> {
            self.0.socket()
        }

        fn received(&self) -> &[u8] {
            self.0.received()
        }

        fn consume(&mut self, count: usize) {
            self.0.consume(count);
        }

        fn receive(&mut self) -> io::Result<Receive> {
            self.0.receive()
        }

        fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.send(bytes)
        }

        fn flush(&mut self) -> io::Result<bool> {
            self.0.flush()
        }

        fn backlog(&self) -> usize {
            self.0.backlog()
        }

        fn finish(&mut self) -> io::Result<()> {
            self.0.finish()
        }

        fn release(&mut self) {
            self.1 += 1;
            self.0.release();
        }
    }

    #[test]
    fn a_long_silence_gives_the_buffers_back_once() {
        let ((_client, first), (_server, second)) = (pair(), pair());
        let (mut first, mut second) = (Counting(first, 0), Counting(second, 0));
        let (mut a, mut b) = (Everything, Everything);
        let (mut up, mut down) = (Direction::new(&mut a), Direction::new(&mut b));
        let idle = PAUSE + Duration::from_millis(5);
        let fault = run(&mut first, &mut second, &mut up, &mut down, Until::BothDone, idle);
        assert!(matches!(fault, Err(Fault::Idle)));
        assert_eq!((first.1, second.1), (1, 1));
    }

    #[test]
    fn silence_ends_the_run() {
        let ((_client, mut first), (_server, mut second)) = (pair(), pair());
        let (mut a, mut b) = (Everything, Everything);
        let (mut up, mut down) = (Direction::new(&mut a), Direction::new(&mut b));
        let fault =
            run(&mut first, &mut second, &mut up, &mut down, Until::BothDone, Duration::from_millis(5));
        assert!(matches!(fault, Err(Fault::Idle)));
    }
}
