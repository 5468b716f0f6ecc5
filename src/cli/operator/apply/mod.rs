//! `apply`: one document says what a broker is to hold, and the broker is made to hold it.
//!
//! In this order: the document is read and judged whole, the broker is asked what it holds, the difference
//! becomes a plan, the plan is shown and confirmed, its steps are carried out one by one. Nothing is changed
//! before the plan was seen, and a second run with the same document changes nothing. The document never
//! holds a secret; tokens of agents that are created come out on stdout, or in files, as they are made.

mod document;
mod execute;
mod observed;
mod plan;

use std::path::Path;

use super::ask::{self, Consent};
use super::broker::{Broker, Reach};
use super::{Args, Flag, REACH, Verb, WITHOUT_ASKING, World, output};
use crate::failure::{Exit, Failure};
use execute::Tokens;
use observed::Observed;
use plan::{Plan, Unnamed};

pub(in crate::cli) const VERBS: &[Verb] = &[Verb {
    words: &["apply"],
    usage: "-f FILE [flags]",
    about: "Make the broker hold what a document says: vaults, services, agents, grants",
    flags: &[
        &[
            Flag("-f FILE", "the document, YAML or JSON; - is stdin"),
            Flag("--dry-run", "print the plan and change nothing"),
            Flag("--exit-code", "with --dry-run: end with 3 when there is something to change"),
            Flag("--prune", "also remove services, grants and agents it does not name; never a vault"),
            Flag("--tokens-dir DIR", "write new agents' tokens to DIR/AGENT, not to stdout as AGENT=TOKEN"),
            Flag("--json", "print the plan for programs"),
        ],
        WITHOUT_ASKING,
        REACH,
    ],
    example: "agent-vault apply -f vault.yaml --dry-run",
    run: apply,
}];

/// What the command line asks for.
struct Wish {
    file: Option<String>,
    is_dry: bool,
    tells_by_code: bool,
    unnamed: Unnamed,
    tokens_dir: Option<String>,
    as_json: bool,
    is_confirmed: bool,
}

fn apply(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let wish = Wish {
        file: args.value("-f")?,
        is_dry: args.flag("--dry-run"),
        tells_by_code: args.flag("--exit-code"),
        unnamed: if args.flag("--prune") { Unnamed::Removed } else { Unnamed::Kept },
        tokens_dir: args.value("--tokens-dir")?,
        as_json: args.flag("--json"),
        is_confirmed: args.flag("--yes"),
    };
    args.finish()?;
    if wish.tells_by_code && !wish.is_dry {
        return Err(Failure::usage("--exit-code is for --dry-run"));
    }
    let file = wish.file.as_deref().ok_or_else(|| Failure::usage("missing flag: -f FILE"))?;
    let document = document::read(file)?;
    let mut broker = Broker::as_person(world, &reach)?;
    let observed = Observed::of(&mut broker, &document)?;
    let plan = plan::between(&document, &observed, wish.unnamed)?;
    if wish.is_dry {
        output::print(&if wish.as_json { plan.json() } else { plan.text() })?;
        let is_pending = wish.tells_by_code && !plan.steps.is_empty();
        return Ok(if is_pending { Exit::Pending } else { Exit::Success });
    }
    carry_out(world, &mut broker, &wish, &plan, observed)
}

fn carry_out(
    world: &World<'_>,
    broker: &mut Broker<'_>,
    wish: &Wish,
    plan: &Plan,
    observed: Observed,
) -> Result<Exit, Failure> {
    let tokens = match &wish.tokens_dir {
        Some(folder) => Tokens::in_folder(Path::new(folder))?,
        None if wish.as_json && plan.creates_agents() => {
            return Err(Failure::usage("--json leaves no place on stdout for tokens of new agents")
                .with_hint("name a folder for them with --tokens-dir"));
        }
        None => Tokens::on_stdout(),
    };
    if wish.as_json {
        output::print(&plan.json())?;
    } else {
        // Stdout is for tokens.
        output::note(plan.text().trim_end());
    }
    if plan.steps.is_empty() {
        return Ok(Exit::Success);
    }
    if ask::consent(world, wish.is_confirmed, "Apply this plan?")? == Consent::Declined {
        output::note("Aborted.");
        return Ok(Exit::Success);
    }
    execute::run(broker, &plan.steps, &tokens, observed.into_tags())?;
    if let Some(missing) = plan.missing_text().strip_suffix('\n') {
        output::note(missing);
    }
    Ok(Exit::Success)
}
