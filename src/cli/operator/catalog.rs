//! `catalog`: well-known services and how they want their credential.

use serde_json::Value;

use super::broker::{Broker, Reach};
use super::{AS_JSON, Args, PUBLIC_REACH, Verb, World, list, output, text};
use crate::failure::{Exit, Failure};

pub(in crate::cli) const VERBS: &[Verb] = &[Verb {
    words: &["catalog"],
    usage: "[flags]",
    about: "List well-known services and how they want their credential",
    flags: &[AS_JSON, PUBLIC_REACH],
    example: "agent-vault catalog",
    run: show_all,
}];

fn show_all(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    args.finish()?;
    let mut broker = Broker::as_nobody(world, &reach)?;
    let reply = broker.get("/v1/service-catalog")?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let row = |template: &Value| {
        ["id", "name", "host", "auth_type", "suggested_credential_key"]
            .map(|key| text(template, key))
            .to_vec()
    };
    let rows: Vec<Vec<String>> = list(&answer, "services").map(row).collect();
    output::print(&output::table(&["ID", "NAME", "HOST", "AUTH TYPE", "SUGGESTED KEY"], &rows))?;
    Ok(Exit::Success)
}
