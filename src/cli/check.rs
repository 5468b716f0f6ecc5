//! `check`: is a configuration good, and what would it do with a request?
//!
//! The exit code tells a program: 0 for a good document and a request that would go out, 1 for a document
//! that cannot be used, 3 for a request that would be refused.

use super::run::standalone;
use super::{Args, Flag, Verb, World, answer, output};
use crate::config;
use crate::entry::standalone::check::{self, Checked, Here};
use crate::failure::{Exit, Failure};

pub(super) const VERBS: &[Verb] = &[Verb {
    words: &["check"],
    usage: "[[METHOD] URL] [flags]",
    about: "Check a configuration for run --config, and show what would become of a request",
    flags: &[&[
        Flag("--config FILE", "the document (AGENT_VAULT_CONFIG)"),
        Flag("--credentials", "fail if one of its credentials is not here"),
        Flag("--json", "print the result for programs"),
    ]],
    example: "agent-vault check --config agent-vault.json GET https://api.stripe.com/v1/balance",
    run: check,
}];

/// What was asked for.
struct Asked {
    wants_credentials: bool,
    as_json: bool,
    request: Option<(String, String)>,
}

fn check(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let file = args.value("--config")?;
    let (wants_credentials, as_json) = (args.flag("--credentials"), args.flag("--json"));
    let request = match (args.opt_word()?, args.opt_word()?) {
        (None, _) => None,
        (Some(url), None) => Some(("GET".to_owned(), url)),
        (Some(method), Some(url)) => Some((method, url)),
    };
    args.finish()?;
    let Some(source) = standalone::source(world, file) else {
        return Err(Failure::usage("no configuration: pass --config FILE or set AGENT_VAULT_CONFIG"));
    };
    let asked = Asked { wants_credentials, as_json, request };
    let here = Here {
        has_variable: &|name| world.var(name).is_some(),
        has_key: world.var("AGENT_VAULT_KEY").or_else(|| world.var("AGENT_VAULT_KEY_FILE")).is_some(),
    };
    let internal = config::standalone::internal_names(&|name| world.var(name))?;
    match check::check(source, internal, &here) {
        Ok(checked) => tell(&checked, &asked),
        Err(unusable) if as_json => {
            output::print_json(unusable.to_json().to_string().as_bytes())?;
            Ok(Exit::Failed)
        }
        Err(unusable) => Err(Failure::new(unusable.to_string())),
    }
}

fn tell(checked: &Checked, asked: &Asked) -> Result<Exit, Failure> {
    let explained = match &asked.request {
        Some((method, url)) => Some(checked.explain(method, url).map_err(Failure::usage)?),
        None => None,
    };
    if asked.as_json {
        let mut told = checked.to_json();
        told["request"] = explained.clone().unwrap_or_default();
        output::print_json(told.to_string().as_bytes())?;
    } else if let (Some(explained), Some((method, url))) = (&explained, &asked.request) {
        output::print(&output::table(&["ABOUT", &format!("{method} {url}")], &answer::explained(explained)))?;
    } else {
        output::print(&summary(checked))?;
    }
    if let Some(missing) = checked.missing().filter(|_| asked.wants_credentials) {
        return if asked.as_json { Ok(Exit::Failed) } else { Err(missing) };
    }
    let is_refused = explained.is_some_and(|told| !told["refusal"].is_null());
    Ok(if is_refused { Exit::Refused } else { Exit::Success })
}

fn summary(checked: &Checked) -> String {
    let mut text = format!(
        "{}: good; vault {}, {} services, other hosts: {}\n",
        checked.source(),
        checked.vault(),
        checked.services(),
        checked.policy()
    );
    let rows: Vec<Vec<String>> = checked
        .credentials()
        .iter()
        .map(|one| {
            let is_here = if one.is_here { "yes" } else { "no" };
            vec![one.key.clone(), one.from.clone(), is_here.to_owned()]
        })
        .collect();
    if !rows.is_empty() {
        text.push_str(&output::table(&["CREDENTIAL", "FROM", "HERE"], &rows));
    }
    text
}
