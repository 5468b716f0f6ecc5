//! The main thread's poll: listeners, watched descriptors (signals) and parked connections.
//!
//! An accepted connection gets a thread for as long as it is active. Between requests, when nothing is
//! expected of the peer, it is parked here and its thread serves another connection or ends; the first
//! readable byte gives it a thread again. So threads cost what active connections cost, and thousands of
//! idle ones cost their sockets. A counted permit bounds all of them; past it a client is told so at
//! once. A panic costs the connection it happened in: it is caught, logged and counted.

mod workers;

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::log_event;
use workers::{Job, Permit, Shared};

/// One connection's life, served on a thread while it is active and resumed after a park.
pub trait Connection: Send {
    /// The socket whose readiness ends a park.
    fn socket(&self) -> BorrowedFd<'_>;

    /// A second one that ends it too: the other end of a tunnel.
    fn other_socket(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// Serves until the connection is over or nothing is expected of the peer for a while.
    fn run(self: Box<Self>) -> Next;
}

/// What becomes of a connection when its thread lets go of it.
pub enum Next {
    /// It is over; dropping it closed it.
    Close,
    /// It waits for the peer, at most until the moment given, then it is closed.
    Park(Box<dyn Connection>, Instant),
}

/// What a listener does with those who knock.
pub trait Service: Send + Sync {
    /// Makes the connection that will be run for an accepted stream.
    fn connect(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<Box<dyn Connection>>;

    /// Tells a client that there is no room; must not block.
    fn refuse(&self, stream: TcpStream);
}

/// Bounds on what the reactor carries.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections, parked ones included.
    pub max_connections: usize,
    /// Stack of a connection's thread, in bytes; only touched pages cost memory.
    pub stack_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // A TLS handshake with a freshly minted leaf touches about 60 KiB in a debug build.
        Self { max_connections: 16_384, stack_bytes: 256 * 1024 }
    }
}

/// Why [`Reactor::turn`] came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The moment asked for has come.
    Deadline,
    /// The watched descriptor with this number, in order of [`Reactor::watch`], is readable.
    Watched(usize),
}

/// What the reactor has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub open: usize,
    pub panicked: u64,
    pub refused: u64,
}

struct Listening {
    listener: mio::net::TcpListener,
    service: Arc<dyn Service>,
    /// Set after a failed accept: the poll is edge-triggered and would not tell of the same client again.
    retry_at: Option<Instant>,
}

/// Reads the counts from any thread.
#[derive(Clone)]
pub struct Meter(Arc<Shared>);

impl Meter {
    pub fn counts(&self) -> Counts {
        self.0.counts()
    }

    /// Connections that wait without a thread.
    pub fn parked(&self) -> usize {
        self.0.parked()
    }
}

/// The poll of the main thread.
pub struct Reactor {
    poll: Poll,
    events: Events,
    listening: Vec<Listening>,
    watched: Vec<RawFd>,
    woken: Vec<usize>,
    shared: Arc<Shared>,
}

