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
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use crate::sys;

/// How many unnamed beacons fit into one network namespace.
const NUMBERS: u32 = 64;
/// A healthy main thread answers within microseconds; past this it is stuck.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// Clients that are answered at one wake; the listener's queue holds the rest.
const ANSWERS_PER_WAKE: usize = 64;

const WELL: &[u8] = b"ok\n";

/// The socket on which a running process says that it is well.
pub struct Beacon(UnixListener);

impl Beacon {
    /// Takes the given name, or the first number that is free.
    pub fn bind(name: Option<&str>) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::AddrInUse);
        for address in addresses(name)? {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => {
                    listener.set_nonblocking(true)?;
                    return Ok(Self(listener));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The descriptor to watch for input.
    pub fn descriptor(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Answers everyone who has asked since the last call.
    pub fn answer(&self) {
        for _ in 0..ANSWERS_PER_WAKE {
            match self.0.accept() {
                // Three bytes fit into any socket buffer, and who has gone needs no answer.
                Ok((mut asking, _)) => drop(asking.write_all(WELL)),
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
}

/// Asks the process behind the given name, or our own container's.
pub fn ask(name: Option<&str>) -> Result<(), Unwell> {
    let addresses = addresses(name).map_err(Unwell::Silent)?;
    let mut failure = Unwell::Absent;
    for address in addresses {
        let Ok(stream) = UnixStream::connect_addr(&address) else { continue };
        if name.is_none() && !is_our_own(&stream) {
            continue;
        }
        match listen(stream) {
            Ok(()) => return Ok(()),
            Err(error) => failure = Unwell::Silent(error),
        }
    }
    Err(failure)
}

/// Whether the other end belongs to this container: visible from our PID namespace, and of our user
/// unless we are root.
fn is_our_own(stream: &UnixStream) -> bool {
    let user = sys::process::user();
    sys::process::peer_of(stream.as_fd()).is_ok_and(|peer| peer.pid != 0 && (user == 0 || peer.user == user))
}

fn listen(mut stream: UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    let mut answer = [0; WELL.len()];
    stream.read_exact(&mut answer)?;
    if answer == WELL { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
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

    #[test]
    fn a_named_beacon_answers_and_its_name_is_taken_once() {
        let name = format!("test-{}", std::process::id());
        assert!(matches!(ask(Some(&name)), Err(Unwell::Absent)));
        let beacon = Beacon::bind(Some(&name)).unwrap();
        assert!(Beacon::bind(Some(&name)).is_err());
        let answering = std::thread::Builder::new()
            .spawn(move || {
                let watch = [sys::ready::Watch::new(beacon.0.as_fd()).readable(true)];
                sys::ready::wait(&watch, None).unwrap();
                beacon.answer();
            })
            .unwrap();
        ask(Some(&name)).unwrap();
        answering.join().unwrap();
    }

    #[test]
    fn unnamed_beacons_take_one_number_each() {
        let first = Beacon::bind(None).unwrap();
        let second = Beacon::bind(None).unwrap();
        let name = |beacon: &Beacon| beacon.0.local_addr().unwrap().as_abstract_name().unwrap().to_vec();
        assert_ne!(name(&first), name(&second));
    }
}
