//! Rate tiers as the environment sets them.

use super::Vars;
use crate::rate::tiers::{Knob, Numbers, Policy, Profile, Row, Said, TABLE};

/// Reads every knob of every tier (contract A.2).
pub(super) fn read(vars: &mut Vars<'_>) -> Policy {
    let profile = profile(vars);
    let mut said = Said::default();
    for row in &TABLE {
        said[row.tier as usize] = numbers(vars, row);
    }
    Policy { profile, said, is_locked: vars.switch("AGENT_VAULT_RATELIMIT_LOCK") }
}

fn numbers(vars: &mut Vars<'_>, row: &Row) -> Numbers {
    let mut numbers = Numbers::default();
    for knob in Knob::ALL {
        let name = format!("AGENT_VAULT_RATELIMIT_{}_{}", row.name, knob.name().to_ascii_uppercase());
        if !row.has(knob) {
            // A knob that turns nothing would be taken for a limit that holds.
            if vars.text(&name).is_some() {
                let knobs = row.knobs(str::to_ascii_uppercase);
                vars.problem(format!("{name}: this tier has {knobs} only"));
            }
            continue;
        }
        match knob {
            Knob::Rate => numbers.rate = vars.positive(&name).unwrap_or_default(),
            Knob::Burst => numbers.burst = vars.positive(&name).unwrap_or_default(),
            Knob::Max => numbers.max = vars.positive(&name).unwrap_or_default(),
            Knob::Window => numbers.window = vars.span(&name).unwrap_or_default(),
            Knob::Concurrency => numbers.concurrency = vars.positive(&name).unwrap_or_default(),
        }
    }
    numbers
}

fn profile(vars: &mut Vars<'_>) -> Option<Profile> {
    const NAME: &str = "AGENT_VAULT_RATELIMIT_PROFILE";
    let text = vars.text(NAME)?;
    let profile = Profile::parse(&text);
    if profile.is_none() {
        vars.problem(format!("{NAME}: {text:?} is none of default, strict, loose, off"));
    }
    profile
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Flags;
    use super::super::tests::read_with;
    use crate::proxy::Shares;
    use crate::rate::tiers::{Rates, Stored};
    use crate::rate::{Flow, Window};

    #[test]
    fn a_knob_beats_its_profile_and_off_beats_both() {
        let read = |profile: &str| {
            let vars = [
                ("HOME", "/"),
                ("AGENT_VAULT_RATELIMIT_PROFILE", profile),
                ("AGENT_VAULT_RATELIMIT_AUTH_WINDOW", "1h30m"),
                ("AGENT_VAULT_RATELIMIT_PROXY_RATE", "0.5"),
                ("AGENT_VAULT_RATELIMIT_GLOBAL_CONCURRENCY", "7"),
                ("AGENT_VAULT_RATELIMIT_LOCK", "true"),
                ("AGENT_VAULT_MAX_CONNECTIONS", "100"),
                ("AGENT_VAULT_MAX_CONNECTIONS_PER_VAULT", "7"),
            ];
            read_with(&Flags::default(), &vars).unwrap()
        };
        let strict = read("STRICT");
        let expected = Rates {
            auth: Window { max: 25, span: Duration::from_secs(5400) },
            authed: Flow { rate: 5.0, burst: 120 },
            global: Flow { rate: 1000.0, burst: 2000 },
            global_in_flight: 7,
            proxy: Flow { rate: 0.5, burst: 100 },
            proxy_in_flight: 32,
            wrong_codes: 5,
        };
        assert_eq!(strict.rates.resolve(&Stored::default()).rates(), Some(expected));
        assert!(strict.rates.is_locked);
        assert_eq!(strict.limits.shares, Shares { per_actor: 50, per_vault: 7 });
        assert_eq!(read("off").rates.resolve(&Stored::default()).rates(), None);
    }
}
