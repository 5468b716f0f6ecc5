//! What an operator can say about how the child is looked after.
//!
//! The defaults are those of a container's first process; each option is for a program or a platform that
//! wants it otherwise. `docs/supervisor.md` tells what each does.

use std::str::FromStr;
use std::time::Duration;

use crate::sys::rights::Rights;
use crate::sys::signals::Signal;

/// How the child is looked after.
#[derive(Debug, Default)]
pub struct Supervision {
    /// How long after being asked to end the child is killed; without it the runtime decides.
    pub stop_timeout: Option<Duration>,
    pub job_mode: JobMode,
    /// Who gets what is passed on; without it whoever the job mode makes reachable.
    pub signal_mode: Option<SignalMode>,
    pub rewrites: Rewrites,
    /// SIGHUP, which the child gets all the same, is also a word to us: look for a new token.
    pub reloads_on_hup: bool,
    pub exit_codes: ExitCodes,
    /// What arrives here when our own parent ends.
    pub kill_with_parent: Option<Signal>,
    pub rights: Rights,
}

impl Supervision {
    /// The flag of something in it that takes a process beside the child, if there is one.
    pub fn needs_us(&self) -> Option<&'static str> {
        let asked = [
            ("--stop-timeout", self.stop_timeout.is_some()),
            ("--job-mode", self.job_mode != JobMode::Auto),
            ("--signal-mode", self.signal_mode.is_some()),
            ("--rewrite", self.rewrites != Rewrites::default()),
            ("--reload-on-hup", self.reloads_on_hup),
            ("--exit-code-map", self.exit_codes != ExitCodes::default()),
        ];
        asked.into_iter().find_map(|(flag, is_asked)| is_asked.then_some(flag))
    }
}

/// Where the child stands among process groups and sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobMode {
    /// A group of its own; in ours, if that is a job at a terminal which we are only a part of.
    #[default]
    Auto,
    Group,
    Session,
    Shared,
}

impl FromStr for JobMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "group" => Ok(Self::Group),
            "session" => Ok(Self::Session),
            "shared" => Ok(Self::Shared),
            _ => Err("must be one of: auto, group, session, shared"),
        }
    }
}

/// Who gets the signals that are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignalMode {
    /// Every process of the child's group.
    Group,
    /// The child alone.
    Child,
}

impl FromStr for SignalMode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "group" => Ok(Self::Group),
            "child" => Ok(Self::Child),
            _ => Err("must be one of: group, child"),
        }
    }
}

/// Signals that are passed on as others, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrites(Vec<(Signal, Option<Signal>)>);

impl Rewrites {
    /// What the child is sent for it.
    pub(super) fn apply(&self, signal: Signal) -> Option<Signal> {
        // The last word counts, so that a flag can be added behind a given list.
        let found = self.0.iter().rev().find(|(from, _)| *from == signal);
        found.map_or(Some(signal), |(_, to)| *to)
    }
}

impl FromStr for Rewrites {
    type Err = &'static str;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let wrong = "signals as FROM:TO, comma-separated, as in TERM:QUIT or 15:3; TO may be 0";
        let pair = |text: &str| {
            let (from, to) = text.trim().split_once(':')?;
            let to = if to == "0" { None } else { Some(to.parse().ok()?) };
            Some((from.parse().ok()?, to))
        };
        list.split(',').map(pair).collect::<Option<_>>().map(Self).ok_or(wrong)
    }
}

/// Exit codes of the child that end the run with another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitCodes(Vec<(u8, u8)>);

impl ExitCodes {
    pub(super) fn apply(&self, code: u8) -> u8 {
        self.0.iter().rev().find(|(from, _)| *from == code).map_or(code, |(_, to)| *to)
    }
}

impl FromStr for ExitCodes {
    type Err = &'static str;

    fn from_str(list: &str) -> Result<Self, Self::Err> {
        let code = |text: &str| text.parse::<u8>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        let pair = |text: &str| {
            let (from, to) = text.trim().split_once(':')?;
            Some((code(from)?, code(to)?))
        };
        let wrong = "exit codes as FROM:TO, comma-separated, as in 143:0";
        list.split(',').map(pair).collect::<Option<_>>().map(Self).ok_or(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_rewritten_as_said_last() {
        let rewrites: Rewrites = "15:3,HUP:0, usr1:USR2,TERM:INT".parse().unwrap();
        assert_eq!(rewrites.apply(Signal::TERM), Some(Signal::INT));
        assert_eq!(rewrites.apply(Signal::HUP), None);
        assert_eq!(rewrites.apply(Signal::QUIT), Some(Signal::QUIT));
        for wrong in ["", "15", "15:", ":3", "15:99", "15:3;1:0", "15:3,"] {
            assert!(wrong.parse::<Rewrites>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn exit_codes_are_mapped() {
        let codes: ExitCodes = "143:0,7:255".parse().unwrap();
        assert_eq!([143, 7, 0, 1].map(|code| codes.apply(code)), [0, 255, 0, 1]);
        for wrong in ["", "143", "256:0", "-1:0", "+1:0", "1:2:3"] {
            assert!(wrong.parse::<ExitCodes>().is_err(), "{wrong}");
        }
    }
}
