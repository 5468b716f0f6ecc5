//! `vault agent` and `vault user`: who may use a vault, and as what. Either is a list of members with the same
//! four verbs; what differs between agents and people is a [`Kind`].

use serde_json::Value;

use super::broker::{Broker, Reach, vault_of};
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, World, encoded, list, output, text};
use crate::failure::{Exit, Failure};
use crate::json::json;

/// Members of a kind, as the API and people name them.
struct Kind {
    /// Their list in the path of a vault, and in its answer.
    list: &'static str,
    /// What names one: on the command line, and in a body.
    word: &'static str,
    key: &'static str,
    /// What is shown of one: headers, and the keys of an answer.
    headers: [&'static str; 3],
    keys: [&'static str; 3],
    /// How one is called in a sentence.
    called: fn(&str) -> String,
}

const AGENTS: Kind = Kind {
    list: "agents",
    word: "NAME",
    key: "name",
    headers: ["NAME", "ROLE", "STATUS"],
    keys: ["name", "vault_role", "status"],
    called: |name| format!("Agent {name:?}"),
};

const USERS: Kind = Kind {
    list: "users",
    word: "EMAIL",
    key: "email",
    headers: ["EMAIL", "STATUS", "ROLE"],
    keys: ["email", "status", "role"],
    called: str::to_owned,
};

const AS_AGENT: &[Flag] = &[Flag("--role ROLE", "proxy, member or admin")];

const AS_USER: &[Flag] = &[Flag("--role ROLE", "member or admin")];

pub(in crate::cli) const AGENT_VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "agent", "list"],
        usage: "[flags]",
        about: "List the agents that may use a vault",
        flags: &[AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault agent list --vault shop",
        run: |world, args| show_all(&AGENTS, world, args),
    },
    Verb {
        words: &["vault", "agent", "add"],
        usage: "NAME [flags]",
        about: "Let an agent use a vault, as proxy if no role is given",
        flags: &[AS_AGENT, IN_VAULT, REACH],
        example: "agent-vault vault agent add checkout --role proxy --vault shop",
        run: |world, args| add(&AGENTS, world, args),
    },
    Verb {
        words: &["vault", "agent", "remove"],
        usage: "NAME [flags]",
        about: "Take a vault away from an agent",
        flags: &[IN_VAULT, REACH],
        example: "agent-vault vault agent remove checkout --vault shop",
        run: |world, args| remove(&AGENTS, world, args),
    },
    Verb {
        words: &["vault", "agent", "set-role"],
        usage: "NAME --role ROLE [flags]",
        about: "Change what an agent may do in a vault",
        flags: &[AS_AGENT, IN_VAULT, REACH],
        example: "agent-vault vault agent set-role checkout --role member --vault shop",
        run: |world, args| set_role(&AGENTS, world, args),
    },
];

pub(in crate::cli) const USER_VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "user", "list"],
        usage: "[flags]",
        about: "List the people of a vault, and those invited to it",
        flags: &[AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault user list --vault shop",
        run: |world, args| show_all(&USERS, world, args),
    },
    Verb {
        words: &["vault", "user", "add"],
        usage: "EMAIL [flags]",
        about: "Let somebody with an account use a vault, as member if no role is given",
        flags: &[AS_USER, IN_VAULT, REACH],
        example: "agent-vault vault user add ann@example.com --role admin --vault shop",
        run: |world, args| add(&USERS, world, args),
    },
    Verb {
        words: &["vault", "user", "remove"],
        usage: "EMAIL [flags]",
        about: "Take a vault away from somebody, and the tokens they minted for it",
        flags: &[IN_VAULT, REACH],
        example: "agent-vault vault user remove ann@example.com --vault shop",
        run: |world, args| remove(&USERS, world, args),
    },
    Verb {
        words: &["vault", "user", "set-role"],
        usage: "EMAIL --role ROLE [flags]",
        about: "Change what somebody may do in a vault",
        flags: &[AS_USER, IN_VAULT, REACH],
        example: "agent-vault vault user set-role ann@example.com --role member --vault shop",
        run: |world, args| set_role(&USERS, world, args),
    },
];

impl Kind {
    fn path(&self, vault: &str) -> String {
        format!("/v1/vaults/{}/{}", encoded(vault), self.list)
    }

    fn path_of(&self, vault: &str, name: &str) -> String {
        format!("{}/{}", self.path(vault), encoded(name))
    }
}

fn show_all(kind: &Kind, world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let vault = vault_of(world, args.value("--vault")?);
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get(&kind.path(&vault))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let row = |member: &Value| kind.keys.map(|key| text(member, key)).to_vec();
    let rows: Vec<Vec<String>> = list(&answer, kind.list).map(row).collect();
    output::print(&output::table(&kind.headers, &rows))?;
    Ok(Exit::Success)
}

fn add(kind: &Kind, world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, role) = (Reach::take(&mut args)?, args.value("--role")?);
    let vault = vault_of(world, args.value("--vault")?);
    let name = args.word(kind.word)?;
    args.finish()?;
    let mut body = json!({ (kind.key): name });
    if let Some(role) = role {
        body["role"] = role.into();
    }
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.post(&kind.path(&vault), &body)?;
    let said = format!("{} may use vault {vault:?}", (kind.called)(&name));
    // Not every answer names the role.
    match text(&broker.json(&reply)?, "role") {
        role if role.is_empty() => output::success(world, &said)?,
        role => output::success(world, &format!("{said} as {role}"))?,
    }
    Ok(Exit::Success)
}

fn remove(kind: &Kind, world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let vault = vault_of(world, args.value("--vault")?);
    let name = args.word(kind.word)?;
    args.finish()?;
    Broker::as_person(world, &reach)?.delete(&kind.path_of(&vault, &name), None)?;
    output::success(world, &format!("{} may no longer use vault {vault:?}", (kind.called)(&name)))?;
    Ok(Exit::Success)
}

fn set_role(kind: &Kind, world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, role) = (Reach::take(&mut args)?, args.value("--role")?);
    let vault = vault_of(world, args.value("--vault")?);
    let name = args.word(kind.word)?;
    args.finish()?;
    let role = role.ok_or_else(|| Failure::usage("missing flag: --role"))?;
    let path = format!("{}/role", kind.path_of(&vault, &name));
    Broker::as_person(world, &reach)?.post(&path, &json!({ "role": role }))?;
    output::success(world, &format!("{} is {role} in vault {vault:?}", (kind.called)(&name)))?;
    Ok(Exit::Success)
}
