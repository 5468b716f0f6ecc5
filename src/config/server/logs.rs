//! How long requests are remembered, and who else is told of them.

use super::{Flags, Vars};
use crate::store::retention::{MOST_HOURS, Policy, Said};

/// Whether each request is a line on stderr, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestLines {
    Json,
    Off,
}

/// Bounds of the request log; 0 switches one off.
pub(super) fn retention(vars: &mut Vars<'_>) -> Policy {
    const HOURS: &str = "AGENT_VAULT_LOGS_MAX_AGE_HOURS";
    const ROWS: &str = "AGENT_VAULT_LOGS_MAX_ROWS_PER_VAULT";
    let text = vars.text(HOURS);
    let max_age_hours: Option<f64> = vars.parsed(text.as_deref(), HOURS, "a number of hours");
    let text = vars.text(ROWS);
    let max_rows_per_vault = vars.parsed(text.as_deref(), ROWS, "a number of rows");
    let said = Said { max_age_hours, max_rows_per_vault };
    if !said.is_sensible() {
        vars.problem(format!("{HOURS} must be between 0 and {MOST_HOURS}"));
    }
    Policy { said, is_locked: vars.switch("AGENT_VAULT_LOGS_RETENTION_LOCK") }
}

/// Whether each request is a line on stderr, too.
pub(super) fn lines(flags: &Flags, vars: &mut Vars<'_>) -> RequestLines {
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
            let kept = read_with(&Flags::default(), &vars).unwrap().retention.resolve(Said::default());
            (kept.max_age().map(|age| age.as_secs()), kept.max_rows_per_vault())
        };
        assert_eq!(read("", ""), (Some(168 * 3600), Some(10_000)));
        assert_eq!(read("1.5", "7"), (Some(5400), Some(7)));
        assert_eq!(read("0", "0"), (None, None));
    }
}
