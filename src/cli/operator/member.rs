//! `vault user`: which people may use a vault, and as what.

use serde_json::{Value, json};

use super::broker::{Broker, Reach, vault_of};
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, World, encoded, list, output, text};
use crate::failure::{Exit, Failure};

const AS: &[Flag] = &[Flag("--role ROLE", "member or admin")];

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "user", "list"],
        usage: "[flags]",
        about: "List the people of a vault, and those invited to it",
        flags: &[AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault user list --vault shop",
        run: show_all,
    },
    Verb {
        words: &["vault", "user", "add"],
        usage: "EMAIL [flags]",
        about: "Let somebody with an account use a vault, as member if no role is given",
        flags: &[AS, IN_VAULT, REACH],
        example: "agent-vault vault user add ann@example.com --role admin --vault shop",
        run: add,
    },
    Verb {
        words: &["vault", "user", "remove"],
        usage: "EMAIL [flags]",
        about: "Take a vault away from somebody, and the tokens they minted for it",
        flags: &[IN_VAULT, REACH],
        example: "agent-vault vault user remove ann@example.com --vault shop",
        run: remove,
    },
    Verb {
        words: &["vault", "user", "set-role"],
        usage: "EMAIL --role ROLE [flags]",
        about: "Change what somebody may do in a vault",
        flags: &[AS, IN_VAULT, REACH],
        example: "agent-vault vault user set-role ann@example.com --role member --vault shop",
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
    let row = |user: &Value| vec![text(user, "email"), text(user, "status"), text(user, "role")];
    let rows: Vec<Vec<String>> = list(&answer, "users").map(row).collect();
    output::print(&output::table(&["EMAIL", "STATUS", "ROLE"], &rows))?;
    Ok(Exit::Success)
}

fn add(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, role) = (Reach::take(&mut args)?, args.value("--role")?);
    let vault = vault_of(world, args.value("--vault")?);
    let email = args.word("EMAIL")?;
    args.finish()?;
    let mut body = json!({ "email": email });
    if let Some(role) = role {
        body["role"] = role.into();
    }
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.post(&path_of(&vault), &body)?;
    let role = text(&broker.json(&reply)?, "role");
    output::success(world, &format!("{email} may use vault {vault:?} as {role}"))?;
    Ok(Exit::Success)
}

fn remove(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let vault = vault_of(world, args.value("--vault")?);
    let email = args.word("EMAIL")?;
    args.finish()?;
    Broker::as_person(world, &reach)?.delete(&format!("{}/{}", path_of(&vault), encoded(&email)), None)?;
    output::success(world, &format!("{email} may no longer use vault {vault:?}"))?;
    Ok(Exit::Success)
}

fn set_role(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, role) = (Reach::take(&mut args)?, args.value("--role")?);
    let vault = vault_of(world, args.value("--vault")?);
    let email = args.word("EMAIL")?;
    args.finish()?;
    let role = role.ok_or_else(|| Failure::usage("missing flag: --role"))?;
    let path = format!("{}/{}/role", path_of(&vault), encoded(&email));
    Broker::as_person(world, &reach)?.post(&path, &json!({ "role": role }))?;
    output::success(world, &format!("{email} is {role} in vault {vault:?}"))?;
    Ok(Exit::Success)
}

fn path_of(vault: &str) -> String {
    format!("/v1/vaults/{}/users", encoded(vault))
}
