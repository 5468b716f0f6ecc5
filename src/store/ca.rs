//! The root's certificate and sealed key, as two files beside the database (contract C.2).
//!
//! Files, so that an operator can copy the certificate and an upgrade finds its root. One without the
//! other is an error and never a reason to make a new root: clients trust the old one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::seal::Sealed;
use super::{Error, Store, create_private_dir};
use crate::secret::Secret;

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
        let dir = self.ca_dir();
        let certificate = read_optional(&dir.join(CERTIFICATE))?;
        let key = read_optional(&dir.join(KEY))?;
        let (certificate, key) = match (certificate, key) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            _ => return Err(Error::HalfCa(dir)),
        };
        let file: KeyFile = serde_json::from_slice(&key).map_err(|_| Error::Corrupt(KEY))?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| Error::Corrupt(KEY));
        let sealed = Sealed { nonce: decode(&file.nonce)?, ciphertext: decode(&file.ciphertext)? };
        let pem = String::from_utf8(certificate).map_err(|_| Error::Corrupt(CERTIFICATE))?;
        Ok(Some((pem, self.seal.open(b"", &sealed)?)))
    }

    /// Stores a root. The key comes first: a crash between the two is then told by [`Error::HalfCa`]
    /// before any client has seen the certificate.
    pub fn save_ca(&self, certificate_pem: &str, key_sec1: &Secret) -> Result<(), Error> {
        let dir = self.ca_dir();
        create_private_dir(&dir)?;
        let sealed = self.seal.seal(b"", key_sec1)?;
        let file =
            KeyFile { nonce: STANDARD.encode(sealed.nonce), ciphertext: STANDARD.encode(sealed.ciphertext) };
        let json = serde_json::to_vec(&file).map_err(|_| Error::Corrupt(KEY))?;
        write_whole(&dir, KEY, 0o600, &json)?;
        write_whole(&dir, CERTIFICATE, 0o644, certificate_pem.as_bytes())
    }

    fn ca_dir(&self) -> PathBuf {
        self.dir.join("ca")
    }
}

fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::Io { path: path.to_owned(), cause }),
    }
}

/// Writes a file so that it is either the old one or the whole new one.
fn write_whole(dir: &Path, name: &str, mode: u32, bytes: &[u8]) -> Result<(), Error> {
    let path = dir.join(name);
    let temporary = dir.join(format!("{name}.tmp"));
    let written = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, &path))
        .and_then(|()| File::open(dir)?.sync_all());
    written.map_err(|cause| Error::Io { path, cause })
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
    fn one_file_without_its_partner_is_an_error() {
        for name in [CERTIFICATE, KEY] {
            let (dir, store) = scratch();
            store.save_ca("PEM", &Secret::from("k")).unwrap();
            fs::remove_file(dir.path().join("ca").join(name)).unwrap();
            assert!(matches!(store.load_ca(), Err(Error::HalfCa(_))), "{name}");
        }
    }
}
