//! What a person is told when something of ours does not work, and the exit code that goes with it.
//!
//! A [`Failure`] says what failed and why, in one line, and what to do next where that helps. It is
//! built where the reason is known and printed once, by `main`.

use std::fmt;
use std::process::ExitCode;

/// How a command of ours can end (design 7). A child's own status is passed on as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Success,
    /// A command other than `run` failed.
    Failed,
    /// The command line cannot be understood.
    Usage,
    /// `apply --dry-run --exit-code` found changes to make.
    Pending,
    /// `check` found that the request would be refused.
    Refused,
    /// `run` itself failed; no child was started.
    RunFailed,
    /// The command exists and cannot be executed.
    NotExecutable,
    /// The command does not exist.
    NotFound,
    /// The child's status: its exit code, or 128 + signal.
    Child(u8),
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Pending | Self::Refused => 3,
            Self::RunFailed => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Child(code) => code,
        }
    }
}

/// What each code of ours says: the table that `help exit-codes` and docs/exit-codes.md print. What a wrapped
/// command ends with is its own affair.
pub const EXITS: &[(Exit, &str)] = &[
    (Exit::Success, "Done; nothing to do; or a question was answered with no, and nothing was changed."),
    (Exit::Failed, "It failed; `doctor` and `health` found something wrong."),
    (Exit::Usage, "The command line is wrong, or asks for a terminal that is not there. Nothing was done."),
    (Exit::Pending, "`apply --dry-run --exit-code`: there is something to change."),
    (Exit::Refused, "`check`: the request would be refused."),
    (Exit::RunFailed, "`run`: no command was started, be it that its own command line is wrong."),
    (Exit::NotExecutable, "`run`: the command exists and cannot be executed."),
    (Exit::NotFound, "`run`: the command does not exist."),
];

/// What else `run` can end with.
pub const EXIT_OF_A_CHILD: &str = "Once its command has started, `run` ends with the command's own code, or 128 and the number of the signal \
     that ended it; `--exit-code-map` replaces codes.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure as a person sees it. Boxed: a thousand places hand one on, each with code for all that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(Box<Told>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    message: String,
    hint: Option<String>,
    exit: Exit,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Told { message: message.into(), hint: None, exit: Exit::Failed }))
    }

    /// The command line is wrong: exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message).with_exit(Exit::Usage)
    }

    /// Adds the next step, printed on a line of its own.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub fn with_exit(mut self, exit: Exit) -> Self {
        self.0.exit = exit;
        self
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    pub fn exit(&self) -> Exit {
        self.0.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let codes = [
            (Exit::Success, 0),
            (Exit::Failed, 1),
            (Exit::Usage, 2),
            (Exit::Pending, 3),
            (Exit::Refused, 3),
            (Exit::RunFailed, 125),
            (Exit::NotExecutable, 126),
            (Exit::NotFound, 127),
            (Exit::Child(7), 7),
        ];
        for (exit, code) in codes {
            assert_eq!(exit.code(), code);
        }
        // Each is explained, except a child's own.
        let explained: Vec<Exit> = EXITS.iter().map(|(exit, _)| *exit).collect();
        assert_eq!(explained, codes.map(|(exit, _)| exit)[..codes.len() - 1]);
    }

    #[test]
    fn a_hint_stands_on_its_own_line() {
        let failure =
            Failure::new("cannot listen on 127.0.0.1:1: address in use").with_hint("choose another port");
        assert_eq!(
            failure.to_string(),
            "cannot listen on 127.0.0.1:1: address in use\nhint: choose another port"
        );
    }
}
