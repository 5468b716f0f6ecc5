//! The load generator: a few threads, each an event loop over many connections.
//!
//! Every connection is opened and has had one answer before the clock starts, so neither the first
//! handshakes nor empty caches are in the figures, and all ways to the origin start from the same place.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use rustls::ClientConfig;

use crate::client::{Ask, Client, Progress, Target};
use crate::wire::SCRATCH_BYTES;

/// Connections of a thread that are being opened at the same time: no listener's backlog is shorter.
const OPENING: usize = 32;
/// For one whole phase to get going, and for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// With more connections than this, the first wait long for the last to be opened. Whoever serves them may
/// have stopped to hold them ready by then, so they are woken before the clock starts: what being busy costs
/// is measured, not what becoming busy does.
const CROWD: usize = 64;
const WAKING: Duration = Duration::from_secs(1);

/// What a phase does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) ask: Ask,
    pub(crate) connections: usize,
    pub(crate) lasting: Lasting,
    pub(crate) run: Duration,
}

impl Plan {
    fn is_crowded(&self) -> bool {
        self.lasting == Lasting::KeepAlive && self.connections > CROWD
    }
}

/// How long a connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// For all its requests.
    KeepAlive,
    /// For one, with a full handshake.
    Once,
    /// For one, resuming an earlier one's TLS session.
    OnceResumed,
}

/// What a phase measured.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) requests: usize,
    pub(crate) seconds: f64,
    /// Sorted.
    micros: Vec<f32>,
}

impl Figures {
    pub(crate) fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// The latency that a share of requests, in percent, did not exceed; in microseconds.
    pub(crate) fn percentile(&self, percent: usize) -> f64 {
        let last = self.micros.len().saturating_sub(1);
        self.micros.get(last * percent / 100).copied().map_or(f64::NAN, f64::from)
    }
}

/// Runs a phase. `read` is called when the clock starts and when it stops, with all connections open.
pub(crate) fn run<T>(
    target: &Target,
    plan: Plan,
    read: &mut dyn FnMut() -> T,
) -> io::Result<(Figures, [T; 2])> {
    let threads = plan.connections.min(2);
    let (tell, told) = mpsc::channel();
    let mut workers = Vec::new();
    for number in 0..threads {
        let (target, tell) = (target.clone(), tell.clone());
        let (go, gone) = mpsc::channel::<()>();
        let share = plan.connections / threads + usize::from(number < plan.connections % threads);
        let work = move || {
            // Who asked may have given up, and then nobody wants to be told.
            let mut crowd = match Crowd::open(&target, plan, share, Instant::now() + PATIENCE) {
                Ok(crowd) => crowd,
                Err(error) => return tell.send(Err(error)).unwrap_or_default(),
            };
            tell.send(Ok(Vec::new())).unwrap_or_default();
            if plan.is_crowded() && gone.recv().is_ok() {
                tell.send(crowd.drive(WAKING)).unwrap_or_default();
            }
            if gone.recv().is_ok() {
                tell.send(crowd.drive(plan.run)).unwrap_or_default();
                // Closing is not measured: it waits until the clock has been read.
                gone.recv().unwrap_or_default();
            }
        };
        workers.push((go, thread::Builder::new().name("load".to_owned()).spawn(work)?));
    }
    drop(tell);
    let next = || told.recv().unwrap_or_else(|_| Err(io::Error::other("a thread of the load panicked")));
    for _ in &workers {
        next()?;
    }
    let start_all = || workers.iter().try_for_each(|(go, _)| go.send(()).map_err(io::Error::other));
    if plan.is_crowded() {
        start_all()?;
        for _ in &workers {
            next()?;
        }
    }
    let before = read();
    let start = Instant::now();
    start_all()?;
    let mut figures = Figures::default();
    for _ in &workers {
        figures.micros.append(&mut next()?);
    }
    figures.seconds = start.elapsed().as_secs_f64();
    let after = read();
    for (go, worker) in workers {
        drop(go);
        worker.join().map_err(|_| io::Error::other("a thread of the load panicked"))?;
    }
    figures.requests = figures.micros.len();
    figures.micros.sort_unstable_by(f32::total_cmp);
    Ok((figures, [before, after]))
}

/// Connections that are open and have had an answer.
pub(crate) struct Crowd {
    target: Target,
    plan: Plan,
    tls: Arc<ClientConfig>,
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    clients: Vec<Client>,
}

impl Crowd {
    /// Opens `count` connections, a few at a time, and lets each have one answer.
    pub(crate) fn open(target: &Target, plan: Plan, count: usize, until: Instant) -> io::Result<Self> {
        let is_resuming = plan.lasting == Lasting::OnceResumed;
        let tls = Arc::clone(if is_resuming { &target.resuming } else { &target.tls });
        let mut crowd = Self {
            target: target.clone(),
            plan,
            tls,
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            scratch: vec![0; SCRATCH_BYTES],
            clients: Vec::with_capacity(count),
        };
        let mut answered = 0;
        while answered < count {
            while crowd.clients.len() < count && crowd.clients.len() - answered < OPENING {
                let client = crowd.connect(crowd.clients.len())?;
                crowd.clients.push(client);
            }
            if Instant::now() > until {
                let text = format!("only {answered} of {count} connections had an answer in time");
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            crowd.turn(until, &mut |_, _, _| {
                answered += 1;
                Ok(())
            })?;
        }
        Ok(crowd)
    }

    fn connect(&self, at: usize) -> io::Result<Client> {
        Client::open(&self.target, self.plan.ask, &self.tls, self.poll.registry(), at)
    }

    /// What the first connection was last told.
    pub(crate) fn first_body(&self) -> &[u8] {
        self.clients.first().map_or(&[], Client::body)
    }

    /// Keeps every connection busy for a while; the latency of each answer, in microseconds.
    fn drive(&mut self, run: Duration) -> io::Result<Vec<f32>> {
        let end = Instant::now() + run;
        // The slowest way gets its one answer, too.
        let last = end + PATIENCE;
        let mut micros = Vec::new();
        let mut until = last;
        for at in 0..self.clients.len() {
            // Of an earlier drive some are still waiting for their answer.
            if !self.clients[at].is_waiting() {
                self.again(at)?;
            }
        }
        while Instant::now() < until {
            self.turn(until, &mut |crowd, at, took| {
                micros.push(took.as_secs_f32() * 1e6);
                crowd.again(at)
            })?;
            until = if micros.is_empty() { last } else { end };
        }
        if micros.is_empty() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "not one answer within the phase"));
        }
        Ok(micros)
    }

    /// The next request, on the same connection or on a new one in its place.
    fn again(&mut self, at: usize) -> io::Result<()> {
        if self.plan.lasting == Lasting::KeepAlive {
            return self.clients[at].request();
        }
        let fresh = self.connect(at)?;
        std::mem::replace(&mut self.clients[at], fresh).close();
        Ok(())
    }

    /// Waits for events once and hands on every answer.
    fn turn(
        &mut self,
        until: Instant,
        answered: &mut dyn FnMut(&mut Self, usize, Duration) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(until.saturating_duration_since(Instant::now()))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            let at = event.token().0;
            if let Progress::Done(took) = self.clients[at].advance(&mut self.scratch)? {
                answered(self, at, took)?;
            }
        }
        self.events = events;
        Ok(())
    }
}
