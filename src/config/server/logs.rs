//! How long requests are remembered, and who else is told of them.

use std::time::Duration;

use super::{Flags, Vars};

/// How long requests are remembered, and who else is told of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestLog {
    /// `None` keeps rows however old they are.
    pub max_age: Option<Duration>,
    /// `None` keeps however many there are.
    pub max_rows_per_vault: Option<u32>,
    pub lines: RequestLines,
}

/// Whether each request is a line on stderr, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestLines {
    Json,
    Off,
}

impl Default for RequestLog {
    /// Contract F.1.
    fn default() -> Self {
        Self {
            max_age: Some(Duration::from_secs(168 * 3600)),
            max_rows_per_vault: Some(10_000),
            lines: RequestLines::Off,
        }
    }
}

/// Retention and lines of the request log; 0 switches a bound off.
pub(super) fn read(flags: &Flags, vars: &mut Vars<'_>) -> RequestLog {
    const HOURS: &str = "AGENT_VAULT_LOGS_MAX_AGE_HOURS";
    const ROWS: &str = "AGENT_VAULT_LOGS_MAX_ROWS_PER_VAULT";
    /// A thousand years: a span beyond it is none.
    const MOST_HOURS: f64 = 8_766_000.0;
    let standard = RequestLog::default();
    let text = vars.text(HOURS);
    let hours: Option<f64> = vars.parsed(text.as_deref(), HOURS, "a number of hours");
    if hours.is_some_and(|hours| !(0.0..=MOST_HOURS).contains(&hours)) {
        vars.problem(format!("{HOURS} must be between 0 and {MOST_HOURS}"));
    }
    let hours = hours.filter(|hours| (0.0..=MOST_HOURS).contains(hours));
    let text = vars.text(ROWS);
    let rows: Option<u32> = vars.parsed(text.as_deref(), ROWS, "a number of rows");
    let span = |hours: f64| Some(Duration::from_secs_f64(hours * 3600.0)).filter(|span| !span.is_zero());
    RequestLog {
        max_age: hours.map_or(standard.max_age, span),
        max_rows_per_vault: rows.map_or(standard.max_rows_per_vault, |rows| Some(rows).filter(|n| *n > 0)),
        lines: request_lines(flags, vars),
    }
}

fn request_lines(flags: &Flags, vars: &mut Vars<'_>) -> RequestLines {
    let source = vars.source(flags.log_requests.as_deref(), "--log-requests", "AGENT_VAULT_LOG_REQUESTS");
    match source.as_ref().map(|(text, name)| (text.to_ascii_lowercase(), name)) {
        None => RequestLines::Off,
        Some((text, _)) if text == "json" => RequestLines::Json,
        Some((text, _)) if text == "off" => RequestLines::Off,
        Some((text, name)) => {
            vars.problem(format!("{name}: {text:?} is neither json nor off"));
            RequestLines::Off
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read_with;
    use super::*;

    #[test]
    fn the_request_log_is_bounded_unless_zero_says_otherwise() {
        let read = |hours: &str, rows: &str| {
            let vars = [
                ("HOME", "/"),
                ("AGENT_VAULT_LOGS_MAX_AGE_HOURS", hours),
                ("AGENT_VAULT_LOGS_MAX_ROWS_PER_VAULT", rows),
            ];
            let log = read_with(&Flags::default(), &vars).unwrap().request_log;
            (log.max_age.map(|age| age.as_secs()), log.max_rows_per_vault)
        };
        assert_eq!(read("", ""), (Some(168 * 3600), Some(10_000)));
        assert_eq!(read("1.5", "7"), (Some(5400), Some(7)));
        assert_eq!(read("0", "0"), (None, None));
    }
}
