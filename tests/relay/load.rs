//! Clients that keep asking for tunnels while something is done to the broker.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::status;
use crate::support::rig::{read_answer, read_head};
use crate::support::{PATIENCE, Run, eventually};

/// The host every tunnel is for.
pub(crate) const API: &str = "api.example.test";

/// The way into a run's relay, for many threads.
pub(crate) struct Door {
    port: u16,
    field: String,
}

impl Door {
    pub(crate) fn of(run: &Run) -> Self {
        let pair = STANDARD.encode(format!("{}:", run.credential()));
        Self { port: run.port(), field: format!("Proxy-Authorization: Basic {pair}\r\n") }
    }

    fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the relay listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(bytes.as_bytes()).expect("the relay reads");
        stream
    }

    /// Asks for a tunnel and leaves it; the status.
    pub(crate) fn connect(&self) -> u16 {
        let head = format!("CONNECT {API}:443 HTTP/1.1\r\n{}\r\n", self.field);
        status(&read_head(&mut self.send(&head)))
    }

    /// A request with a body; the status.
    pub(crate) fn post(&self, url: &str) -> u16 {
        let head = format!("POST {url} HTTP/1.1\r\nHost: a\r\n{}Content-Length: 4\r\n\r\nbody", self.field);
        status(&read_answer(&mut self.send(&head)).0)
    }
}

/// How far the clients are.
#[derive(Default)]
pub(crate) struct Progress {
    answered: AtomicUsize,
    is_over: AtomicBool,
}

impl Progress {
    /// Waits until every client has begun and ended a request from now on.
    #[track_caller]
    pub(crate) fn goes_on(&self) {
        let enough = self.answered.load(Ordering::Acquire) + 50;
        eventually("more answers", || self.answered.load(Ordering::Acquire) >= enough);
    }
}

/// Has four clients ask all the time while `work` is done; how often each status came.
pub(crate) fn under_load(ask: impl Fn() -> u16 + Sync, work: impl FnOnce(&Progress)) -> BTreeMap<u16, usize> {
    let progress = Progress::default();
    let seen = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !progress.is_over.load(Ordering::Acquire) {
                    let status = ask();
                    *seen.lock().expect("nobody panics with it").entry(status).or_default() += 1;
                    progress.answered.fetch_add(1, Ordering::AcqRel);
                }
            });
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&progress)));
        progress.is_over.store(true, Ordering::Release);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    seen.into_inner().expect("nobody panicked with it")
}
