//! The tiers: what is limited, and who says how much (contract A.2).
//!
//! A number comes from the environment, else from what an owner stored, else from the profile. Zero says
//! nothing, in each of them. Pure: reading variables, storing, and turning the limiters is done by others,
//! all of them from the one description in `table`.

mod table;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Flow, Window};
use crate::json::json;
use table::NONE;
pub use table::{Knob, Numbers, Row, Said, TABLE, Tier, Written, check};

/// A named set of numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    #[default]
    Default,
    Strict,
    Loose,
    Off,
}

/// What the environment says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Policy {
    pub profile: Option<Profile>,
    pub said: Said,
    /// What is stored does not count, and nothing can be stored.
    pub is_locked: bool,
}

/// What an owner stored.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stored {
    pub profile: Option<Profile>,
    pub overrides: Said,
}

/// Who said the numbers of a tier; the strongest voice counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Env,
    Override,
    Default,
}

/// What holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resolved {
    pub profile: Profile,
    pub is_locked: bool,
    tiers: [(Numbers, Source); TABLE.len()],
}

/// The numbers as limiters take them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    pub auth: Window,
    pub authed: Flow,
    pub global: Flow,
    pub global_in_flight: u32,
    pub proxy: Flow,
    pub proxy_in_flight: u32,
    pub wrong_codes: u32,
}

impl Profile {
    pub fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "default" => Some(Self::Default),
            "strict" => Some(Self::Strict),
            "loose" => Some(Self::Loose),
            "off" => Some(Self::Off),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Strict => "strict",
            Self::Loose => "loose",
            Self::Off => "off",
        }
    }

    /// A tier's numbers in this profile. Spans stay: half as many in the same time is half.
    fn of(self, standard: Numbers) -> Numbers {
        let scale = |number: u32| match self {
            Self::Strict => number / 2,
            Self::Loose => number * 2,
            Self::Default | Self::Off => number,
        };
        let factor = match self {
            Self::Strict => 0.5,
            Self::Loose => 2.0,
            Self::Default | Self::Off => 1.0,
        };
        Numbers {
            rate: standard.rate * factor,
            burst: scale(standard.burst),
            max: scale(standard.max),
            window: standard.window,
            concurrency: scale(standard.concurrency),
        }
    }
}

impl Stored {
    pub fn to_json(&self) -> Value {
        let mut overrides = Map::new();
        for row in &TABLE {
            let numbers = self.overrides[row.tier as usize].to_json();
            if !numbers.is_empty() {
                overrides.insert(row.name.to_owned(), Value::Object(numbers));
            }
        }
        json!({"profile": self.profile.map(Profile::as_str), "overrides": overrides})
    }

    /// What [`Self::to_json`] wrote; `None` when it is something else.
    pub fn from_json(value: &Value) -> Option<Self> {
        #[derive(Deserialize)]
        struct Form {
            profile: Option<Profile>,
            #[serde(default)]
            overrides: BTreeMap<String, Written>,
        }
        let form = Form::deserialize(value).ok()?;
        Some(Self { profile: form.profile, overrides: check(&form.overrides).ok()? })
    }
}

impl Policy {
    /// What holds, given what is stored.
    pub fn resolve(&self, stored: &Stored) -> Resolved {
        let stored = if self.is_locked { Stored::default() } else { *stored };
        let profile = self.profile.or(stored.profile).unwrap_or_default();
        let tiers = std::array::from_fn(|at| {
            let (env, own) = (self.said[at], stored.overrides[at]);
            let source = if env != NONE {
                Source::Env
            } else if own != NONE {
                Source::Override
            } else {
                Source::Default
            };
            (env.or(own).or(profile.of(TABLE[at].standard)), source)
        });
        Resolved { profile, is_locked: self.is_locked, tiers }
    }
}

impl Resolved {
    /// The numbers for the limiters; `None` switches all of them off.
    pub fn rates(&self) -> Option<Rates> {
        (self.profile != Profile::Off).then(|| Rates::of(|tier| self.tiers[tier as usize].0))
    }

