//! The data key, and everything sealed under it; nothing else sees a ciphertext.
//!
//! A random data key (DEK) seals values with AES-256-GCM, a fresh nonce each. With a master password
//! the DEK is wrapped by a key derived from it; without one it lies in the clear in the same row. A
//! sealed sentinel proves that an opened DEK is the right one (contract C.3).
//! Values are bound to their place by associated data, so a ciphertext moved to another row or vault
//! does not open.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rusqlite::{Connection, OptionalExtension, named_params};
use zeroize::Zeroizing;

use super::password::{self, COST, Cost, KEY_BYTES, SALT_BYTES};
use super::{Error, Timestamp, fresh};
use crate::secret::Secret;

/// What the sentinel says when it is opened with the right key.
const SENTINEL: &[u8] = b"agent-vault-master-key";

/// A sealed value: what may lie on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub nonce: Vec<u8>,
    /// The tag is appended.
    pub ciphertext: Vec<u8>,
}

/// The opened data key.
pub struct Seal {
    key: LessSafeKey,
}

impl Seal {
    fn new(dek: &Secret) -> Result<Self, Error> {
        let key = UnboundKey::new(&AES_256_GCM, dek.expose()).map_err(|_| Error::Corrupt("data key"))?;
        Ok(Self { key: LessSafeKey::new(key) })
    }

    /// Seals a value for the place named by `aad`.
    pub fn seal(&self, aad: &[u8], plain: &Secret) -> Result<Sealed, Error> {
        let mut nonce = [0; NONCE_LEN];
        fresh::fill(&mut nonce)?;
        // Room for the tag, so that the plaintext is not left behind by a reallocation.
        let mut buffer = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
        buffer.extend_from_slice(plain.expose());
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut buffer)
            .map_err(|_| Error::Crypto)?;
        Ok(Sealed { nonce: nonce.to_vec(), ciphertext: buffer })
    }

    /// Opens a value sealed for the same place.
    pub fn open(&self, aad: &[u8], sealed: &Sealed) -> Result<Secret, Error> {
        let nonce = Nonce::try_assume_unique_for_key(&sealed.nonce).map_err(|_| Error::Unsealable)?;
        let mut buffer = Zeroizing::new(sealed.ciphertext.clone());
        let plain =
            self.key.open_in_place(nonce, Aad::from(aad), &mut buffer).map_err(|_| Error::Unsealable)?;
        Ok(Secret::new(plain.to_vec()))
    }
}

/// Where the data key comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// No data key was made yet.
    Fresh,
    /// The data key lies in the clear.
    Passwordless,
    /// The data key is wrapped by a password.
    Password,
}

/// The one row that holds the data key.
struct MasterRow {
    sentinel: Sealed,
    wrapped: Option<(Sealed, Vec<u8>, Cost)>,
    plain: Option<Secret>,
}

pub(super) fn protection(connection: &Connection) -> Result<Protection, Error> {
    Ok(match read_row(connection)? {
        None => Protection::Fresh,
        Some(MasterRow { plain: Some(_), .. }) => Protection::Passwordless,
        Some(_) => Protection::Password,
    })
}

/// Opens the data key, making one first if there is none. The first writer wins: what is stored is read
/// back and opened, whoever stored it.
pub(super) fn unlock(
    connection: &Connection,
    password: Option<&Secret>,
    now: Timestamp,
) -> Result<Seal, Error> {
    let row = match read_row(connection)? {
        Some(row) => row,
        None => {
            create_row(connection, password, now)?;
            read_row(connection)?.ok_or(Error::Corrupt("master key"))?
        }
    };
    open_row(row, password).map(|(seal, _)| seal)
}

/// Opens what is stored, with the data key itself beside what seals with it.
fn open_row(row: MasterRow, password: Option<&Secret>) -> Result<(Seal, Secret), Error> {
    let dek = match (row.plain, row.wrapped, password) {
        // A password for a passwordless store is ignored (contract C.3).
        (Some(dek), _, _) => dek,
        (None, Some((sealed, salt, cost)), Some(password)) => {
            let wrapping = Seal::new(&password::derive(password, &salt, cost)?)?;
            wrapping.open(b"", &sealed).map_err(|_| Error::WrongPassword)?
        }
        (None, Some(_), None) => return Err(Error::PasswordNeeded),
        (None, None, _) => return Err(Error::Corrupt("master key")),
    };
    let seal = Seal::new(&dek)?;
    match seal.open(b"", &row.sentinel) {
        Ok(sentinel) if sentinel.expose() == SENTINEL => Ok((seal, dek)),
        _ => Err(Error::Corrupt("master key sentinel")),
    }
}

