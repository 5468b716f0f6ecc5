//! `vault token`: short-lived tokens for one vault, minted by a person, listed and ended.

use serde_json::Value;

use super::broker::{Broker, Reach, named_vault, vault_of};
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, World, encoded, list, output, text};
use crate::client::Client;
use crate::entry::admin::{self, Minted};
use crate::failure::{Exit, Failure};

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "token"],
        usage: "[flags]",
        about: "Print a short-lived token for a vault, and nothing else",
        flags: &[
            &[Flag("--ttl SECONDS", "life of the token, 300 to 604800; default: a day")],
            IN_VAULT,
            REACH,
        ],
        example: "export AGENT_VAULT_TOKEN=\"$(agent-vault vault token --vault shop --ttl 3600)\"",
        run: token,
    },
    Verb {
        words: &["vault", "token", "list"],
        usage: "[flags]",
        about: "List the short-lived tokens of a vault that are still good",
        flags: &[AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault token list --vault shop",
        run: show_all,
    },
    Verb {
        words: &["vault", "token", "revoke"],
        usage: "ID [flags]",
        about: "End a short-lived token, named by its ID in the list",
        flags: &[IN_VAULT, REACH],
        example: "agent-vault vault token revoke 0f1e2d3c4b5a69788796 --vault shop",
        run: revoke,
    },
];

fn token(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let (vault, ttl) = (args.value("--vault")?, args.number("--ttl")?);
    args.finish()?;
    let broker = Broker::as_person(world, &reach)?;
    let minted = mint(world, broker.client(), named_vault(world, vault), ttl.unwrap_or(0))?;
    output::print_bytes(minted.token.expose())?;
    Ok(Exit::Success)
}

/// The same choice of a vault, and the same words when it fails, as `run` has for a person.
pub(super) fn mint(
    world: &World<'_>,
    client: &Client,
    vault: Option<String>,
    ttl_seconds: u64,
) -> Result<Minted, Failure> {
    let state = world.state();
    admin::mint(client, state.session()?, vault, ttl_seconds, &state)
}

fn show_all(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let vault = vault_of(world, args.value("--vault")?);
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get(&format!("/v1/sessions?vault={}", encoded(&vault)))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let row = |token: &Value| {
        let minter = token.get("created_by").map(|minter| text(minter, "display_name"));
        vec![
            text(token, "id"),
            text(token, "label"),
            text(token, "vault_role"),
            minter.unwrap_or_default(),
            text(token, "created_at"),
            text(token, "expires_at"),
        ]
    };
    let rows: Vec<Vec<String>> = list(&answer, "sessions").map(row).collect();
    output::print(&output::table(&["ID", "LABEL", "ROLE", "MADE BY", "CREATED", "EXPIRES"], &rows))?;
    Ok(Exit::Success)
}

fn revoke(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let vault = vault_of(world, args.value("--vault")?);
    let id = args.word("ID")?;
    args.finish()?;
    let path = format!("/v1/sessions/{}?vault={}", encoded(&id), encoded(&vault));
    Broker::as_person(world, &reach)?.delete(&path, None)?;
    output::success(world, &format!("Revoked token {id} of vault {vault:?}"))?;
    Ok(Exit::Success)
}
