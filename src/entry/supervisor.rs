//! While the child lives: signals go on to it, orphans are reaped, the relay serves.
//!
//! All of it happens on the main thread, woken by what arrives and by nothing else. The child's status is
//! ours in the end: its exit code, or 128 and the number of the signal that killed it.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use super::job::Job;
use super::standalone::reload::Keeper;
use super::supervision::Rewrites;
use crate::health::Beacon;
use crate::log_event;
use crate::net::reactor::{Reactor, Wake};
use crate::sys::image;
use crate::sys::launch::Inherited;
use crate::sys::process::{self, Pid, Status};
use crate::sys::signals::{Arrived, Sender, Signal, Signals};

/// How long connections may go on once the child is gone. They can only be those of processes it left
/// behind, and the runtime is waiting for our exit.
const GRACE: Duration = Duration::from_millis(200);

/// When the start is over for a command that a document's files are watched for. To end a watch takes the
/// kernel some milliseconds, for which a short command need not wait.
const SETTLED_AFTER: Duration = Duration::from_millis(200);

/// Signals that ask for an end, and so start the clock of `--stop-timeout`.
const ASKING_FOR_THE_END: [Signal; 4] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM];

/// What the main thread looks after.
pub(super) struct Supervisor {
    pub(super) reactor: Reactor,
    pub(super) signals: Signals,
    pub(super) child: Pid,
    pub(super) job: Job,
    /// What the parent left ignored: a runtime's SIGHUP under `nohup` asks for nothing.
    pub(super) inherited: Inherited,
    pub(super) rewrites: Rewrites,
    /// What SIGHUP means to us, if it is not only the child's.
    pub(super) on_hangup: Option<Box<dyn Fn()>>,
    pub(super) beacon: Option<Beacon>,
    /// Keeps the rules of a run without a broker current.
    pub(super) keeper: Option<Keeper>,
    /// How long after being asked to end the child is killed; without it the runtime decides.
    pub(super) stop_timeout: Option<Duration>,
    /// When that is, once it was asked.
    pub(super) kill_at: Option<Instant>,
}

impl Supervisor {
    /// Runs until the child has ended; its exit code.
    pub(super) fn run(mut self) -> io::Result<u8> {
        let outcome = self.until_the_end();
        if outcome.is_err() {
            // Without us the child would sit behind a dead relay.
            drop(self.job.send(self.child, Signal::KILL));
        }
        self.reactor.stop_accepting();
        self.reactor.drain(Instant::now() + GRACE)?;
        outcome
    }

    fn until_the_end(&mut self) -> io::Result<u8> {
        let signals = self.reactor.watch(self.signals.as_fd().as_raw_fd())?;
        if let Some(beacon) = &self.beacon {
            self.reactor.watch(beacon.descriptor())?;
        }
        // With nothing to watch it is over now: an idle run is woken by nothing.
        let settled_after = self.keeper.as_ref().map_or(Duration::ZERO, |_| SETTLED_AFTER);
        let mut settle_at = Some(Instant::now() + settled_after);
        let mut files = None;
        loop {
            let now = Instant::now();
            if settle_at.is_some_and(|at| now >= at) {
                settle_at = None;
                let begun = self.keeper.as_mut().and_then(Keeper::begin);
                files = begun.map(|files| self.reactor.watch(files)).transpose()?;
                image::let_go();
            }
            let tend_at = self.keeper.as_ref().and_then(|keeper| keeper.tend(now));
            match self.reactor.turn(self.kill_at.into_iter().chain(settle_at).chain(tend_at).min())? {
                Wake::Watched(number) if number == signals => {
                    if let Some(code) = self.take_signals()? {
                        return Ok(code);
                    }
                }
                Wake::Watched(number) if Some(number) == files => {
                    if let Some(keeper) = &mut self.keeper {
                        keeper.look();
                    }
                }
                Wake::Watched(_) => {
                    if let Some(beacon) = &self.beacon {
                        beacon.answer();
                    }
                }
                Wake::Deadline if self.kill_at.is_some_and(|at| Instant::now() >= at) => self.kill(),
                Wake::Deadline => {}
            }
        }
    }

    /// Handles every signal that has arrived; the exit code once the child has ended.
    fn take_signals(&mut self) -> io::Result<Option<u8>> {
        let mut ended = None;
        while let Some(arrived) = self.signals.next()? {
            if arrived.signal == Signal::CHLD {
                // One signal may stand for many children, and for the child itself among them.
                ended = self.reap()?.or(ended);
            } else {
                self.forward(arrived);
            }
        }
        Ok(ended)
    }

    fn reap(&mut self) -> io::Result<Option<u8>> {
        let mut ended = None;
        while let Some((pid, status)) = process::reap()? {
            if pid != self.child {
                continue;
            }
            if let Status::Stopped(by) = status {
                // A terminal that is gone is no reason to leave the child.
                if let Err(error) = self.job.stopped(self.child, by) {
                    log_event!(Warn, "the terminal is not ours to control", cause = error);
                }
            }
            ended = status.exit_code().or(ended);
        }
        Ok(ended)
    }

    /// Passes a signal on, each time it comes: what a second one means is the child's business.
    fn forward(&mut self, arrived: Arrived) {
        // What we do ourselves has effects (giving up a terminal hangs up on its group); nobody sent them.
        if arrived.sender == Sender::Ourselves || self.job.has_reached_the_child(arrived) {
            return;
        }
        let reloads = arrived.signal == Signal::HUP && self.reload();
        let asks_for_the_end = !reloads && ASKING_FOR_THE_END.contains(&arrived.signal);
        let Some(signal) = self.rewrites.apply(arrived.signal) else { return };
        if let Some(span) = self.stop_timeout
            && self.kill_at.is_none()
            && asks_for_the_end
            && !self.inherited.ignores(arrived.signal)
        {
            self.kill_at = Some(Instant::now() + span);
        }
        self.send(signal);
    }

    /// A child may have become somebody we may not signal (`sudo`); it is looked after all the same.
    fn send(&self, signal: Signal) {
        if let Err(error) = self.job.send(self.child, signal) {
            log_event!(Warn, "a signal could not be passed on", signal = signal, cause = error);
        }
    }

    /// Reads again what a hangup is to have read again: the files of a run without a broker, and the token
    /// where that was asked for. Whether there was any.
    fn reload(&mut self) -> bool {
        if let Some(reload) = &self.on_hangup {
            reload();
        }
        if let Some(keeper) = &mut self.keeper {
            keeper.reload();
        }
        self.on_hangup.is_some() || self.keeper.is_some()
    }

    fn kill(&mut self) {
        log_event!(Warn, "the command did not end in time and is killed");
        self.kill_at = None;
        // Not asked twice: whatever ends the child now, its status arrives as a signal.
        self.stop_timeout = None;
        self.send(Signal::KILL);
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        // The terminal may have gone with the child; then nobody misses it.
        drop(self.job.take_terminal_back(self.child));
    }
}
