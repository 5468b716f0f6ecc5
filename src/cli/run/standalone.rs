//! `run --config`: a run without a broker, and what contradicts it.

use super::World;
use crate::config;
use crate::entry::standalone::{Settings, Source};
use crate::failure::Failure;
use crate::log;

/// Variables of a run with a broker; one of them beside a document is two orders at once.
const TOKENS: [&str; 2] = ["AGENT_VAULT_TOKEN", "AGENT_VAULT_TOKEN_FILE"];

const VARIABLE: &str = "AGENT_VAULT_CONFIG";

/// A document somebody named, and the word by which.
pub(super) struct Chosen {
    by: &'static str,
    source: Source,
}

/// The document the flag names, or else its variable.
pub(in crate::cli) fn source(world: &World<'_>, flag: Option<String>) -> Option<Source> {
    match flag {
        Some(path) => Some(Source::File(path.into())),
        None => world.var(VARIABLE).map(Source::of_variable),
    }
}

/// Whether this run is one without a broker. What says both ways is refused.
pub(super) fn chosen(world: &World<'_>, flag: Option<String>) -> Result<Option<Chosen>, Failure> {
    let by = if flag.is_some() { "--config" } else { VARIABLE };
    let Some(source) = source(world, flag) else { return Ok(None) };
    match TOKENS.iter().find(|name| world.var(name).is_some()) {
        Some(token) => Err(Failure::usage(format!(
            "{token} and {by} are both set; keep {token} for a run with a broker, or {by} for one without"
        ))),
        None => Ok(Some(Chosen { by, source })),
    }
}

impl Chosen {
    /// What the run is told; `useless` are flags that mean something with a broker only.
    pub(super) fn settings(
        self,
        world: &World<'_>,
        upstream_ca: Option<&str>,
        useless: &[(&str, bool)],
    ) -> Result<Settings, Failure> {
        if let Some((flag, _)) = useless.iter().find(|(_, is_given)| *is_given) {
            return Err(Failure::usage(format!("{flag} has no effect without a broker; {} is set", self.by)));
        }
        let var = |name: &str| world.var(name);
        let (settings, level) = config::standalone::read(self.source, upstream_ca, &var)?;
        log::set_level(level);
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(flag: Option<&str>, vars: &[(&str, &str)]) -> String {
        let var =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let world = World::new(&var);
        match chosen(&world, flag.map(str::to_owned)) {
            Ok(Some(chosen)) => format!("{} {}", chosen.by, chosen.source),
            Ok(None) => "broker".to_owned(),
            Err(failure) => failure.message().to_owned(),
        }
    }

    #[test]
    fn a_document_decides_unless_a_token_does() {
        let variable = (VARIABLE, "/c.json");
        let token = ("AGENT_VAULT_TOKEN", "t");
        assert_eq!(told(None, &[]), "broker");
        assert_eq!(told(None, &[token]), "broker");
        assert_eq!(told(None, &[(VARIABLE, "")]), "broker");
        assert_eq!(told(None, &[variable]), "AGENT_VAULT_CONFIG /c.json");
        assert_eq!(told(Some("/f.json"), &[variable]), "--config /f.json");
        assert_eq!(told(None, &[(VARIABLE, " {}")]), "AGENT_VAULT_CONFIG AGENT_VAULT_CONFIG");
        assert_eq!(
            told(Some("/f.json"), &[token]),
            "AGENT_VAULT_TOKEN and --config are both set; keep AGENT_VAULT_TOKEN for a run with a broker, \
             or --config for one without"
        );
        let file = ("AGENT_VAULT_TOKEN_FILE", "/t");
        assert!(
            told(None, &[file, variable]).starts_with("AGENT_VAULT_TOKEN_FILE and AGENT_VAULT_CONFIG are")
        );
    }

    #[test]
    fn what_needs_a_broker_is_refused_by_name() {
        let world = World::new(&|_| None);
        let chosen = Chosen { by: "--config", source: Source::Inline(String::new()) };
        let refused = chosen.settings(&world, None, &[("--vault", false), ("--ttl", true)]).unwrap_err();
        assert_eq!(refused.message(), "--ttl has no effect without a broker; --config is set");
    }
}
