//! What a person's client keeps between commands: the saved login and the chosen vault (contract E.2).
//!
//! Here because the command line writes these files and `run` reads them. All of it is private: the
//! folder 0700, the files 0600. A file is written beside its place and renamed into it, so a reader
//! sees the old content or the new one and never a part.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use crate::failure::Failure;
use crate::json::json;
use crate::secret::Secret;

const SESSION: &str = "session.json";
const CONTEXT: &str = "context";
/// Names a project's vault; read from the working directory only.
const PROJECT: &str = "agent-vault.json";

/// `~/.agent-vault`, which may not exist yet.
#[derive(Clone, Debug)]
pub struct State {
    /// `None` when there is no home: then nothing is saved, and nothing can be.
    folder: Option<PathBuf>,
}

/// A saved login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub token: Secret,
    /// The broker it is good for.
    pub address: String,
    /// Missing in files of older clients, as is the label.
    pub email: Option<String>,
    pub device_label: Option<String>,
}

/// `session.json` as it is written.
#[derive(Deserialize, Serialize)]
struct SessionFile {
    token: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_label: Option<String>,
}

impl State {
    pub fn of(home: Option<&Path>) -> Self {
        Self { folder: home.map(|home| home.join(".agent-vault")) }
    }

    /// The saved login, which must be there.
    pub fn session(&self) -> Result<Session, Failure> {
        let absent = || Failure::new("not logged in, run 'agent-vault auth login' first");
        self.find_session()?.ok_or_else(absent)
    }

    /// The saved login, if there is one.
    pub fn find_session(&self) -> Result<Option<Session>, Failure> {
        let loading = |cause: &dyn std::fmt::Display| Failure::new(format!("loading session: {cause}"));
        let Some(folder) = &self.folder else { return Ok(None) };
        let bytes = match fs::read(folder.join(SESSION)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(loading(&error)),
            Ok(bytes) => Secret::new(bytes),
        };
        let file: SessionFile = serde_json::from_slice(bytes.expose()).map_err(|error| loading(&error))?;
        let SessionFile { token, address, email, device_label } = file;
        Ok(Some(Session { token: token.into(), address, email, device_label }))
    }

    pub fn save_session(&self, session: &Session) -> Result<(), Failure> {
        let mut file = SessionFile {
            token: session.token.expose_str().unwrap_or_default().to_owned(),
            address: session.address.clone(),
            email: session.email.clone(),
            device_label: session.device_label.clone(),
        };
        let bytes = serde_json::to_vec(&file).map(Zeroizing::new);
        file.token.zeroize();
        let bytes = bytes.map_err(|error| Failure::new(format!("saving session: {error}")))?;
        self.save(SESSION, &bytes)
    }

    /// Removes the saved login; it is no error when there is none.
    pub fn forget_session(&self) -> Result<(), Failure> {
        let Some(folder) = &self.folder else { return Ok(()) };
        match fs::remove_file(folder.join(SESSION)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::new(format!("removing {}: {error}", folder.join(SESSION).display())))
            }
            _ => Ok(()),
        }
    }

    /// The vault a person chose for this machine.
    pub fn context_vault(&self) -> Option<String> {
        let text = fs::read_to_string(self.folder.as_ref()?.join(CONTEXT)).ok()?;
        Some(text.trim().to_owned()).filter(|vault| !vault.is_empty())
    }

    pub fn save_context_vault(&self, vault: &str) -> Result<(), Failure> {
        self.save(CONTEXT, vault.as_bytes())
    }

    fn save(&self, name: &str, content: &[u8]) -> Result<(), Failure> {
        let Some(folder) = &self.folder else {
            return Err(Failure::new("HOME is not set").with_hint("set HOME to a writable directory"));
        };
        let failed = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| Failure::new(format!("writing {path}: {error}"))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed(folder))?;
        // An older client, or a person, may have left it open to others.
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed(folder))?;
        let path = folder.join(name);
        write_private(&path, content).map_err(failed(&path))
    }
}

/// The vault named by `./agent-vault.json`; missing or malformed is no answer.
pub fn project_vault() -> Option<String> {
    let file: Value = serde_json::from_slice(&fs::read(PROJECT).ok()?).ok()?;
    file.get("vault")?.as_str().filter(|vault| !vault.is_empty()).map(str::to_owned)
}

/// Writes `./agent-vault.json`.
pub fn save_project_vault(vault: &str) -> Result<(), Failure> {
    let content = json!({ "vault": vault });
    write_private(Path::new(PROJECT), format!("{content}\n").as_bytes())
        .map_err(|error| Failure::new(format!("writing {PROJECT}: {error}")))
}

/// Replaces a file whole, readable by its owner only.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let beside = PathBuf::from(beside);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // The first failure is the one to tell; without the file there is nothing to remove.
        fs::remove_file(&beside).unwrap_or(());
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    /// Contract J 113.
    #[test]
    fn files_are_private_even_in_a_folder_that_was_not() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".agent-vault");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let state = State::of(Some(home.path()));
        let session = Session {
            token: "av_sess_1".into(),
            address: "http://b".to_owned(),
            email: Some("a@b.c".to_owned()),
            device_label: None,
        };
        state.save_session(&session).unwrap();
        state.save_context_vault("shop").unwrap();
        assert_eq!(mode(&folder), 0o700);
        for name in [SESSION, CONTEXT] {
            assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
        assert_eq!(state.session().unwrap(), session);
        assert_eq!(state.context_vault().as_deref(), Some("shop"));
        state.forget_session().unwrap();
        state.forget_session().unwrap();
        assert_eq!(state.find_session(), Ok(None));
    }

    #[test]
    fn a_session_without_the_optional_keys_loads() {
        let home = tempfile::tempdir().unwrap();
        let state = State::of(Some(home.path()));
        let path = home.path().join(".agent-vault").join(SESSION);
        fs::create_dir(home.path().join(".agent-vault")).unwrap();
        fs::write(&path, r#"{"token":"t","address":"http://b"}"#).unwrap();
        assert_eq!(state.session().unwrap().email, None);
        fs::write(&path, "{").unwrap();
        assert!(state.session().unwrap_err().message().starts_with("loading session: "));
    }

    #[test]
    fn without_a_home_nobody_is_logged_in() {
        let state = State::of(None);
        let text = "not logged in, run 'agent-vault auth login' first";
        assert_eq!(state.session().unwrap_err().message(), text);
        assert_eq!(state.save_context_vault("x").unwrap_err().message(), "HOME is not set");
    }

    #[test]
    fn a_failed_write_leaves_nothing_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("a-folder");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("full"), "").unwrap();
        assert!(write_private(&taken, b"x").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
