//! Environment, flags and files → checked settings; every problem in one go.
//!
//! Values come in through functions, so a test passes a map. What comes out cannot be wrong: rooms get
//! small structs of their own and never read the environment.

mod proxy;
#[cfg(feature = "broker")]
pub mod server;
pub mod standalone;

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use crate::failure::Failure;
use crate::rate::span;
use crate::secret::Secret;

/// Reads variables and collects what is wrong with them.
pub struct Vars<'a> {
    var: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

impl<'a> Vars<'a> {
    pub fn new(var: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { var, problems: Vec::new() }
    }

    /// A variable's text; an empty one counts as absent.
    pub fn text(&self, name: &str) -> Option<String> {
        (self.var)(name).filter(|value| !value.is_empty())
    }

    /// A flag's text, or else its variable's, with the name of the one that spoke.
    fn source(
        &self,
        flag: Option<&str>,
        flag_name: &'static str,
        name: &'static str,
    ) -> Option<(String, &'static str)> {
        match flag {
            Some(text) => Some((text.to_owned(), flag_name)),
            None => self.text(name).map(|text| (text, name)),
        }
    }

    /// A value that has to parse; one that does not is a problem.
    pub fn parsed<T: FromStr>(
        &mut self,
        text: Option<&str>,
        name: &str,
        expected: impl fmt::Display,
    ) -> Option<T> {
        let text = text?;
        // The standard library takes a plus sign for part of a number.
        let parsed = text.parse().ok().filter(|_| !text.starts_with('+'));
        if parsed.is_none() {
            self.problem(format!("{name}: {text:?} is not {expected}"));
        }
        parsed
    }

    /// A number from 1 on, or one above 0 where parts count.
    pub fn positive<T: FromStr + Default + PartialOrd>(&mut self, name: &str) -> Option<T> {
        let text = self.text(name);
        let number = self.parsed(text.as_deref(), name, "a number")?;
        // The standard library takes words for numbers: one without end is no limit.
        let is_finite = text.is_some_and(|text| text.bytes().any(|byte| byte.is_ascii_digit()));
        if is_finite && number > T::default() {
            return Some(number);
        }
        self.problem(format!("{name} must be more than 0"));
        None
    }

    /// A span with its unit, such as `90s`, `5m` or `1h30m`, that is longer than nothing.
    pub fn span(&mut self, name: &str) -> Option<Duration> {
        let text = self.text(name)?;
        let span = span::parse(&text).filter(|span| !span.is_zero());
        if span.is_none() {
            self.problem(format!("{name}: {text:?} is not a span like 90s, 5m or 1h30m"));
        }
        span
    }

    /// `true`, `t`, `1`, `false`, `f` or `0`, in any case (contract E.1); absent is false.
    pub fn switch(&mut self, name: &str) -> bool {
        match self.text(name).as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "f" | "0") => false,
            Some("true" | "t" | "1") => true,
            Some(other) => {
                self.problem(format!("{name}: {other:?} is neither true nor false"));
                false
            }
        }
    }

    /// A secret from the variable, or from the file named by the variable with `_FILE` behind it.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        let file_name = format!("{name}_FILE");
        match (self.text(name), self.text(&file_name)) {
            (Some(_), Some(_)) => {
                self.problem(format!("{name} and {file_name} are both set"));
                None
            }
            (Some(value), None) => Some(Secret::from(value)),
            (None, Some(path)) => {
                let bytes = self.file(&path, &file_name)?;
                Some(Secret::without_line_break(bytes))
            }
            (None, None) => None,
        }
    }

    /// The content of a file that has to be there.
    pub fn file(&mut self, path: &str, name: &str) -> Option<Vec<u8>> {
        match fs::read(Path::new(path)) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                self.problem(format!("{name}: cannot read {path}: {error}"));
                None
            }
        }
    }

    pub fn problem(&mut self, text: String) {
        self.problems.push(text);
    }

    /// Everything that was wrong, as one failure.
    pub fn finish(self) -> Result<(), Failure> {
        match self.problems.as_slice() {
            [] => Ok(()),
            problems => Err(Failure::usage(problems.join("\n"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_reported_at_once() {
        let var = |name: &str| match name {
            "SWITCH" => Some("maybe".to_owned()),
            "KEY" | "KEY_FILE" => Some("x".to_owned()),
            "GONE_FILE" => Some("/nowhere/at/all".to_owned()),
            _ => None,
        };
        let mut vars = Vars::new(&var);
        assert!(!vars.switch("SWITCH"));
        assert!(vars.secret("KEY").is_none() && vars.secret("GONE").is_none());
        assert_eq!(vars.parsed::<u16>(Some("x"), "--port", "a port"), None);
        let message = vars.finish().unwrap_err().message().to_owned();
        let lines: Vec<_> = message.lines().collect();
        assert_eq!(lines[0], "SWITCH: \"maybe\" is neither true nor false");
        assert_eq!(lines[1], "KEY and KEY_FILE are both set");
        assert!(lines[2].starts_with("GONE_FILE: cannot read /nowhere/at/all: "));
        assert_eq!(lines[3], "--port: \"x\" is not a port");
    }

    #[test]
    fn a_number_has_no_sign_and_is_more_than_nothing() {
        let numbers = |text: &'static str| {
            let var = move |_: &str| Some(text.to_owned());
            let mut vars = Vars::new(&var);
            (vars.positive::<u32>("N"), vars.positive::<f64>("N"))
        };
        assert_eq!(numbers("7"), (Some(7), Some(7.0)));
        assert_eq!(numbers("0.5"), (None, Some(0.5)));
        for text in ["0", "-1", "+7", "NaN", "inf", "x"] {
            assert_eq!(numbers(text), (None, None), "{text}");
        }
    }
}
