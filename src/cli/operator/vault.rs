//! `vault`: the vaults themselves, which one is meant, and what an agent may know of one.

use serde_json::Value;

use super::ask::{self, Consent};
use super::broker::{Broker, Caller, Reach, vault_of};
use super::token::mint;
use super::{AS_JSON, Args, IN_VAULT, REACH, Verb, WITHOUT_ASKING, World, encoded, list, output, text};
use crate::client::state::project_vault;
use crate::failure::{Exit, Failure};
use crate::json::json;
use crate::vault::service::name;

/// The shortest life a token can have (contract A.5): for one question asked right away.
const SHORTEST_TTL_SECONDS: u64 = 300;

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "create"],
        usage: "NAME [flags]",
        about: "Create a vault",
        flags: &[REACH],
        example: "agent-vault vault create shop",
        run: create,
    },
    Verb {
        words: &["vault", "list"],
        usage: "[flags]",
        about: "List the vaults",
        flags: &[AS_JSON, REACH],
        example: "agent-vault vault list",
        run: show_all,
    },
    Verb {
        words: &["vault", "rename"],
        usage: "OLD NEW [flags]",
        about: "Give a vault another name",
        flags: &[REACH],
        example: "agent-vault vault rename shop web-shop",
        run: rename,
    },
    Verb {
        words: &["vault", "leave"],
        usage: "NAME [flags]",
        about: "Give up your own access to a vault, and the tokens you minted for it",
        flags: &[REACH],
        example: "agent-vault vault leave shop",
        run: leave,
    },
    Verb {
        words: &["vault", "delete"],
        usage: "NAME [flags]",
        about: "Delete a vault with everything in it",
        flags: &[WITHOUT_ASKING, REACH],
        example: "agent-vault vault delete shop --yes",
        run: delete,
    },
    Verb {
        words: &["vault", "use"],
        usage: "NAME",
        about: "Make a vault the one that is meant on this machine",
        flags: &[],
        example: "agent-vault vault use shop",
        run: choose,
    },
    Verb {
        words: &["vault", "current"],
        usage: "[flags]",
        about: "Print the vault that is meant",
        flags: &[IN_VAULT],
        example: "agent-vault vault current",
        run: current,
    },
    Verb {
        words: &["vault", "discover"],
        usage: "[flags]",
        about: "Show what an agent may know of a vault: services and names of credentials",
        flags: &[AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault discover --vault shop",
        run: discover,
    },
];

fn create(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let name = args.word("NAME")?;
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.post("/v1/vaults", &json!({ "name": name }))?;
    let id = text(&broker.json(&reply)?, "id");
    output::success(world, &format!("Created vault {name:?} (id: {id})"))?;
    Ok(Exit::Success)
}

fn show_all(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get("/v1/vaults")?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let rows: Vec<Vec<String>> = list(&answer, "vaults").map(row).collect();
    output::print(&output::table(&["ID", "NAME", "ROLE", "STORE", "CREATED"], &rows))?;
    Ok(Exit::Success)
}

fn row(vault: &Value) -> Vec<String> {
    let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
    let store = vault.get("credential_store").map(|store| text(store, "kind")).unwrap_or_default();
    vec![
        text(vault, "id"),
        text(vault, "name"),
        or(text(vault, "role"), "-"),
        or(store, "builtin"),
        text(vault, "created_at"),
    ]
}

fn rename(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let (old, new) = (args.word("OLD")?, args.word("NEW")?);
    args.finish()?;
    let path = format!("/v1/vaults/{}/rename", encoded(&old));
    Broker::as_person(world, &reach)?.post(&path, &json!({ "name": new }))?;
    output::success(world, &format!("Vault {old:?} is now {new:?}"))?;
    // Nothing here is changed behind a person's back: a project file may be under version control.
    for (place, vault, remedy) in [
        ("AGENT_VAULT_VAULT", world.var("AGENT_VAULT_VAULT"), format!("set it to {new}")),
        ("./agent-vault.json", project_vault(), format!("write {new} there")),
        ("'vault use'", world.state().context_vault(), format!("agent-vault vault use {new}")),
    ] {
        if vault.as_ref() == Some(&old) {
            output::note(&format!("note: {place} still names {old:?}: {remedy}"));
        }
    }
    Ok(Exit::Success)
}

fn leave(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let name = args.word("NAME")?;
    args.finish()?;
    Broker::as_person(world, &reach)?.post(&format!("/v1/vaults/{}/leave", encoded(&name)), &json!({}))?;
    output::success(world, &format!("Left vault {name:?}"))?;
    Ok(Exit::Success)
}

pub(super) fn delete(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, yes) = (Reach::take(&mut args)?, args.flag("--yes"));
    let name = args.word("NAME")?;
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let question = format!("This deletes vault {name:?} with all its credentials, services and grants.");
    if ask::consent_by_name(world, yes, &question, &name)? == Consent::Declined {
        output::note("Aborted.");
        return Ok(Exit::Success);
    }
    broker.delete(&format!("/v1/vaults/{}", encoded(&name)), None)?;
    output::success(world, &format!("Deleted vault {name:?}"))?;
    Ok(Exit::Success)
}

/// Whether the vault exists is not asked: the choice may be made before it is.
fn choose(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let name = args.word("NAME")?;
    args.finish()?;
    name::check(&name).map_err(|invalid| Failure::usage(invalid.to_string()))?;
    world.state().save_context_vault(&name)?;
    output::success(world, &format!("Using vault {name:?}"))?;
    Ok(Exit::Success)
}

fn current(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let vault = args.value("--vault")?;
    args.finish()?;
    output::print(&format!("{}\n", vault_of(world, vault)))?;
    Ok(Exit::Success)
}

fn discover(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let vault = args.value("--vault")?;
    args.finish()?;
    let (mut broker, vault) = Broker::for_vault(world, &reach, vault)?;
    if broker.as_whom() == Caller::Person {
        // A login has no vault of its own, and this question is answered to a token for one only.
        let minted = mint(world, broker.client(), Some(vault), SHORTEST_TTL_SECONDS)?;
        broker = broker.with_token(minted.token);
    }
    let reply = broker.get("/discover")?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let rows: Vec<Vec<String>> =
        list(&answer, "services").map(|service| vec![text(service, "name"), text(service, "host")]).collect();
    let keys: Vec<&str> = list(&answer, "available_credentials").filter_map(Value::as_str).collect();
    output::print(&format!(
        "Vault: {}\n\n{}\nCredentials: {}\n",
        text(&answer, "vault"),
        output::table(&["NAME", "HOST"], &rows),
        if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
    ))?;
    Ok(Exit::Success)
}
