//! The child as a job: where it stands, who gets its signals, and whose the terminal is.
//!
//! Three standings. In a group of its own the child is reached whole and can be handed the terminal. In a
//! session of its own it is cut off from our terminal. In our group it is one of us: what the terminal sends
//! to the group reaches it without us, and only the child itself can be signalled, since the group holds us
//! and may hold others.

use std::io;

use super::supervision::{JobMode, SignalMode};
use crate::sys::launch::Placement;
use crate::sys::process::{self, Pid};
use crate::sys::signals::{self, Arrived, Sender, Signal};
use crate::sys::terminal::{self, Terminal};

/// What a terminal's keys, and its changes of size and foreground, send to a whole group.
const FROM_A_TERMINAL: [Signal; 6] =
    [Signal::INT, Signal::QUIT, Signal::TSTP, Signal::TTIN, Signal::TTOU, Signal::WINCH];

/// Those that stop a job at its terminal. In a session without a shell they have no effect.
const STOPS: [Signal; 3] = [Signal::TSTP, Signal::TTIN, Signal::TTOU];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Group,
    Session,
    Shared,
}

/// The child's place, chosen before it exists.
pub(super) struct Job {
    standing: Standing,
    recipients: SignalMode,
    /// The terminal this run was started at, if its job is ours to control.
    terminal: Option<Terminal>,
}

impl Job {
    pub(super) fn choose(mode: JobMode, recipients: Option<SignalMode>) -> Self {
        let terminal = Terminal::of_standard_streams();
        let standing = match (mode, &terminal) {
            (JobMode::Group, _) | (JobMode::Auto, None) => Standing::Group,
            (JobMode::Session, _) => Standing::Session,
            (JobMode::Shared, _) => Standing::Shared,
            // In a pipeline, in a script, in the background: the shell's job is more than us, and handing
            // the terminal to a group of ours would take it from the others.
            (JobMode::Auto, Some(terminal)) => {
                let is_ours = terminal::is_whole_job() && terminal.listens_to_us();
                if is_ours || recipients == Some(SignalMode::Group) {
                    Standing::Group
                } else {
                    Standing::Shared
                }
            }
        };
        let recipients = match standing {
            Standing::Shared => SignalMode::Child,
            Standing::Group | Standing::Session => recipients.unwrap_or(SignalMode::Group),
        };
        let terminal = terminal.filter(|_| standing != Standing::Session);
        Self { standing, recipients, terminal }
    }

    /// The place as the child takes it.
    pub(super) fn placement(&self) -> io::Result<Placement> {
        match self.standing {
            Standing::Group => {
                let ours = self.terminal.as_ref().filter(|terminal| terminal.listens_to_us());
                let handed = ours.filter(|_| terminal::is_whole_job() || process::is_init());
                Ok(Placement::Group(handed.map(Terminal::try_clone).transpose()?))
            }
            Standing::Session => {
                terminal::give_up();
                Ok(Placement::Session)
            }
            Standing::Shared => Ok(Placement::Shared),
        }
    }

    /// Whether the child has it too, without our doing.
    pub(super) fn has_reached_the_child(&self, arrived: Arrived) -> bool {
        let from_terminal = arrived.sender == Sender::Kernel && FROM_A_TERMINAL.contains(&arrived.signal);
        self.standing == Standing::Shared && from_terminal
    }

    /// Sends a signal to whom it concerns.
    pub(super) fn send(&self, child: Pid, signal: Signal) -> io::Result<()> {
        let signal = match self.standing {
            // A session's group is an orphaned one: there the kernel drops what would stop it.
            Standing::Session if STOPS.contains(&signal) => Signal::STOP,
            _ => signal,
        };
        match self.recipients {
            SignalMode::Group => signals::send_to_group(child, signal),
            SignalMode::Child => signals::send_to(child, signal),
        }
    }

    /// The child was stopped: at a terminal so are we, or the shell behind us would wait for ever.
    pub(super) fn stopped(&self, child: Pid, by: Signal) -> io::Result<()> {
        let Some(terminal) = self.terminal.as_ref().filter(|_| !process::is_init()) else { return Ok(()) };
        // A job that was continued in the background and brought back is not told: it finds out by reading.
        let has_come_back = self.standing == Standing::Group
            && [Signal::TTIN, Signal::TTOU].contains(&by)
            && terminal.listens_to_us();
        if !has_come_back {
            self.take_terminal_back(child)?;
            signals::stop_self()?;
        }
        let handed = match self.standing {
            Standing::Group if terminal.listens_to_us() => terminal.hand_to(child),
            _ => Ok(()),
        };
        // In any case: nobody else continues it.
        self.send(child, Signal::CONT).and(handed)
    }

    /// No child came of it: whoever got the terminal on the way is gone.
    pub(super) fn did_not_start(&self) {
        if let Some(terminal) = &self.terminal {
            // Only where a group of ours was given it; a shell that has it by now keeps it.
            let is_ours = self.standing == Standing::Group && terminal::is_whole_job();
            drop(is_ours.then(|| terminal.take_back()));
        }
    }

    /// Puts our group into the foreground again, if the child's is there.
    pub(super) fn take_terminal_back(&self, child: Pid) -> io::Result<()> {
        match &self.terminal {
            Some(terminal) if self.standing == Standing::Group && terminal.listens_to(child) => {
                terminal.take_back()
            }
            _ => Ok(()),
        }
    }
}
