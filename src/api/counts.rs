//! How often the control API answered, and how: counts without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use super::refusal::Refusal;

/// Classes of statuses that are answered.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

#[derive(Debug, Default)]
pub(super) struct Counts {
    by_class: [AtomicU64; CLASSES.len()],
    store_errors: AtomicU64,
}

impl Counts {
    pub(super) fn answer(&self, status: u16) {
        let class = usize::from(status / 100).checked_sub(2).and_then(|at| self.by_class.get(at));
        if let Some(class) = class {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn refusal(&self, refusal: &Refusal) {
        if matches!(refusal, Refusal::Store(_)) {
            self.store_errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn answered(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CLASSES.into_iter().zip(self.by_class.iter().map(|number| number.load(Ordering::Relaxed)))
    }

    pub(super) fn store_errors(&self) -> u64 {
        self.store_errors.load(Ordering::Relaxed)
    }
}
