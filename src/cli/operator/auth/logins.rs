//! A person's logins, on this machine and elsewhere.

use serde_json::Value;

use super::super::broker::{Broker, Reach};
use super::super::{Args, World, encoded, list, output, text};
use crate::failure::{Exit, Failure};

pub(super) fn show_all(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get("/v1/auth/sessions")?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let row = |login: &Value| {
        let texts = ["id", "device_label", "last_ip", "last_used_at", "expires_at"];
        let mark = if login["current"] == true { "✓" } else { "" };
        texts.iter().map(|key| text(login, key)).chain([mark.to_owned()]).collect()
    };
    let rows: Vec<Vec<String>> = list(&answer, "sessions").map(row).collect();
    output::print(&output::table(&["ID", "DEVICE", "LAST IP", "LAST USED", "EXPIRES", "CURRENT"], &rows))?;
    Ok(Exit::Success)
}

pub(super) fn revoke(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let id = args.word("ID")?;
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.delete(&format!("/v1/auth/sessions/{}", encoded(&id)), None)?;
    if broker.json(&reply)?["current"] == true {
        world.state().forget_session()?;
        output::note("✓ Revoked this machine's login; it is forgotten here as well.");
    } else {
        output::note(&format!("✓ Revoked login {id}"));
    }
    Ok(Exit::Success)
}
