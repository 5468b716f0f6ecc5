//! The threads of active connections, and the place where idle ones wait.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::fd::{AsRawFd as _, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, Waker};

use super::{Connection, Counts, Limits, Next};
use crate::log_event;
use crate::sys::memory::Keeping;

/// How long a thread without work stays: long enough for bursts, short enough to give its stack back.
const WORKER_IDLE: Duration = Duration::from_secs(5);

/// A connection on its way to a thread.
pub(super) struct Job {
    pub(super) connection: Box<dyn Connection>,
    pub(super) permit: Permit,
}

/// The right to keep one connection open; given back when dropped.
pub(super) struct Permit(Arc<Shared>);

/// What the main thread and the connection threads share.
pub(super) struct Shared {
    registry: Registry,
    waker: Waker,
    limits: Limits,
    state: Mutex<State>,
    work: Condvar,
    open: AtomicUsize,
    wake_when_empty: AtomicBool,
    panicked: AtomicU64,
    refused: AtomicU64,
    threads: AtomicU64,
}

struct State {
    queue: VecDeque<Job>,
    /// Threads that wait for work.
    waiting: usize,
    workers: usize,
    parked: HashMap<usize, (Job, Instant)>,
    expiry: BTreeSet<(Instant, usize)>,
    next_token: usize,
    /// Set once the listeners are closed: nothing waits for a next message any more.
    closing: bool,
}

fn sockets(job: &Job) -> impl Iterator<Item = RawFd> {
    let (first, second) = (job.connection.socket(), job.connection.other_socket());
    [Some(first.as_raw_fd()), second.map(|socket| socket.as_raw_fd())].into_iter().flatten()
}

/// Whether nothing is under way on it: a pair of sockets may be silent for as long as one side thinks.
fn is_between_messages(job: &Job) -> bool {
    job.connection.other_socket().is_none()
}

