//! When tokens were last used, noted without a write on anybody's path.
//!
//! A use is remembered in memory, a token's at most once a minute, and written when the store is asked
//! to: by the broker's upkeep and at its end. Readers see what is remembered and not yet written. A crash
//! loses the notes of the last minute and nothing else.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::named_params;

use super::{Error, Stale, Store, Timestamp};

/// A token's use is noted at most this often; a login's is written as often.
pub(super) const NOTE_EVERY: Duration = Duration::from_secs(60);

/// Notes that wait to be written. Past it new tokens are not noted until the next write: memory stays
/// bounded, and what is lost is the time of a use.
const MAX_WAITING: usize = 10_000;

/// The uses that are not written yet, by the token's hash.
#[derive(Default)]
pub(super) struct Uses(Mutex<HashMap<String, Timestamp>>);

/// When a cached token was last noted: what the proxy's path looks at before it takes the lock.
pub(super) struct LastNote(AtomicI64);

impl LastNote {
    pub(super) fn new(last_used_at: Option<Timestamp>) -> Self {
        Self(AtomicI64::new(last_used_at.map_or(i64::MIN, Timestamp::seconds)))
    }

    /// Whether a use now is to be noted; of several that ask at once, one is told yes.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        let last = self.0.load(Ordering::Relaxed);
        let is_due = last < now.minus(NOTE_EVERY).seconds();
        is_due && self.0.compare_exchange(last, now.seconds(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl Uses {
    pub(super) fn note(&self, token_id: &str, now: Timestamp) {
        let mut waiting = self.lock();
        if let Some(noted) = waiting.get_mut(token_id) {
            *noted = (*noted).max(now);
        } else if waiting.len() < MAX_WAITING {
            waiting.insert(token_id.to_owned(), now);
        }
    }

    /// The later of what is written and what is remembered.
    pub(super) fn latest(&self, token_id: &str, written: Option<Timestamp>) -> Option<Timestamp> {
        self.lock().get(token_id).copied().max(written)
    }

    /// Every statement under the lock leaves the map whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// Writes the uses that were noted; how many. Tokens that have ended meanwhile are passed over.
    pub fn write_uses(&self) -> Result<usize, Error> {
        let waiting = self.uses.lock().clone();
        if waiting.is_empty() {
            return Ok(0);
        }
        self.change(Stale::Nothing, |transaction| {
            let mut statement = transaction.prepare_cached(
                "UPDATE sessions SET last_used_at = :at
                 WHERE id = :id AND (last_used_at IS NULL OR last_used_at < :at)",
            )?;
            for (id, at) in &waiting {
                statement.execute(named_params! {":id": id, ":at": at})?;
            }
            Ok(())
        })?;
        // A use that was noted in the meantime is a later one and stays.
        self.uses.lock().retain(|id, at| waiting.get(id) != Some(at));
        Ok(waiting.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::store::accounts::InstanceRole;
    use crate::store::agents::NewAgent;
    use crate::store::grants::{ActorKind, ActorRef};
    use crate::store::scratch;
    use crate::store::vaults::DEFAULT_ID;
    use crate::vault::scope::Role;

    fn agent(store: &Store, now: Timestamp) -> Secret {
        let maker = ActorRef { kind: ActorKind::User, id: "maker".to_owned() };
        let vaults = [(DEFAULT_ID.to_owned(), Role::Proxy)];
        let new = NewAgent {
            name: "bot",
            role: InstanceRole::NoAccess,
            created_by: &maker,
            vaults: &vaults,
            warrant: None,
        };
        store.create_agent(&new, now).unwrap().unwrap()
    }

    fn written(store: &Store) -> Option<Timestamp> {
        let sql = "SELECT last_used_at FROM sessions";
        store.read(|connection| Ok(connection.query_row(sql, [], |row| row.get(0))?)).unwrap()
    }

    #[test]
    fn a_use_is_remembered_once_a_minute_and_written_when_asked() {
        let (_dir, store) = scratch();
        let start = Timestamp::now();
        let token = agent(&store, start);
        let shown = || store.agent("bot", start).unwrap().unwrap().last_used_at();
        assert_eq!(shown(), None);
        let mut expected = start;
        for (seconds, is_noted) in [(0, true), (60, false), (61, true), (62, false), (122, true)] {
            let now = start.plus(Duration::from_secs(seconds));
            store.scope_at(&token, None, now).unwrap();
            expected = if is_noted { now } else { expected };
            assert_eq!(shown(), Some(expected), "after {seconds} s");
            assert_eq!(written(&store), None, "nothing is written on the path");
        }
        assert_eq!(store.write_uses().unwrap(), 1);
        assert_eq!((written(&store), shown()), (Some(expected), Some(expected)));
        assert_eq!(store.write_uses().unwrap(), 0);
    }

    #[test]
    fn the_control_api_notes_uses_too() {
        let (_dir, store) = scratch();
        let start = Timestamp::now();
        let token = agent(&store, start);
        store.standing(&token, None, None, start).unwrap();
        assert_eq!(written(&store), None);
        store.write_uses().unwrap();
        assert_eq!(written(&store), Some(start));
        for (seconds, noted) in [(60, 0), (61, 61)] {
            store.standing(&token, None, None, start.plus(Duration::from_secs(seconds))).unwrap();
            store.write_uses().unwrap();
            assert_eq!(written(&store), Some(start.plus(Duration::from_secs(noted))));
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let uses = Uses::default();
        let now = Timestamp::now();
        for number in 0..=MAX_WAITING {
            uses.note(&number.to_string(), now);
        }
        assert_eq!(uses.lock().len(), MAX_WAITING);
        let later = now.plus(Duration::from_secs(1));
        uses.note("0", later);
        assert_eq!(uses.latest("0", Some(now)), Some(later));
        assert_eq!(uses.latest("unknown", Some(now)), Some(now));
    }
}
