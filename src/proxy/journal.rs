//! Rows of the request log on their way out of the proxy's path: a bounded queue and one thread.
//!
//! A connection's thread leaves its row and goes on; it waits for nothing but a push. The writer is woken
//! by the first row of a batch and by the one that makes it full, so a busy proxy pays no wake-up per
//! request. Past the bound rows are dropped and counted.
//!
//! A row that has been written goes back with the next that comes: the thread that made the one frees the
//! other, and its own memory serves the row after it (`sys::memory`). Freed by the writer, each would meet
//! all others at the allocator's lock.
//!
//! Writing a batch takes milliseconds, in which the writer has a processor that a connection's thread may be
//! woken for. As long as it keeps up it lets others go first after each row.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::log_event;
use crate::vault::request_log::{RequestLog, Row};

/// Numbers of contract F.1: rows that wait, rows written together, and how long a row waits for company.
const CAPACITY: usize = 1024;
const BATCH: usize = 100;
const BATCH_TIME: Duration = Duration::from_millis(250);
/// The writer keeps up while no more rows than this wait, and gives way for this long of a batch's time. To
/// give way may cost it several milliseconds each time, so a busy proxy would drop rows otherwise.
const BACKLOG: usize = BATCH / 4;
const PATIENT_TIME: Duration = Duration::from_millis(20);
/// Stack of the writer: a database's statements need more than a connection does.
const STACK_BYTES: usize = 512 * 1024;

/// Where batches end up. Runs on the writer's thread, so it may block.
pub trait Sink: Send {
    /// Writes what it can; what cannot be written is lost. `between` is to be called between two rows.
    fn write(&mut self, rows: &[Row], between: &dyn Fn());

    /// Does upkeep that is due; when to be called again. The first call comes at the start.
    fn tend(&mut self, now: Instant) -> Option<Instant>;
}

/// The queue and its writer.
pub struct Journal {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Tells the writer.
    news: Condvar,
    /// Tells who waits for the writer's end.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    rows: VecDeque<Row>,
    /// Written, and not yet freed: a batch or two.
    written: Vec<Row>,
    dropped: u64,
    /// Somebody asked for upkeep before it is due.
    is_tend_asked: bool,
    is_closing: bool,
    has_ended: bool,
}

/// Tells that the writer is gone, however it went.
struct End<'s>(&'s Shared);

impl Journal {
    /// Starts the writer.
    pub fn start(mut sink: impl Sink + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writers = Arc::clone(&shared);
        thread::Builder::new()
            .name("request-log".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || writers.write_to(&mut sink))?;
        Ok(Self { shared })
    }

    /// Takes no more rows and waits until those that are here are written, at most until `until`.
    pub fn close(&self, until: Instant) {
        let mut state = self.shared.lock();
        state.is_closing = true;
        self.shared.news.notify_one();
        while !state.has_ended {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                log_event!(Warn, "request log not written to its end", rows = state.rows.len());
                return;
            }
            state = self.shared.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks for upkeep now.
    pub fn tend(&self) {
        self.shared.lock().is_tend_asked = true;
        self.shared.news.notify_one();
    }

    /// Rows that found no room.
    pub fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }
}

impl RequestLog for Journal {
    fn record(&self, row: Row) {
        let mut state = self.shared.lock();
        if state.rows.len() >= CAPACITY || state.is_closing || state.has_ended {
            state.dropped += 1;
            let dropped = state.dropped;
            drop(state);
            if dropped.is_power_of_two() {
                log_event!(Warn, "request log rows dropped", dropped = dropped);
            }
            return;
        }
        state.rows.push_back(row);
        let is_news = matches!(state.rows.len(), 1 | BATCH);
        let written = state.written.pop();
        drop(state);
        if is_news {
            self.shared.news.notify_one();
        }
        drop(written);
    }
}

impl Shared {
    fn write_to(&self, sink: &mut dyn Sink) {
        let _end = End(self);
        let mut batch = Vec::with_capacity(BATCH);
        let mut tend_at = sink.tend(Instant::now());
        while self.next_batch(&mut batch, tend_at) {
            if !batch.is_empty() {
                let patient_until = Instant::now() + PATIENT_TIME;
                sink.write(&batch, &|| self.give_way(patient_until));
                self.put_back(&mut batch);
            }
            let now = Instant::now();
            let is_asked = std::mem::take(&mut self.lock().is_tend_asked);
            if is_asked || tend_at.is_some_and(|at| now >= at) {
                tend_at = sink.tend(now);
            }
        }
    }

    /// Waits for a batch, or until upkeep is due; false when all is written and nothing will follow.
    fn next_batch(&self, batch: &mut Vec<Row>, tend_at: Option<Instant>) -> bool {
        let mut state = self.lock();
        while state.rows.is_empty() && !state.is_closing {
            let left = tend_at.map(|at| at.saturating_duration_since(Instant::now()));
            if state.is_tend_asked || left.is_some_and(|left| left.is_zero()) {
                return true;
            }
            state = self.wait(state, left);
        }
        let full_at = Instant::now() + BATCH_TIME;
        while state.rows.len() < BATCH && !state.is_closing {
            let left = full_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.wait(state, Some(left));
        }
        let count = state.rows.len().min(BATCH);
        batch.extend(state.rows.drain(..count));
        count > 0
    }

