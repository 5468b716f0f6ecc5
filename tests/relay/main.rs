//! Promise: the relay lets in who carries the run's credential or is a process of the run, sends on what they
//! sent with the broker's token in its place, and answers for a broker that is away.
//!
//! Real `run`, real sockets; the broker is a stand-in that records every byte, or a real one.

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod idle;
mod load;
mod outages;
mod rotation;
mod wire;

#[track_caller]
fn status(head: &str) -> u16 {
    head.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status in {head:?}"))
}
