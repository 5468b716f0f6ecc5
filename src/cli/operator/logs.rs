//! `vault logs` and `vault hosts`: what went through the proxy, and which hosts have no service yet.

use serde_json::Value;

use super::broker::{Broker, Reach};
use super::follow::{self, Following};
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, World, encoded, list, output, text};
use crate::failure::{Exit, Failure};

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "logs"],
        usage: "[flags]",
        about: "Show the requests that went through the proxy, newest first",
        flags: &[
            &[
                Flag("--service NAME", "only requests this service matched"),
                Flag(
                    "--status CLASS",
                    "only 2xx, 3xx, 4xx, 5xx, or err: an error code or a status from 400 on",
                ),
                Flag("--ingress NAME", "only requests that came in this way, as in mitm"),
                Flag("--limit N", "at most so many, 200 at most (50)"),
                Flag("--before ID", "only requests older than this one"),
                Flag("--follow", "oldest first, then each new one as it comes; with --json one to a line"),
            ],
            AS_JSON,
            IN_VAULT,
            REACH,
        ],
        example: "agent-vault vault logs --vault shop --status err",
        run: show,
    },
    Verb {
        words: &["vault", "hosts"],
        usage: "[flags]",
        about: "Show the hosts that were called and have no service",
        flags: &[&[Flag("--limit N", "at most so many, 100 at most (5)")], AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault hosts --vault shop",
        run: hosts,
    },
];

/// Columns of the log, with the least width they have where rows come one by one.
pub(super) const COLUMNS: [(&str, usize); 9] = [
    ("TIME", 20),
    ("STATUS", 6),
    ("METHOD", 7),
    ("HOST", 28),
    ("PATH", 28),
    ("SERVICE", 14),
    ("ACTOR", 14),
    ("MS", 5),
    ("ERROR", 0),
];

fn show(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let (vault, follows) = (args.value("--vault")?, args.flag("--follow"));
    let mut filter = String::new();
    for (flag, name) in [("--service", "service"), ("--status", "status_bucket"), ("--ingress", "ingress")] {
        if let Some(value) = args.value(flag)? {
            filter.push_str(&format!("&{name}={}", encoded(&value)));
        }
    }
    let limit = args.number("--limit")?.map(|limit| format!("&limit={limit}")).unwrap_or_default();
    let before = args.number("--before")?;
    args.finish()?;
    if follows && before.is_some() {
        return Err(Failure::usage("--follow shows what is new, --before what is old: use one of them"));
    }
    let (mut broker, vault) = Broker::for_vault(world, &reach, vault)?;
    let path = format!("/v1/vaults/{}/logs?{filter}", encoded(&vault));
    if follows {
        return follow::run(&mut broker, &Following { path, limit, as_json });
    }
    let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
    let reply = broker.get(&format!("{path}{limit}{before}"))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let rows: Vec<Vec<String>> = list(&answer, "logs").map(row).collect();
    output::print(&output::table(&COLUMNS.map(|(header, _)| header), &rows))?;
    if let Some(older) = answer.get("next_cursor").and_then(Value::as_i64) {
        output::note(&format!("There may be older ones: --before {older}"));
    }
    Ok(Exit::Success)
}

/// One request's cells.
pub(super) fn row(log: &Value) -> Vec<String> {
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

fn hosts(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let vault = args.value("--vault")?;
    let limit = args.number("--limit")?.map(|limit| format!("?limit={limit}")).unwrap_or_default();
    args.finish()?;
    let (mut broker, vault) = Broker::for_vault(world, &reach, vault)?;
    let reply = broker.get(&format!("/v1/vaults/{}/discovered-hosts{limit}", encoded(&vault)))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let count = |host: &Value| host.get("request_count").and_then(Value::as_u64).unwrap_or_default();
    let row = |host: &Value| {
        let auth = [text(host, "auth_scheme"), text(host, "auth_header")];
        let auth = if auth[0].is_empty() { "-".to_owned() } else { auth.join(" in ") };
        vec![text(host, "host"), count(host).to_string(), text(host, "last_seen"), auth]
    };
    let rows: Vec<Vec<String>> = list(&answer, "hosts").map(row).collect();
    output::print(&output::table(&["HOST", "REQUESTS", "LAST SEEN", "AUTH SEEN"], &rows))?;
    let total = answer.get("total").and_then(Value::as_u64).unwrap_or_default();
    if total > rows.len() as u64 {
        output::note(&format!("{} of {total} hosts: --limit shows more", rows.len()));
    }
    Ok(Exit::Success)
}