    /// Lets other threads go first, unless rows come faster than they are written.
    fn give_way(&self, until: Instant) {
        if Instant::now() < until && self.keeps_up() {
            thread::yield_now();
        }
    }

    /// Who holds the lock brings a row: then there is no time to give.
    fn keeps_up(&self) -> bool {
        self.state.try_lock().is_ok_and(|state| state.rows.len() <= BACKLOG)
    }

    /// Leaves written rows to those who make the next ones, unless enough of them wait for that already.
    fn put_back(&self, batch: &mut Vec<Row>) {
        let mut state = self.lock();
        if state.written.len() < BATCH {
            state.written.append(batch);
        }
        drop(state);
        batch.clear();
    }

    fn wait<'s>(&self, state: MutexGuard<'s, State>, limit: Option<Duration>) -> MutexGuard<'s, State> {
        match limit {
            Some(limit) => self.news.wait_timeout(state, limit).unwrap_or_else(PoisonError::into_inner).0,
            None => self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Every statement under the lock leaves the state whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.lock().has_ended = true;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::SystemTime;

    use super::*;
    use crate::authority::Authority;
    use crate::vault::scope::Actor;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn row(status: u16) -> Row {
        Row {
            at: SystemTime::UNIX_EPOCH,
            vault_id: "v".into(),
            actor: Actor::Agent("a".into()),
            method: "GET".to_owned(),
            target: Authority::parse("a.com:443").unwrap(),
            path: "/".to_owned(),
            service: None,
            status,
            latency: Duration::ZERO,
            error_code: "",
            reason: "",
            client_auth: None,
        }
    }

    /// Says what it was given, and waits for leave before it goes on.
    struct Slow(mpsc::Sender<Vec<u16>>, mpsc::Receiver<()>);

    impl Sink for Slow {
        fn write(&mut self, rows: &[Row], between: &dyn Fn()) {
            rows.iter().for_each(|_| between());
            self.0.send(rows.iter().map(|row| row.status).collect()).unwrap();
            // Without a sender the test does not care.
            self.1.recv().unwrap_or(());
        }

        fn tend(&mut self, _now: Instant) -> Option<Instant> {
            None
        }
    }

    fn slow() -> (Journal, mpsc::Receiver<Vec<u16>>, mpsc::Sender<()>) {
        let ((said, heard), (leave, waits)) = (mpsc::channel(), mpsc::channel());
        (Journal::start(Slow(said, waits)).unwrap(), heard, leave)
    }

    #[test]
    fn rows_are_written_together_in_order() {
        let (journal, heard, leave) = slow();
        drop(leave);
        for status in 0..250 {
            journal.record(row(status));
        }
        journal.close(Instant::now() + PATIENCE);
        let batches: Vec<Vec<u16>> = heard.try_iter().collect();
        assert!(batches.iter().all(|batch| batch.len() <= BATCH));
        assert_eq!(batches.concat(), (0..250).collect::<Vec<u16>>());
        assert_eq!(journal.dropped(), 0);
        journal.record(row(1));
        assert_eq!(journal.dropped(), 1, "nothing is taken after the end");
    }

    #[test]
    fn a_row_does_not_wait_for_company_for_long() {
        let (journal, heard, _leave) = slow();
        journal.record(row(7));
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(vec![7]));
    }

    #[test]
    fn past_the_bound_rows_are_dropped_and_nobody_waits() {
        let (journal, heard, leave) = slow();
        for _ in 0..BATCH {
            journal.record(row(1));
        }
        assert_eq!(heard.recv_timeout(PATIENCE).unwrap().len(), BATCH);
        // The writer is stuck now.
        assert!(journal.shared.keeps_up());
        for _ in 0..CAPACITY + 5 {
            journal.record(row(2));
        }
        assert_eq!(journal.dropped(), 5);
        assert!(!journal.shared.keeps_up());
        journal.close(Instant::now());
        drop(leave);
        journal.close(Instant::now() + PATIENCE);
        assert_eq!(heard.try_iter().map(|batch| batch.len()).sum::<usize>(), CAPACITY);
    }

    #[test]
    fn a_written_row_is_freed_by_who_brings_the_next() {
        let (journal, heard, leave) = slow();
        drop(leave);
        let vault_id: Arc<str> = "v".into();
        journal.record(Row { vault_id: Arc::clone(&vault_id), ..row(1) });
        assert_eq!(heard.recv_timeout(PATIENCE), Ok(vec![1]));
        let until = Instant::now() + PATIENCE;
        while journal.shared.lock().written.is_empty() && Instant::now() < until {
            thread::yield_now();
        }
        assert_eq!(Arc::strong_count(&vault_id), 2);
        journal.record(row(2));
        assert_eq!(Arc::strong_count(&vault_id), 1);
        for status in 0..1000 {
            journal.record(row(status));
        }
        journal.close(Instant::now() + PATIENCE);
        assert!(journal.shared.lock().written.len() < 2 * BATCH);
    }

    struct Broken;

    impl Sink for Broken {
        fn write(&mut self, _rows: &[Row], _between: &dyn Fn()) {
            panic!("a test's panic");
        }

        fn tend(&mut self, _now: Instant) -> Option<Instant> {
            None
        }
    }

    #[test]
    fn a_writer_that_died_is_not_waited_for() {
        let journal = Journal::start(Broken).unwrap();
        journal.record(row(1));
        journal.close(Instant::now() + PATIENCE);
        assert!(journal.shared.lock().has_ended);
    }
}
