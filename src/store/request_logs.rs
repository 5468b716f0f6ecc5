//! The request log at rest: written in batches by one thread, read by those who look after a vault.
//!
//! The writer has a connection of its own, which does not wait for the disk at each commit: losing the
//! last rows in a power cut is better than slowing down what has to be on disk. Old rows are deleted in
//! small steps, so that a change of the control plane never waits long for the writer's lock.

use std::collections::BTreeMap;

use rusqlite::{Connection, Row as Stored, Statement, TransactionBehavior, params};

use super::{DATABASE, Error, Store, Timestamp, connect};
use crate::vault::request_log::{INGRESS, Row};

/// Pages that the writer keeps, in KiB; the engine's own choice is eight times that.
const CACHE_KIB: i64 = 256;

/// Rows deleted under one lock.
const STEP: u32 = 500;

/// The writer's side.
pub struct RequestLogs {
    connection: Connection,
}

/// One row as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: i64,
    pub actor_type: String,
    pub actor_id: String,
    /// An agent's name, a person's address; empty when there is no such actor any more.
    pub actor_name: String,
    pub ingress: String,
    pub method: String,
    pub host: String,
    pub path: String,
    pub matched_service: String,
    /// A JSON array.
    pub credential_keys: String,
    pub status: u16,
    pub latency_ms: i64,
    pub error_code: String,
    pub created_at: Timestamp,
}

/// Which rows are asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub ingress: Option<String>,
    pub service: Option<String>,
    pub outcome: Option<Outcome>,
}

/// A class of outcomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The statuses of this hundred.
    Hundred(u16),
    /// An error code, or a status from 400 on.
    Error,
}

/// Where a page of rows lies; rows of a page are always given newest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    Newest,
    /// The newest ones older than this one.
    Before(i64),
    /// The oldest ones newer than this one, so that a reader who follows misses none.
    After(i64),
}

impl Store {
    /// Opens the writer's side.
    pub fn request_log_writer(&self) -> Result<RequestLogs, Error> {
        let connection = connect(&self.dir.join(DATABASE))?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        // Rows are added at the end: few pages are wanted again.
        connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
        // A batch looks for its vaults itself, once each.
        connection.pragma_update(None, "foreign_keys", false)?;
        Ok(RequestLogs { connection })
    }

    /// A page of a vault's rows, newest first.
    pub fn request_logs(
        &self,
        vault_id: &str,
        filter: &Filter,
        page: Page,
        limit: u32,
    ) -> Result<Vec<Entry>, Error> {
        let (bound, at, order) = match page {
            Page::Newest => ("l.id > ?7", i64::MIN, "DESC"),
            Page::Before(id) => ("l.id < ?7", id, "DESC"),
            Page::After(id) => ("l.id > ?7", id, "ASC"),
        };
        let (low, high, only_errors) = match filter.outcome {
            None => (0, u16::MAX, false),
            Some(Outcome::Hundred(hundred)) => (hundred * 100, hundred * 100 + 99, false),
            Some(Outcome::Error) => (0, u16::MAX, true),
        };
        let sql = format!(
            "SELECT l.id, l.actor_type, l.actor_id, COALESCE(a.name, u.email, ''), l.ingress, l.method, l.host,
                    l.path, l.matched_service, l.credential_keys, l.status, l.latency_ms, l.error_code,
                    l.created_at
             FROM request_logs l
             LEFT JOIN agents a ON l.actor_type = 'agent' AND a.id = l.actor_id
             LEFT JOIN users u ON l.actor_type = 'user' AND u.id = l.actor_id
             WHERE l.vault_id = ?1
               AND (?2 IS NULL OR l.ingress = ?2)
               AND (?3 IS NULL OR l.matched_service = ?3)
               AND l.status BETWEEN ?4 AND ?5
               AND (NOT ?6 OR l.error_code <> '' OR l.status >= 400)
               AND {bound}
             ORDER BY l.id {order} LIMIT ?8"
        );
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let given = params![vault_id, filter.ingress, filter.service, low, high, only_errors, at, limit];
            let mut entries: Vec<Entry> = statement.query_map(given, entry)?.collect::<Result<_, _>>()?;
            if order == "ASC" {
                entries.reverse();
            }
            Ok(entries)
        })
    }
}

