//! What owners set: who may join, how much is allowed, how long logs are kept; and a mail to try the way.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::super::Call;
use super::super::caller::Actor;
use super::super::refusal::{Refusal, Reply};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::rate::tiers::{self, Profile, Written};
use crate::store::grants::ActorKind;
use crate::store::retention;
use crate::store::settings::Instance;

/// Any subset; what is not named stays as it is.
#[derive(Deserialize)]
struct Form {
    allowed_email_domains: Option<Vec<String>>,
    invite_only: Option<bool>,
    rate_limit: Option<RateForm>,
    logs_retention: Option<retention::Said>,
}

/// The rate limits of a form: an empty profile is none, and overrides are given all together.
#[derive(Default, Deserialize)]
struct RateForm {
    profile: Option<String>,
    overrides: Option<BTreeMap<String, Written>>,
}

/// A form that has been checked.
struct Change {
    allowed_email_domains: Option<Vec<String>>,
    invite_only: Option<bool>,
    rates: RateChange,
    retention: Option<retention::Said>,
}

#[derive(Default)]
struct RateChange {
    profile: Option<Option<Profile>>,
    overrides: Option<tiers::Said>,
}

pub(super) fn show(call: &Call<'_>, _: &Actor) -> Reply {
    Ok(answer(call, &call.store().instance()?))
}

/// Sets what is given, and it holds from now on.
pub(super) fn set(call: &Call<'_>, _: &Actor) -> Reply {
    let form: Form = call.request.json()?;
    if form.rate_limit.is_some() {
        refuse_locked(call)?;
    }
    if form.logs_retention.is_some() && call.api.settings.retention.is_locked {
        return Err(Refusal::error(409, "Log retention is locked by AGENT_VAULT_LOGS_RETENTION_LOCK"));
    }
    let change = Change::check(form)?;
    let instance = call.api.set_instance(call.now, |instance| change.apply(instance))?;
    Ok(answer(call, &instance))
}

/// What the rate limits would be; nothing is stored.
pub(super) fn preview(call: &Call<'_>, _: &Actor) -> Reply {
    refuse_locked(call)?;
    let form: Form = call.request.json()?;
    let change = RateChange::check(form.rate_limit.unwrap_or_default())?;
    let mut stored = call.store().instance()?.rates;
    change.apply(&mut stored);
    Ok(Answer::json(200, &call.api.settings.rates.resolve(&stored).to_json()))
}

#[derive(Default, Deserialize)]
struct Recipient {
    to: Option<String>,
}

/// This build sends no mail, so the answer is always the one of an instance that was not told how.
pub(super) fn test_email(call: &Call<'_>, actor: &Actor) -> Reply {
    let form: Recipient = call.request.json_if_any()?;
    if actor.actor.kind == ActorKind::Agent && form.to.is_none_or(|to| to.trim().is_empty()) {
        return Err(Refusal::error(400, "\"to\" is required: an agent has no address of its own"));
    }
    Err(Refusal::error(400, "SMTP is not configured"))
}

fn refuse_locked(call: &Call<'_>) -> Result<(), Refusal> {
    if call.api.settings.rates.is_locked {
        return Err(Refusal::error(409, "Rate limits are locked by AGENT_VAULT_RATELIMIT_LOCK"));
    }
    Ok(())
}

fn answer(call: &Call<'_>, instance: &Instance) -> Answer {
    let settings = &call.api.settings;
    Answer::json(
        200,
        &json!({
            "allowed_email_domains": instance.admission.allowed_email_domains,
            "invite_only": instance.admission.invite_only,
            "smtp_configured": false,
            "rate_limit": settings.rates.resolve(&instance.rates).to_json(),
            "logs_retention": settings.retention.resolve(instance.retention).to_json(),
        }),
    )
}

impl Change {
    fn check(form: Form) -> Result<Self, Refusal> {
        let retention = form.logs_retention;
        if retention.is_some_and(|said| !said.is_sensible()) {
            let most = retention::MOST_HOURS;
            return Err(bad(&format!("logs_retention.max_age_hours must be between 0 and {most}")));
        }
        Ok(Self {
            allowed_email_domains: form.allowed_email_domains.map(|given| domains(&given)).transpose()?,
            invite_only: form.invite_only,
            rates: RateChange::check(form.rate_limit.unwrap_or_default())?,
            retention,
        })
    }

    fn apply(self, instance: &mut Instance) {
        let Instance { admission, rates, retention } = instance;
        if let Some(domains) = self.allowed_email_domains {
            admission.allowed_email_domains = domains;
        }
        admission.invite_only = self.invite_only.unwrap_or(admission.invite_only);
        self.rates.apply(rates);
        *retention = self.retention.unwrap_or(*retention);
    }
}

impl RateChange {
    fn check(form: RateForm) -> Result<Self, Refusal> {
        let profile = form.profile.map(|text| match text.as_str() {
            "" => Ok(None),
            text => Profile::parse(text)
                .map(Some)
                .ok_or_else(|| bad("rate_limit.profile must be default, strict, loose or off")),
        });
        let overrides = form.overrides.map(|written| {
            tiers::check(&written).map_err(|wrong| bad(&format!("rate_limit.overrides: {wrong}")))
        });
        Ok(Self { profile: profile.transpose()?, overrides: overrides.transpose()? })
    }

    fn apply(&self, stored: &mut tiers::Stored) {
        stored.profile = self.profile.unwrap_or(stored.profile);
        stored.overrides = self.overrides.unwrap_or(stored.overrides);
    }
}

/// Domains as they are compared: trimmed, in lower case, each once.
fn domains(given: &[String]) -> Result<Vec<String>, Refusal> {
    let mut seen = BTreeSet::new();
    let mut domains = Vec::new();
    for text in given {
        let domain = text.trim().to_lowercase();
        if !domain.contains('.') || domain.contains(|c: char| c == '@' || c.is_whitespace() || c.is_control())
        {
            return Err(bad("allowed_email_domains: a domain has a dot, no space and no @"));
        }
        if seen.insert(domain.clone()) {
            domains.push(domain);
        }
    }
    Ok(domains)
}

fn bad(text: &str) -> Refusal {
    Refusal::error(400, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_folded_and_nonsense_is_refused() {
        let folded =
            |given: &[&str]| domains(&given.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).ok();
        assert_eq!(
            folded(&[" Example.COM", "b.c", "example.com "]),
            Some(vec!["example.com".into(), "b.c".into()])
        );
        assert_eq!(folded(&[]), Some(Vec::new()));
        for bad in ["", "localhost", "a b.c", "a@b.c", "a.b\u{7}"] {
            assert_eq!(folded(&[bad]), None, "{bad:?}");
        }
    }
}
