//! `--isolation`: of the modes the flag knows, this program has one.
//!
//! A command line written for the other is told so, and so is one that mixes both.

use std::ffi::OsString;

use super::{Args, World};
use crate::failure::Failure;

/// Flags that mean something under container isolation only: name, and whether a value follows.
const CONTAINER_ONLY: [(&str, bool); 6] = [
    ("--image", true),
    ("--mount", true),
    ("--keep", false),
    ("--no-firewall", false),
    ("--home-volume-shared", false),
    ("--share-agent-dir", false),
];

const MODES: &str = "must be one of: host, container";

/// The isolation asked for, and the container-only flags that were set.
pub(super) struct Isolation {
    mode: Option<String>,
    set: Vec<&'static str>,
}

impl Isolation {
    pub(super) fn read(args: &mut Args) -> Result<Self, Failure> {
        let mode = args.value("--isolation")?;
        if let Some(mode) = mode.as_deref().filter(|mode| !is_mode(mode)) {
            return Err(no_mode(mode));
        }
        let mut set = Vec::new();
        for (flag, has_value) in CONTAINER_ONLY {
            let is_set = if has_value { !args.values(flag)?.is_empty() } else { args.flag(flag) };
            set.extend(is_set.then_some(flag));
        }
        Ok(Self { mode, set })
    }

    pub(super) fn check(&self, world: &World<'_>) -> Result<(), Failure> {
        let from_variable = || world.var("AGENT_VAULT_ISOLATION");
        let mode = match self.mode.clone() {
            Some(mode) => mode,
            None => from_variable().unwrap_or_else(|| "host".to_owned()),
        };
        if !is_mode(&mode) {
            return Err(Failure::usage(format!("AGENT_VAULT_ISOLATION: {MODES}")));
        }
        if mode == "host" {
            return match self.set.first() {
                Some(flag) => Err(Failure::usage(format!("{flag} requires --isolation=container"))),
                None => Ok(()),
            };
        }
        if ["--home-volume-shared", "--share-agent-dir"].iter().all(|flag| self.set.contains(flag)) {
            return Err(Failure::usage("--home-volume-shared and --share-agent-dir are mutually exclusive"));
        }
        Err(Failure::usage("--isolation=container is not available in this build")
            .with_hint("run agent-vault as the entrypoint inside the container instead"))
    }
}

/// A flag that was given without a mode, which the flag's own reader takes for one that is missing.
pub(super) fn refuse_empty(flags: &[OsString]) -> Result<(), Failure> {
    if flags.iter().any(|flag| flag == "--isolation=") { Err(no_mode("")) } else { Ok(()) }
}

fn no_mode(mode: &str) -> Failure {
    Failure::usage(format!("invalid argument {mode:?} for \"--isolation\" flag: {MODES}"))
}

fn is_mode(mode: &str) -> bool {
    matches!(mode, "host" | "container")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &[&str], from_variable: Option<&str>) -> String {
        let var = |name: &str| from_variable.filter(|_| name == "AGENT_VAULT_ISOLATION").map(str::to_owned);
        let line: Vec<OsString> = line.iter().map(OsString::from).collect();
        let judged = refuse_empty(&line)
            .and_then(|()| Isolation::read(&mut Args::new(line)))
            .and_then(|isolation| isolation.check(&World::new(&var)));
        judged.err().map(|failure| failure.message().to_owned()).unwrap_or_default()
    }

    #[test]
    fn refusals_are_the_contracts_texts() {
        for mode in ["", "Host", "CONTAINER", "vm", "docker", "process"] {
            let flag = format!("--isolation={mode}");
            let text = format!("invalid argument {mode:?} for \"--isolation\" flag: {MODES}");
            assert_eq!(refusal(&[&flag], None), text);
        }
        assert_eq!(refusal(&[], Some("vm")), "AGENT_VAULT_ISOLATION: must be one of: host, container");
        assert_eq!(refusal(&["--isolation", "host"], Some("vm")), "");
        for (flag, has_value) in CONTAINER_ONLY {
            let mut line = vec![flag];
            line.extend(has_value.then_some("v"));
            assert_eq!(refusal(&line, None), format!("{flag} requires --isolation=container"));
        }
        assert_eq!(
            refusal(&["--isolation=container", "--home-volume-shared", "--share-agent-dir"], None),
            "--home-volume-shared and --share-agent-dir are mutually exclusive"
        );
        assert_eq!(
            refusal(&["--keep"], Some("container")),
            "--isolation=container is not available in this build"
        );
    }
}
