//! The broker token: where it comes from and what it is now.
//!
//! A value from the environment stays what it was. A file is read again when it changes or when the
//! broker has refused what was read, so that a rotation needs no restart.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

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
        Ok(Token { file, current: Mutex::new(current) })
    }
}

/// The token as it is now.
#[derive(Debug)]
pub struct Token {
    file: Option<PathBuf>,
    /// The token and the modification time of the file it was read from.
    current: Mutex<(Secret, Option<SystemTime>)>,
}

impl Token {
    /// A token that never changes: one that was minted for this run.
    pub fn fixed(secret: Secret) -> Self {
        Self { file: None, current: Mutex::new((secret, None)) }
    }

    /// The token, read again first if its file has changed.
    pub fn current(&self) -> Secret {
        if let Some(path) = &self.file {
            let changed = modified(path);
            let known = self.current.lock().unwrap_or_else(PoisonError::into_inner).1;
            if changed.is_some() && changed != known {
                self.reread(path);
            }
        }
        self.current.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
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
                let changed = modified(path);
                self.current.lock().unwrap_or_else(PoisonError::into_inner).1 = changed;
            }
        }
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

fn read(path: &Path) -> io::Result<(Secret, Option<SystemTime>)> {
    let file = fs::File::open(path)?;
    let changed = file.metadata()?.modified().ok();
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
    Ok((Secret::new(token.to_vec()), changed))
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
        let later = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(token.current(), Secret::from("second"));
        // Written anew within the clock's resolution: only a refusal shows it.
        fs::write(&path, "third").unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(token.current(), Secret::from("second"));
        assert_eq!(token.other_than(&Secret::from("second")), Some(Secret::from("third")));
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

    #[test]
    fn a_value_never_changes() {
        let token = Source::Value(Secret::from("t")).open().unwrap();
        assert_eq!(token.current(), Secret::from("t"));
        assert_eq!(token.other_than(&Secret::from("t")), None);
    }
}
