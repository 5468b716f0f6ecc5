//! What a command may know of its surroundings: variables, terminal, home.
//!
//! The environment comes in as a function, so a test passes a map and nothing else is read.

use std::io::IsTerminal;
use std::path::Path;

use crate::client::state::State;
use crate::failure::Failure;
use crate::log::Format;

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

    /// How a program that stays writes its log (`AGENT_VAULT_LOG_FORMAT`).
    pub fn log_format(&self) -> Result<Format, Failure> {
        let Some(text) = self.var("AGENT_VAULT_LOG_FORMAT") else { return Ok(Format::Text) };
        Format::parse(&text).ok_or_else(|| {
            Failure::usage(format!("AGENT_VAULT_LOG_FORMAT: {text:?} is neither text nor json"))
        })
    }

    /// What the client keeps between commands.
    pub fn state(&self) -> State {
        State::of(self.var("HOME").as_deref().map(Path::new))
    }

    /// Whether a person reads the results, and no program.
    pub fn is_read_by_a_person(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    /// Whether results may be coloured: on a terminal, unless a person said otherwise.
    pub fn wants_colour(&self) -> bool {
        self.is_read_by_a_person()
            && self.var("NO_COLOR").is_none()
            && self.var("TERM").is_none_or(|term| term != "dumb")
    }

    /// Whether nothing but a person can be at the other end of stdin.
    pub fn is_stdin_a_terminal(&self) -> bool {
        std::io::stdin().is_terminal()
    }

    /// Whether a person may be asked.
    pub fn is_interactive(&self) -> bool {
        self.is_stdin_a_terminal() && std::io::stderr().is_terminal()
    }
}
