//! The rules that an instance always has an owner and a vault an admin (contract B.6).

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

/// Whether this person or agent is the only active admin of the vault. Both kinds count together.
pub(super) fn is_last_admin(connection: &Connection, actor_id: &str, vault_id: &str) -> Result<bool, Error> {
    let is_last = connection.query_row(
        "WITH admins AS (
             SELECT g.actor_id AS id
             FROM vault_grants g
                 LEFT JOIN agents a ON a.id = g.actor_id
                 LEFT JOIN users u ON u.id = g.actor_id
             WHERE g.vault_id = ?2 AND g.role = 'admin' AND (a.status = 'active' OR u.is_active = 1))
         SELECT EXISTS (SELECT 1 FROM admins WHERE id = ?1)
             AND NOT EXISTS (SELECT 1 FROM admins WHERE id <> ?1)",
        [actor_id, vault_id],
        |row| row.get(0),
    )?;
    Ok(is_last)
}
