//! How much passes: counts without a lock, read when somebody asks for numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the proxy counts beside the reasons for which it refuses.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Requests that went out and came back, with a service's rules or without.
    pub(super) attached: Count,
    pub(super) passed: Count,
    pub(super) refused: Count,
    /// Tunnels that were opened, read here or passed through untouched.
    pub(super) terminated: Count,
    pub(super) untouched: Count,
    open_tunnels: AtomicU64,
}

/// A tunnel that is open; counted until it is dropped.
pub(super) struct OpenTunnel(Arc<Traffic>);

impl OpenTunnel {
    pub(super) fn new(traffic: &Arc<Traffic>) -> Self {
        traffic.open_tunnels.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(traffic))
    }
}

impl Drop for OpenTunnel {
    fn drop(&mut self) {
        self.0.open_tunnels.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Traffic {
    pub(super) fn open_tunnels(&self) -> u64 {
        self.open_tunnels.load(Ordering::Relaxed)
    }
}
