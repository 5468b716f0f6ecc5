//! How many at once is too many: slots, by key, that are waited for.
//!
//! The one limiter with a lock of its own, since who comes late sleeps until a slot is free.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::TooMany;

/// At most so many at the same time, by key; those who come late wait a bounded time.
#[derive(Debug)]
pub struct Slots<K> {
    state: Mutex<Taken<K>>,
    freed: Condvar,
}

#[derive(Debug)]
struct Taken<K> {
    each: u32,
    by_key: HashMap<K, u32>,
    /// Threads that wait: a free slot is told to them alone, since telling takes a system call for every request.
    waiting: u32,
}

/// One taken slot; free again when dropped.
#[derive(Debug)]
pub struct Slot<K: Eq + Hash + Clone> {
    of: Arc<Slots<K>>,
    key: K,
}

impl<K: Eq + Hash + Clone> Slots<K> {
    pub fn new(each: u32) -> Self {
        Self { state: Mutex::new(Taken { each, by_key: HashMap::new(), waiting: 0 }), freed: Condvar::new() }
    }

    /// Changes the number; those who hold more than that keep what they hold.
    pub fn set(&self, each: u32) {
        self.lock().each = each;
        self.freed.notify_all();
    }

    /// How many are taken, by all keys together.
    pub fn count(&self) -> u64 {
        self.lock().by_key.values().map(|count| u64::from(*count)).sum()
    }

    /// Takes a slot, waiting at most until `until`.
    pub fn take(self: &Arc<Self>, key: &K, until: Instant) -> Result<Slot<K>, TooMany> {
        let mut taken = self.lock();
        loop {
            let count = taken.by_key.get(key).copied().unwrap_or(0);
            if count < taken.each {
                taken.by_key.insert(key.clone(), count + 1);
                return Ok(Slot { of: Arc::clone(self), key: key.clone() });
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TooMany { limit: taken.each, retry_after: Duration::from_secs(1) });
            }
            taken.waiting += 1;
            taken = self.freed.wait_timeout(taken, left).unwrap_or_else(PoisonError::into_inner).0;
            taken.waiting -= 1;
        }
    }

    /// A count is consistent after each statement, so a poisoned lock is usable.
    fn lock(&self) -> MutexGuard<'_, Taken<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone> Drop for Slot<K> {
    fn drop(&mut self) {
        let mut taken = self.of.lock();
        match taken.by_key.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.by_key.remove(&self.key)),
        }
        let is_awaited = taken.waiting > 0;
        drop(taken);
        if is_awaited {
            self.of.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_number_changes_and_who_holds_more_keeps_it() {
        let now = Instant::now();
        let slots = Arc::new(Slots::new(2));
        let held = [slots.take(&"a", now).unwrap(), slots.take(&"a", now).unwrap()];
        slots.set(1);
        drop(held);
        let _one = slots.take(&"a", now).unwrap();
        assert!(slots.take(&"a", now).is_err());
        slots.set(2);
        assert!(slots.take(&"a", now).is_ok());
    }

    #[test]
    fn slots_are_freed_by_dropping_them() {
        let slots = Arc::new(Slots::new(1));
        let first = slots.take(&"a", Instant::now()).unwrap();
        assert!(slots.take(&"a", Instant::now()).is_err());
        assert!(slots.take(&"b", Instant::now()).is_ok());
        let waiting = Arc::clone(&slots);
        let waiter = std::thread::Builder::new()
            .spawn(move || waiting.take(&"a", Instant::now() + 20 * SECOND).is_ok())
            .unwrap();
        let patience = Instant::now() + 20 * SECOND;
        while slots.lock().waiting == 0 && Instant::now() < patience {
            std::thread::yield_now();
        }
        drop(first);
        assert!(waiter.join().unwrap(), "who waits is told");
        assert_eq!(slots.lock().waiting, 0);
    }
}
