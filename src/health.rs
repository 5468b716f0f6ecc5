//! The answer to "are you well?", for an image with no shell and no curl.
//!
//! A running `run` or `server` holds a [`Beacon`]: an abstract Unix socket, which needs no file system
//! and is shared by what shares a network namespace. Its main thread answers, so an answer proves that
//! the main thread turns. To use it: [`Beacon::bind`] once everything listens, hand
//! [`Beacon::descriptor`] to `Reactor::watch`, and call [`Beacon::answer`] at each wake of it.
//!
//! Several may run in one network namespace (the containers of a pod): each takes the first free number,
//! or the name in `AGENT_VAULT_HEALTH_NAME`. [`ask`] without a name takes the first that it can see in its
//! own PID namespace and that runs as its own user; so each container's check finds its own.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use crate::authority::Authority;
use crate::sys;

/// How many unnamed beacons fit into one network namespace.
const NUMBERS: u32 = 64;
/// A healthy main thread answers within microseconds; past this it is stuck.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Clients that are answered at one wake; the listener's queue holds the rest.
const ANSWERS_PER_WAKE: usize = 64;

/// What an answer starts with; behind it stands what must accept connections for the process to be of use.
const WELL: &str = "ok";
/// Longest answer: a host name has 255 bytes.
const MAX_ANSWER_BYTES: u64 = 512;
/// How long what the process depends on may take to accept a connection.
const READY_LIMIT: Duration = Duration::from_secs(2);

/// The socket on which a running process says that it is well.
pub struct Beacon {
    listener: UnixListener,
    /// What is written to everyone who asks.
    answer: String,
}

impl Beacon {
    /// Takes the given name, or the first number that is free. Who asks whether this process is ready is sent
    /// on to `needs`: a process is as ready as what it cannot do without.
    pub fn bind(name: Option<&str>, needs: Option<&Authority>) -> io::Result<Self> {
        let answer = needs.map_or_else(|| format!("{WELL}\n"), |needs| format!("{WELL} {needs}\n"));
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for address in addresses(name)? {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => {
                    listener.set_nonblocking(true)?;
                    return Ok(Self { listener, answer });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The descriptor to watch for input.
    pub fn descriptor(&self) -> RawFd {
        self.listener.as_raw_fd()
    }

    /// Answers everyone who has asked since the last call.
    pub fn answer(&self) {
        for _ in 0..ANSWERS_PER_WAKE {
            match self.listener.accept() {
                // A line fits into any socket buffer, and who has gone needs no answer.
                Ok((mut asking, _)) => drop(asking.write_all(self.answer.as_bytes())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// Why there is no good answer.
#[derive(Debug)]
pub enum Unwell {
    /// Nobody to ask: nothing of ours runs here.
    Absent,
    /// It was asked and did not answer as it should.
    Silent(io::Error),
    /// It is well, and what it needs cannot be reached.
    NotReady(Authority, io::Error),
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Does its main thread turn?
    Well,
    /// Can what it needs be reached as well?
    Ready,
}

/// Asks the process behind the given name, or our own container's.
pub fn ask(name: Option<&str>, question: Question) -> Result<(), Unwell> {
    let addresses = addresses(name).map_err(Unwell::Silent)?;
    let mut failure = Unwell::Absent;
    for address in addresses {
        let Ok(stream) = UnixStream::connect_addr(&address) else { continue };
        if name.is_none() && !is_our_own(&stream) {
            continue;
        }
        match listen(stream) {
            Ok(Some(needs)) if question == Question::Ready => {
                return reach(&needs).map_err(|error| Unwell::NotReady(needs, error));
            }
            Ok(_) => return Ok(()),
            Err(error) => failure = Unwell::Silent(error),
        }
    }
    Err(failure)
}

/// Whether somebody accepts a connection there.
pub fn reach(needs: &Authority) -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in needs.resolve()? {
        match TcpStream::connect_timeout(&address, READY_LIMIT) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Whether the other end belongs to this container: visible from our PID namespace, and of our user
/// unless we are root.
fn is_our_own(stream: &UnixStream) -> bool {
    let user = sys::process::user();
    sys::process::peer_of(stream.as_fd()).is_ok_and(|peer| peer.pid != 0 && (user == 0 || peer.user == user))
}

/// What the process needs, in its answer.
fn listen(stream: UnixStream) -> io::Result<Option<Authority>> {
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut answer = String::new();
    stream.take(MAX_ANSWER_BYTES).read_to_string(&mut answer)?;
    let not_ours = || io::Error::from(io::ErrorKind::InvalidData);
    let line = answer.strip_suffix('\n').ok_or_else(not_ours)?;
    match line.strip_prefix(WELL).ok_or_else(not_ours)?.trim_start() {
        "" => Ok(None),
        needs => Authority::parse(needs).map(Some).map_err(|_| not_ours()),
    }
}

fn addresses(name: Option<&str>) -> io::Result<Vec<SocketAddr>> {
    let address = |name: &str| SocketAddr::from_abstract_name(format!("agent-vault/health/{name}"));
    match name {
        Some(name) => Ok(vec![address(name)?]),
        None => (0..NUMBERS).map(|number| address(&number.to_string())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers one question, which has come when the listener can be read.
    fn answering(beacon: Beacon) -> std::thread::JoinHandle<Beacon> {
        let answer = move || {
            let watch = [sys::ready::Watch::new(beacon.listener.as_fd()).readable(true)];
            sys::ready::wait(&watch, None).unwrap();
            beacon.answer();
            beacon
        };
        std::thread::Builder::new().spawn(answer).unwrap()
    }

    #[test]
    fn a_named_beacon_answers_and_its_name_is_taken_once() {
        let name = format!("test-{}", std::process::id());
        assert!(matches!(ask(Some(&name), Question::Well), Err(Unwell::Absent)));
        let beacon = Beacon::bind(Some(&name), None).unwrap();
        assert!(Beacon::bind(Some(&name), None).is_err());
        let beacon = answering(beacon);
        ask(Some(&name), Question::Well).unwrap();
        let beacon = answering(beacon.join().unwrap());
        ask(Some(&name), Question::Ready).unwrap();
        beacon.join().unwrap();
    }

    #[test]
    fn a_process_is_as_ready_as_what_it_needs() {
        let name = format!("test-needs-{}", std::process::id());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let needs = Authority::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        let beacon = answering(Beacon::bind(Some(&name), Some(&needs)).unwrap());
        ask(Some(&name), Question::Ready).unwrap();
        drop(listener);
        let beacon = answering(beacon.join().unwrap());
        ask(Some(&name), Question::Well).unwrap();
        let beacon = answering(beacon.join().unwrap());
        let Err(Unwell::NotReady(named, _)) = ask(Some(&name), Question::Ready) else {
            panic!("nobody listens there");
        };
        assert_eq!(named, needs);
        beacon.join().unwrap();
    }

    #[test]
    fn unnamed_beacons_take_one_number_each() {
        let first = Beacon::bind(None, None).unwrap();
        let second = Beacon::bind(None, None).unwrap();
        let name =
            |beacon: &Beacon| beacon.listener.local_addr().unwrap().as_abstract_name().unwrap().to_vec();
        assert_ne!(name(&first), name(&second));
    }
}
