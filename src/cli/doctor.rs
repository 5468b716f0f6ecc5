//! `agent-vault doctor`: what a run would find here, on one page.

use super::{Args, World, output, run};
use crate::entry::doctor::{self, Page};
use crate::failure::{Exit, Failure};

/// Takes the line of `run` and starts nothing; 0 when all is well.
pub(super) fn doctor(world: &World<'_>, args: Args) -> Result<Exit, Failure> {
    let (flags, behind) = run::split_at_dashes(args.into_rest());
    let mut args = Args::new(flags);
    let as_json = args.flag("--json");
    let page = match run::read(world, args, behind) {
        Ok(plan) => doctor::examine(&plan),
        // A line that cannot be understood is no finding about the container.
        Err(failure) if failure.exit() == Exit::Usage => return Err(failure),
        Err(failure) => Page::of_failure(&failure),
    };
    output::print(&if as_json { format!("{:#}\n", page.json()) } else { page.text() })?;
    Ok(if page.is_well() { Exit::Success } else { Exit::Failed })
}
