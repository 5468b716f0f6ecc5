//! `vault agent`: which agents may use a vault, and as what.

use serde_json::{Value, json};

use super::broker::{Broker, Reach, vault_of};
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, World, encoded, list, output, text};
use crate::failure::{Exit, Failure};

const AS: &[Flag] = &[Flag("--role ROLE", "proxy, member or admin")];

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "agent", "list"],
        usage: "[flags]",
        about: "List the agents that may use a vault",
        flags: &[AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault agent list --vault shop",
        run: show_all,
    },
    Verb {
        words: &["vault", "agent", "add"],
        usage: "NAME [flags]",
        about: "Let an agent use a vault, as proxy if no role is given",
        flags: &[AS, IN_VAULT, REACH],
        example: "agent-vault vault agent add checkout --role proxy --vault shop",
        run: add,
    },
    Verb {
        words: &["vault", "agent", "remove"],
        usage: "NAME [flags]",
        about: "Take a vault away from an agent",
        flags: &[IN_VAULT, REACH],
        example: "agent-vault vault agent remove checkout --vault shop",
        run: remove,
    },
    Verb {
        words: &["vault", "agent", "set-role"],
        usage: "NAME --role ROLE [flags]",
        about: "Change what an agent may do in a vault",
        flags: &[AS, IN_VAULT, REACH],
        example: "agent-vault vault agent set-role checkout --role member --vault shop",
        run: set_role,
    },
];

fn show_all(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let vault = vault_of(world, args.value("--vault")?);
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get(&path_of(&vault))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let row = |grant: &Value| vec![text(grant, "name"), text(grant, "vault_role"), text(grant, "status")];
    let rows: Vec<Vec<String>> = list(&answer, "agents").map(row).collect();
    output::print(&output::table(&["NAME", "ROLE", "STATUS"], &rows))?;
    Ok(Exit::Success)
}

fn add(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, role) = (Reach::take(&mut args)?, args.value("--role")?);
    let vault = vault_of(world, args.value("--vault")?);
    let name = args.word("NAME")?;
    args.finish()?;
    let mut body = json!({ "name": name });
    if let Some(role) = role {
        body["role"] = role.into();
    }
    Broker::as_person(world, &reach)?.post(&path_of(&vault), &body)?;
    output::success(world, &format!("Agent {name:?} may use vault {vault:?}"))?;
    Ok(Exit::Success)
}

fn remove(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let vault = vault_of(world, args.value("--vault")?);
    let name = args.word("NAME")?;
    args.finish()?;
    Broker::as_person(world, &reach)?.delete(&format!("{}/{}", path_of(&vault), encoded(&name)), None)?;
    output::success(world, &format!("Agent {name:?} may no longer use vault {vault:?}"))?;
    Ok(Exit::Success)
}

fn set_role(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, role) = (Reach::take(&mut args)?, args.value("--role")?);
    let vault = vault_of(world, args.value("--vault")?);
    let name = args.word("NAME")?;
    args.finish()?;
    let role = role.ok_or_else(|| Failure::usage("missing flag: --role"))?;
    let mut broker = Broker::as_person(world, &reach)?;
    let path = format!("{}/{}/role", path_of(&vault), encoded(&name));
    broker.post(&path, &json!({ "role": role }))?;
    output::success(world, &format!("Agent {name:?} is {role} in vault {vault:?}"))?;
    Ok(Exit::Success)
}

fn path_of(vault: &str) -> String {
    format!("/v1/vaults/{}/agents", encoded(vault))
}
