//! Where the configuration document is, and reading it.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::document::{self, Document, Problem};
use crate::failure::Failure;
use crate::vault::service::InternalNames;

/// Longest document; ten thousand services are shorter.
const MAX_DOCUMENT_BYTES: u64 = 4 * 1024 * 1024;

/// Where the configuration is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    File(PathBuf),
    /// In `AGENT_VAULT_CONFIG` itself.
    Inline(String),
}

/// A document that cannot be used: every reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// Where the document is, as a person named it.
    pub source: String,
    pub problems: Vec<Problem>,
}

impl Source {
    /// Reads what `AGENT_VAULT_CONFIG` holds: a path, or the document itself.
    pub fn of_variable(text: String) -> Self {
        if text.trim_start().starts_with('{') { Self::Inline(text) } else { Self::File(text.into()) }
    }

    /// The same place, whatever becomes of the working directory.
    #[must_use]
    pub(super) fn fixed(self) -> Self {
        match self {
            Self::File(path) => Self::File(std::path::absolute(&path).unwrap_or(path)),
            inline @ Self::Inline(_) => inline,
        }
    }

    /// Reads and judges the document.
    pub fn read(&self, internal: InternalNames) -> Result<Document, Unusable> {
        let problems = match self {
            Self::Inline(text) => return document::parse(text, internal).map_err(|all| self.unusable(all)),
            Self::File(path) => match read_text(path, MAX_DOCUMENT_BYTES) {
                Ok(text) => return document::parse(&text, internal).map_err(|all| self.unusable(all)),
                Err(error) => vec![Problem::new("", error.to_string())],
            },
        };
        Err(self.unusable(problems))
    }

    /// Says that these are the reasons why the document is of no use.
    pub fn unusable(&self, problems: Vec<Problem>) -> Unusable {
        Unusable { source: self.to_string(), problems }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Inline(_) => f.write_str("AGENT_VAULT_CONFIG"),
        }
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.problems.as_slice() {
            return write!(f, "{}: {only}", self.source);
        }
        write!(f, "{}: {} problems", self.source, self.problems.len())?;
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl Unusable {
    /// The reason not to start.
    pub fn failure(&self) -> Failure {
        Failure::new(self.to_string())
            .with_hint("agent-vault check tells whether a configuration is good, without starting anything")
    }
}

/// Reads a file of at most this size whole.
pub(super) fn read_bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("longer than {most} bytes")));
    }
    Ok(bytes)
}

fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read_bytes(path, most)?).map_err(|_| io::Error::other("not UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_holds_a_path_or_the_document() {
        assert_eq!(Source::of_variable("/c.json".to_owned()), Source::File("/c.json".into()));
        let text = "\n {\"services\": []}".to_owned();
        let inline = Source::of_variable(text.clone());
        assert_eq!(inline, Source::Inline(text));
        assert_eq!(inline.to_string(), "AGENT_VAULT_CONFIG");
        assert!(inline.read(InternalNames::Refused).is_ok());
    }

    #[test]
    fn all_reasons_are_one_text() {
        let one = Source::Inline("{}".to_owned()).read(InternalNames::Refused).unwrap_err();
        assert_eq!(one.to_string(), "AGENT_VAULT_CONFIG: services: missing: the list of services");
        let two = Source::Inline("{\"vault\": 1}".to_owned()).read(InternalNames::Refused).unwrap_err();
        assert_eq!(
            two.to_string(),
            "AGENT_VAULT_CONFIG: 2 problems\n  vault: not a text\n  services: missing: the list of services"
        );
        let gone = Source::File("/nowhere/c.json".into()).read(InternalNames::Refused).unwrap_err();
        assert!(gone.to_string().starts_with("/nowhere/c.json: No such file"), "{gone}");
    }
}
