//! `owner config` and `owner email`: what holds for the whole instance.

use serde_json::{Map, Value};

use super::broker::{Broker, Reach};
use super::{AS_JSON, Args, Flag, REACH, Verb, World, list, output, text};
use crate::failure::{Exit, Failure};
use crate::json::json;

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["owner", "config", "get"],
        usage: "[flags]",
        about: "Show who may join, the rate limits, and how long logs are kept",
        flags: &[AS_JSON, REACH],
        example: "agent-vault owner config get",
        run: get,
    },
    Verb {
        words: &["owner", "config", "set"],
        usage: "[flags]",
        about: "Change who may join, or the profile of the rate limits",
        flags: &[
            &[
                Flag(
                    "--invite-only",
                    "only invited people may register; --invite-only=false lets others, too",
                ),
                Flag("--allowed-domains a,b", "domains an address must be in; an empty list allows any"),
                Flag("--ratelimit-profile P", "default, strict, loose or off"),
            ],
            REACH,
        ],
        example: "agent-vault owner config set --invite-only --allowed-domains example.com",
        run: set,
    },
    Verb {
        words: &["owner", "email", "test"],
        usage: "[flags]",
        about: "Have the broker send a mail to see whether it can",
        flags: &[&[Flag("--to EMAIL", "who gets it; default: you")], REACH],
        example: "agent-vault owner email test --to you@example.com",
        run: test_email,
    },
];

const PATH: &str = "/v1/admin/settings";

fn get(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get(PATH)?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    output::print(&output::table(&["SETTING", "VALUE", "FROM"], &rows(&broker.json(&reply)?)))?;
    Ok(Exit::Success)
}

/// One row for each thing that is set. What an older broker does not tell has none.
fn rows(settings: &Value) -> Vec<Vec<String>> {
    let row = |name: &str, value: String, from: String| vec![name.to_owned(), value, from];
    let domains: Vec<&str> = list(settings, "allowed_email_domains").filter_map(Value::as_str).collect();
    let domains = if domains.is_empty() { "any".to_owned() } else { domains.join(",") };
    let mut rows = vec![
        row("invite-only", settings["invite_only"].to_string(), String::new()),
        row("allowed-domains", domains, String::new()),
        row(
            "e-mail",
            if settings["smtp_configured"] == true { "on" } else { "off" }.to_owned(),
            String::new(),
        ),
    ];
    if let Some(limits) = settings.get("rate_limit") {
        let lock = if limits["locked"] == true { "locked" } else { "" };
        rows.push(row("ratelimit-profile", text(limits, "profile"), lock.to_owned()));
        for (name, tier) in limits["tiers"].as_object().into_iter().flatten() {
            rows.push(row(name, numbers(tier), text(tier, "source")));
        }
    }
    if let Some(kept) = settings.get("logs_retention") {
        rows.push(row("logs-retention", numbers(kept), text(kept, "source")));
    }
    rows
}

/// `name=value` of all that is a number or a span.
fn numbers(object: &Value) -> String {
    let members = object.as_object().into_iter().flatten();
    let shown = members.filter(|(name, value)| *name != "source" && !value.is_boolean());
    let pairs: Vec<String> = shown
        .map(|(name, value)| match value.as_str() {
            Some(text) => format!("{name}={text}"),
            None => format!("{name}={value}"),
        })
        .collect();
    pairs.join(" ")
}

fn set(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let mut form = Map::new();
    if let Some(invite_only) = invite_only(&mut args)? {
        form.insert("invite_only".to_owned(), invite_only.into());
    }
    if let Some(domains) = args.value("--allowed-domains")? {
        let domains = domains.split(',').map(str::trim).filter(|domain| !domain.is_empty());
        form.insert("allowed_email_domains".to_owned(), domains.collect::<Vec<_>>().into());
    }
    if let Some(profile) = args.value("--ratelimit-profile")? {
        form.insert("rate_limit".to_owned(), json!({ "profile": profile }));
    }
    args.finish()?;
    if form.is_empty() {
        return Err(Failure::usage(
            "nothing to set: give --invite-only, --allowed-domains or --ratelimit-profile",
        ));
    }
    Broker::as_person(world, &reach)?.put(PATH, &Value::Object(form))?;
    output::success(world, "Settings changed")?;
    Ok(Exit::Success)
}

/// A switch that is on when it stands alone, and off when it says so.
fn invite_only(args: &mut Args) -> Result<Option<bool>, Failure> {
    const FLAG: &str = "--invite-only";
    if args.flag(FLAG) {
        return Ok(Some(true));
    }
    match args.value(FLAG)?.as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => Err(Failure::usage(format!("{FLAG}: {other:?} is neither true nor false"))),
    }
}

fn test_email(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, to) = (Reach::take(&mut args)?, args.value("--to")?);
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply =
        broker.post("/v1/admin/email/test", &to.map_or_else(|| json!({}), |to| json!({ "to": to })))?;
    let answer = broker.json(&reply)?;
    output::success(world, &format!("{}: {}", text(&answer, "message"), text(&answer, "to")))?;
    Ok(Exit::Success)
}
