//! A proposal as an agent wrote it, checked against the vault it is for.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::{Ambiguity, Change, Entry, Proposal, Slot, entry, slot, text};
use crate::secret::Secret;
use crate::vault::service::{InternalNames, Invalid, Service};

/// More than these are not reviewed, they are waved through (contract F.3).
const MAX_SERVICES: usize = 10;
const MAX_SLOTS: usize = 10;

/// Longest texts, in characters (contract F.3).
const MAX_MESSAGE_CHARS: usize = 2000;
const MAX_USER_MESSAGE_CHARS: usize = 5000;

/// A proposal as an agent wrote it. Absent and null are the same.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Draft {
    services: Option<Vec<Value>>,
    credentials: Option<Vec<slot::Draft>>,
    message: Option<String>,
    user_message: Option<String>,
}

/// What a vault holds when a proposal is made.
#[derive(Clone, Copy, Debug)]
pub struct Inventory<'v> {
    pub services: &'v [Service],
    pub keys: &'v [String],
    pub internal: InternalNames,
}

/// Why a proposal is not accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    Invalid(Invalid),
    /// No service has the host that is to be deleted.
    Unknown(String),
    Ambiguous(Ambiguity),
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl Draft {
    /// Checks a proposal in the contract's order (A.11); beside it stand the values that came with it.
    pub fn check(self, vault: &Inventory<'_>) -> Result<(Proposal, BTreeMap<String, Secret>), Problem> {
        let mut drafts = entry::read(&self.services.unwrap_or_default())?;
        let slot_drafts = self.credentials.unwrap_or_default();
        let bases =
            drafts.iter_mut().map(|draft| draft.resolve(vault.services)).collect::<Result<Vec<_>, _>>()?;
        if drafts.is_empty() && slot_drafts.is_empty() {
            return Err(Invalid::new("a proposal needs at least one service or credential").into());
        }
        bounded("services", drafts.len(), MAX_SERVICES)?;
        bounded("credentials", slot_drafts.len(), MAX_SLOTS)?;

        let mut entries: Vec<Entry> = Vec::with_capacity(drafts.len());
        for (at, (draft, basis)) in drafts.into_iter().zip(bases).enumerate() {
            let entry = draft
                .check(basis, vault)
                .and_then(|entry| {
                    is_new("name", &entry.name, entries.iter().map(|e| &e.name)).map(|()| entry)
                })
                .map_err(|invalid| invalid.within(format!("service {at}")))?;
            entries.push(entry);
        }
        let mut slots: Vec<Slot> = Vec::with_capacity(slot_drafts.len());
        let mut values = BTreeMap::new();
        for (at, draft) in slot_drafts.into_iter().enumerate() {
            let (slot, value) = draft
                .check()
                .and_then(|read| is_new("key", &read.0.key, slots.iter().map(|s| &s.key)).map(|()| read))
                .map_err(|invalid| invalid.within(format!("credential {at}")))?;
            values.extend(value.map(|value| (slot.key.clone(), value)));
            slots.push(slot);
        }
        let message = text("message", self.message, MAX_MESSAGE_CHARS)?;
        let user_message = text("user_message", self.user_message, MAX_USER_MESSAGE_CHARS)?;
        check_references(&entries, &slots, vault.keys)?;
        Ok((Proposal { entries, slots, message, user_message }, values))
    }
}

/// Every key a service needs is stored or proposed, and nothing is proposed beside services that no
/// service needs. A credential that is to be deleted counts as gone.
fn check_references(entries: &[Entry], slots: &[Slot], stored: &[String]) -> Result<(), Invalid> {
    let deleted: HashSet<&str> = slots.iter().filter(|s| s.is_deletion()).map(|s| s.key.as_str()).collect();
    let proposed: HashSet<&str> = slots.iter().filter(|s| !s.is_deletion()).map(|s| s.key.as_str()).collect();
    let mut needed: HashSet<&str> = HashSet::new();
    for entry in entries {
        let Change::Set(service) = &entry.change else { continue };
        for key in service.credential_keys() {
            let is_stored = stored.iter().any(|known| known == key) && !deleted.contains(key);
            if !is_stored && !proposed.contains(key) {
                return Err(Invalid::new(format!(
                    "credential {key:?} of service {:?} is neither stored in the vault nor proposed",
                    entry.name
                )));
            }
            needed.insert(key);
        }
    }
    match slots.iter().find(|slot| !slot.is_deletion() && !needed.contains(slot.key.as_str())) {
        Some(slot) if !entries.is_empty() => {
            Err(Invalid::new(format!("credential {:?} is not used by any service of the proposal", slot.key)))
        }
        _ => Ok(()),
    }
}

fn bounded(field: &str, count: usize, most: usize) -> Result<(), Invalid> {
    if count <= most {
        return Ok(());
    }
    Err(Invalid::new(format!("{field}: {count} are too many (max {most})")))
}

