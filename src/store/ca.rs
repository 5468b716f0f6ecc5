//! The root's certificate and sealed key, as two files beside the database (contract C.2).
//!
//! Files, so that an operator can copy the certificate and an upgrade finds its root. One without the
//! other is an error and never a reason to make a new root: clients trust the old one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::seal::{Seal, Sealed};
use super::{Error, Store, create_private_dir};
use crate::secret::Secret;

const DIRECTORY: &str = "ca";
/// What a crash may leave of a root that was being stored; the next attempt writes over it.
const UNFINISHED: &str = "ca.new";
const CERTIFICATE: &str = "ca.crt.pem";
const KEY: &str = "ca.key.enc";

/// The key file's shape; the key is sealed without associated data.
#[derive(Deserialize, Serialize)]
struct KeyFile {
    nonce: String,
    ciphertext: String,
}

impl Store {
    /// The stored root: its certificate as PEM and its private key as SEC1 DER. `None` when there is none.
    pub fn load_ca(&self) -> Result<Option<(String, Secret)>, Error> {
        read_files(&self.dir)?.map(|files| files.open(&self.seal)).transpose()
    }

    /// Stores the first root. Both files appear at once, by the name of their directory: a crash leaves
    /// none, not one of them.
    pub fn save_ca(&self, certificate_pem: &str, key_sec1: &Secret) -> Result<(), Error> {
        let sealed = self.seal.seal(b"", key_sec1)?;
        let file =
            KeyFile { nonce: STANDARD.encode(sealed.nonce), ciphertext: STANDARD.encode(sealed.ciphertext) };
        let key = serde_json::to_vec(&file).map_err(|_| Error::Corrupt(KEY))?;
        write_pair(&self.dir, &RootFiles { certificate: certificate_pem.as_bytes().to_vec(), key })
    }
}

/// The two files as they are.
pub(super) struct RootFiles {
    pub(super) certificate: Vec<u8>,
    pub(super) key: Vec<u8>,
}

impl RootFiles {
    /// The certificate as PEM, and the key.
    pub(super) fn open(&self, seal: &Seal) -> Result<(String, Secret), Error> {
        let file: KeyFile = serde_json::from_slice(&self.key).map_err(|_| Error::Corrupt(KEY))?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| Error::Corrupt(KEY));
        let sealed = Sealed { nonce: decode(&file.nonce)?, ciphertext: decode(&file.ciphertext)? };
        let pem = String::from_utf8(self.certificate.clone()).map_err(|_| Error::Corrupt(CERTIFICATE))?;
        Ok((pem, seal.open(b"", &sealed)?))
    }
}

/// The root of the state in `state`, if it has one.
pub(super) fn read_files(state: &Path) -> Result<Option<RootFiles>, Error> {
    let dir = state.join(DIRECTORY);
    match (read_optional(&dir.join(CERTIFICATE))?, read_optional(&dir.join(KEY))?) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(RootFiles { certificate, key })),
        _ => Err(Error::HalfCa(dir.into())),
    }
}

/// Puts another root, or none, in the place of what is there.
pub(super) fn replace_files(state: &Path, root: Option<&RootFiles>) -> Result<(), Error> {
    let dir = state.join(DIRECTORY);
    match fs::remove_dir_all(&dir) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(Error::Io { path: dir.into(), cause });
        }
        _ => {}
    }
    root.map_or(Ok(()), |root| write_pair(state, root))
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::Io { path: path.into(), cause }),
    }
}

/// Writes both files below `state`, where there may be none yet.
fn write_pair(state: &Path, root: &RootFiles) -> Result<(), Error> {
    let (dir, unfinished) = (state.join(DIRECTORY), state.join(UNFINISHED));
    create_private_dir(&unfinished)?;
    let written = write_synced(&unfinished.join(KEY), 0o600, &root.key)
        .and_then(|()| write_synced(&unfinished.join(CERTIFICATE), 0o644, &root.certificate))
        .and_then(|()| File::open(&unfinished)?.sync_all())
        // An empty directory of that name gives way; one with a file in it does not.
        .and_then(|()| fs::rename(&unfinished, &dir))
        .and_then(|()| File::open(state)?.sync_all());
    written.map_err(|cause| Error::Io { path: dir.into(), cause })
}

fn write_synced(path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scratch;

    #[test]
    fn a_root_comes_back_and_its_key_is_sealed() {
        let (dir, store) = scratch();
        assert!(store.load_ca().unwrap().is_none());
        let key = Secret::from("the key in DER");
        store.save_ca("PEM", &key).unwrap();
        assert_eq!(store.load_ca().unwrap(), Some(("PEM".to_owned(), key)));
        let file = fs::read_to_string(dir.path().join("ca/ca.key.enc")).unwrap();
        assert!(file.starts_with("{\"nonce\":\"") && !file.contains(&STANDARD.encode("the key in DER")));
    }

    #[test]
    fn what_a_crash_left_of_a_root_is_in_nobodys_way() {
        let (dir, store) = scratch();
        fs::create_dir(dir.path().join(UNFINISHED)).unwrap();
        fs::write(dir.path().join(UNFINISHED).join(KEY), "half a k").unwrap();
        fs::create_dir(dir.path().join(DIRECTORY)).unwrap();
        assert!(store.load_ca().unwrap().is_none());
        store.save_ca("PEM", &Secret::from("k")).unwrap();
        assert!(store.load_ca().unwrap().is_some());
        assert!(store.save_ca("PEM 2", &Secret::from("k2")).is_err(), "a root is never written over");
        assert_eq!(store.load_ca().unwrap().unwrap().0, "PEM");
    }

    #[test]
    fn one_file_without_its_partner_is_an_error() {
        for name in [CERTIFICATE, KEY] {
            let (dir, store) = scratch();
            store.save_ca("PEM", &Secret::from("k")).unwrap();
            fs::remove_file(dir.path().join("ca").join(name)).unwrap();
            assert!(matches!(store.load_ca(), Err(Error::HalfCa(_))), "{name}");
        }
    }
}
