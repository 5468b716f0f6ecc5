//! The values of the credentials: from the environment, from files, or sealed in the document.
//!
//! What the environment holds is taken out of it once, at the start, before the child's is built; files are
//! read again at every reload. A credential that is nowhere is told with all others that are.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroize as _;

use super::document::{Document, Origin, Problem};
use super::sealed::{Closed, Key};
use super::source::read_bytes;
use crate::secret::Secret;

/// Where container platforms put secrets, one file each.
const SECRETS: &str = "/run/secrets";

/// Largest credential: a request's head could not carry more.
const MAX_VALUE_BYTES: u64 = 1024 * 1024;

/// Where values come from, beside the document.
pub(super) struct Places {
    /// Variables, taken out of the environment.
    variables: HashMap<String, Secret>,
    key: Option<Key>,
    /// The working directory of the start: relative paths stay what they were.
    base: PathBuf,
    secrets: PathBuf,
}

/// Where a credential's value is looked for, the first place first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place<'d> {
    Variable(&'d str),
    File(PathBuf),
    Sealed(&'d str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Sealed(_) => f.write_str("sealed, with AGENT_VAULT_KEY"),
        }
    }
}

impl Places {
    pub(super) fn new(base: PathBuf, key: Option<Key>) -> Self {
        Self { variables: HashMap::new(), key, base, secrets: PathBuf::from(SECRETS) }
    }

    /// Takes the variables that hold this document's credentials out of an environment; their names with
    /// those of the credentials. The bytes are wiped where they were.
    pub(super) fn take(
        &mut self,
        document: &Document,
        environment: &mut Vec<OsString>,
    ) -> Vec<(String, String)> {
        let mut taken = Vec::new();
        for key in document.keys() {
            for place in self.of(document, key) {
                let Place::Variable(name) = place else { continue };
                let found = take_variable(environment, name).or_else(|| self.variables.get(name).cloned());
                if let Some(value) = found {
                    self.variables.insert(name.to_owned(), value);
                    taken.push((name.to_owned(), key.to_owned()));
                }
            }
        }
        taken
    }

    /// Every value, by credential; or where each that is missing was looked for.
    pub(super) fn open(&self, document: &Document) -> Result<HashMap<String, Secret>, Vec<Problem>> {
        let mut values = HashMap::new();
        let mut problems = Vec::new();
        for key in document.keys() {
            match self.value(document, key) {
                Ok(value) => drop(values.insert(key.to_owned(), value)),
                Err(what) => problems.push(Problem::new(format!("credentials.{key}"), what)),
            }
        }
        if problems.is_empty() { Ok(values) } else { Err(problems) }
    }

    /// The files this document's values are read from.
    pub(super) fn files(&self, document: &Document) -> Vec<PathBuf> {
        let places = document.keys().into_iter().flat_map(|key| self.of(document, key));
        let files = places.filter_map(|place| match place {
            Place::File(path) => Some(path),
            Place::Variable(_) | Place::Sealed(_) => None,
        });
        files.collect()
    }

    /// A file of the document, whatever the working directory is by now.
    pub(super) fn path(&self, named: &Path) -> PathBuf {
        self.base.join(named)
    }

    /// Where a credential's value is looked for.
    pub(super) fn of<'d>(&self, document: &'d Document, key: &'d str) -> Vec<Place<'d>> {
        match document.credentials.get(key) {
            Some(Origin::Env(name)) => vec![Place::Variable(name)],
            Some(Origin::File(path)) => vec![Place::File(self.path(path))],
            Some(Origin::Sealed(text)) => vec![Place::Sealed(text)],
            None => vec![Place::Variable(key), Place::File(self.secrets.join(key))],
        }
    }

    /// One value, or why there is none.
    fn value(&self, document: &Document, key: &str) -> Result<Secret, String> {
        let mut missing = Vec::new();
        for place in self.of(document, key) {
            let value = match place {
                Place::Variable(name) => match self.variables.get(name) {
                    Some(value) => return Ok(value.clone()),
                    None => Err(format!("the variable {name} was not set at the start")),
                },
                Place::File(path) => read_value(&path),
                Place::Sealed(text) => self.unseal(key, text),
            };
            match value {
                Ok(value) => return Ok(value),
                Err(what) => missing.push(what),
            }
        }
        Err(missing.join(", and "))
    }

    fn unseal(&self, key: &str, text: &str) -> Result<Secret, String> {
        let Some(sealing) = &self.key else {
            return Err("is sealed, and neither AGENT_VAULT_KEY nor AGENT_VAULT_KEY_FILE is set".to_owned());
        };
        sealing.open(key, text).map_err(|closed| match closed {
            Closed::Malformed => "is not a text that agent-vault seal printed".to_owned(),
            Closed::Other => {
                "does not open: it was sealed with another key, or for a credential of another name"
                    .to_owned()
            }
        })
    }
}

