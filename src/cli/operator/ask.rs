//! What a person is asked, and what comes through stdin in a person's place.
//!
//! A question is asked at the terminal itself, so that stdout holds results alone.

use std::io::{self, BufRead as _, Read as _};

use super::World;
use crate::cli::stdin::unreadable;
pub(super) use crate::cli::stdin::{MAX_INPUT_BYTES, stdin, stdin_bytes};
use crate::failure::Failure;
use crate::secret::Secret;
use crate::sys::prompt::{self, Echo};

/// Longest line that is taken for a password.
const MAX_LINE_BYTES: u64 = 4096;

/// A person's yes or no to something that cannot be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    Given,
    Declined,
}

/// Asks for a y; anything else declines.
pub(super) fn consent(world: &World<'_>, is_given: bool, question: &str) -> Result<Consent, Failure> {
    consent_by(world, is_given, &format!("{question} [y/N] "), |answer| {
        answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
    })
}

/// Asks for the name of what is to go.
pub(super) fn consent_by_name(
    world: &World<'_>,
    is_given: bool,
    question: &str,
    name: &str,
) -> Result<Consent, Failure> {
    consent_by(world, is_given, &format!("{question} Type its name to confirm: "), |answer| answer == name)
}

fn consent_by(
    world: &World<'_>,
    is_given: bool,
    prompt: &str,
    is_yes: impl Fn(&str) -> bool,
) -> Result<Consent, Failure> {
    if is_given {
        return Ok(Consent::Given);
    }
    if !world.is_interactive() {
        return Err(Failure::usage("there is no terminal to confirm this at: pass --yes"));
    }
    Ok(if is_yes(&line(prompt)?) { Consent::Given } else { Consent::Declined })
}

/// Asks which of several is meant: its number or its name.
pub(super) fn pick(question: &str, choices: &[String]) -> Result<String, Failure> {
    prompt::pick(question, choices).map_err(Failure::new)
}

/// Asks for a line.
pub(super) fn line(question: &str) -> Result<String, Failure> {
    let typed = prompt::ask(question, Echo::Shown).map_err(|error| unanswered(&error))?;
    let text = String::from_utf8(typed).map_err(|_| Failure::new("what was typed is not UTF-8 text"))?;
    Ok(text.trim().to_owned())
}

/// Asks for a line that is not shown while it is typed.
pub(super) fn hidden(question: &str) -> Result<Secret, Failure> {
    prompt::ask(question, Echo::Hidden).map(Secret::new).map_err(|error| unanswered(&error))
}

/// Asks twice for a new password, which may not be empty.
pub(super) fn new_password(what: &str) -> Result<Secret, Failure> {
    let password = hidden(&format!("{what}: "))?;
    if hidden(&format!("{what} again: "))? != password {
        return Err(Failure::new("the two passwords differ"));
    }
    Ok(password)
}

/// The next line of stdin.
pub(super) fn stdin_line(what: &str) -> Result<Secret, Failure> {
    let mut line = Vec::new();
    let mut limited = io::stdin().lock().take(MAX_LINE_BYTES);
    match limited.read_until(b'\n', &mut line) {
        Ok(0) => Err(Failure::new(format!("stdin ended before a line with {what} came"))),
        Ok(_) => Ok(Secret::without_line_break(line)),
        Err(error) => Err(unreadable(&error)),
    }
}

fn unanswered(error: &io::Error) -> Failure {
    Failure::new(format!("cannot ask at the terminal: {error}"))
}
