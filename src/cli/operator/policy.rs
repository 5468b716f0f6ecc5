//! `vault config`: what holds for one vault.

use super::broker::{Broker, Reach, vault_of};
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, World, encoded, output, text};
use crate::failure::{Exit, Failure};
use crate::json::json;

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "config", "get"],
        usage: "[flags]",
        about: "Show what becomes of requests to hosts that no service names",
        flags: &[AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault config get --vault shop",
        run: get,
    },
    Verb {
        words: &["vault", "config", "set"],
        usage: "[flags]",
        about: "Say what becomes of requests to hosts that no service names",
        flags: &[
            &[Flag(
                "--unmatched-host-policy P",
                "passthrough: with nothing attached; deny: refused; empty: the default",
            )],
            IN_VAULT,
            REACH,
        ],
        example: "agent-vault vault config set --unmatched-host-policy deny --vault shop",
        run: set,
    },
];

const POLICY: &str = "unmatched_host_policy";

fn path_of(vault: &str) -> String {
    format!("/v1/vaults/{}/settings", encoded(vault))
}

fn get(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let vault = vault_of(world, args.value("--vault")?);
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get(&path_of(&vault))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let row = vec!["unmatched-host-policy".to_owned(), text(&broker.json(&reply)?, POLICY)];
    output::print(&output::table(&["SETTING", "VALUE"], &[row]))?;
    Ok(Exit::Success)
}

fn set(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, policy) = (Reach::take(&mut args)?, args.value("--unmatched-host-policy")?);
    let vault = vault_of(world, args.value("--vault")?);
    args.finish()?;
    let policy = policy.ok_or_else(|| Failure::usage("nothing to set: give --unmatched-host-policy"))?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.patch(&path_of(&vault), &json!({ POLICY: policy }))?;
    let policy = text(&broker.json(&reply)?, POLICY);
    output::success(world, &format!("Vault {vault:?}: unmatched hosts {policy}"))?;
    Ok(Exit::Success)
}
