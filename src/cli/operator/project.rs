//! `vault init`: ties a folder to a vault by a file in it, which is meant to be kept with the project.

use super::ask::{self, Consent};
use super::broker::{Broker, Reach};
use super::{Args, Flag, REACH, Verb, WITHOUT_ASKING, World, choose, output};
use crate::client::state::{project_vault, save_project_vault};
use crate::failure::{Exit, Failure};
use crate::vault::service::name;

pub(in crate::cli) const VERBS: &[Verb] = &[Verb {
    words: &["vault", "init"],
    usage: "[flags]",
    about: "Make a vault the one that is meant in this folder: writes ./agent-vault.json",
    flags: &[
        &[Flag("--vault NAME", "the vault; without it a list is shown to choose from")],
        WITHOUT_ASKING,
        REACH,
    ],
    example: "agent-vault vault init --vault shop",
    run: init,
}];

fn init(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let (named, yes) = (args.value("--vault")?, args.flag("--yes"));
    args.finish()?;
    let vault = match named {
        Some(vault) => vault,
        None if world.is_interactive() => choose::vault(&mut Broker::as_person(world, &reach)?)?,
        None => {
            return Err(Failure::usage("there is no terminal to choose a vault at: pass --vault NAME"));
        }
    };
    name::check(&vault).map_err(|invalid| Failure::usage(invalid.to_string()))?;
    let before = project_vault().filter(|before| *before != vault);
    if let Some(before) = before {
        let question = format!("This folder is for vault {before:?}. Make it {vault:?}?");
        if ask::consent(world, yes, &question)? == Consent::Declined {
            output::note("Aborted.");
            return Ok(Exit::Success);
        }
    }
    save_project_vault(&vault)?;
    output::success(world, &format!("This folder is for vault {vault:?} (agent-vault.json)"))?;
    Ok(Exit::Success)
}
