//! Who may use a run's listener without its credential: the processes of the run.
//!
//! Some clients cannot authenticate to a proxy (a JVM's tunnels, .NET, Bun, gRPC), and containers of one
//! pod share loopback, so "it is local" admits nobody. The kernel says which socket is at the other end;
//! it has to be held open by a process below this one. Whatever cannot be decided is a no: the process
//! has gone, /proc or the tree behind it is hidden, a process of another user cannot be looked at. Such a
//! client needs the credential of the proxy URL, as every client does elsewhere.

use std::collections::VecDeque;
use std::net::TcpStream;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};

use crate::sys::family::{self, Number};
use crate::sys::sockets;

/// How many processes are remembered as the likely next ones: a run has few that connect often.
const MAX_RECENT: usize = 8;

/// Knows the processes of this run.
#[derive(Debug, Default)]
pub(super) struct Admission {
    /// Those that were admitted last, the latest first. They are asked before all others, and asked anew:
    /// a number may belong to another process by now.
    recent: Mutex<VecDeque<Number>>,
}

impl Admission {
    /// Whether the client at the other end of an accepted connection is a process of this run. To be
    /// asked once for a connection: it reads a part of /proc.
    pub(super) fn admits(&self, accepted: BorrowedFd<'_>) -> bool {
        let Ok(stream) = accepted.try_clone_to_owned().map(TcpStream::from) else { return false };
        let Some(inode) = sockets::other_end(&stream) else { return false };
        // Last of all whether it is one of ours: whoever had the number before does not count.
        let is_client = |number: &Number| number.holds_socket(inode) && number.is_descendant();
        let recent: Vec<Number> = self.recent().iter().copied().collect();
        let found = recent.into_iter().find(is_client);
        let found = found.or_else(|| family::descendants().into_iter().find(is_client));
        if let Some(number) = found {
            self.remember(number);
        }
        found.is_some()
    }

    fn remember(&self, number: Number) {
        let mut recent = self.recent();
        recent.retain(|&known| known != number);
        recent.push_front(number);
        recent.truncate(MAX_RECENT);
    }

    fn recent(&self) -> std::sync::MutexGuard<'_, VecDeque<Number>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
