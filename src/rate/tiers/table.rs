//! The table of tiers: their names, their numbers, and what may be written for them.
//!
//! A tier has the knobs for which its row has a number; what an owner stores is bounded, so that nobody can
//! lock everyone out by mistake.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::rate::span;

/// Most that can be stored for a rate, a burst or a maximum, and for requests at the same time.
const MOST: u32 = 100_000;
const MOST_AT_ONCE: u32 = 8_192;
/// Longest window that can be stored: a limiter remembers what happened in it.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Attempts to prove an identity, of one address or account.
    Auth,
    /// Control requests of one actor.
    Authed,
    /// Control requests of all.
    Global,
    /// Proxied requests of one actor in one vault.
    Proxy,
    /// Wrong codes for an address: with three codes out, ten guesses are right once in 33,000 times.
    VerifyFail,
}

/// One number of a tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    Rate,
    Burst,
    Max,
    Window,
    Concurrency,
}

/// Numbers of one tier, or what is said of them; zero where nothing is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Numbers {
    pub rate: f64,
    pub burst: u32,
    pub max: u32,
    pub window: Duration,
    pub concurrency: u32,
}

/// A row of the table.
#[derive(Debug)]
pub struct Row {
    pub tier: Tier,
    /// In variables and on the wire.
    pub name: &'static str,
    pub standard: Numbers,
    /// The least an owner may set.
    floor: Numbers,
}

pub(super) const NONE: Numbers =
    Numbers { rate: 0.0, burst: 0, max: 0, window: Duration::ZERO, concurrency: 0 };

/// All tiers, in the order of [`Tier`].
pub static TABLE: [Row; 5] = [
    Row {
        tier: Tier::Auth,
        name: "AUTH",
        standard: Numbers { max: 50, window: Duration::from_secs(5 * 60), ..NONE },
        floor: Numbers { max: 5, ..NONE },
    },
    Row {
        tier: Tier::Authed,
        name: "AUTHED",
        standard: Numbers { rate: 10.0, burst: 240, ..NONE },
        floor: NONE,
    },
    Row {
        tier: Tier::Global,
        name: "GLOBAL",
        standard: Numbers { rate: 2000.0, burst: 4000, concurrency: 512, ..NONE },
        floor: Numbers { rate: 100.0, concurrency: 32, ..NONE },
    },
    Row {
        tier: Tier::Proxy,
        name: "PROXY",
        standard: Numbers { rate: 20.0, burst: 200, concurrency: 64, ..NONE },
        floor: NONE,
    },
    Row { tier: Tier::VerifyFail, name: "VERIFY_FAIL", standard: Numbers { max: 10, ..NONE }, floor: NONE },
];

/// What is said of each tier, in the order of the table.
pub type Said = [Numbers; TABLE.len()];

/// One tier of a request's overrides, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Written {
    rate: Option<f64>,
    burst: Option<u32>,
    max: Option<u32>,
    window: Option<String>,
    concurrency: Option<u32>,
}

impl Knob {
    pub const ALL: [Self; 5] = [Self::Rate, Self::Burst, Self::Max, Self::Window, Self::Concurrency];

    /// On the wire; variables have it in upper case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Burst => "burst",
            Self::Max => "max",
            Self::Window => "window",
            Self::Concurrency => "concurrency",
        }
    }

    fn of(self, numbers: &Numbers) -> f64 {
        match self {
            Self::Rate => numbers.rate,
            Self::Burst => f64::from(numbers.burst),
            Self::Max => f64::from(numbers.max),
            Self::Window => numbers.window.as_secs_f64(),
            Self::Concurrency => f64::from(numbers.concurrency),
        }
    }
}

impl Row {
    pub fn has(&self, knob: Knob) -> bool {
        knob.of(&self.standard) > 0.0
    }

    /// The knobs it has, for a person.
    pub fn knobs(&self, form: fn(&str) -> String) -> String {
        let names: Vec<_> =
            Knob::ALL.into_iter().filter(|knob| self.has(*knob)).map(|knob| form(knob.name())).collect();
        match names.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => names.join(""),
        }
    }

    /// Checks what was written for this tier; the error says what is wrong with which knob.
    fn check(&self, written: &Written) -> Result<Numbers, String> {
        let wrong = |knob: Knob, what: &str| format!("{}.{} {what}", self.name, knob.name());
        let window = written.window.as_deref().filter(|text| !text.is_empty());
        let window = window.map(|text| {
            span::parse(text).ok_or_else(|| wrong(Knob::Window, "must be a span like 90s, 5m or 1h30m"))
        });
        let numbers = Numbers {
            rate: written.rate.unwrap_or_default(),
            burst: written.burst.unwrap_or_default(),
            max: written.max.unwrap_or_default(),
            window: window.transpose()?.unwrap_or_default(),
            concurrency: written.concurrency.unwrap_or_default(),
        };
        for knob in Knob::ALL {
            let number = knob.of(&numbers);
            let (least, most) = (knob.of(&self.floor), most(knob));
            if number != 0.0 && !self.has(knob) {
                return Err(wrong(
                    knob,
                    &format!("does not exist: this tier has {} only", self.knobs(str::to_owned)),
                ));
            }
            if !(0.0..=most).contains(&number) {
                let most = if knob == Knob::Window { span::print(LONGEST) } else { most.to_string() };
                return Err(wrong(knob, &format!("must be between 0 and {most}")));
            }
            if number != 0.0 && number < least {
                return Err(wrong(knob, &format!("must be at least {least}, so that nobody is locked out")));
            }
        }
        Ok(numbers)
    }
}

