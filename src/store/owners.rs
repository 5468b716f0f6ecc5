//! The rule that an instance always has an owner (contract B.6).

use rusqlite::Connection;

use super::Error;

/// Whether this person or agent is the only active owner. Both kinds count together.
pub(super) fn is_last_owner(connection: &Connection, actor_id: &str) -> Result<bool, Error> {
    let is_last = connection.query_row(
        "WITH owners AS (
             SELECT id FROM agents WHERE role = 'owner' AND status = 'active'
             UNION ALL SELECT id FROM users WHERE role = 'owner' AND is_active = 1)
         SELECT EXISTS (SELECT 1 FROM owners WHERE id = ?1)
             AND NOT EXISTS (SELECT 1 FROM owners WHERE id <> ?1)",
        [actor_id],
        |row| row.get(0),
    )?;
    Ok(is_last)
}
