//! Spans of time as people write them: `90s`, `5m`, `1h30m`.

use std::time::Duration;

/// Numbers with their units, one behind the other.
pub fn parse(text: &str) -> Option<Duration> {
    let mut span = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let part = match &rest[..letters] {
            "ms" => Duration::from_millis(number),
            "s" => Duration::from_secs(number),
            "m" => Duration::from_secs(number.checked_mul(60)?),
            "h" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        rest = &rest[letters..];
        span = span.checked_add(part)?;
    }
    Some(span)
}

/// The form existing clients know: every unit from the largest that is needed down to seconds (`5m0s`).
pub fn print(span: Duration) -> String {
    let seconds = span.as_secs();
    let (hours, minutes, millis) = (seconds / 3600, seconds / 60 % 60, span.subsec_millis());
    let mut text = String::new();
    if hours > 0 {
        text.push_str(&format!("{hours}h"));
    }
    if seconds >= 60 {
        text.push_str(&format!("{minutes}m"));
    }
    match (seconds, millis) {
        (0, 1..) => text.push_str(&format!("{millis}ms")),
        (_, 0) => text.push_str(&format!("{}s", seconds % 60)),
        // Parts of a second are a unit of their own here, so that what is printed can be read again.
        (_, _) => text.push_str(&format!("{}s{millis}ms", seconds % 60)),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_units() {
        for (text, seconds) in
            [("90s", Some(90)), ("5m", Some(300)), ("1h30m", Some(5400)), ("2000ms", Some(2))]
        {
            assert_eq!(parse(text), seconds.map(Duration::from_secs), "{text}");
        }
        for text in ["90", "m", "1d", "-1s", "1.5h", "1 s", "99999999999999999999s", "9999999999999999999h"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        for (millis, text) in [
            (300_000, "5m0s"),
            (5_400_000, "1h30m0s"),
            (3_600_000, "1h0m0s"),
            (45_000, "45s"),
            (1_500, "1s500ms"),
            (20, "20ms"),
            (0, "0s"),
        ] {
            let span = Duration::from_millis(millis);
            assert_eq!(print(span), text);
            assert_eq!(parse(text), Some(span));
        }
    }
}