impl Permit {
    pub(super) fn take(shared: &Arc<Shared>) -> Option<Self> {
        let room = shared.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| {
            (open < shared.limits.max_connections).then_some(open + 1)
        });
        if room.is_err() {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(Self(Arc::clone(shared)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let was = self.0.open.fetch_sub(1, Ordering::AcqRel);
        if was == 1 && self.0.wake_when_empty.load(Ordering::Acquire) {
            self.0.wake();
        }
    }
}

impl Shared {
    pub(super) fn new(registry: Registry, waker: Waker, limits: Limits, first_token: usize) -> Self {
        let state = State {
            queue: VecDeque::new(),
            waiting: 0,
            workers: 0,
            parked: HashMap::new(),
            expiry: BTreeSet::new(),
            next_token: first_token,
            closing: false,
        };
        Self {
            registry,
            waker,
            limits,
            state: Mutex::new(state),
            work: Condvar::new(),
            open: AtomicUsize::new(0),
            wake_when_empty: AtomicBool::new(false),
            panicked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            threads: AtomicU64::new(0),
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            open: self.open.load(Ordering::Acquire),
            panicked: self.panicked.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    pub(super) fn parked(&self) -> usize {
        self.lock().parked.len()
    }

    pub(super) fn wake_when_empty(&self) {
        self.wake_when_empty.store(true, Ordering::Release);
    }

    /// Gives a connection a thread: one that waits, else a new one, else the next that is free.
    pub(super) fn start(self: &Arc<Self>, job: Job) {
        let mut state = self.lock();
        state.queue.push_back(job);
        if state.queue.len() <= state.waiting {
            drop(state);
            self.work.notify_one();
            return;
        }
        state.workers += 1;
        drop(state);
        let number = self.threads.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name(format!("conn-{number}"))
            .stack_size(self.limits.stack_bytes)
            .spawn(move || shared.work());
        if let Err(error) = spawned {
            self.without_thread(&error);
        }
    }

    /// No thread could be made: the queue waits for one that ends its work, or is closed if there is none.
    fn without_thread(&self, error: &std::io::Error) {
        log_event!(Error, "cannot start a thread for a connection", cause = error);
        let mut state = self.lock();
        state.workers -= 1;
        let abandoned = if state.workers == 0 { std::mem::take(&mut state.queue) } else { VecDeque::new() };
        drop(state);
        drop(abandoned);
    }

    /// A thread's life: connections, one after the other, until there has been none for a while.
    fn work(self: &Arc<Self>) {
        let keeping = Keeping::start();
        while let Some(job) = self.next_job(&keeping) {
            let Job { connection, permit } = job;
            match catch_unwind(AssertUnwindSafe(|| connection.run())) {
                Ok(Next::Close) => drop(permit),
                Ok(Next::Park(connection, until)) => self.park(Job { connection, permit }, until),
                Err(_payload) => {
                    self.panicked.fetch_add(1, Ordering::Relaxed);
                    log_event!(Error, "a connection panicked; it was closed");
                }
            }
        }
    }

    fn next_job(&self, keeping: &Keeping) -> Option<Job> {
        let job = self.lock().queue.pop_front();
        if job.is_some() {
            return job;
        }
        keeping.give_back();
        let until = Instant::now() + WORKER_IDLE;
        let mut state = self.lock();
        if let Some(job) = state.queue.pop_front() {
            return Some(job);
        }
        state.waiting += 1;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let (guard, timeout) =
                self.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            let job = state.queue.pop_front();
            if job.is_none() && !timeout.timed_out() {
                continue;
            }
            state.waiting -= 1;
            state.workers -= usize::from(job.is_none());
            return job;
        }
    }

    /// Puts a connection to sleep until its socket is readable or `until` comes.
    fn park(&self, job: Job, until: Instant) {
        let mut state = self.lock();
        if state.closing && is_between_messages(&job) {
            return;
        }
        let token = state.next_token;
        state.next_token += 1;
        let is_next = state.expiry.first().is_none_or(|(first, _)| until < *first);
        // Both sockets of a pair have the number: whichever is readable first resumes it, and by then the
        // number means nothing to the other.
        let registered = sockets(&job).try_for_each(|socket| {
            self.registry.register(&mut SourceFd(&socket), Token(token), Interest::READABLE)
        });
        if let Err(error) = registered {
            drop(state);
            log_event!(Warn, "cannot park a connection", cause = error);
            return;
        }
        state.parked.insert(token, (job, until));
        state.expiry.insert((until, token));
        drop(state);
        if is_next {
            // The main thread sleeps until a later moment, or without one.
            self.wake();
        }
    }

    /// A parked connection's peer has spoken, or left.
    pub(super) fn resume(self: &Arc<Self>, token: usize) {
        let mut state = self.lock();
        let Some(job) = self.unpark(&mut state, token) else { return };
        drop(state);
        self.start(job);
    }

    /// Closes the parked connections whose time is over; the next moment one will be.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.lock();
        let mut expired = Vec::new();
        while let Some(&(until, token)) = state.expiry.first() {
            if until > now {
                break;
            }
            expired.extend(self.unpark(&mut state, token));
        }
        let next = state.expiry.first().map(|(until, _)| *until);
        drop(state);
        drop(expired);
        next
    }

    pub(super) fn close_parked(&self) {
        let mut state = self.lock();
        state.closing = true;
        let waiting = state.parked.iter().filter(|(_, (job, _))| is_between_messages(job));
        let tokens: Vec<usize> = waiting.map(|(token, _)| *token).collect();
        let closed: Vec<Job> =
            tokens.into_iter().filter_map(|token| self.unpark(&mut state, token)).collect();
        drop(state);
        drop(closed);
    }

    fn unpark(&self, state: &mut State, token: usize) -> Option<Job> {
        let (job, until) = state.parked.remove(&token)?;
        state.expiry.remove(&(until, token));
        for socket in sockets(&job) {
            // A socket that cannot be deregistered is closed or read next; either ends its events.
            drop(self.registry.deregister(&mut SourceFd(&socket)));
        }
        Some(job)
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            log_event!(Error, "cannot wake the main thread", cause = error);
        }
    }

    /// The state is consistent between any two statements that can panic, so a poisoned lock is usable.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
