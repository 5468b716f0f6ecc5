//! What a command may know of its surroundings: variables, terminal, home.
//!
//! The environment comes in as a function, so a test passes a map and nothing else is read.

use std::io::IsTerminal;
use std::path::PathBuf;

use crate::failure::Failure;

/// A command's surroundings.
pub struct World<'a> {
    var: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> World<'a> {
    pub fn new(var: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { var }
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<String> {
        (self.var)(name).filter(|value| !value.is_empty())
    }

    /// Where the client keeps its state (contract E.2).
    pub fn client_dir(&self) -> Result<PathBuf, Failure> {
        match self.var("HOME") {
            Some(home) => Ok(PathBuf::from(home).join(".agent-vault")),
            None => Err(Failure::new("HOME is not set").with_hint("set HOME to a writable directory")),
        }
    }

    /// Whether a person may be asked.
    pub fn is_interactive(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }
}