impl RequestLogs {
    /// Writes a batch as one transaction. Rows of a vault that is gone are gone with it; while the
    /// transaction writes, none can go. `between` is called after each row.
    pub fn append(&mut self, rows: &[Row], between: &dyn Fn()) -> Result<(), Error> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            // One row of values: the engine needs no journal of its own to take the statement back.
            let mut statement = transaction.prepare_cached(
                "INSERT INTO request_logs (vault_id, actor_type, actor_id, ingress, method, host, path,
                     matched_service, credential_keys, status, latency_ms, error_code, auth_scheme,
                     auth_header, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            )?;
            let mut vaults: BTreeMap<&str, bool> = BTreeMap::new();
            for row in rows {
                let is_there = match vaults.get(&*row.vault_id) {
                    Some(is_there) => *is_there,
                    None => {
                        let is_there = vault_exists(&transaction, &row.vault_id)?;
                        vaults.insert(&row.vault_id, is_there);
                        is_there
                    }
                };
                if is_there {
                    insert(&mut statement, row)?;
                }
                between();
            }
        }
        Ok(transaction.commit()?)
    }

    /// Deletes rows from before a moment; how many.
    pub fn delete_older(&mut self, than: Timestamp) -> Result<usize, Error> {
        self.delete_in_steps(
            "DELETE FROM request_logs WHERE id IN
                 (SELECT id FROM request_logs WHERE created_at < ?1 ORDER BY id LIMIT ?2)",
            params![than, STEP],
        )
    }

    /// Deletes the oldest rows of each vault beyond so many; how many.
    pub fn delete_beyond(&mut self, rows_per_vault: u32) -> Result<usize, Error> {
        let vaults: Vec<String> = self
            .connection
            .prepare_cached("SELECT vault_id FROM request_logs GROUP BY vault_id HAVING COUNT(*) > ?1")?
            .query_map([rows_per_vault], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let mut deleted = 0;
        for vault in vaults {
            deleted += self.delete_in_steps(
                "DELETE FROM request_logs WHERE id IN
                     (SELECT id FROM request_logs WHERE vault_id = ?1 ORDER BY id DESC LIMIT ?2 OFFSET ?3)",
                params![vault, STEP, rows_per_vault],
            )?;
        }
        Ok(deleted)
    }

    fn delete_in_steps(&self, sql: &str, given: &[&dyn rusqlite::ToSql]) -> Result<usize, Error> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut deleted = 0;
        loop {
            let count = statement.execute(given)?;
            deleted += count;
            if count < STEP as usize {
                return Ok(deleted);
            }
        }
    }
}

fn insert(statement: &mut Statement<'_>, row: &Row) -> rusqlite::Result<usize> {
    let (actor_type, actor_id) = row.actor();
    let (auth_scheme, auth_header) = row.client_auth.map_or(("", ""), |auth| (auth.scheme, auth.header));
    let keys = serde_json::to_string(&row.credential_keys())
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    statement.execute(params![
        &*row.vault_id,
        actor_type,
        actor_id,
        INGRESS,
        row.method,
        row.target.to_string(),
        row.path,
        row.matched_service(),
        keys,
        row.status,
        i64::try_from(row.latency_ms()).unwrap_or(i64::MAX),
        row.error_code,
        auth_scheme,
        auth_header,
        Timestamp::from(row.at),
    ])
}

fn vault_exists(connection: &Connection, id: &str) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM vaults WHERE id = ?1)")?
        .query_row([id], |row| row.get(0))
}

