//! The schema, as numbered steps that only go forward.
//!
//! A step is never edited once it has been released: a change is a new step. Each runs in its own
//! transaction together with the record that it ran, so a crash leaves a schema between two steps and
//! never inside one. The statements keep to what SQLite and Postgres both understand, apart from
//! column types.

use rusqlite::{Connection, TransactionBehavior};

use super::{Error, Timestamp};

/// One step: its number and what it does.
struct Step {
    number: u32,
    sql: &'static str,
}

const STEPS: &[Step] = &[
    Step { number: 1, sql: include_str!("schema/001_ground.sql") },
    Step { number: 2, sql: include_str!("schema/002_request_logs.sql") },
    Step { number: 3, sql: include_str!("schema/003_oauth.sql") },
    Step { number: 4, sql: include_str!("schema/004_accounts.sql") },
    Step { number: 5, sql: include_str!("schema/005_invites.sql") },
    Step { number: 6, sql: include_str!("schema/006_proposals.sql") },
    Step { number: 7, sql: include_str!("schema/007_changes.sql") },
];

/// Brings the schema up to date. A database from a newer program is refused: its rules are unknown here.
pub(super) fn run(connection: &mut Connection, now: Timestamp) -> Result<(), Error> {
    run_steps(connection, STEPS, now)
}

fn run_steps(connection: &mut Connection, steps: &[Step], now: Timestamp) -> Result<(), Error> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)",
    )?;
    let latest = steps.last().map_or(0, |step| step.number);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let applied: u32 =
        transaction
            .query_row("SELECT COALESCE(MAX(version), 0) FROM schema_migrations", [], |row| row.get(0))?;
    transaction.commit()?;
    if applied > latest {
        return Err(Error::NewerSchema { found: applied, known: latest });
    }
    for step in steps.iter().filter(|step| step.number > applied) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        // Another process may have been faster while this one waited for the lock.
        let is_done: bool = transaction.query_row(
            "SELECT EXISTS (SELECT 1 FROM schema_migrations WHERE version = ?1)",
            [step.number],
            |row| row.get(0),
        )?;
        if !is_done {
            transaction.execute_batch(step.sql)?;
            transaction.execute(
                "INSERT INTO schema_migrations (version, applied_at) VALUES (?1, ?2)",
                (step.number, now),
            )?;
        }
        transaction.commit()?;
    }
    Ok(())
}

/// Brings the schema up to an older step.
#[cfg(test)]
pub(super) fn run_until(connection: &mut Connection, step: u32, now: Timestamp) -> Result<(), Error> {
    let count = STEPS.iter().filter(|known| known.number <= step).count();
    run_steps(connection, &STEPS[..count], now)
}

#[cfg(test)]
pub(super) fn newest() -> u32 {
    STEPS.last().map_or(0, |step| step.number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_twice_migrates_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection, Timestamp::now()).unwrap();
        run(&mut connection, Timestamp::now()).unwrap();
        let count: u32 =
            connection.query_row("SELECT COUNT(*) FROM schema_migrations", [], |row| row.get(0)).unwrap();
        assert_eq!(Some(count), STEPS.last().map(|step| step.number));
        let default: String = connection
            .query_row("SELECT id FROM vaults WHERE name = 'default'", [], |row| row.get(0))
            .unwrap();
        assert_eq!(default, "00000000-0000-0000-0000-000000000000");
    }

    #[test]
    fn numbers_rise_by_one() {
        for (step, number) in STEPS.iter().zip(1..) {
            assert_eq!(step.number, number);
        }
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection, Timestamp::now()).unwrap();
        connection.execute("INSERT INTO schema_migrations VALUES (999, '')", []).unwrap();
        assert!(matches!(run(&mut connection, Timestamp::now()), Err(Error::NewerSchema { found: 999, .. })));
    }
}