/// Wraps the data key for another password, or lays it in the clear. The key stays, and with it
/// everything sealed under it: one row is written.
pub(super) fn rewrap(
    connection: &Connection,
    old: Option<&Secret>,
    new: Option<&Secret>,
) -> Result<(), Error> {
    let row = read_row(connection)?.ok_or(Error::Corrupt("master key"))?;
    let (_, dek) = open_row(row, old)?;
    let wrapped = new.map(|password| wrap(&dek, password)).transpose()?;
    let cost = wrapped.as_ref().map(|_| COST);
    connection.execute(
        "UPDATE master_key SET dek_ciphertext = :dek, dek_nonce = :dek_nonce, dek_plaintext = :plain,
             salt = :salt, kdf_time = :time, kdf_memory = :memory, kdf_threads = :threads
         WHERE id = 1",
        named_params! {
            ":dek": wrapped.as_ref().map(|(sealed, _)| &sealed.ciphertext),
            ":dek_nonce": wrapped.as_ref().map(|(sealed, _)| &sealed.nonce),
            ":plain": wrapped.is_none().then(|| dek.expose()),
            ":salt": wrapped.as_ref().map(|(_, salt)| salt),
            ":time": cost.map(|cost| cost.time),
            ":memory": cost.map(|cost| cost.memory_kib),
            ":threads": cost.map(|cost| cost.threads),
        },
    )?;
    Ok(())
}

/// The data key sealed under a password, and the salt that goes with it.
fn wrap(dek: &Secret, password: &Secret) -> Result<(Sealed, Vec<u8>), Error> {
    let mut salt = vec![0; SALT_BYTES];
    fresh::fill(&mut salt)?;
    let wrapping = Seal::new(&password::derive(password, &salt, COST)?)?;
    Ok((wrapping.seal(b"", dek)?, salt))
}

fn create_row(connection: &Connection, password: Option<&Secret>, now: Timestamp) -> Result<(), Error> {
    let mut dek = Zeroizing::new([0; KEY_BYTES]);
    fresh::fill(dek.as_mut())?;
    let dek = Secret::new(dek.to_vec());
    let sentinel = Seal::new(&dek)?.seal(b"", &Secret::new(SENTINEL.to_vec()))?;
    let wrapped = password.map(|password| wrap(&dek, password)).transpose()?;
    let cost = wrapped.as_ref().map(|_| COST);
    connection.execute(
        "INSERT INTO master_key (id, sentinel, sentinel_nonce, dek_ciphertext, dek_nonce, dek_plaintext,
             salt, kdf_time, kdf_memory, kdf_threads, created_at)
         VALUES (1, :sentinel, :sentinel_nonce, :dek, :dek_nonce, :plain, :salt, :time, :memory, :threads, :now)
         ON CONFLICT (id) DO NOTHING",
        named_params! {
            ":sentinel": sentinel.ciphertext,
            ":sentinel_nonce": sentinel.nonce,
            ":dek": wrapped.as_ref().map(|(sealed, _)| &sealed.ciphertext),
            ":dek_nonce": wrapped.as_ref().map(|(sealed, _)| &sealed.nonce),
            ":plain": password.is_none().then(|| dek.expose()),
            ":salt": wrapped.as_ref().map(|(_, salt)| salt),
            ":time": cost.map(|cost| cost.time),
            ":memory": cost.map(|cost| cost.memory_kib),
            ":threads": cost.map(|cost| cost.threads),
            ":now": now,
        },
    )?;
    Ok(())
}