    /// The `rate_limit` object of contract A.14. Nothing is limited when it is off, so no tier is shown.
    pub fn to_json(&self) -> Value {
        let mut tiers = Map::new();
        for row in TABLE.iter().filter(|_| self.profile != Profile::Off) {
            let (numbers, source) = self.tiers[row.tier as usize];
            let mut shown = numbers.to_json();
            let source = match source {
                Source::Env => "env",
                Source::Override => "override",
                Source::Default => "default",
            };
            shown.insert("source".to_owned(), source.into());
            tiers.insert(row.name.to_owned(), Value::Object(shown));
        }
        json!({
            "profile": self.profile.as_str(),
            "locked": self.is_locked,
            "off": self.profile == Profile::Off,
            "tiers": tiers,
        })
    }
}

impl Rates {
    fn of(numbers: impl Fn(Tier) -> Numbers) -> Self {
        let flow = |tier| Flow { rate: numbers(tier).rate, burst: numbers(tier).burst };
        let auth = numbers(Tier::Auth);
        Self {
            auth: Window { max: auth.max, span: auth.window },
            authed: flow(Tier::Authed),
            global: flow(Tier::Global),
            global_in_flight: numbers(Tier::Global).concurrency,
            proxy: flow(Tier::Proxy),
            proxy_in_flight: numbers(Tier::Proxy).concurrency,
            wrong_codes: numbers(Tier::VerifyFail).max,
        }
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self::of(|tier| TABLE[tier as usize].standard)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    fn written(json: Value) -> Result<Said, String> {
        check(&serde_json::from_value(json).unwrap())
    }

    /// Contract J 102.
    #[test]
    fn environment_beats_stored_beats_profile() {
        let mut policy = Policy { profile: Some(Profile::Strict), ..Policy::default() };
        policy.said[Tier::Proxy as usize] = Numbers { rate: 0.5, ..NONE };
        let overrides =
            written(json!({"PROXY": {"rate": 7, "burst": 9}, "AUTH": {"max": 30, "window": "10m"}}));
        let stored = Stored { profile: Some(Profile::Loose), overrides: overrides.unwrap() };
        let resolved = policy.resolve(&stored);
        assert_eq!(
            resolved.to_json(),
            json!({
                "profile": "strict", "locked": false, "off": false,
                "tiers": {
                    "AUTH": {"max": 30, "window": "10m0s", "source": "override"},
                    "AUTHED": {"rate": 5, "burst": 120, "source": "default"},
                    "GLOBAL": {"rate": 1000, "burst": 2000, "concurrency": 256, "source": "default"},
                    "PROXY": {"rate": 0.5, "burst": 9, "concurrency": 32, "source": "env"},
                    "VERIFY_FAIL": {"max": 5, "source": "default"},
                },
            })
        );
        let rates = resolved.rates().unwrap();
        assert_eq!(rates.auth, Window { max: 30, span: Duration::from_secs(600) });
        assert_eq!(rates.proxy, Flow { rate: 0.5, burst: 9 });
        assert_eq!(Stored::from_json(&stored.to_json()), Some(stored));
        // Locked, what is stored is as if it were not there.
        let locked = Policy { is_locked: true, ..policy }.resolve(&stored);
        assert_eq!(locked.rates().unwrap().auth.max, 25);
        assert_eq!(locked.to_json()["locked"], true);
    }

    #[test]
    fn the_defaults_are_the_contracts_and_off_is_off() {
        let resolved = Policy::default().resolve(&Stored::default());
        assert_eq!(resolved.rates(), Some(Rates::default()));
        assert_eq!(
            resolved.to_json()["tiers"]["AUTH"],
            json!({"max": 50, "window": "5m0s", "source": "default"})
        );
        let off = Policy::default().resolve(&Stored { profile: Some(Profile::Off), ..Stored::default() });
        assert_eq!(off.rates(), None);
        assert_eq!(off.to_json(), json!({"profile": "off", "locked": false, "off": true, "tiers": {}}));
    }
}
