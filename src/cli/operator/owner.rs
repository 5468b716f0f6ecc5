//! `owner`: what only an owner of the instance can do to people and to vaults they have no grant for.

use serde_json::Value;

use super::ask::{self, Consent};
use super::broker::{Broker, Reach};
use super::{AS_JSON, Args, Flag, REACH, Verb, WITHOUT_ASKING, World, encoded, list, output, text, vault};
use crate::failure::{Exit, Failure};
use crate::json::json;

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["owner", "user", "info"],
        usage: "EMAIL [flags]",
        about: "Show one person",
        flags: &[AS_JSON, REACH],
        example: "agent-vault owner user info ann@example.com",
        run: info,
    },
    Verb {
        words: &["owner", "user", "remove"],
        usage: "EMAIL [flags]",
        about: "Remove a person, with their logins, grants and the tokens they minted",
        flags: &[WITHOUT_ASKING, REACH],
        example: "agent-vault owner user remove ann@example.com --yes",
        run: remove,
    },
    Verb {
        words: &["owner", "user", "set-role"],
        usage: "EMAIL --role ROLE [flags]",
        about: "Change what a person may do in the instance",
        flags: &[&[Flag("--role ROLE", "no-access, member or owner")], REACH],
        example: "agent-vault owner user set-role ann@example.com --role owner",
        run: set_role,
    },
    Verb {
        words: &["owner", "vault", "list"],
        usage: "[flags]",
        about: "List every vault of the instance",
        flags: &[AS_JSON, REACH],
        example: "agent-vault owner vault list",
        run: vaults,
    },
    Verb {
        words: &["owner", "vault", "join"],
        usage: "NAME [flags]",
        about: "Become admin of a vault",
        flags: &[REACH],
        example: "agent-vault owner vault join shop",
        run: join,
    },
    Verb {
        words: &["owner", "vault", "delete"],
        usage: "NAME [flags]",
        about: "Delete a vault with everything in it, without being its admin",
        flags: &[WITHOUT_ASKING, REACH],
        example: "agent-vault owner vault delete shop --yes",
        run: vault::delete,
    },
];

fn info(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let email = args.word("EMAIL")?;
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get(&path_of(&email))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let person = broker.json(&reply)?;
    let vaults: Vec<String> = list(&person, "vaults").map(vault_name).collect();
    let vaults = if vaults.is_empty() { "-".to_owned() } else { vaults.join(", ") };
    for (label, value) in [
        ("Email", text(&person, "email")),
        ("Role", text(&person, "role")),
        ("Vaults", vaults),
        ("Created", text(&person, "created_at")),
    ] {
        output::print(&format!("{:9}{value}\n", format!("{label}:")))?;
    }
    Ok(Exit::Success)
}

/// A name, or an object with one: brokers answer either.
fn vault_name(vault: &Value) -> String {
    vault.as_str().map_or_else(|| text(vault, "vault_name"), str::to_owned)
}

fn remove(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, yes) = (Reach::take(&mut args)?, args.flag("--yes"));
    let email = args.word("EMAIL")?;
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let question = format!("Remove {email} with their logins, grants and the tokens they minted?");
    if ask::consent(world, yes, &question)? == Consent::Declined {
        output::note("Aborted.");
        return Ok(Exit::Success);
    }
    broker.delete(&path_of(&email), None)?;
    output::success(world, &format!("Removed {email}"))?;
    Ok(Exit::Success)
}

fn set_role(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, role) = (Reach::take(&mut args)?, args.value("--role")?);
    let email = args.word("EMAIL")?;
    args.finish()?;
    let role = role.ok_or_else(|| Failure::usage("missing flag: --role"))?;
    let path = format!("{}/role", path_of(&email));
    Broker::as_person(world, &reach)?.post(&path, &json!({ "role": role }))?;
    output::success(world, &format!("{email} is {role}"))?;
    Ok(Exit::Success)
}

fn vaults(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get("/v1/admin/vaults")?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let row = |vault: &Value| vec![text(vault, "id"), text(vault, "name"), text(vault, "created_at")];
    let rows: Vec<Vec<String>> = list(&answer, "vaults").map(row).collect();
    output::print(&output::table(&["ID", "NAME", "CREATED"], &rows))?;
    Ok(Exit::Success)
}

fn join(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let name = args.word("NAME")?;
    args.finish()?;
    Broker::as_person(world, &reach)?.post(&format!("/v1/vaults/{}/join", encoded(&name)), &json!({}))?;
    output::success(world, &format!("You are admin of vault {name:?}"))?;
    Ok(Exit::Success)
}

fn path_of(email: &str) -> String {
    format!("/v1/admin/users/{}", encoded(email))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn vaults_may_be_names_or_objects() {
        assert_eq!(vault_name(&json!("shop")), "shop");
        assert_eq!(vault_name(&json!({"vault_name": "shop", "vault_role": "admin"})), "shop");
    }
}