fn is_new<'a>(
    field: &str,
    candidate: &str,
    mut before: impl Iterator<Item = &'a String>,
) -> Result<(), Invalid> {
    match before.position(|other| other == candidate) {
        Some(at) => Err(Invalid::new(format!("duplicate {field} {candidate:?} (also at {at})"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::vault::service::list;

    fn vault() -> Vec<Service> {
        let services = json!([
            {"name": "one", "host": "a.com", "auth": {"type": "bearer", "token": "OLD"}},
            {"name": "two", "host": "slack.com/api/*", "auth": {"type": "passthrough"}},
            {"name": "three", "host": "slack.com/x", "auth": {"type": "passthrough"}},
        ]);
        list::from_stored(&services.to_string()).unwrap()
    }

    fn check(proposal: Value) -> Result<(Proposal, BTreeMap<String, Secret>), Problem> {
        let (services, keys) = (vault(), ["OLD".to_owned()]);
        let inventory = Inventory { services: &services, keys: &keys, internal: InternalNames::Refused };
        serde_json::from_value::<Draft>(proposal).unwrap().check(&inventory)
    }

    fn refusal(proposal: Value) -> String {
        match check(proposal).unwrap_err() {
            Problem::Invalid(invalid) => invalid.to_string(),
            other => format!("{other:?}"),
        }
    }

    fn set(name: &str, host: &str, key: &str) -> Value {
        json!({"action": "set", "name": name, "host": host, "auth": {"type": "bearer", "token": key}})
    }

    #[test]
    fn what_was_stored_is_read_back_and_holds_no_value() {
        let (proposal, values) = check(json!({
            "services": [
                set("new", "b.com:8443/v1/*", "KEY"),
                {"action": "delete", "host": "slack.com/api/*"},
                {"action": "set", "name": "one", "enabled": false},
                {"action": "delete", "name": "ghost", "host": "ghost.com"},
            ],
            "credentials": [
                {"action": "set", "key": "KEY", "value": "sk_1", "description": "d", "obtain": "https://x.com/#k"},
                {"action": "delete", "key": "GONE"},
            ],
            "message": "m", "user_message": "u"
        }))
        .unwrap();
        assert_eq!(values, BTreeMap::from([("KEY".to_owned(), Secret::from("sk_1"))]));
        let (services, slots) =
            (proposal.stored_services().to_string(), proposal.credentials_json().to_string());
        assert!(!format!("{proposal:?}{services}{slots}").contains("sk_1"));
        let read = Proposal::from_stored((&services, &slots), "m".to_owned(), "u".to_owned()).unwrap();
        assert_eq!(read, proposal);
        assert_eq!(
            proposal.services_json(),
            json!([
                set("new", "b.com:8443/v1/*", "KEY"),
                {"action": "delete", "name": "two", "host": "slack.com/api/*"},
                {"action": "set", "name": "one", "host": "a.com", "enabled": false},
                {"action": "delete", "name": "ghost", "host": "ghost.com"},
            ])
        );
        assert_eq!(
            proposal.credentials_json(),
            json!([
                {"action": "set", "key": "KEY", "type": "static", "description": "d", "obtain": "https://x.com/#k", "has_value": true},
                {"action": "delete", "key": "GONE"},
            ])
        );
    }

    /// Contract J 69, 70, 72, 73, and the limits of F.3.
    #[test]
    fn what_is_wrong_is_named() {
        let many =
            |count: usize| (0..count).map(|n| set(&format!("svc-{n}"), "b.com", "OLD")).collect::<Vec<_>>();
        let slots = |count: usize| {
            (0..count).map(|n| json!({"action": "set", "key": format!("K{n}")})).collect::<Vec<_>>()
        };
        let slot = |more: Value| {
            let mut slot = json!({"action": "set", "key": "K"});
            slot.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"credentials": [slot]})
        };
        for (proposal, why) in [
            (json!({}), "a proposal needs at least one service or credential"),
            (
                json!({"services": null, "credentials": []}),
                "a proposal needs at least one service or credential",
            ),
            (json!({"services": many(11)}), "services: 11 are too many (max 10)"),
            (json!({"credentials": slots(11)}), "credentials: 11 are too many (max 10)"),
            (
                json!({"services": [set("abc", "b.com", "OLD"), set("abc", "c.com", "OLD")]}),
                "service 1: duplicate name \"abc\" (also at 0)",
            ),
            (
                json!({"services": [{"name": "abc", "host": "b.com"}]}),
                "service 0: action must be \"set\" or \"delete\"",
            ),
            (
                json!({"services": [{"action": "set", "name": "abc", "host": "b.com"}]}),
                "service 0: auth or enabled is required",
            ),
            (
                json!({"services": [{"action": "set", "name": "one", "enabled": true, "substitutions": [{"key": "OLD", "placeholder": "__x__"}]}]}),
                "service 0: substitutions need auth",
            ),
            (
                json!({"services": [{"action": "set", "name": "abc", "enabled": true}]}),
                "service 0: there is no service \"abc\" to switch; auth is required to add it",
            ),
            (
                json!({"services": [{"action": "set", "host": "slack.com", "enabled": true}]}),
                "service 0: name is required: no service is the only one for host \"slack.com\"",
            ),
            (json!({"services": [{"action": "delete"}]}), "service 0: name or host is required"),
            (
                json!({"services": [{"action": "set", "name": "abc", "host": "b.com", "description": "x"}]}),
                "services[0]: description is no longer supported; rename via the service name field instead",
            ),
            (
                json!({"services": [set("abc", "10.0.0.1", "OLD")]}),
                "service 0: host \"10.0.0.1\" must be a hostname, not an IP address",
            ),
            (
                json!({"services": [set("abc", "b.com", "NEW")]}),
                "credential \"NEW\" of service \"abc\" is neither stored in the vault nor proposed",
            ),
            (
                json!({"services": [set("abc", "b.com", "OLD")], "credentials": [{"action": "delete", "key": "OLD"}]}),
                "credential \"OLD\" of service \"abc\" is neither stored in the vault nor proposed",
            ),
            (
                json!({"services": [set("abc", "b.com", "OLD")], "credentials": slots(1)}),
                "credential \"K0\" is not used by any service of the proposal",
            ),
            (
                json!({"credentials": [slots(1)[0], slots(1)[0]]}),
                "credential 1: duplicate key \"K0\" (also at 0)",
            ),
            (
                json!({"credentials": [{"action": "set", "key": "lower"}]}),
                "credential 0: key \"lower\" must be UPPER_SNAKE_CASE (e.g. STRIPE_KEY)",
            ),
            (json!({"credentials": [{"key": "K"}]}), "credential 0: action must be \"set\" or \"delete\""),
            (
                slot(json!({"description": "x".repeat(501)})),
                "credential 0: description is 501 characters long (max 500)",
            ),
            (
                slot(json!({"obtain": format!("https://x/{}", "x".repeat(491))})),
                "credential 0: obtain is 501 characters long (max 500)",
            ),
            (
                slot(json!({"obtain_instructions": "x".repeat(1001)})),
                "credential 0: obtain_instructions is 1001 characters long (max 1000)",
            ),
            (
                slot(json!({"obtain": "javascript:alert(1)"})),
                "credential 0: obtain must be an http or https URL",
            ),
            (slot(json!({"obtain": "https:///x"})), "credential 0: obtain must be an http or https URL"),
            (slot(json!({"type": "dynamic"})), "credential 0: unknown type \"dynamic\" (static or oauth)"),
            (slot(json!({"type": "oauth"})), "credential 0: oauth is required for type oauth"),
            (
                slot(json!({"type": "oauth", "oauth": {"token_url": "ftp://x"}})),
                "credential 0: oauth: token_url must be an http or https URL",
            ),
            (
                slot(json!({"type": "oauth", "value": "v", "oauth": {"token_url": "https://x.com/t"}})),
                "credential 0: value is not allowed for type oauth",
            ),
            (
                json!({"credentials": [{"action": "delete", "key": "K", "value": "v"}]}),
                "credential 0: value is not allowed for action delete",
            ),
            (
                json!({"credentials": slots(1), "message": "x".repeat(2001)}),
                "message is 2001 characters long (max 2000)",
            ),
            (
                json!({"credentials": slots(1), "user_message": "é".repeat(5001)}),
                "user_message is 5001 characters long (max 5000)",
            ),
        ] {
            assert_eq!(refusal(proposal.clone()), why, "{proposal}");
        }
        for accepted in [
            json!({"services": many(10)}),
            json!({"credentials": slots(10), "message": "x".repeat(2000), "user_message": "é".repeat(5000)}),
            slot(json!({"type": "oauth", "oauth": {"token_url": "https://x.com/t"}})),
        ] {
            assert!(check(accepted.clone()).is_ok(), "{accepted}");
        }
    }

    #[test]
    fn a_deletion_by_host_has_to_name_one_service() {
        let delete = |host: &str| check(json!({"services": [{"action": "delete", "host": host}]}));
        assert_eq!(delete("nope.com").unwrap_err(), Problem::Unknown("nope.com".to_owned()));
        let candidates = [("two", "slack.com/api/*"), ("three", "slack.com/x")];
        assert_eq!(
            delete("slack.com").unwrap_err(),
            Problem::Ambiguous(Ambiguity {
                reference: "slack.com".to_owned(),
                candidates: candidates.map(|(name, host)| (name.to_owned(), host.to_owned())).to_vec(),
            })
        );
        assert_eq!(delete("slack.com/x").unwrap().0.entries[0].name, "three");
        // A name is no host.
        assert_eq!(delete("one").unwrap_err(), Problem::Unknown("one".to_owned()));
    }

    #[test]
    fn a_nameless_set_takes_the_name_of_its_one_twin() {
        let nameless = |host: &str| {
            let service = json!({"action": "set", "host": host, "auth": {"type": "passthrough"}});
            check(json!({"services": [service]})).map(|(proposal, _)| proposal.entries[0].name.clone())
        };
        assert_eq!(nameless("A.com").unwrap(), "one");
        assert!(matches!(nameless("b.com"), Err(Problem::Invalid(_))));
    }
}
