//! Argon2id, for people's passwords and for the key that wraps the data key.

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::{Error, fresh};
use crate::secret::Secret;

/// Bytes of a derived key.
pub(super) const KEY_BYTES: usize = 32;

/// Bytes of a salt.
pub(super) const SALT_BYTES: usize = 16;

/// How costly a derivation is; kept beside what was derived, so that it can grow later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) time: u32,
    pub(super) memory_kib: u32,
    pub(super) threads: u32,
}

/// Contract C.3: three passes over 64 MiB in four lanes.
pub(super) const COST: Cost = Cost { time: 3, memory_kib: 65_536, threads: 4 };

/// A password as the store keeps it.
#[derive(Clone, Debug)]
pub struct PasswordHash {
    pub(super) hash: Secret,
    pub(super) salt: Vec<u8>,
    pub(super) cost: Cost,
}

impl PasswordHash {
    /// Derives a new hash. Takes a noticeable part of a second and 64 MiB, by design.
    pub fn new(password: &Secret) -> Result<Self, Error> {
        let mut salt = vec![0; SALT_BYTES];
        fresh::fill(&mut salt)?;
        Ok(Self { hash: derive(password, &salt, COST)?, salt, cost: COST })
    }

    /// Whether the password is the one that was hashed, in constant time.
    pub fn matches(&self, password: &Secret) -> Result<bool, Error> {
        Ok(derive(password, &self.salt, self.cost)? == self.hash)
    }
}

/// Does the work of a check that can only fail, so that an unknown address takes as long as a known one.
pub fn spend_a_check(password: &Secret) -> Result<(), Error> {
    derive(password, &[0; SALT_BYTES], COST).map(drop)
}

pub(super) fn derive(password: &Secret, salt: &[u8], cost: Cost) -> Result<Secret, Error> {
    let params = Params::new(cost.memory_kib, cost.time, cost.threads, Some(KEY_BYTES))
        .map_err(|_| Error::Corrupt("key derivation parameters"))?;
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.expose(), salt, key.as_mut())
        .map_err(|_| Error::Crypto)?;
    Ok(Secret::new(key.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_knows_its_password_only() {
        let hash = PasswordHash::new(&Secret::from("correct horse")).unwrap();
        assert!(hash.matches(&Secret::from("correct horse")).unwrap());
        assert!(!hash.matches(&Secret::from("correct horsf")).unwrap());
    }
}
