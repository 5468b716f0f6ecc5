//! The system at the door: the one place for unsafe code and for the syscall crate.
//!
//! Functions are named for their purpose, not for the call behind them, and turn every failure into an
//! `io::Error`. The rooms above see only safe functions.

pub mod conduit;
pub mod environ;
pub mod family;
pub mod harden;
pub mod image;
pub mod launch;
pub mod memory;
pub mod pipe;
pub mod process;
pub mod prompt;
pub mod ready;
pub mod rights;
pub mod session;
pub mod signals;
pub mod sockets;
mod startup;
pub mod terminal;
pub mod watch;
