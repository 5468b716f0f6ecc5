//! Spans of time as people type them: a whole number and its unit.

use std::time::Duration;

use crate::failure::Failure;

/// A flag's text, or its twin variable's, as a span of time.
pub(super) fn duration(flag: &str, text: Option<String>) -> Result<Option<Duration>, Failure> {
    let Some(text) = text else { return Ok(None) };
    match parse(&text) {
        Some(span) => Ok(Some(span)),
        None => Err(Failure::usage(format!(
            "invalid argument {text:?} for {flag:?} flag: a number and a unit, as in 500ms, 30s or 2m"
        ))),
    }
}

fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        "h" => number.checked_mul(3600).map(Duration::from_secs),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit() {
        for (text, millis) in [("500ms", 500), ("30s", 30_000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for bad in ["", "30", "s", "+5s", "1.5s", "1d", "99999999999999999999s"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
