//! `vault proposal approve` and `reject`.
//!
//! Values come from a hidden prompt, from stdin or a file, or from the command line, where everyone on the
//! machine may read them; none of them is ever part of a message.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::page::{Filling, Page};
use super::{Desk, number};
use crate::cli::operator::ask::{self, Consent};
use crate::cli::operator::credential::{self, Alone, Given};
use crate::cli::{Args, Flag, World, output};
use crate::failure::{Exit, Failure};
use crate::secret::Secret;

pub(super) const VALUES: &[Flag] = &[
    Flag("--values-stdin", "read the values from stdin, as a JSON object"),
    Flag("--from-file KEY=PATH", "read a value from a file; KEY=- reads one from stdin"),
];

/// Values by key.
pub(super) type Values = BTreeMap<String, Secret>;

/// Whether what the agent brought along is taken without a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    Accept,
    Ask,
}

pub(super) fn approve(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (place, yes) = (Desk::take(&mut args)?, args.flag("--yes"));
    let on_stdin = args.flag("--values-stdin");
    let mut given = Given::in_files(&mut args)?;
    let number = number(&mut args)?;
    Given::as_words(&mut args, &mut given, Alone::Refused)?;
    credential::check(&given)?;
    if on_stdin && given.iter().any(|one| one.place.is_stdin()) {
        return Err(Failure::usage("--values-stdin takes all of stdin: leave KEY=- out"));
    }
    let mut values = if on_stdin { values_on_stdin()? } else { Values::new() };
    for Given { key, place } in given {
        let value = place.read(&key)?;
        if values.insert(key.clone(), value).is_some() {
            return Err(Failure::usage(format!("{key} is given more than once")));
        }
    }
    let mut desk = Desk::open(world, place)?;
    let reply = desk.reviewed(number)?;
    let page = Page::read(&desk.broker.json(&reply)?);
    if page.status != "pending" {
        return Err(Failure::new(format!("Proposal {number} is already {}", page.status)));
    }
    if !yes && world.is_interactive() {
        output::note(page.to_string().trim_end());
    }
    let question = format!("Approve proposal {number} in vault {:?}?", desk.vault);
    if ask::consent(world, yes, &question)? == Consent::Declined {
        output::note("Aborted.");
        return Ok(Exit::Success);
    }
    let trust = if yes { Trust::Accept } else { Trust::Ask };
    apply(world, &mut desk, &page, (values, trust))?;
    output::success(world, &format!("Proposal {number} applied"))?;
    Ok(Exit::Success)
}

/// Gathers the values that are missing and approves.
pub(super) fn apply(
    world: &World<'_>,
    desk: &mut Desk<'_>,
    page: &Page,
    (mut values, trust): (Values, Trust),
) -> Result<(), Failure> {
    for slot in page.slots() {
        let Filling::Value { is_brought } = slot.filling else { continue };
        let key = output::printable(&slot.key);
        if values.contains_key(&slot.key) || (is_brought && takes_theirs(trust, &key)?) {
            continue;
        }
        if !world.is_interactive() {
            return Err(Failure::usage(format!("there is no value for credential {key}"))
                .with_hint(format!("give it with {key}=-, --from-file {key}=PATH or --values-stdin")));
        }
        values.insert(slot.key.clone(), ask::hidden(&format!("Value for {key}: "))?);
    }
    let mut credentials = Map::new();
    for (key, value) in &values {
        let Some(value) = value.expose_str() else {
            return Err(Failure::new(format!("the value of {key} is not UTF-8 text")));
        };
        credentials.insert(key.clone(), value.into());
    }
    let number = u32::try_from(page.number).unwrap_or_default();
    desk.decide(number, "approve", ("credentials", Value::Object(credentials)))?;
    for slot in page.slots().iter().filter(|slot| slot.filling == Filling::Oauth) {
        let key = output::printable(&slot.key);
        output::note(&format!("{key} is to be connected: agent-vault vault credential oauth connect {key}"));
    }
    Ok(())
}

fn takes_theirs(trust: Trust, key: &str) -> Result<bool, Failure> {
    if trust == Trust::Accept {
        return Ok(true);
    }
    let answer = ask::line(&format!("Use the value the agent brought for {key}? [Y/n] "))?;
    Ok(!(answer.eq_ignore_ascii_case("n") || answer.eq_ignore_ascii_case("no")))
}

/// The parser's own words would quote what it found.
fn values_on_stdin() -> Result<Values, Failure> {
    serde_json::from_slice(ask::stdin()?.expose())
        .map_err(|_| Failure::new("what is on stdin is not a JSON object of texts"))
}

pub(super) fn reject(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let place = Desk::take(&mut args)?;
    let reason = args.value("--reason")?.unwrap_or_default();
    let number = number(&mut args)?;
    args.finish()?;
    let mut desk = Desk::open(world, place)?;
    desk.decide(number, "reject", ("reason", reason.into()))?;
    output::success(world, &format!("Proposal {number} rejected"))?;
    Ok(Exit::Success)
}
