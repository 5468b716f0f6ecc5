//! The broker token: where it comes from and what it is now.
//!
//! A value from the environment stays what it was. A file is read again when it changes, when the broker
//! has refused what was read, or when an operator says so, so that a rotation needs no restart. Where a
//! file is a link that is turned to another (as Kubernetes replaces secrets), the turn is the change.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::failure::Failure;
use crate::log_event;
use crate::secret::Secret;

/// Largest token file; a token has 72 bytes.
const MAX_FILE_BYTES: u64 = 4096;

/// Where the operator put the token.
#[derive(Clone, Debug)]
pub enum Source {
    Value(Secret),
    /// `AGENT_VAULT_TOKEN_FILE`.
    File(PathBuf),
}

impl Source {
    /// The variable a message about this token names.
    pub fn variable(&self) -> &'static str {
        match self {
            Self::Value(_) => "AGENT_VAULT_TOKEN",
            Self::File(_) => "AGENT_VAULT_TOKEN_FILE",
        }
    }

    /// Reads the token for the first time.
    pub fn open(self) -> Result<Token, Failure> {
        let (file, current) = match self {
            Self::Value(secret) => (None, (secret, None)),
            Self::File(path) => {
                // It is read again after the working directory has been left.
                let path = std::path::absolute(&path).unwrap_or(path);
                let read = read(&path).map_err(|error| {
                    Failure::new(format!("AGENT_VAULT_TOKEN_FILE: {}: {error}", path.display()))
                })?;
                (Some(path), read)
            }
        };
        Ok(Token { file, current: Mutex::new(current), is_stale: AtomicBool::new(false) })
    }
}

/// The token as it is now.
#[derive(Debug)]
pub struct Token {
    file: Option<PathBuf>,
    /// The token and the state of the file it was read from.
    current: Mutex<(Secret, Option<Stamp>)>,
    /// The file is to be read again, whatever it looks like.
    is_stale: AtomicBool,
}

/// What tells one state of a file from another: which file it is, its size and when it was changed, in
/// seconds and nanoseconds. The clock of a file system may be coarse, hence more than the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl From<fs::Metadata> for Stamp {
    fn from(found: fs::Metadata) -> Self {
        let file = (found.dev(), found.ino());
        Self { file, size: found.size(), changed: (found.mtime(), found.mtime_nsec()) }
    }
}

impl Token {
    /// A token that never changes: one that was minted for this run.
    pub fn fixed(secret: Secret) -> Self {
        Self { file: None, current: Mutex::new((secret, None)), is_stale: AtomicBool::new(false) }
    }

    /// The token, read again first if its file has changed.
    pub fn current(&self) -> Secret {
        if let Some(path) = &self.file {
            let stamp = stamp(path);
            let known = self.current.lock().unwrap_or_else(PoisonError::into_inner).1;
            if self.is_stale.swap(false, Ordering::AcqRel) || (stamp.is_some() && stamp != known) {
                self.reread(path);
            }
        }
        self.current.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    /// Has the file read again before the token is used the next time.
    pub fn read_again(&self) {
        self.is_stale.store(true, Ordering::Release);
    }

    /// After the broker refused `refused`: another token, if there is one by now.
    pub fn other_than(&self, refused: &Secret) -> Option<Secret> {
        self.reread(self.file.as_deref()?);
        Some(self.current()).filter(|current| current != refused)
    }

    fn reread(&self, path: &Path) {
        // No lock is held while the file is read; two readers at once leave the same result.
        match read(path) {
            Ok(read) => *self.current.lock().unwrap_or_else(PoisonError::into_inner) = read,
            // A rotation may remove the file for a moment; the old token may still be good.
            Err(error) => {
                log_event!(Warn, "cannot read the token file again", cause = error);
                let stamp = stamp(path);
                self.current.lock().unwrap_or_else(PoisonError::into_inner).1 = stamp;
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    fs::metadata(path).map(Stamp::from).ok()
}

fn read(path: &Path) -> io::Result<(Secret, Option<Stamp>)> {
    let file = fs::File::open(path)?;
    let stamp = Some(file.metadata()?.into());
    let mut bytes = Vec::new();
    let outcome = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes);
    let whole = Secret::new(bytes);
    outcome?;
    let token = whole.expose().trim_ascii();
    if token.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
    }
    if whole.len() as u64 > MAX_FILE_BYTES || !token.iter().all(u8::is_ascii_graphic) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file does not hold a token"));
    }
    Ok((Secret::new(token.to_vec()), stamp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_again_when_it_changes_and_when_the_token_was_refused() {
        let path = std::env::temp_dir().join(format!("agent-vault-token-{}", std::process::id()));
        fs::write(&path, "first\n").unwrap();
        let token = Source::File(path.clone()).open().unwrap();
        assert_eq!(token.current(), Secret::from("first"));
        fs::write(&path, " second \n").unwrap();
        let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let age =
            |path: &Path| fs::File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
        age(&path);
        assert_eq!(token.current(), Secret::from("second"));
        // Written anew within the clock's resolution: only a refusal shows it, or being told.
        for (text, name) in [("fourth\n\n\n", "fourth"), ("third\n\n\n\n", "third")] {
            let before = token.current();
            fs::write(&path, text).unwrap();
            age(&path);
            assert_eq!(token.current(), before);
            if name == "third" {
                assert_eq!(token.other_than(&before), Some(Secret::from("third")));
            } else {
                token.read_again();
                assert_eq!(token.current(), Secret::from("fourth"));
            }
        }
        assert_eq!(token.other_than(&Secret::from("third")), None);
        // An unreadable file leaves the last token in use.
        for bad in ["", "\n", "two words", &"x".repeat(5000)] {
            fs::write(&path, bad).unwrap();
            assert_eq!(token.current(), Secret::from("third"), "{bad:?}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(token.current(), Secret::from("third"));
        assert!(Source::File(path).open().is_err());
    }

    /// As Kubernetes does it: the name is a link through a link, and the second one is turned.
    #[test]
    fn a_link_that_is_turned_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, at(name)).unwrap();
        let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("token"), text).unwrap();
            let file = fs::File::options().write(true).open(at(version).join("token")).unwrap();
            file.set_modified(later).unwrap();
        }
        link("..1", "..data");
        link("..data/token", "token");
        let token = Source::File(at("token")).open().unwrap();
        assert_eq!(token.current(), Secret::from("one"));
        link("..2", "..data_tmp");
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_eq!(token.current(), Secret::from("two"));
    }

    #[test]
    fn a_value_never_changes() {
        let token = Source::Value(Secret::from("t")).open().unwrap();
        assert_eq!(token.current(), Secret::from("t"));
        assert_eq!(token.other_than(&Secret::from("t")), None);
    }
}
