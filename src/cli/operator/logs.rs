//! `vault logs`: what went through the proxy, newest first.

use serde_json::Value;

use super::broker::{Broker, Reach};
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, World, encoded, list, output, text};
use crate::failure::{Exit, Failure};

pub(in crate::cli) const VERBS: &[Verb] = &[Verb {
    words: &["vault", "logs"],
    usage: "[flags]",
    about: "Show the requests that went through the proxy, newest first",
    flags: &[
        &[
            Flag("--service NAME", "only requests this service matched"),
            Flag("--status CLASS", "only 2xx, 3xx, 4xx, 5xx, or err: an error code or a status from 400 on"),
            Flag("--limit N", "at most so many, 200 at most (50)"),
        ],
        AS_JSON,
        IN_VAULT,
        REACH,
    ],
    example: "agent-vault vault logs --vault shop --status err",
    run: show,
}];

fn show(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let vault = args.value("--vault")?;
    let mut query = Vec::new();
    for (flag, name) in [("--service", "service"), ("--status", "status_bucket")] {
        if let Some(value) = args.value(flag)? {
            query.push(format!("{name}={}", encoded(&value)));
        }
    }
    if let Some(limit) = args.number("--limit")? {
        query.push(format!("limit={limit}"));
    }
    args.finish()?;
    let (mut broker, vault) = Broker::for_vault(world, &reach, vault)?;
    let reply = broker.get(&format!("/v1/vaults/{}/logs?{}", encoded(&vault), query.join("&")))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let rows: Vec<Vec<String>> = list(&answer, "logs").map(row).collect();
    let headers = ["TIME", "STATUS", "METHOD", "HOST", "PATH", "SERVICE", "ACTOR", "MS", "ERROR"];
    output::print(&output::table(&headers, &rows))?;
    Ok(Exit::Success)
}

fn row(log: &Value) -> Vec<String> {
    let or_none =
        |key| Some(text(log, key)).filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
    let number = |key| log.get(key).and_then(Value::as_i64).unwrap_or_default().to_string();
    vec![
        text(log, "created_at"),
        number("status"),
        text(log, "method"),
        text(log, "host"),
        text(log, "path"),
        or_none("matched_service"),
        or_none("actor_name"),
        number("latency_ms"),
        or_none("error_code"),
    ]
}