/// What the child finds in place of a credential, so that a program which insists on one starts.
pub(super) fn placeholder(key: &str) -> String {
    format!("__{}__", key.to_ascii_lowercase())
}

/// Takes every entry of a variable out of an environment; the first counts, as in C. An empty one is none.
pub(super) fn take_variable(environment: &mut Vec<OsString>, name: &str) -> Option<Secret> {
    let mut first = None;
    environment.retain_mut(|entry| {
        let bytes = entry.as_bytes();
        let Some(value) = bytes.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) else {
            return true;
        };
        first.get_or_insert_with(|| Secret::new(value.to_vec()));
        std::mem::take(entry).into_vec().zeroize();
        false
    });
    first.filter(|value| !value.is_empty())
}

fn read_value(path: &Path) -> Result<Secret, String> {
    let bytes = read_bytes(path, MAX_VALUE_BYTES).map_err(|error| format!("{}: {error}", path.display()))?;
    let value = Secret::without_line_break(bytes);
    if value.is_empty() { Err(format!("{}: the file is empty", path.display())) } else { Ok(value) }
}

/// Credentials of a document, each with a value that stands for its own.
pub(super) fn stand_ins(document: &Document) -> HashMap<String, Secret> {
    let keys = document.keys().into_iter();
    keys.map(|key| (key.to_owned(), Secret::from(placeholder(key)))).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::document::parse;
    use super::super::sealed;
    use super::*;
    use crate::vault::service::InternalNames;

    fn document(credentials: &str) -> Document {
        let text = format!(
            r#"{{"credentials": {credentials}, "services": [{{"name": "api", "host": "x.com",
                "auth": {{"type": "basic", "username": "USER_NAME", "password": "PASS"}}}}]}}"#
        );
        parse(&text, InternalNames::Refused).unwrap()
    }

    fn environment(entries: &[&str]) -> Vec<OsString> {
        entries.iter().map(OsString::from).collect()
    }

    #[test]
    fn variables_are_taken_out_of_the_environment() {
        let document = document(r#"{"PASS": {"env": "app.pass"}, "MORE": {"env": "GONE"}}"#);
        let mut environment = environment(&[
            "A=1",
            "USER_NAME=me",
            "app.pass=s3cret=",
            "USER_NAME=twice",
            "PASS=kept",
            "GONE=",
        ]);
        let mut places = Places::new("/".into(), None);
        let taken = places.take(&document, &mut environment);
        assert_eq!(environment, ["A=1", "PASS=kept"]);
        let pairs: Vec<_> = taken.iter().map(|(name, key)| (name.as_str(), key.as_str())).collect();
        assert_eq!(pairs, [("app.pass", "PASS"), ("USER_NAME", "USER_NAME")]);
        let problems = places.open(&document).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].to_string(), "credentials.MORE: the variable GONE was not set at the start");
    }

    #[test]
    fn what_is_nowhere_is_told_with_every_place() {
        let mut places = Places::new("/".into(), None);
        places.secrets = "/nowhere".into();
        let document = document(r#"{"PASS": {"sealed": "av1.x"}, "MORE": {"file": "gone"}}"#);
        let told: Vec<String> = places.open(&document).unwrap_err().iter().map(ToString::to_string).collect();
        let no_file = "No such file or directory (os error 2)";
        assert_eq!(
            told,
            [
                format!("credentials.MORE: /gone: {no_file}"),
                "credentials.PASS: is sealed, and neither AGENT_VAULT_KEY nor AGENT_VAULT_KEY_FILE is set"
                    .to_owned(),
                format!(
                    "credentials.USER_NAME: the variable USER_NAME was not set at the start, and \
                     /nowhere/USER_NAME: {no_file}"
                ),
            ]
        );
    }

    #[test]
    fn files_lose_one_line_break_and_sealed_values_open() {
        let dir = std::env::temp_dir().join(format!("agent-vault-places-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("pass"), "p\n\r\n").unwrap();
        fs::write(dir.join("USER_NAME"), "me").unwrap();
        let key = Key::parse(&sealed::generate().unwrap()).unwrap();
        let text = key.seal("OLD", &Secret::from("old")).unwrap();
        let mut places = Places::new(dir.clone(), Some(key));
        places.secrets.clone_from(&dir);
        let document = document(&format!(r#"{{"PASS": {{"file": "pass"}}, "OLD": {{"sealed": "{text}"}}}}"#));
        let values = places.open(&document).unwrap();
        assert_eq!(values["PASS"], Secret::from("p\n"));
        assert_eq!(values["USER_NAME"], Secret::from("me"));
        assert_eq!(values["OLD"], Secret::from("old"));
        assert_eq!(places.files(&document), [dir.join("pass"), dir.join("USER_NAME")]);
        fs::write(dir.join("pass"), "\n").unwrap();
        assert!(places.open(&document).is_err());
        fs::remove_dir_all(dir).unwrap();
    }
}