const WAKER: Token = Token(0);
const FIRST_LISTENER: usize = 1;
const FIRST_WATCHED: usize = 64;
/// Parked connections are numbered from here on.
const FIRST_PARKED: usize = 1024;
/// Pause after an accept that failed for lack of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Reactor {
    pub fn new(limits: Limits) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        let shared = Arc::new(Shared::new(poll.registry().try_clone()?, waker, limits, FIRST_PARKED));
        let events = Events::with_capacity(256);
        Ok(Self { poll, events, listening: Vec::new(), watched: Vec::new(), woken: Vec::new(), shared })
    }

    /// Accepts on `listener` from the next turn on.
    pub fn listen(&mut self, listener: TcpListener, service: Arc<dyn Service>) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        let token = Token(FIRST_LISTENER + self.listening.len());
        self.poll.registry().register(&mut listener, token, Interest::READABLE)?;
        self.listening.push(Listening { listener, service, retry_at: None });
        Ok(())
    }

    /// Watches a descriptor for input; the caller keeps it open and reads it empty at each wake.
    pub fn watch(&mut self, descriptor: RawFd) -> io::Result<usize> {
        let number = self.watched.len();
        let token = Token(FIRST_WATCHED + number);
        self.poll.registry().register(&mut SourceFd(&descriptor), token, Interest::READABLE)?;
        self.watched.push(descriptor);
        Ok(number)
    }

    pub fn counts(&self) -> Counts {
        self.shared.counts()
    }

    /// The same counts for those who are not on the main thread.
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.shared))
    }

    /// Accepts, resumes and expires connections until a watched descriptor is readable or `until` comes.
    pub fn turn(&mut self, until: Option<Instant>) -> io::Result<Wake> {
        loop {
            if let Some(number) = self.woken.pop() {
                return Ok(Wake::Watched(number));
            }
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return Ok(Wake::Deadline);
            }
            self.accept_due(now);
            let wake_at = [until, self.shared.expire(now), self.next_retry()].into_iter().flatten().min();
            let timeout = wake_at.map(|at| at.saturating_duration_since(now));
            match self.poll.poll(&mut self.events, timeout) {
                Ok(()) => self.dispatch(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes the listeners and every connection that is parked between two messages. A parked pair of
    /// sockets goes on as one with a thread does, until it ends or draining does.
    pub fn stop_accepting(&mut self) {
        for mut open in self.listening.drain(..) {
            // The listener is closed right after; a failing deregistration changes nothing.
            drop(self.poll.registry().deregister(&mut open.listener));
        }
        self.shared.close_parked();
    }

    /// Waits until no connection is open or `until` comes; how many are still open.
    pub fn drain(&mut self, until: Instant) -> io::Result<usize> {
        self.shared.wake_when_empty();
        loop {
            let open = self.shared.counts().open;
            let now = Instant::now();
            if open == 0 || now >= until {
                return Ok(open);
            }
            match self.poll.poll(&mut self.events, Some(until - now)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => self.dispatch(),
            }
        }
    }

    fn dispatch(&mut self) {
        let tokens: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        for token in tokens {
            match token {
                0 => {}
                FIRST_LISTENER..FIRST_WATCHED => self.accept_all(token - FIRST_LISTENER),
                FIRST_WATCHED..FIRST_PARKED => self.woken.push(token - FIRST_WATCHED),
                _ => self.shared.resume(token),
            }
        }
    }

    fn accept_due(&mut self, now: Instant) {
        for index in 0..self.listening.len() {
            if self.listening[index].retry_at.is_some_and(|at| now >= at) {
                self.accept_all(index);
            }
        }
    }

    fn next_retry(&self) -> Option<Instant> {
        self.listening.iter().filter_map(|open| open.retry_at).min()
    }

    fn accept_all(&mut self, index: usize) {
        let Some(open) = self.listening.get_mut(index) else { return };
        open.retry_at = None;
        loop {
            match open.listener.accept() {
                Ok((stream, peer)) => {
                    let stream = TcpStream::from(OwnedFd::from(stream));
                    admit(&self.shared, &open.service, stream, peer);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    log_event!(Error, "cannot accept connections", cause = error);
                    open.retry_at = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }
}

fn admit(shared: &Arc<Shared>, service: &Arc<dyn Service>, stream: TcpStream, peer: SocketAddr) {
    let Some(permit) = Permit::take(shared) else {
        service.refuse(stream);
        return;
    };
    match service.connect(stream, peer) {
        Ok(connection) => shared.start(Job { connection, permit }),
        Err(error) => log_event!(Debug, "connection lost at accept", cause = error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;

    use super::*;
    use crate::net::channel::{Channel as _, Receive};
    use crate::net::tcp::TcpChannel;

    /// Echoes a line, then parks; `panic` and `bye` do what they say.
    struct Echo(TcpChannel);

    impl Connection for Echo {
        fn socket(&self) -> BorrowedFd<'_> {
            self.0.socket()
        }

        fn run(mut self: Box<Self>) -> Next {
            if self.goes_on() { Next::Park(self, later()) } else { Next::Close }
        }
    }

    impl Echo {
        fn goes_on(&mut self) -> bool {
            match self.0.receive() {
                Ok(Receive::Bytes) => {
                    let line = self.0.received().to_vec();
                    self.0.consume(line.len());
                    assert_ne!(line, b"panic");
                    line != b"bye" && self.0.send(&line).is_ok() && self.0.flush().is_ok()
                }
                Ok(Receive::Blocked) => true,
                _ => false,
            }
        }
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    struct Echoes;

    impl Service for Echoes {
        fn connect(&self, stream: TcpStream, _peer: SocketAddr) -> io::Result<Box<dyn Connection>> {
            Ok(Box::new(Echo(TcpChannel::new(stream)?)))
        }

        fn refuse(&self, mut stream: TcpStream) {
            drop(stream.write_all(b"full"));
        }
    }

    /// An echo that has another end, of which nothing is heard.
    struct Paired(Echo, TcpListener);

    impl Connection for Paired {
        fn socket(&self) -> BorrowedFd<'_> {
            self.0.socket()
        }

        fn other_socket(&self) -> Option<BorrowedFd<'_>> {
            Some(self.1.as_fd())
        }

        fn run(mut self: Box<Self>) -> Next {
            if self.0.goes_on() { Next::Park(self, later()) } else { Next::Close }
        }
    }

    struct Pairs;

    impl Service for Pairs {
        fn connect(&self, stream: TcpStream, _peer: SocketAddr) -> io::Result<Box<dyn Connection>> {
            let other = TcpListener::bind("127.0.0.1:0")?;
            Ok(Box::new(Paired(Echo(TcpChannel::new(stream)?), other)))
        }

        fn refuse(&self, _stream: TcpStream) {}
    }

    /// A reactor on its own thread until the returned stream is closed.
    fn serve(limits: Limits) -> (SocketAddr, TcpStream, std::thread::JoinHandle<Counts>) {
        serve_with(limits, Arc::new(Echoes))
    }

    fn serve_with(
        limits: Limits,
        service: Arc<dyn Service>,
    ) -> (SocketAddr, TcpStream, std::thread::JoinHandle<Counts>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let stop = TcpListener::bind("127.0.0.1:0").unwrap();
        let stopper = TcpStream::connect(stop.local_addr().unwrap()).unwrap();
        let stopped = stop.accept().unwrap().0;
        let main = std::thread::Builder::new()
            .spawn(move || {
                let mut reactor = Reactor::new(limits).unwrap();
                reactor.listen(listener, service).unwrap();
                let fd = stopped.as_fd();
                reactor.watch(std::os::fd::AsRawFd::as_raw_fd(&fd)).unwrap();
                assert_eq!(reactor.turn(None).unwrap(), Wake::Watched(0));
                reactor.stop_accepting();
                let until = Instant::now() + Duration::from_secs(10);
                assert_eq!(reactor.drain(until).unwrap(), 0);
                reactor.counts()
            })
            .unwrap();
        (address, stopper, main)
    }

    fn echoes(stream: &mut TcpStream, text: &[u8]) {
        stream.write_all(text).unwrap();
        let mut back = vec![0; text.len()];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, text);
    }

    #[test]
    fn a_parked_connection_is_resumed_as_often_as_the_peer_speaks() {
        let (address, stopper, main) = serve(Limits::default());
        let mut streams: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        for round in 0..3u8 {
            for stream in &mut streams {
                echoes(stream, &[b'a' + round; 3]);
            }
        }
        drop(stopper);
        assert_eq!(main.join().unwrap(), Counts::default());
    }

    #[test]
    fn a_panic_costs_its_own_connection_only() {
        let (address, stopper, main) = serve(Limits::default());
        let mut doomed = TcpStream::connect(address).unwrap();
        doomed.write_all(b"panic").unwrap();
        assert_eq!(doomed.read(&mut [0]).unwrap(), 0);
        echoes(&mut TcpStream::connect(address).unwrap(), b"still here");
        drop(stopper);
        assert_eq!(main.join().unwrap().panicked, 1);
    }

    #[test]
    fn past_the_limit_a_client_is_told() {
        let (address, stopper, main) = serve(Limits { max_connections: 1, ..Limits::default() });
        let mut first = TcpStream::connect(address).unwrap();
        echoes(&mut first, b"in");
        let mut refused = String::new();
        TcpStream::connect(address).unwrap().read_to_string(&mut refused).unwrap();
        assert_eq!(refused, "full");
        drop(stopper);
        assert_eq!(main.join().unwrap().refused, 1);
    }

    #[test]
    fn a_silent_pair_outlives_the_listener() {
        let (address, stopper, main) = serve_with(Limits::default(), Arc::new(Pairs));
        let mut stream = TcpStream::connect(address).unwrap();
        echoes(&mut stream, b"before");
        drop(stopper);
        while TcpStream::connect(address).is_ok() {
            std::thread::yield_now();
        }
        for text in [&b"after"[..], b"and again"] {
            echoes(&mut stream, text);
        }
        stream.write_all(b"bye").unwrap();
        assert_eq!(main.join().unwrap().panicked, 0);
    }
}
