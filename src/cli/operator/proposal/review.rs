//! `vault proposal review`: the pending proposals one by one, oldest first.

use serde_json::Value;

use super::Desk;
use super::decide::{Trust, Values, apply};
use super::page::Page;
use crate::cli::operator::{ask, list};
use crate::cli::{Args, World, output};
use crate::failure::{Exit, Failure};

/// What a person does with a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    Approve,
    Reject,
    Skip,
    Quit,
}

pub(super) fn review(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let place = Desk::take(&mut args)?;
    args.finish()?;
    if !world.is_interactive() {
        return Err(Failure::usage("there is no terminal to review proposals at")
            .with_hint("use 'vault proposal show', 'approve' and 'reject'"));
    }
    let mut desk = Desk::open(world, place)?;
    let reply = desk.proposals(Some("pending"))?;
    let answer = desk.broker.json(&reply)?;
    let mut numbers: Vec<u32> =
        list(&answer, "proposals").filter_map(|one| one.get("id")?.as_u64()?.try_into().ok()).collect();
    numbers.reverse();
    let (mut approved, mut rejected, mut skipped) = (0, 0, 0);
    for (at, number) in numbers.iter().enumerate() {
        let reply = desk.reviewed(*number)?;
        let page = Page::read(&desk.broker.json(&reply)?);
        output::note(&format!("\n[{} of {}] {page}", at + 1, numbers.len()));
        let decided = match choose()? {
            Choice::Approve => {
                apply(world, &mut desk, &page, (Values::new(), Trust::Ask)).map(|()| &mut approved)
            }
            Choice::Reject => {
                let reason = ask::line("Reason, for the agent: ")?;
                desk.decide(*number, "reject", ("reason", Value::from(reason))).map(|()| &mut rejected)
            }
            Choice::Skip => Ok(&mut skipped),
            Choice::Quit => break,
        };
        match decided {
            Ok(count) => *count += 1,
            // It stays as it is, and so do those that come after it.
            Err(failure) => {
                output::note(&failure.to_string());
                skipped += 1;
            }
        }
    }
    let left = numbers.len() - approved - rejected - skipped;
    output::print(&format!("{approved} approved, {rejected} rejected, {skipped} skipped, {left} left\n"))?;
    Ok(Exit::Success)
}

fn choose() -> Result<Choice, Failure> {
    loop {
        match ask::line("[a]pprove, [r]eject, [s]kip or [q]uit? ")?.as_str() {
            "a" | "approve" => return Ok(Choice::Approve),
            "r" | "reject" => return Ok(Choice::Reject),
            "s" | "skip" => return Ok(Choice::Skip),
            "q" | "quit" => return Ok(Choice::Quit),
            _ => output::note("Type a, r, s or q."),
        }
    }
}
