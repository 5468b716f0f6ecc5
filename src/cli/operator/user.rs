//! `user list`: who has an account.

use serde_json::Value;

use super::agent::grants;
use super::broker::{Broker, Reach};
use super::{AS_JSON, Args, REACH, Verb, World, list, output, text};
use crate::failure::{Exit, Failure};

pub(in crate::cli) const VERBS: &[Verb] = &[Verb {
    words: &["user", "list"],
    usage: "[flags]",
    about: "List the people with an account; their vaults are shown to owners",
    flags: &[AS_JSON, REACH],
    example: "agent-vault user list",
    run: show_all,
}];

fn show_all(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get("/v1/users")?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let row =
        |user: &Value| vec![text(user, "email"), text(user, "role"), grants(user), text(user, "created_at")];
    let rows: Vec<Vec<String>> = list(&answer, "users").map(row).collect();
    output::print(&output::table(&["EMAIL", "ROLE", "VAULTS", "CREATED"], &rows))?;
    Ok(Exit::Success)
}
