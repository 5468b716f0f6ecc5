//! The process as it was found, made ours: what the child shall have is remembered, the rest protected.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd as _;
use std::thread;

use super::{cannot, environment};
use crate::failure::{Exit, Failure};
use crate::sys::launch::Inherited;
use crate::sys::ready::{self, Watch};
use crate::sys::signals::{Mask, Signal, Signals};
use crate::sys::{environ, harden};

/// The process `run` was started in.
pub(super) struct Host {
    pub(super) inherited: Inherited,
    pub(super) environment: Vec<OsString>,
    pub(super) signals: Signals,
}

impl Host {
    /// Remembers what the child shall have, then protects this process and blocks signals: every thread
    /// that is started later inherits that. `with_parent` is what shall arrive when the parent ends.
    pub(super) fn take_over(with_parent: Option<Signal>) -> io::Result<Self> {
        let parent = harden::parent_process();
        let inherited = Inherited::capture()?;
        let environment = environ::read();
        environ::overwrite(&["AGENT_VAULT_TOKEN"]);
        harden::protect()?;
        harden::raise_descriptor_limit()?;
        let signals = Signals::block(Mask::ALL)?;
        // Once it can be received.
        with_parent.map_or(Ok(()), |signal| harden::end_with(parent, signal))?;
        Ok(Self { inherited, environment, signals })
    }

    pub(super) fn variable(&self, name: &str) -> Option<&OsStr> {
        environment::variable(&self.environment, name)
    }
}

/// Does blocking work on a thread of its own, so that a signal can end the wait: signals are blocked, and
/// process 1 would not even die of one.
pub(super) fn interruptible<T: Send + 'static>(
    host: &Host,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let (done, at_the_end) = io::pipe().map_err(cannot("make a pipe"))?;
    let worker = thread::Builder::new()
        .name("preflight".to_owned())
        .spawn(move || {
            let outcome = work();
            drop(at_the_end);
            outcome
        })
        .map_err(cannot("start a thread"))?;
    host.signals.block_again().map_err(cannot("block signals"))?;
    loop {
        let watches =
            [Watch::new(done.as_fd()).readable(true), Watch::new(host.signals.as_fd()).readable(true)];
        let found = ready::wait(&watches, None).map_err(cannot("wait for the broker"))?;
        while let Some(arrived) = host.signals.next().map_err(cannot("read signals"))? {
            let signal = arrived.signal;
            let asks = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM].contains(&signal);
            if asks && !host.inherited.ignores(signal) {
                let code = u8::try_from(128 + signal.number()).unwrap_or(u8::MAX);
                return Err(Failure::new(format!("stopped by {signal} before the command was started"))
                    .with_exit(Exit::Child(code)));
            }
        }
        if found.is_some_and(|[done, _]| done.readable) {
            return worker.join().map_err(|_| Failure::new("asking the broker failed unexpectedly"));
        }
    }
}
