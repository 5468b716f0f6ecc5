//! A proposal's changes, put into a vault's services as they are on approval (contract F.4).
//!
//! Every entry is resolved before anything changes, then the list is edited by name, its order kept.

use std::fmt;

use super::entry::Basis;
use super::{Ambiguity, Change, Entry};
use crate::vault::service::Service;
use crate::vault::service::list::{self, Found};

/// Why a proposal does not fit the vault any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    Ambiguous(Ambiguity),
    /// The service it is about is not there any more.
    Gone(String),
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous(Ambiguity { reference, .. }) => {
                write!(f, "Several services match {reference:?} by now; reject this proposal, or remove one")
            }
            Self::Gone(name) => write!(f, "Service {name:?} is not there any more; reject this proposal"),
        }
    }
}

/// Makes the changes. After a conflict the list is as it was.
pub fn merge(entries: &[Entry], services: &mut Vec<Service>) -> Result<(), Conflict> {
    let names =
        entries.iter().map(|entry| entry.name_in(services)).collect::<Result<Vec<String>, Conflict>>()?;
    for (entry, name) in entries.iter().zip(names) {
        let at = services.iter().position(|service| service.name == name);
        match (&entry.change, at) {
            (Change::Delete, Some(at)) => drop(services.remove(at)),
            (Change::Switch { enabled }, Some(at)) => services[at].enabled = Some(*enabled),
            (Change::Set(service), at) => {
                let mut service = Service { name, ..service.clone() };
                match at.map(|at| &mut services[at]) {
                    Some(old) => {
                        if service.substitutions.is_empty() {
                            service.substitutions = std::mem::take(&mut old.substitutions);
                        }
                        *old = service;
                    }
                    None => services.push(service),
                }
            }
            (Change::Delete | Change::Switch { .. }, None) => {}
        }
    }
    Ok(())
}

impl Entry {
    /// The name of the service that is meant, among those there are by now.
    fn name_in(&self, services: &[Service]) -> Result<String, Conflict> {
        if self.basis == Basis::Host {
            return match list::find_by_host(services, &self.host) {
                Found::One(at) => Ok(services[at].name.clone()),
                Found::None => Err(Conflict::Gone(self.name.clone())),
                Found::Ambiguous(all) => {
                    Err(Conflict::Ambiguous(Ambiguity::of(self.host.clone(), services, &all)))
                }
            };
        }
        let is_there = services.iter().any(|service| service.name == self.name);
        if is_there || self.basis == Basis::Nothing {
            return Ok(self.name.clone());
        }
        let mut same = services.iter().filter(|service| service.joined_host() == self.host);
        match (&self.change, same.next(), same.next()) {
            // It has another name by now.
            (Change::Set(_) | Change::Switch { .. }, Some(renamed), None) => Ok(renamed.name.clone()),
            (Change::Set(_), ..) => Ok(self.name.clone()),
            (Change::Delete | Change::Switch { .. }, ..) => Err(Conflict::Gone(self.name.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::entry;
    use super::*;

    fn services(list: &Value) -> Vec<Service> {
        list::from_stored(&list.to_string()).unwrap()
    }

    fn merged(before: &Value, entries: &Value) -> Result<Value, Conflict> {
        let (mut services, entries) = (services(before), entry::from_stored(&entries.to_string()).unwrap());
        let untouched = services.clone();
        let outcome = merge(&entries, &mut services);
        if outcome.is_err() {
            assert_eq!(services, untouched);
        }
        outcome.map(|()| list::to_json(&services))
    }

    fn before() -> Value {
        json!([
            {"name": "one", "host": "a.com:8443", "enabled": true, "auth": {"type": "bearer", "token": "A"},
             "substitutions": [{"key": "S", "placeholder": "__s__", "in": ["path"]}]},
            {"name": "two", "host": "b.com", "auth": {"type": "passthrough"}},
        ])
    }

    /// Contract J 79.
    #[test]
    fn what_an_entry_does_not_mention_stays() {
        let mut expected = before();
        expected[0]["enabled"] = false.into();
        let switch =
            json!({"action": "set", "name": "one", "host": "a.com:8443", "enabled": false, "basis": "name"});
        assert_eq!(merged(&before(), &json!([switch])).unwrap(), expected);

        let set = |more: Value| {
            let mut entry = json!({"action": "set", "name": "one", "host": "a.com:8443", "basis": "name"});
            entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            merged(&before(), &json!([entry])).unwrap()[0].clone()
        };
        let auth = json!({"type": "bearer", "token": "B"});
        let substitutions = json!([{"key": "T", "placeholder": "__t__", "in": ["body"]}]);
        assert_eq!(
            set(json!({"auth": auth})),
            json!({
                "name": "one", "host": "a.com:8443", "auth": auth, "substitutions": before()[0]["substitutions"]
            })
        );
        assert_eq!(
            set(json!({"auth": auth, "substitutions": substitutions})),
            json!({
                "name": "one", "host": "a.com:8443", "auth": auth, "substitutions": substitutions
            })
        );
    }

    #[test]
    fn order_is_kept_new_names_append_and_a_missing_one_is_no_matter() {
        let new = json!({"name": "new", "host": "c.com", "auth": {"type": "passthrough"}});
        let mut add = new.clone();
        add["action"] = "set".into();
        let entries = json!([
            add,
            {"action": "delete", "name": "one", "host": "a.com:8443", "basis": "name"},
            {"action": "delete", "name": "ghost", "host": "ghost.com"},
        ]);
        assert_eq!(merged(&before(), &entries).unwrap(), json!([before()[1], new]));
    }

    /// Contract J 77, 78.
    #[test]
    fn a_service_that_went_is_missed_and_one_that_was_renamed_is_found() {
        let renamed = json!([{"name": "uno", "host": "a.com:8443", "auth": {"type": "passthrough"}}]);
        let set = json!([{"action": "set", "name": "one", "host": "a.com:8443", "basis": "name",
            "auth": {"type": "bearer", "token": "B"}}]);
        let expected =
            json!([{"name": "uno", "host": "a.com:8443", "auth": {"type": "bearer", "token": "B"}}]);
        assert_eq!(merged(&renamed, &set).unwrap(), expected);
        // A service that was new when it was proposed is still meant to be one more.
        let mut new = set;
        new[0]["basis"] = Value::Null;
        assert_eq!(merged(&renamed, &new).unwrap().as_array().unwrap().len(), 2);

        let switch = json!([{"action": "set", "name": "one", "host": "a.com:8443", "enabled": false, "basis": "name"}]);
        assert_eq!(merged(&renamed, &switch).unwrap()[0]["enabled"], false);
        assert_eq!(merged(&json!([]), &switch), Err(Conflict::Gone("one".to_owned())));

        let delete =
            |basis: &str| json!([{"action": "delete", "name": "one", "host": "a.com:8443", "basis": basis}]);
        assert_eq!(merged(&renamed, &delete("name")), Err(Conflict::Gone("one".to_owned())));
        assert_eq!(merged(&renamed, &delete("host")).unwrap(), json!([]));
        assert_eq!(merged(&json!([]), &delete("host")), Err(Conflict::Gone("one".to_owned())));
        let mut twins = before();
        twins[1]["host"] = "a.com:8443".into();
        assert!(matches!(merged(&twins, &delete("host")), Err(Conflict::Ambiguous(_))));
    }
}