fn read_row(connection: &Connection) -> Result<Option<MasterRow>, Error> {
    let row = connection
        .query_row(
            "SELECT sentinel, sentinel_nonce, dek_ciphertext, dek_nonce, dek_plaintext, salt, kdf_time,
                 kdf_memory, kdf_threads
             FROM master_key WHERE id = 1",
            [],
            |row| {
                let ciphertext: Option<Vec<u8>> = row.get(2)?;
                let nonce: Option<Vec<u8>> = row.get(3)?;
                let salt: Option<Vec<u8>> = row.get(5)?;
                let wrapped = match (ciphertext, nonce, salt) {
                    (Some(ciphertext), Some(nonce), Some(salt)) => {
                        let cost = Cost { time: row.get(6)?, memory_kib: row.get(7)?, threads: row.get(8)? };
                        Some((Sealed { nonce, ciphertext }, salt, cost))
                    }
                    _ => None,
                };
                Ok(MasterRow {
                    sentinel: Sealed { ciphertext: row.get(0)?, nonce: row.get(1)? },
                    wrapped,
                    plain: row.get::<_, Option<Vec<u8>>>(4)?.map(Secret::new),
                })
            },
        )
        .optional()?;
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrate;

    fn database() -> Connection {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate::run(&mut connection, Timestamp::now()).unwrap();
        connection
    }

    fn open(connection: &Connection, password: Option<&str>) -> Result<Seal, Error> {
        unlock(connection, password.map(Secret::from).as_ref(), Timestamp::now())
    }

    #[test]
    fn a_password_opens_what_it_sealed_and_no_other_does() {
        let connection = database();
        assert_eq!(protection(&connection).unwrap(), Protection::Fresh);
        let sealed = open(&connection, Some("right")).unwrap().seal(b"a", &Secret::from("value")).unwrap();
        assert_eq!(protection(&connection).unwrap(), Protection::Password);
        let again = open(&connection, Some("right")).unwrap();
        assert_eq!(again.open(b"a", &sealed).unwrap(), Secret::from("value"));
        assert!(matches!(open(&connection, Some("wrong")), Err(Error::WrongPassword)));
        assert!(matches!(open(&connection, None), Err(Error::PasswordNeeded)));
    }

    #[test]
    fn another_password_opens_what_the_old_one_sealed() {
        let connection = database();
        let [first, second] = ["first", "second"].map(Secret::from);
        let sealed = open(&connection, Some("first")).unwrap().seal(b"a", &Secret::from("value")).unwrap();
        let wrong = Secret::from("wrong");
        assert!(matches!(rewrap(&connection, Some(&wrong), Some(&second)), Err(Error::WrongPassword)));
        assert!(matches!(rewrap(&connection, None, None), Err(Error::PasswordNeeded)));
        assert!(open(&connection, Some("first")).is_ok(), "a refused change changes nothing");
        let is_open = |password: Option<&str>| {
            open(&connection, password).and_then(|seal| seal.open(b"a", &sealed)).is_ok()
        };
        rewrap(&connection, Some(&first), Some(&second)).unwrap();
        assert!(is_open(Some("second")) && !is_open(Some("first")) && !is_open(None));
        rewrap(&connection, Some(&second), None).unwrap();
        assert_eq!(protection(&connection).unwrap(), Protection::Passwordless);
        assert!(is_open(None));
        rewrap(&connection, None, Some(&first)).unwrap();
        assert_eq!(protection(&connection).unwrap(), Protection::Password);
        assert!(is_open(Some("first")) && !is_open(None));
    }

    #[test]
    fn without_a_password_any_is_ignored() {
        let connection = database();
        let sealed = open(&connection, None).unwrap().seal(b"", &Secret::from("v")).unwrap();
        assert_eq!(protection(&connection).unwrap(), Protection::Passwordless);
        let again = open(&connection, Some("whatever")).unwrap();
        assert_eq!(again.open(b"", &sealed).unwrap(), Secret::from("v"));
    }

    #[test]
    fn nothing_opens_that_was_changed_moved_or_sealed_elsewhere() {
        let seal = open(&database(), None).unwrap();
        let value = Secret::from("v");
        let sealed = seal.seal(b"place", &value).unwrap();
        assert_ne!(sealed, seal.seal(b"place", &value).unwrap());
        assert!(seal.open(b"elsewhere", &sealed).is_err());
        assert!(open(&database(), None).unwrap().open(b"place", &sealed).is_err());
        for at in 0..sealed.ciphertext.len() {
            let mut changed = sealed.clone();
            changed.ciphertext[at] ^= 1;
            assert!(seal.open(b"place", &changed).is_err());
        }
        let short = Sealed { nonce: vec![0; 3], ..sealed };
        assert!(seal.open(b"place", &short).is_err());
    }
}
