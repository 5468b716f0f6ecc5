//! Where the request log ends up: the store, stderr if asked, and nowhere once it is old. Its thread also
//! writes when tokens were last used, which nobody on a request's path has time for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::server::RequestLines;
use crate::log;
use crate::log_event;
use crate::proxy::journal::Sink;
use crate::store::request_logs::RequestLogs;
use crate::store::retention::Retention;
use crate::store::{Error, Store, Timestamp};
use crate::vault::request_log::Row;

/// How often old rows are looked for (contract F.1).
const DELETE_EVERY: Duration = Duration::from_secs(15 * 60);
/// How often uses of tokens are written: as often as one token's is noted.
const WRITE_USES_EVERY: Duration = Duration::from_secs(60);

/// What holds for the rows; an owner may change it at any time. `None` until it is known: nothing is
/// deleted by a rule that may not be the one.
pub(super) type Bounds = Arc<Mutex<Option<Retention>>>;

/// Keeps rows as long as the settings say.
pub(super) struct Keeper {
    store: Arc<Store>,
    /// Opened on the keeper's own thread, when there is something to write or to delete.
    logs: Option<RequestLogs>,
    lines: RequestLines,
    bounds: Bounds,
    /// By which bounds rows were last deleted: others are looked at right away.
    kept_by: Option<Retention>,
    delete_at: Option<Instant>,
    /// Rows that could not be written since the last that could.
    lost: usize,
}

impl Keeper {
    pub(super) fn new(store: Arc<Store>, lines: RequestLines, bounds: Bounds) -> Self {
        Self { logs: None, store, lines, bounds, kept_by: None, delete_at: None, lost: 0 }
    }

    fn logs(&mut self) -> Result<&mut RequestLogs, Error> {
        match &mut self.logs {
            Some(logs) => Ok(logs),
            closed => Ok(closed.insert(self.store.request_log_writer()?)),
        }
    }

    fn delete_old(&mut self, bounds: Retention) -> Result<usize, Error> {
        let mut deleted = 0;
        if let Some(age) = bounds.max_age() {
            deleted += self.logs()?.delete_older(Timestamp::now().minus(age))?;
        }
        if let Some(rows) = bounds.max_rows_per_vault() {
            deleted += self.logs()?.delete_beyond(rows)?;
        }
        Ok(deleted)
    }
}

impl Sink for Keeper {
    fn write(&mut self, rows: &[Row], between: &dyn Fn()) {
        if self.lines == RequestLines::Json {
            for row in rows {
                log::line(&row.to_json(&Timestamp::from(row.at).rfc3339()).to_string());
            }
        }
        match self.logs().and_then(|logs| logs.append(rows, between)) {
            Ok(()) if self.lost > 0 => {
                log_event!(Warn, "request log is written again", lost_rows = self.lost);
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                // Said once: the disk that has no room may be the one this goes to.
                if self.lost == 0 {
                    log_event!(Error, "request log not written", rows = rows.len(), err = error);
                }
                self.lost += rows.len();
            }
        }
    }

    fn tend(&mut self, now: Instant) -> Option<Instant> {
        let bounds = *self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bounds) = bounds
            && (self.kept_by != Some(bounds) || self.delete_at.is_none_or(|at| now >= at))
        {
            (self.kept_by, self.delete_at) = (Some(bounds), Some(now + DELETE_EVERY));
            match self.delete_old(bounds) {
                Ok(0) => {}
                Ok(deleted) => log_event!(Debug, "old rows of the request log deleted", rows = deleted),
                Err(error) => log_event!(Error, "old rows of the request log stay", err = error),
            }
        }
        write_uses(&self.store);
        Some(now + WRITE_USES_EVERY)
    }
}

/// Writes when tokens were last used. What cannot be written now is tried again the next time.
pub(super) fn write_uses(store: &Store) {
    if let Err(error) = store.write_uses() {
        log_event!(Error, "uses of tokens not written", err = error);
    }
}
