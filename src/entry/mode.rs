//! Whom the broker is asked as, and for which vault.
//!
//! Decided from flags and variables alone, so contradictions are found before any I/O. Each text is the
//! contract's (A.4, A.5).

use std::path::PathBuf;

use super::token::Source;
use crate::failure::Failure;

/// Whom the broker is asked as.
#[derive(Clone, Debug)]
pub enum Mode {
    /// With a token that somebody else minted.
    Agent { address: String, token: Source, vault: String },
    /// As the person who logged in; a token is minted for this run.
    Admin { address: Option<String>, vault: Option<String>, ttl_seconds: u64, home: Option<PathBuf> },
}

/// What was asked for on the command line.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub vault: Option<String>,
    pub address: Option<String>,
    pub ttl_seconds: Option<u64>,
}

impl Mode {
    /// Decides from flags and variables (contract A.4 and A.5); `var` answers with non-empty values only.
    pub fn choose(asked: Asked, var: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let token = match (var("AGENT_VAULT_TOKEN"), var("AGENT_VAULT_TOKEN_FILE")) {
            (Some(_), Some(_)) => {
                return Err(Failure::new(
                    "AGENT_VAULT_TOKEN and AGENT_VAULT_TOKEN_FILE are both set; keep one",
                ));
            }
            (Some(value), None) => Source::Value(value.into()),
            (None, Some(path)) => Source::File(path.into()),
            (None, None) => {
                return Ok(Self::Admin {
                    address: asked.address,
                    vault: asked.vault.or_else(|| var("AGENT_VAULT_VAULT")),
                    ttl_seconds: asked.ttl_seconds.unwrap_or(0),
                    home: var("HOME").map(PathBuf::from),
                });
            }
        };
        let Some(known) = var("AGENT_VAULT_ADDR") else {
            return Err(Failure::new(format!(
                "{} is set but AGENT_VAULT_ADDR is empty — both are required for agent mode",
                token.variable()
            )));
        };
        if asked.ttl_seconds.is_some() {
            return Err(Failure::new(
                "--ttl has no effect when AGENT_VAULT_TOKEN is supplied; the token's lifetime is fixed at mint time",
            ));
        }
        let Some(vault) = asked.vault.or_else(|| var("AGENT_VAULT_VAULT")) else {
            return Err(Failure::new(
                "vault is required in agent mode: set AGENT_VAULT_VAULT or pass --vault",
            ));
        };
        Ok(Self::Agent { address: asked.address.unwrap_or(known), token, vault })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(asked: Asked, vars: &[(&str, &str)]) -> Result<Mode, String> {
        let var =
            |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Mode::choose(asked, var).map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn flags_and_variables_decide_the_mode() {
        let token = ("AGENT_VAULT_TOKEN", "t");
        let file = ("AGENT_VAULT_TOKEN_FILE", "/t");
        let address = ("AGENT_VAULT_ADDR", "http://h:9999/");
        let vault = ("AGENT_VAULT_VAULT", "env-vault");
        let asked = |vault: &str| Asked { vault: Some(vault.to_owned()), ..Asked::default() };
        let chosen = |mode: Result<Mode, String>| match mode {
            Ok(Mode::Agent { address, vault, .. }) => format!("agent {address} {vault}"),
            Ok(Mode::Admin { vault, .. }) => format!("admin {}", vault.unwrap_or_default()),
            Err(text) => text,
        };
        let cases = [
            (Asked::default(), vec![token, address, vault], "agent http://h:9999/ env-vault"),
            (asked("flag-vault"), vec![token, address, vault], "agent http://h:9999/ flag-vault"),
            (asked("v"), vec![file, address], "agent http://h:9999/ v"),
            (Asked::default(), vec![address, vault], "admin env-vault"),
            (
                asked("v"),
                vec![token],
                "AGENT_VAULT_TOKEN is set but AGENT_VAULT_ADDR is empty — both are required for agent mode",
            ),
            (
                Asked { address: Some("http://x".to_owned()), ..asked("v") },
                vec![token],
                "AGENT_VAULT_TOKEN is set but AGENT_VAULT_ADDR is empty — both are required for agent mode",
            ),
            (
                Asked::default(),
                vec![token, address],
                "vault is required in agent mode: set AGENT_VAULT_VAULT or pass --vault",
            ),
            (
                // Checked before the vault rule, and for any value.
                Asked { ttl_seconds: Some(0), ..Asked::default() },
                vec![token, address],
                "--ttl has no effect when AGENT_VAULT_TOKEN is supplied; the token's lifetime is fixed at mint time",
            ),
            (
                asked("v"),
                vec![token, file, address],
                "AGENT_VAULT_TOKEN and AGENT_VAULT_TOKEN_FILE are both set; keep one",
            ),
        ];
        for (asked, vars, expected) in cases {
            assert_eq!(chosen(choose(asked, &vars)), expected);
        }
    }
}
