//! The arguments of one command, taken off one by one; what is left over is an error.

use std::ffi::OsString;

use pico_args::{Arguments, Keys};

use crate::failure::Failure;

/// How a flag is spelled: one way, or a letter and a word.
#[derive(Clone, Copy, Debug)]
pub struct Spelling {
    letter: Option<&'static str>,
    name: &'static str,
}

impl From<&'static str> for Spelling {
    fn from(name: &'static str) -> Self {
        Self { letter: None, name }
    }
}

impl From<[&'static str; 2]> for Spelling {
    fn from([letter, name]: [&'static str; 2]) -> Self {
        Self { letter: Some(letter), name }
    }
}

impl From<Spelling> for Keys {
    fn from(Spelling { letter, name }: Spelling) -> Self {
        letter.map_or_else(|| name.into(), |letter| [letter, name].into())
    }
}

/// What follows a command's words. Flags are taken first, then words, then [`Args::finish`].
pub struct Args {
    rest: Arguments,
}

impl Args {
    pub fn new(rest: Vec<OsString>) -> Self {
        Self { rest: Arguments::from_vec(rest) }
    }

    /// Whether the flag is there.
    pub fn flag(&mut self, spelling: impl Into<Spelling>) -> bool {
        self.rest.contains(taken(spelling, Takes::Nothing))
    }

    /// The flag's value.
    pub fn value(&mut self, spelling: impl Into<Spelling>) -> Result<Option<String>, Failure> {
        self.rest.opt_value_from_str(taken(spelling, Takes::Value)).map_err(usage)
    }

    /// The flag's value as a whole number.
    pub fn number(&mut self, key: &'static str) -> Result<Option<u64>, Failure> {
        let Some(text) = self.value(key)? else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(Some(number)),
            _ => Err(Failure::usage(format!("invalid argument {text:?} for {key:?} flag: not a number"))),
        }
    }

    /// The values of a flag that may be repeated.
    pub fn values(&mut self, spelling: impl Into<Spelling>) -> Result<Vec<String>, Failure> {
        self.rest.values_from_str(taken(spelling, Takes::Value)).map_err(usage)
    }

    /// The next word, which must be there.
    pub fn word(&mut self, name: &str) -> Result<String, Failure> {
        self.opt_word()?.ok_or_else(|| Failure::usage(format!("missing argument: {name}")))
    }

    /// The next word.
    pub fn opt_word(&mut self) -> Result<Option<String>, Failure> {
        match self.rest.opt_free_from_os_str(|arg| Ok::<_, String>(arg.to_owned())) {
            Ok(Some(arg)) => {
                let text = arg.into_string().map_err(|arg| {
                    Failure::usage(format!("argument is not UTF-8: {}", arg.to_string_lossy()))
                })?;
                if text.len() > 1 && text.starts_with('-') {
                    return Err(unknown_flag(&text));
                }
                Ok(Some(text))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(usage(error)),
        }
    }

    /// All words that are left; `name` says what one of them is when there is none.
    pub fn words(mut self, name: &str) -> Result<Vec<String>, Failure> {
        let mut words = vec![self.word(name)?];
        while let Some(word) = self.opt_word()? {
            words.push(word);
        }
        Ok(words)
    }

    /// Refuses whatever nobody asked for.
    pub fn finish(mut self) -> Result<(), Failure> {
        match self.opt_word()? {
            Some(word) => Err(Failure::usage(format!("unexpected argument: {word}"))),
            None => Ok(()),
        }
    }

    /// What is left, as it was typed: for commands with a grammar of their own.
    pub fn into_rest(self) -> Vec<OsString> {
        self.rest.finish()
    }
}

/// Whether a value follows a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Takes {
    Nothing,
    Value,
}

/// Every flag a command takes passes here, so that a test can compare them with its help.
fn taken(spelling: impl Into<Spelling>, takes: Takes) -> Keys {
    let spelling = spelling.into();
    #[cfg(test)]
    witness::note(spelling, takes);
    #[cfg(not(test))]
    let _: Takes = takes;
    spelling.into()
}

/// Remembers which flags this thread's commands have taken.
#[cfg(test)]
pub(super) mod witness {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::{Spelling, Takes};

    thread_local! {
        static TAKEN: RefCell<BTreeSet<(&'static str, Takes)>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn note(spelling: Spelling, takes: Takes) {
        let names = spelling.letter.into_iter().chain([spelling.name]);
        TAKEN.with_borrow_mut(|taken| taken.extend(names.map(|name| (name, takes))));
    }

    /// What was taken since the last question.
    pub(in crate::cli) fn recall() -> BTreeSet<(&'static str, Takes)> {
        TAKEN.take()
    }
}

fn usage(error: pico_args::Error) -> Failure {
    match error {
        pico_args::Error::OptionWithoutAValue(flag) => {
            Failure::usage(format!("flag needs an argument: {flag}"))
        }
        other => Failure::usage(other.to_string()),
    }
}

/// The text existing clients print (contract A.1).
fn unknown_flag(arg: &str) -> Failure {
    let name = arg.split('=').next().unwrap_or(arg);
    Failure::usage(format!("unknown flag: {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(text: &str) -> Args {
        Args::new(text.split_whitespace().map(OsString::from).collect())
    }

    #[test]
    fn flags_may_stand_anywhere_and_take_an_equals_sign() {
        let mut args = args("a --ttl=5 --vault x b");
        assert_eq!(args.number("--ttl").unwrap(), Some(5));
        assert_eq!(args.value("--vault").unwrap().as_deref(), Some("x"));
        assert_eq!(args.words("KEY").unwrap(), ["a", "b"]);
    }

    #[test]
    fn leftovers_are_named() {
        let message = |failure: Failure| failure.message().to_owned();
        assert_eq!(message(args("--foo=1").finish().unwrap_err()), "unknown flag: --foo");
        assert_eq!(message(args("word").finish().unwrap_err()), "unexpected argument: word");
        assert_eq!(message(args("").word("NAME").unwrap_err()), "missing argument: NAME");
        assert_eq!(message(args("--vault").value("--vault").unwrap_err()), "flag needs an argument: --vault");
        assert!(args("--ttl=+5").number("--ttl").is_err());
    }
}
