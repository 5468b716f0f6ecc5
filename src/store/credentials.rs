//! Credentials: sealed before they are stored, opened for a snapshot or for someone who may see them.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Transaction, named_params};

use super::seal::{Seal, Sealed};
use super::{Error, Stale, Store, Timestamp, oauth};
use crate::secret::Secret;

impl Store {
    /// A vault's credential keys with their types, by key.
    pub fn credential_keys(&self, vault_id: &str) -> Result<Vec<(String, String)>, Error> {
        self.read(|connection| {
            let mut statement = connection
                .prepare_cached("SELECT key, type FROM credentials WHERE vault_id = ?1 ORDER BY key")?;
            let rows = statement.query_map([vault_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Opens one credential.
    pub fn credential(&self, vault_id: &str, key: &str) -> Result<Option<Secret>, Error> {
        let sealed = self.read(|connection| {
            let sealed = connection
                .prepare_cached("SELECT ciphertext, nonce FROM credentials WHERE vault_id = ?1 AND key = ?2")?
                .query_row((vault_id, key), |row| Ok(Sealed { ciphertext: row.get(0)?, nonce: row.get(1)? }))
                .optional()?;
            Ok(sealed)
        })?;
        sealed.map(|sealed| self.seal.open(&place(vault_id, key), &sealed)).transpose()
    }

    /// Stores values, all or none. A key that is there already keeps its type.
    pub fn set_credentials(
        &self,
        vault_id: &str,
        values: &BTreeMap<String, Secret>,
        now: Timestamp,
    ) -> Result<(), Error> {
        self.change(Stale::Vault(vault_id), |transaction| {
            for (key, value) in values {
                self.write_credential(transaction, (vault_id, key), value, now)?;
            }
            Ok(())
        })
    }

    /// Stores a value; a key that is there already keeps its type.
    pub(super) fn write_credential(
        &self,
        transaction: &Transaction<'_>,
        (vault_id, key): (&str, &str),
        value: &Secret,
        now: Timestamp,
    ) -> Result<(), Error> {
        let sealed = self.seal.seal(&place(vault_id, key), value)?;
        transaction.execute(
            "INSERT INTO credentials (vault_id, key, ciphertext, nonce, created_at, updated_at)
             VALUES (:vault, :key, :ciphertext, :nonce, :now, :now)
             ON CONFLICT (vault_id, key) DO UPDATE
             SET ciphertext = excluded.ciphertext, nonce = excluded.nonce, updated_at = excluded.updated_at",
            named_params! {
                ":vault": vault_id,
                ":key": key,
                ":ciphertext": sealed.ciphertext,
                ":nonce": sealed.nonce,
                ":now": now,
            },
        )?;
        oauth::overwritten(transaction, vault_id, key, value, now)
    }

    /// Deletes keys, all or none; the first that is not there, if one is not.
    pub fn delete_credentials(&self, vault_id: &str, keys: &[String]) -> Result<Result<(), String>, Error> {
        self.change(Stale::Vault(vault_id), |transaction| {
            for key in keys {
                let is_there: bool = transaction.query_row(
                    "SELECT EXISTS (SELECT 1 FROM credentials WHERE vault_id = ?1 AND key = ?2)",
                    (vault_id, key),
                    |row| row.get(0),
                )?;
                if !is_there {
                    return Ok(Err(key.clone()));
                }
            }
            for key in keys {
                erase(transaction, vault_id, key)?;
            }
            Ok(Ok(()))
        })
    }
}

/// Deletes a credential, if it is there.
pub(super) fn erase(transaction: &Transaction<'_>, vault_id: &str, key: &str) -> Result<(), Error> {
    transaction.execute("DELETE FROM credentials WHERE vault_id = ?1 AND key = ?2", (vault_id, key))?;
    Ok(())
}

/// Opens every credential of a vault. One that does not open is left out, so that a service which
/// needs it is refused and the others work.
pub(super) fn open_all(
    connection: &Connection,
    seal: &Seal,
    vault_id: &str,
) -> Result<HashMap<String, Secret>, Error> {
    let mut statement =
        connection.prepare_cached("SELECT key, ciphertext, nonce FROM credentials WHERE vault_id = ?1")?;
    let rows = statement.query_map([vault_id], |row| {
        Ok((row.get::<_, String>(0)?, Sealed { ciphertext: row.get(1)?, nonce: row.get(2)? }))
    })?;
    let mut opened = HashMap::new();
    for row in rows {
        let (key, sealed) = row?;
        match seal.open(&place(vault_id, &key), &sealed) {
            Ok(value) => drop(opened.insert(key, value)),
            Err(_) => {
                crate::log_event!(Error, "credential does not open", vault = vault_id, key = key);
            }
        }
    }
    Ok(opened)
}

/// Binds a value to its vault and key. Neither part can hold the separator.
pub(super) fn place(vault_id: &str, key: &str) -> Vec<u8> {
    [b"credential\0", vault_id.as_bytes(), b"\0", key.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;
    use crate::store::vaults::DEFAULT_ID;

    fn set(store: &Store, key: &str, value: &[u8]) {
        let values = BTreeMap::from([(key.to_owned(), Secret::new(value.to_vec()))]);
        store.set_credentials(DEFAULT_ID, &values, Timestamp::now()).unwrap();
    }

    #[test]
    fn values_come_back_byte_for_byte() {
        let (_dir, store) = scratch();
        let long = vec![b'x'; 1 << 20];
        for value in [&b""[..], b"line\nbreak", "é\u{0}".as_bytes(), &[0xff, 0xfe], &long] {
            set(&store, "KEY", value);
            assert_eq!(store.credential(DEFAULT_ID, "KEY").unwrap().unwrap().expose(), value);
        }
        assert!(store.credential(DEFAULT_ID, "OTHER").unwrap().is_none());
    }

    #[test]
    fn the_files_hold_no_plaintext() {
        let (dir, store) = scratch();
        set(&store, "KEY", b"sk_live_in_no_file_of_the_store");
        let mut bytes = Vec::new();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        assert!(bytes.windows(3).any(|window| window == b"KEY"));
        assert!(!bytes.windows(11).any(|window| window == b"sk_live_in_"));
    }

    #[test]
    fn deleting_is_all_or_nothing() {
        let (_dir, store) = scratch();
        set(&store, "A", b"1");
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
        let outcome = store.delete_credentials(DEFAULT_ID, &keys(&["A", "B"])).unwrap();
        assert_eq!(outcome, Err("B".to_owned()));
        assert_eq!(store.credential_keys(DEFAULT_ID).unwrap().len(), 1);
        assert_eq!(store.delete_credentials(DEFAULT_ID, &keys(&["A"])).unwrap(), Ok(()));
        assert!(store.credential_keys(DEFAULT_ID).unwrap().is_empty());
    }
}
