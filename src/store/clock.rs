//! A moment as the store keeps it and as clients read it: UTC, whole seconds.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// Sorts as text in the order of time (contract C.1).
const STORED: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");

/// What clients read (contract A.1).
const WIRE: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

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

    /// `2026-01-02T03:04:05Z`.
    pub fn rfc3339(self) -> String {
        self.format(WIRE)
    }

    /// A moment outside the calendar is shown as the epoch: it can only come from a broken clock.
    fn format(self, layout: &[BorrowedFormatItem<'_>]) -> String {
        let moment = OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        moment.format(layout).unwrap_or_default()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(moment: SystemTime) -> Self {
        let seconds = moment.duration_since(UNIX_EPOCH).map_or(0, |span| span.as_secs());
        Self(i64::try_from(seconds).unwrap_or(i64::MAX))
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.format(STORED).into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let moment = PrimitiveDateTime::parse(value.as_str()?, STORED)
            .map_err(|error| FromSqlError::Other(Box::new(error)))?;
        Ok(Self(moment.assume_utc().unix_timestamp()))
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
}
