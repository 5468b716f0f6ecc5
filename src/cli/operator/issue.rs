//! `agent create` and `agent rotate`: what hands out an agent's token, once.

use serde_json::Value;

use super::super::duration::duration;
use super::agent::path_of;
use super::broker::{Broker, Reach};
use super::{Args, Flag, REACH, TOKEN_ONLY, Verb, World, list, output, text};
use crate::failure::{Exit, Failure};
use crate::json::json;

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["agent", "create"],
        usage: "NAME [flags]",
        about: "Create an agent and show its token, once",
        flags: &[
            &[
                Flag("--vault NAME[:ROLE]", "a vault it may use, as proxy, member or admin; may be repeated"),
                Flag("--role ROLE", "what it may do in the instance: no-access, member or owner"),
            ],
            TOKEN_ONLY,
            REACH,
        ],
        example: "agent-vault agent create checkout --vault shop:proxy > checkout-token",
        run: create,
    },
    Verb {
        words: &["agent", "rotate"],
        usage: "NAME [flags]",
        about: "Give an agent a new token; the old ones end at once, or when the grace is over",
        flags: &[
            &[Flag("--grace SPAN", "keep the old tokens valid for so long, as in 10m; 24h at most")],
            TOKEN_ONLY,
            REACH,
        ],
        example: "agent-vault agent rotate checkout --grace 10m > checkout-token",
        run: rotate,
    },
];

fn create(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, token_only) = (Reach::take(&mut args)?, args.flag("--token-only"));
    let role = args.value("--role")?;
    let vaults: Vec<Value> = args.values("--vault")?.iter().map(|grant| grant_of(grant)).collect();
    let name = args.word("NAME")?;
    args.finish()?;
    let mut body = json!({ "name": name, "vaults": vaults });
    if let Some(role) = role {
        body["role"] = role.into();
    }
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.post("/v1/agents", &body)?;
    let answer = broker.json(&reply)?;
    let vault = list(&answer, "vaults").next().map(|grant| text(grant, "vault_name"));
    let hand_over = HandOver {
        address: broker.address(),
        token: token_of(&answer)?,
        vault: vault.as_deref().unwrap_or("NAME"),
        token_only,
    };
    hand_over.carry_out(world, &format!("Created agent {name:?} (role {})", text(&answer, "role")))
}

/// `name[:role]`; without a role the broker gives the least.
pub(super) fn grant_of(text: &str) -> Value {
    match text.split_once(':') {
        Some((vault, role)) => json!({ "vault_name": vault, "vault_role": role }),
        None => json!({ "vault_name": text }),
    }
}

fn rotate(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, token_only) = (Reach::take(&mut args)?, args.flag("--token-only"));
    let grace = duration("--grace", args.value("--grace")?)?.unwrap_or_default();
    let name = args.word("NAME")?;
    args.finish()?;
    if grace.subsec_nanos() != 0 {
        return Err(Failure::usage("--grace counts in whole seconds, as in 30s or 10m"));
    }
    let mut broker = Broker::as_person(world, &reach)?;
    let reply =
        broker.post(&format!("{}/rotate", path_of(&name)), &json!({ "grace_seconds": grace.as_secs() }))?;
    let answer = broker.json(&reply)?;
    let old_ones = match text(&answer, "old_tokens_valid_until") {
        until if until.is_empty() => "its old ones have ended".to_owned(),
        until => format!("its old ones are valid until {until}"),
    };
    let hand_over =
        HandOver { address: broker.address(), token: token_of(&answer)?, vault: "NAME", token_only };
    hand_over.carry_out(world, &format!("New token for agent {name:?}; {old_ones}"))
}

pub(super) fn token_of(answer: &Value) -> Result<&str, Failure> {
    let token = answer.get("av_agent_token").and_then(Value::as_str).filter(|token| !token.is_empty());
    token.ok_or_else(|| Failure::new("the broker's answer holds no token"))
}

/// A token on its way to whoever asked for it: it cannot be asked for again.
struct HandOver<'a> {
    address: &'a str,
    token: &'a str,
    vault: &'a str,
    token_only: bool,
}

impl HandOver<'_> {
    /// A person reads what was done and how to use the token. A program gets the token alone on stdout, so
    /// that `TOKEN=$(…)` works, and its person reads the rest on stderr.
    fn carry_out(&self, world: &World<'_>, done: &str) -> Result<Exit, Failure> {
        let Self { address, token, vault, token_only } = *self;
        if token_only {
            output::print(token)?;
        } else if world.is_read_by_a_person() {
            output::success(world, done)?;
            output::print(&format!("{}\n", how_to_start(address, token, vault)))?;
        } else {
            output::note(&format!("✓ {done}"));
            output::note(&how_to_start(address, "(the token on stdout)", vault));
            output::print(token)?;
        }
        Ok(Exit::Success)
    }
}

fn how_to_start(address: &str, token: &str, vault: &str) -> String {
    format!(
        "\nThe token is shown this once. Start the app with 'agent-vault run -- COMMAND' and\n\
         \n  AGENT_VAULT_ADDR={address}\n  AGENT_VAULT_TOKEN={token}\n  AGENT_VAULT_VAULT={vault}"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_grant_has_a_vault_and_perhaps_a_role() {
        assert_eq!(grant_of("shop"), json!({"vault_name": "shop"}));
        assert_eq!(grant_of("shop:member"), json!({"vault_name": "shop", "vault_role": "member"}));
    }
}
