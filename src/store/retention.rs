//! How long rows of the request log are kept, and who says so.
//!
//! A bound comes from the environment, else from what an owner stored, else it is the contract's. Zero
//! switches a bound off, which is not the same as saying nothing.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::json::json;

/// A thousand years: a span beyond it is none.
pub const MOST_HOURS: f64 = 8_766_000.0;

/// Contract F.6.
const STANDARD_HOURS: f64 = 168.0;
const STANDARD_ROWS: u32 = 10_000;

/// What one voice says of the bounds, as it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Said {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age_hours: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows_per_vault: Option<u32>,
}

/// What the environment says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Policy {
    pub said: Said,
    /// What is stored does not count, and nothing can be stored.
    pub is_locked: bool,
}

/// What holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Retention {
    hours: f64,
    rows: u32,
    source: &'static str,
    is_locked: bool,
}

impl Said {
    /// Whether it can be kept to.
    pub fn is_sensible(&self) -> bool {
        self.max_age_hours.is_none_or(|hours| (0.0..=MOST_HOURS).contains(&hours))
    }
}

impl Policy {
    /// What holds, given what is stored.
    pub fn resolve(&self, stored: Said) -> Retention {
        let (env, own) = (self.said, if self.is_locked { Said::default() } else { stored });
        let source = match (env == Said::default(), own == Said::default()) {
            (false, _) => "env",
            (true, false) => "override",
            (true, true) => "default",
        };
        Retention {
            hours: env.max_age_hours.or(own.max_age_hours).unwrap_or(STANDARD_HOURS),
            rows: env.max_rows_per_vault.or(own.max_rows_per_vault).unwrap_or(STANDARD_ROWS),
            source,
            is_locked: self.is_locked,
        }
    }
}

impl Retention {
    /// `None` keeps rows however old they are.
    pub fn max_age(&self) -> Option<Duration> {
        Some(Duration::from_secs_f64(self.hours * 3600.0)).filter(|age| !age.is_zero())
    }

    /// `None` keeps however many there are.
    pub fn max_rows_per_vault(&self) -> Option<u32> {
        Some(self.rows).filter(|rows| *rows > 0)
    }

    pub fn to_json(&self) -> Value {
        json!({
            "max_age_hours": self.hours,
            "max_rows_per_vault": self.rows,
            "source": self.source,
            "locked": self.is_locked,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environment_beats_stored_beats_the_contract() {
        let stored = Said { max_age_hours: Some(1.5), max_rows_per_vault: Some(0) };
        let silent = Policy::default();
        let bounds = |kept: Retention| (kept.max_age().map(|age| age.as_secs()), kept.max_rows_per_vault());
        assert_eq!(bounds(silent.resolve(Said::default())), (Some(168 * 3600), Some(10_000)));
        assert_eq!(bounds(silent.resolve(stored)), (Some(5400), None));
        let said = Said { max_age_hours: Some(0.0), max_rows_per_vault: None };
        let policy = Policy { said, is_locked: false };
        assert_eq!(bounds(policy.resolve(stored)), (None, None));
        assert_eq!(policy.resolve(stored).to_json()["source"], "env");
        let locked = Policy { is_locked: true, ..silent }.resolve(stored);
        assert_eq!(bounds(locked), (Some(168 * 3600), Some(10_000)));
        assert_eq!(
            locked.to_json().to_string(),
            r#"{"max_age_hours":168.0,"max_rows_per_vault":10000,"source":"default","locked":true}"#
        );
    }
}
