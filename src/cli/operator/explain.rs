//! `vault explain`: what the proxy would do with a request, and why.

use super::broker::{Broker, Reach};
use super::{AS_JSON, Args, IN_VAULT, REACH, Verb, World, encoded, output};
use crate::cli::answer;
use crate::failure::{Exit, Failure};

pub(in crate::cli) const VERBS: &[Verb] = &[Verb {
    words: &["vault", "explain"],
    usage: "METHOD URL [flags]",
    about: "Show what would become of a request: its service, what is set where, or why it is refused",
    flags: &[AS_JSON, IN_VAULT, REACH],
    example: "agent-vault vault explain GET https://api.stripe.com/v1/balance --vault shop",
    run: explain,
}];

fn explain(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let vault = args.value("--vault")?;
    let (method, url) = (args.word("METHOD")?, args.word("URL")?);
    args.finish()?;
    let (mut broker, vault) = Broker::for_vault(world, &reach, vault)?;
    let query = format!("method={}&url={}", encoded(&method), encoded(&url));
    let reply = broker.get(&format!("/v1/vaults/{}/explain?{query}", encoded(&vault)))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let rows = answer::explained(&broker.json(&reply)?);
    // The table's header line names the request itself.
    output::print(&output::table(&["ABOUT", &format!("{method} {url}")], &rows))?;
    Ok(Exit::Success)
}
