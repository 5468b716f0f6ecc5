//! `agent`: the identities apps have. Their tokens are handed over in `issue`.

use serde_json::Value;

use super::ask::{self, Consent};
use super::broker::{Broker, Reach};
use super::{AS_JSON, Args, Flag, REACH, Verb, WITHOUT_ASKING, World, encoded, list, output, text};
use crate::failure::{Exit, Failure};
use crate::json::json;

pub(in crate::cli) const VERBS: &[Verb] = &[
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
        words: &["agent", "rename"],
        usage: "NAME NEW-NAME [flags]",
        about: "Rename an agent; its token and its vaults stay",
        flags: &[REACH],
        example: "agent-vault agent rename checkout checkout-v2",
        run: rename,
    },
    Verb {
        words: &["agent", "set-role"],
        usage: "NAME --role ROLE [flags]",
        about: "Change what an agent may do in the instance",
        flags: &[&[Flag("--role ROLE", "no-access, member or owner")], REACH],
        example: "agent-vault agent set-role checkout --role member",
        run: set_role,
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
        vec![
            text(agent, "name"),
            text(agent, "role"),
            text(agent, "status"),
            grants(agent),
            moment(agent, "last_used_at"),
            text(agent, "created_at"),
        ]
    };
    let rows: Vec<Vec<String>> = list(&answer, "agents").map(row).collect();
    output::print(&output::table(&["NAME", "ROLE", "STATUS", "VAULTS", "LAST USED", "CREATED"], &rows))?;
    Ok(Exit::Success)
}

/// A moment of an answer, for a table; a dash when it has not come.
fn moment(object: &Value, key: &str) -> String {
    Some(text(object, key)).filter(|moment| !moment.is_empty()).unwrap_or_else(|| "-".to_owned())
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
    shown.push_str(&tokens_table(&agent));
    output::print(&shown)?;
    Ok(Exit::Success)
}

/// The agent's live tokens, newest first: which one is still in use shows which deployment has not rolled.
fn tokens_table(agent: &Value) -> String {
    let row = |token: &Value| {
        vec![
            text(token, "id"),
            moment(token, "last_used_at"),
            moment(token, "expires_at"),
            text(token, "created_at"),
        ]
    };
    let rows: Vec<Vec<String>> = list(agent, "tokens").map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", output::table(&["TOKEN", "LAST USED", "VALID UNTIL", "CREATED"], &rows))
}

fn rename(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let (old, new) = (args.word("NAME")?, args.word("NEW-NAME")?);
    args.finish()?;
    let path = format!("{}/rename", path_of(&old));
    Broker::as_person(world, &reach)?.post(&path, &json!({ "name": new }))?;
    output::success(world, &format!("Renamed agent {old:?} to {new:?}"))?;
    Ok(Exit::Success)
}

fn set_role(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, role) = (Reach::take(&mut args)?, args.value("--role")?);
    let name = args.word("NAME")?;
    args.finish()?;
    let role = role.ok_or_else(|| Failure::usage("missing flag: --role"))?;
    let path = format!("{}/role", path_of(&name));
    Broker::as_person(world, &reach)?.post(&path, &json!({ "role": role }))?;
    output::success(world, &format!("Agent {name:?} is {role} in the instance"))?;
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

pub(super) fn path_of(name: &str) -> String {
    format!("/v1/agents/{}", encoded(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn grants_are_shown_as_they_are_given() {
        let agent = json!({"vaults": [{"vault_name": "a", "vault_role": "proxy"}, {"vault_name": "b", "vault_role": "admin"}]});
        assert_eq!(grants(&agent), "a:proxy, b:admin");
        assert_eq!(grants(&json!({})), "-");
    }
}
