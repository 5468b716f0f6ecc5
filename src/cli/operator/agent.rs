//! `agent`: the identities apps have, and their tokens.

use serde_json::{Value, json};

use super::ask::{self, Consent};
use super::broker::{Broker, Reach};
use super::{
    AS_JSON, Args, Flag, REACH, TOKEN_ONLY, Verb, WITHOUT_ASKING, World, encoded, list, output, text,
};
use crate::failure::{Exit, Failure};

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
        example: "agent-vault agent create checkout --vault shop:proxy --token-only > checkout-token",
        run: create,
    },
    Verb {
        words: &["agent", "list"],
        usage: "[flags]",
        about: "List the agents",
        flags: &[AS_JSON, REACH],
        example: "agent-vault agent list",
        run: show_all,
    },
    Verb {
        words: &["agent", "info"],
        usage: "NAME [flags]",
        about: "Show one agent",
        flags: &[AS_JSON, REACH],
        example: "agent-vault agent info checkout",
        run: info,
    },
    Verb {
        words: &["agent", "rotate"],
        usage: "NAME [flags]",
        about: "Give an agent a new token; the old ones end at once",
        flags: &[TOKEN_ONLY, REACH],
        example: "agent-vault agent rotate checkout --token-only > checkout-token",
        run: rotate,
    },
    Verb {
        words: &["agent", "revoke"],
        usage: "NAME [flags]",
        about: "End an agent's tokens and keep its record; rotate revives it",
        flags: &[REACH],
        example: "agent-vault agent revoke checkout",
        run: revoke,
    },
    Verb {
        words: &["agent", "delete"],
        usage: "NAME [flags]",
        about: "Delete an agent for good",
        flags: &[WITHOUT_ASKING, REACH],
        example: "agent-vault agent delete checkout --yes",
        run: delete,
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
    let token = token_of(&answer)?;
    if token_only {
        output::print(token)?;
        return Ok(Exit::Success);
    }
    output::success(world, &format!("Created agent {name:?} (role {})", text(&answer, "role")))?;
    let vault = list(&answer, "vaults").next().map(|grant| text(grant, "vault_name"));
    show_token(broker.address(), token, vault.as_deref().unwrap_or("NAME"))?;
    Ok(Exit::Success)
}

/// `name[:role]`; without a role the broker gives the least.
pub(super) fn grant_of(text: &str) -> Value {
    match text.split_once(':') {
        Some((vault, role)) => json!({ "vault_name": vault, "vault_role": role }),
        None => json!({ "vault_name": text }),
    }
}

pub(super) fn token_of(answer: &Value) -> Result<&str, Failure> {
    let token = answer.get("av_agent_token").and_then(Value::as_str).filter(|token| !token.is_empty());
    token.ok_or_else(|| Failure::new("the broker's answer holds no token"))
}

/// The token and how to use it; it cannot be asked for again.
fn show_token(address: &str, token: &str, vault: &str) -> Result<(), Failure> {
    output::print(&format!(
        "\nThe token is shown this once. Start the app with 'agent-vault run -- COMMAND' and\n\
         \n  AGENT_VAULT_ADDR={address}\n  AGENT_VAULT_TOKEN={token}\n  AGENT_VAULT_VAULT={vault}\n"
    ))
}

fn show_all(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get("/v1/agents")?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let row = |agent: &Value| {
        let columns = [text(agent, "name"), text(agent, "role"), text(agent, "status")];
        columns.into_iter().chain([grants(agent), text(agent, "created_at")]).collect()
    };
    let rows: Vec<Vec<String>> = list(&answer, "agents").map(row).collect();
    output::print(&output::table(&["NAME", "ROLE", "STATUS", "VAULTS", "CREATED"], &rows))?;
    Ok(Exit::Success)
}

/// The vaults of an agent, a person or an invite, with the role in each.
pub(super) fn grants(agent: &Value) -> String {
    let each = list(agent, "vaults")
        .map(|grant| format!("{}:{}", text(grant, "vault_name"), text(grant, "vault_role")));
    let grants: Vec<String> = each.collect();
    if grants.is_empty() { "-".to_owned() } else { grants.join(", ") }
}

fn info(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let name = args.word("NAME")?;
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get(&path_of(&name))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let agent = broker.json(&reply)?;
    let mut shown = String::new();
    let tokens = agent.get("active_tokens").map(Value::to_string).unwrap_or_default();
    for (label, value) in [
        ("Name", text(&agent, "name")),
        ("Role", text(&agent, "role")),
        ("Status", text(&agent, "status")),
        ("Vaults", grants(&agent)),
        ("Created", text(&agent, "created_at")),
        ("Created by", text(&agent, "created_by")),
        ("Updated", text(&agent, "updated_at")),
        ("Revoked", text(&agent, "revoked_at")),
        ("Active tokens", tokens),
    ] {
        if !value.is_empty() {
            shown.push_str(&format!("{:15}{value}\n", format!("{label}:")));
        }
    }
    output::print(&shown)?;
    Ok(Exit::Success)
}

fn rotate(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, token_only) = (Reach::take(&mut args)?, args.flag("--token-only"));
    let name = args.word("NAME")?;
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.post(&format!("{}/rotate", path_of(&name)), &json!({}))?;
    let answer = broker.json(&reply)?;
    let token = token_of(&answer)?;
    if token_only {
        output::print(token)?;
        return Ok(Exit::Success);
    }
    output::success(world, &format!("New token for agent {name:?}; its old ones have ended"))?;
    show_token(broker.address(), token, "NAME")?;
    Ok(Exit::Success)
}

fn revoke(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let name = args.word("NAME")?;
    args.finish()?;
    Broker::as_person(world, &reach)?.delete(&path_of(&name), None)?;
    output::success(world, &format!("Revoked agent {name:?}"))?;
    Ok(Exit::Success)
}

fn delete(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, yes) = (Reach::take(&mut args)?, args.flag("--yes"));
    let name = args.word("NAME")?;
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let question = format!("Delete agent {name:?} with its tokens and grants?");
    if ask::consent(world, yes, &question)? == Consent::Declined {
        output::note("Aborted.");
        return Ok(Exit::Success);
    }
    broker.post(&format!("{}/delete", path_of(&name)), &json!({}))?;
    output::success(world, &format!("Deleted agent {name:?}"))?;
    Ok(Exit::Success)
}

fn path_of(name: &str) -> String {
    format!("/v1/agents/{}", encoded(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_has_a_vault_and_perhaps_a_role() {
        assert_eq!(grant_of("shop"), json!({"vault_name": "shop"}));
        assert_eq!(grant_of("shop:member"), json!({"vault_name": "shop", "vault_role": "member"}));
    }

    #[test]
    fn grants_are_shown_as_they_are_given() {
        let agent = json!({"vaults": [{"vault_name": "a", "vault_role": "proxy"}, {"vault_name": "b", "vault_role": "admin"}]});
        assert_eq!(grants(&agent), "a:proxy, b:admin");
        assert_eq!(grants(&json!({})), "-");
    }
}
