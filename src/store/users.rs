//! People as the instance sees them: listed, given a role, removed.

use rusqlite::{Connection, OptionalExtension, Row};

use super::accounts::{self, InstanceRole};
use super::agents::vaults_of;
use super::owners::is_last_owner;
use super::{Error, Stale, Store, Timestamp};
use crate::vault::scope::Role;

/// A person, with the vaults they may use.
#[derive(Clone, Debug)]
pub struct Person {
    pub id: String,
    pub email: String,
    pub role: InstanceRole,
    pub created_at: Timestamp,
    /// Vault name and role, by name.
    pub vaults: Vec<(String, Role)>,
}

/// What came of a change that the last owner resists.
#[derive(Debug, PartialEq, Eq)]
pub enum OwnerChange {
    Done,
    /// The instance would be left without an owner.
    LastOwner,
}

impl Store {
    /// Everyone with an account, by address.
    pub fn people(&self) -> Result<Vec<Person>, Error> {
        self.read(|connection| {
            let mut statement =
                connection.prepare_cached("SELECT id, email, role, created_at FROM users ORDER BY email")?;
            let people = statement.query_map([], person_from)?.collect::<Result<Vec<_>, _>>()?;
            people.into_iter().map(|person| with_vaults(connection, person)).collect()
        })
    }

    pub fn person(&self, id: &str) -> Result<Option<Person>, Error> {
        self.find_person("SELECT id, email, role, created_at FROM users WHERE id = ?1", id)
    }

    pub fn person_by_email(&self, email: &str) -> Result<Option<Person>, Error> {
        self.find_person("SELECT id, email, role, created_at FROM users WHERE email = ?1", email)
    }

    fn find_person(&self, sql: &str, key: &str) -> Result<Option<Person>, Error> {
        self.read(|connection| {
            let person = connection.prepare_cached(sql)?.query_row([key], person_from).optional()?;
            person.map(|person| with_vaults(connection, person)).transpose()
        })
    }

    /// Gives a person another role in the instance.
    pub fn set_instance_role(
        &self,
        id: &str,
        role: InstanceRole,
        now: Timestamp,
    ) -> Result<OwnerChange, Error> {
        self.change(Stale::Nothing, |transaction| {
            if role != InstanceRole::Owner && is_last_owner(transaction, id)? {
                return Ok(OwnerChange::LastOwner);
            }
            let sql = "UPDATE users SET role = ?2, updated_at = ?3 WHERE id = ?1";
            transaction.execute(sql, (id, role, now))?;
            Ok(OwnerChange::Done)
        })
    }

    /// Removes a person with everything that acts in their name.
    pub fn remove_person(&self, id: &str) -> Result<OwnerChange, Error> {
        self.change(Stale::Tokens, |transaction| {
            if is_last_owner(transaction, id)? {
                return Ok(OwnerChange::LastOwner);
            }
            accounts::erase(transaction, id)?;
            Ok(OwnerChange::Done)
        })
    }
}

fn with_vaults(connection: &Connection, person: Person) -> Result<Person, Error> {
    Ok(Person { vaults: vaults_of(connection, &person.id)?, ..person })
}

fn person_from(row: &Row<'_>) -> rusqlite::Result<Person> {
    Ok(Person {
        id: row.get(0)?,
        email: row.get(1)?,
        role: row.get(2)?,
        created_at: row.get(3)?,
        vaults: Vec::new(),
    })
}