fn entry(row: &Stored<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        id: row.get(0)?,
        actor_type: row.get(1)?,
        actor_id: row.get(2)?,
        actor_name: row.get(3)?,
        ingress: row.get(4)?,
        method: row.get(5)?,
        host: row.get(6)?,
        path: row.get(7)?,
        matched_service: row.get(8)?,
        credential_keys: row.get(9)?,
        status: row.get(10)?,
        latency_ms: row.get(11)?,
        error_code: row.get(12)?,
        created_at: row.get(13)?,
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::authority::Authority;
    use crate::store::vaults::DEFAULT_ID;
    use crate::vault::scope::Actor;

    fn row(vault: &str, status: u16, at: SystemTime) -> Row {
        Row {
            at,
            vault_id: vault.into(),
            actor: Actor::Agent("nobody".into()),
            method: "GET".to_owned(),
            target: Authority::parse("a.com:443").unwrap(),
            path: "/x".to_owned(),
            service: None,
            status,
            latency: Duration::from_millis(5),
            error_code: if status == 403 { "no_match" } else { "" },
            reason: "",
            client_auth: None,
        }
    }

    fn statuses(store: &Store, filter: &Filter, page: Page, limit: u32) -> Vec<u16> {
        let entries = store.request_logs(DEFAULT_ID, filter, page, limit).unwrap();
        entries.iter().map(|entry| entry.status).collect()
    }

    #[test]
    fn pages_are_newest_first_and_a_tail_misses_none() {
        let (_dir, store) = crate::store::scratch();
        let mut log = store.request_log_writer().unwrap();
        let now = SystemTime::now();
        let mut rows: Vec<Row> =
            [200, 201, 302, 403, 404, 502].iter().map(|status| row(DEFAULT_ID, *status, now)).collect();
        // It is lost alone, with a number that others get, and not those around it.
        rows.insert(1, row("no such vault", 200, now));
        let pauses = Cell::new(0);
        log.append(&rows, &|| pauses.set(pauses.get() + 1)).unwrap();
        assert_eq!(pauses.get(), rows.len());
        let all = Filter::default();
        assert_eq!(statuses(&store, &all, Page::Newest, 3), [502, 404, 403]);
        assert_eq!(statuses(&store, &all, Page::Before(4), 10), [302, 201, 200]);
        assert_eq!(statuses(&store, &all, Page::After(1), 2), [302, 201]);
        assert_eq!(statuses(&store, &all, Page::After(6), 2), [0; 0]);
        let only = |outcome| Filter { outcome: Some(outcome), ..Filter::default() };
        assert_eq!(statuses(&store, &only(Outcome::Hundred(2)), Page::Newest, 10), [201, 200]);
        assert_eq!(statuses(&store, &only(Outcome::Error), Page::Newest, 10), [502, 404, 403]);
        let service = Filter { service: Some("stripe".to_owned()), ..Filter::default() };
        assert_eq!(statuses(&store, &service, Page::Newest, 10), [0; 0]);
    }

    #[test]
    fn old_rows_and_rows_beyond_the_cap_are_deleted() {
        let (_dir, store) = crate::store::scratch();
        let mut log = store.request_log_writer().unwrap();
        let now = SystemTime::now();
        let old: Vec<Row> = (0..1200).map(|_| row(DEFAULT_ID, 200, now - Duration::from_secs(100))).collect();
        let new: Vec<Row> = (0..1200).map(|_| row(DEFAULT_ID, 201, now)).collect();
        log.append(&old, &|| ()).unwrap();
        log.append(&new, &|| ()).unwrap();
        let past = Timestamp::from(now).minus(Duration::from_secs(50));
        assert_eq!(log.delete_older(past).unwrap(), 1200);
        assert_eq!(log.delete_beyond(1200).unwrap(), 0);
        assert_eq!(log.delete_beyond(100).unwrap(), 1100);
        assert_eq!(statuses(&store, &Filter::default(), Page::Newest, 200), [201; 100]);
    }
}
