//! Rate tiers as the environment sets them.

use super::Vars;
use crate::proxy::Rates;

/// The rates of the tiers that are in this build: the profile's, and what a variable says of one knob
/// (contract H.1).
pub(super) fn read(vars: &mut Vars<'_>) -> Option<Rates> {
    let profile = profile(vars);
    let base = profile.unwrap_or_default();
    let name = |knob: &str| format!("AGENT_VAULT_RATELIMIT_{knob}");
    let rates = Rates {
        auth_max: vars.positive(&name("AUTH_MAX")).unwrap_or(base.auth_max),
        auth_window: vars.span(&name("AUTH_WINDOW")).unwrap_or(base.auth_window),
        proxy_rate: vars.positive(&name("PROXY_RATE")).unwrap_or(base.proxy_rate),
        proxy_burst: vars.positive(&name("PROXY_BURST")).unwrap_or(base.proxy_burst),
        proxy_in_flight: vars.positive(&name("PROXY_CONCURRENCY")).unwrap_or(base.proxy_in_flight),
    };
    // A knob that turns nothing would be taken for a limit that holds.
    for (tier, without, knobs) in [
        ("AUTH", &["RATE", "BURST", "CONCURRENCY"][..], "MAX and WINDOW"),
        ("PROXY", &["WINDOW", "MAX"], "RATE, BURST and CONCURRENCY"),
    ] {
        for knob in without {
            let name = name(&format!("{tier}_{knob}"));
            if vars.text(&name).is_some() {
                vars.problem(format!("{name}: this tier has {knobs} only"));
            }
        }
    }
    profile.map(|_| rates)
}

/// The named sets of rates; `None` switches all limiters off.
fn profile(vars: &mut Vars<'_>) -> Option<Rates> {
    const NAME: &str = "AGENT_VAULT_RATELIMIT_PROFILE";
    let standard = Rates::default();
    match vars.text(NAME).map(|text| text.to_ascii_lowercase()).as_deref() {
        None | Some("default") => Some(standard),
        Some("off") => None,
        Some("strict") => Some(Rates {
            auth_max: standard.auth_max / 2,
            proxy_rate: standard.proxy_rate / 2.0,
            proxy_burst: standard.proxy_burst / 2,
            proxy_in_flight: standard.proxy_in_flight / 2,
            ..standard
        }),
        Some("loose") => Some(Rates {
            auth_max: standard.auth_max * 2,
            proxy_rate: standard.proxy_rate * 2.0,
            proxy_burst: standard.proxy_burst * 2,
            proxy_in_flight: standard.proxy_in_flight * 2,
            ..standard
        }),
        Some(other) => {
            vars.problem(format!("{NAME}: {other:?} is none of default, strict, loose, off"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::read_with;
    use super::super::{Flags, Shares};
    use super::*;

    #[test]
    fn a_knob_beats_its_profile_and_off_beats_both() {
        let read = |profile: &str| {
            let vars = [
                ("HOME", "/"),
                ("AGENT_VAULT_RATELIMIT_PROFILE", profile),
                ("AGENT_VAULT_RATELIMIT_AUTH_WINDOW", "1h30m"),
                ("AGENT_VAULT_RATELIMIT_PROXY_RATE", "0.5"),
                ("AGENT_VAULT_MAX_CONNECTIONS", "100"),
                ("AGENT_VAULT_MAX_CONNECTIONS_PER_VAULT", "7"),
            ];
            read_with(&Flags::default(), &vars).unwrap().limits
        };
        let strict = read("strict");
        let expected = Rates {
            auth_max: 25,
            auth_window: Duration::from_secs(5400),
            proxy_rate: 0.5,
            proxy_burst: 100,
            proxy_in_flight: 32,
        };
        assert_eq!(strict.rates, Some(expected));
        assert_eq!(strict.shares, Shares { per_actor: 50, per_vault: 7 });
        assert_eq!(read("off").rates, None);
    }
}
