//! A moment as the store keeps it and as clients read it: UTC, whole seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use time::{Date, Month, Time, UtcDateTime};

/// Seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)))
    }

    pub fn minus(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)))
    }

    /// Seconds since the epoch.
    pub(super) fn seconds(self) -> i64 {
        self.0
    }

    /// The moment as the system has it.
    pub fn moment(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(self.0).unwrap_or(0))
    }

    /// `2026-01-02T03:04:05Z`, as clients read it (contract A.1).
    pub fn rfc3339(self) -> String {
        let mut text = self.written('T');
        text.push('Z');
        text
    }

    /// Day and time of day. A moment outside the calendar is shown as the epoch: it can only come from a
    /// broken clock. Digit by digit, since every row of the request log has one.
    fn written(self, between: char) -> String {
        let moment = UtcDateTime::from_unix_timestamp(self.0).unwrap_or(UtcDateTime::UNIX_EPOCH);
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second) = moment.as_hms();
        let year = u32::try_from(year).unwrap_or(0);
        let mut text = String::with_capacity("YYYY-MM-DDThh:mm:ssZ".len());
        push_two(&mut text, year / 100);
        push_two(&mut text, year % 100);
        let behind = [('-', u8::from(month)), ('-', day), (between, hour), (':', minute), (':', second)];
        for (separator, number) in behind {
            text.push(separator);
            push_two(&mut text, number.into());
        }
        text
    }

    /// What [`ToSql`] wrote, and nothing else.
    fn read(text: &str) -> Option<Self> {
        let is_written = |(at, byte): (usize, u8)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b' ',
            13 | 16 => byte == b':',
            _ => byte.is_ascii_digit(),
        };
        if text.len() != "YYYY-MM-DD hh:mm:ss".len() || !text.bytes().enumerate().all(is_written) {
            return None;
        }
        let part = |at: usize| text[at..at + 2].parse::<u8>().ok();
        let month = Month::try_from(part(5)?).ok()?;
        let date = Date::from_calendar_date(text[..4].parse().ok()?, month, part(8)?).ok()?;
        let time = Time::from_hms(part(11)?, part(14)?, part(17)?).ok()?;
        Some(Self(UtcDateTime::new(date, time).unix_timestamp()))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(moment: SystemTime) -> Self {
        let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |span| span.as_secs());
        Self(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

/// Appends a number below 100 as two digits.
fn push_two(text: &mut String, number: u32) {
    text.extend([number / 10 % 10, number % 10].map(|digit| char::from_digit(digit, 10).unwrap_or('0')));
}

/// Text that sorts in the order of time (contract C.1).
impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.written(' ').into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::read(value.as_str()?).ok_or_else(|| FromSqlError::Other("not a moment".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_survives_the_store() {
        let moment = Timestamp(1_767_323_045);
        assert_eq!(moment.rfc3339(), "2026-01-02T03:04:05Z");
        let ToSqlOutput::Owned(rusqlite::types::Value::Text(text)) = moment.to_sql().unwrap() else {
            panic!("not text");
        };
        assert_eq!(text, "2026-01-02 03:04:05");
        assert_eq!(Timestamp::column_result(ValueRef::Text(text.as_bytes())), Ok(moment));
        assert_eq!(moment.plus(Duration::from_secs(55)).rfc3339(), "2026-01-02T03:05:00Z");
        assert_eq!(moment.minus(Duration::from_secs(5)).rfc3339(), "2026-01-02T03:04:00Z");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        assert_eq!(Timestamp::read("1970-01-01 00:00:09"), Some(Timestamp(9)));
        assert_eq!(Timestamp::read("2024-02-29 00:00:00"), Some(Timestamp(1_709_164_800)));
        for text in [
            "",
            "2026-01-02",
            "2026-01-02T03:04:05",
            "2026-01-02 03:04:05Z",
            "2026-01-02 03:04:+5",
            "2026-02-30 03:04:05",
            "2026-13-02 03:04:05",
            "2026-01-02 24:00:00",
            "2026-01-02 03:04:6é",
        ] {
            assert_eq!(Timestamp::read(text), None, "{text}");
        }
    }
}