fn most(knob: Knob) -> f64 {
    match knob {
        Knob::Rate | Knob::Burst | Knob::Max => f64::from(MOST),
        Knob::Window => LONGEST.as_secs_f64(),
        Knob::Concurrency => f64::from(MOST_AT_ONCE),
    }
}

impl Numbers {
    /// Its own numbers, and the other's where it says nothing.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            rate: if self.rate == 0.0 { other.rate } else { self.rate },
            burst: if self.burst == 0 { other.burst } else { self.burst },
            max: if self.max == 0 { other.max } else { self.max },
            window: if self.window.is_zero() { other.window } else { self.window },
            concurrency: if self.concurrency == 0 { other.concurrency } else { self.concurrency },
        }
    }

    /// The numbers that are said, as they are sent and stored.
    pub(super) fn to_json(self) -> Map<String, Value> {
        let said = Knob::ALL.into_iter().filter(|knob| knob.of(&self) > 0.0);
        said.map(|knob| {
            let value = match knob {
                // A whole rate is written like one.
                Knob::Rate if self.rate.fract() != 0.0 => self.rate.into(),
                Knob::Rate => self.rate.to_string().parse::<u64>().unwrap_or(u64::MAX).into(),
                Knob::Burst => self.burst.into(),
                Knob::Max => self.max.into(),
                Knob::Window => span::print(self.window).into(),
                Knob::Concurrency => self.concurrency.into(),
            };
            (knob.name().to_owned(), value)
        })
        .collect()
    }
}

/// Checks a set of overrides; the error names tier and knob.
pub fn check(written: &BTreeMap<String, Written>) -> Result<Said, String> {
    let mut said = Said::default();
    for (name, written) in written {
        let Some(row) = TABLE.iter().find(|row| row.name == name) else {
            let names: Vec<_> = TABLE.iter().map(|row| row.name).collect();
            return Err(format!("{name:?} is no tier; there are {}", names.join(", ")));
        };
        said[row.tier as usize] = row.check(written)?;
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(json: Value) -> Result<Said, String> {
        check(&serde_json::from_value(json).unwrap())
    }

    #[test]
    fn a_row_stands_where_its_tier_says() {
        for (at, row) in TABLE.iter().enumerate() {
            assert_eq!(row.tier as usize, at, "{}", row.name);
        }
    }

    /// Contract A.2 and J 102.
    #[test]
    fn what_would_lock_everyone_out_cannot_be_stored() {
        for (json, expected) in [
            (json!({"AUTH": {"max": 4}}), "AUTH.max must be at least 5, so that nobody is locked out"),
            (
                json!({"GLOBAL": {"rate": 99.9}}),
                "GLOBAL.rate must be at least 100, so that nobody is locked out",
            ),
            (
                json!({"GLOBAL": {"concurrency": 31}}),
                "GLOBAL.concurrency must be at least 32, so that nobody is locked out",
            ),
            (json!({"GLOBAL": {"concurrency": 8193}}), "GLOBAL.concurrency must be between 0 and 8192"),
            (json!({"PROXY": {"rate": -1.0}}), "PROXY.rate must be between 0 and 100000"),
            (json!({"AUTHED": {"burst": 100_001}}), "AUTHED.burst must be between 0 and 100000"),
            (json!({"AUTH": {"window": "25h"}}), "AUTH.window must be between 0 and 24h0m0s"),
            (json!({"AUTH": {"window": "soon"}}), "AUTH.window must be a span like 90s, 5m or 1h30m"),
            (json!({"AUTH": {"burst": 1}}), "AUTH.burst does not exist: this tier has max and window only"),
            (json!({"auth": {}}), "\"auth\" is no tier; there are AUTH, AUTHED, GLOBAL, PROXY, VERIFY_FAIL"),
        ] {
            assert_eq!(written(json.clone()), Err(expected.to_owned()), "{json}");
        }
        // Nothing said of a knob, in any way of saying nothing.
        let nothing = json!({"AUTH": {"max": 0, "window": "", "burst": 0, "rate": 0.0}, "PROXY": {}});
        assert_eq!(written(nothing), Ok(Said::default()));
        assert!(written(json!({"AUTH": {"max": 5}, "GLOBAL": {"rate": 100, "concurrency": 32}})).is_ok());
    }
}
