//! `vault logs --follow`: rows as they come, oldest first, none left out.
//!
//! Asks for what is newer than the newest row that was shown. The broker answers with the oldest of those,
//! so a burst longer than a page takes more questions and loses nothing. Ends when nobody reads any more,
//! or with the signal that ends any command.

use std::io;
use std::time::Duration;

use serde_json::Value;

use super::broker::Broker;
use super::logs::{COLUMNS, row};
use super::{list, output};
use crate::failure::{Exit, Failure};
use crate::sys;

/// Rows asked for at once: the most the broker gives.
const PAGE: usize = 200;
/// What passes between two questions when there was nothing more to show.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// What is followed, and how it is shown.
pub(super) struct Following {
    /// The route with its filters.
    pub(super) path: String,
    /// How many rows of the past come first, as a part of the query; empty leaves it to the broker.
    pub(super) limit: String,
    pub(super) as_json: bool,
}

pub(super) fn run(broker: &mut Broker<'_>, following: &Following) -> Result<Exit, Failure> {
    let stdout = io::stdout();
    let failed = |error: io::Error| Failure::new(format!("cannot watch stdout: {error}"));
    let Following { path, limit, as_json } = following;
    if !as_json {
        let headers: Vec<String> = COLUMNS.iter().map(|(header, _)| (*header).to_owned()).collect();
        output::print(&line(&headers))?;
    }
    let mut page = ask(broker, &format!("{path}{limit}"))?;
    let mut is_full = false;
    loop {
        let text: String = page.rows.iter().map(|log| shown(log, *as_json)).collect();
        if !text.is_empty() {
            output::print(&text)?;
        }
        // After a full page there is more to fetch; a reader that left is still noticed.
        let pause = if is_full { Duration::ZERO } else { POLL_EVERY };
        if sys::pipe::wait_for_reader_to_leave(&stdout, pause).map_err(failed)? {
            return Ok(Exit::Success);
        }
        page = ask(broker, &format!("{path}&limit={PAGE}&after={}", page.latest))?;
        is_full = page.rows.len() == PAGE;
    }
}

/// An answer of the broker, oldest row first.
struct Page {
    rows: Vec<Value>,
    /// The newest row that was shown, ever.
    latest: i64,
}

fn ask(broker: &mut Broker<'_>, path: &str) -> Result<Page, Failure> {
    let reply = broker.get(path)?;
    let answer = broker.json(&reply)?;
    let mut rows: Vec<Value> = list(&answer, "logs").cloned().collect();
    rows.reverse();
    let latest = answer.get("latest_id").and_then(Value::as_i64);
    let latest = latest.ok_or_else(|| Failure::new("the broker's answer does not say where it ends"))?;
    Ok(Page { rows, latest })
}

fn shown(log: &Value, as_json: bool) -> String {
    if as_json { format!("{log}\n") } else { line(&row(log)) }
}

fn line(cells: &[String]) -> String {
    output::line(cells, &COLUMNS.map(|(_, width)| width))
}
