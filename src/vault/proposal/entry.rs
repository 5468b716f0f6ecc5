//! One change to a service.

use serde_json::{Map, Value};

use super::{Ambiguity, Inventory, Problem};
use crate::json::json;
use crate::vault::service::list::{self, Found};
use crate::vault::service::{InternalNames, Invalid, Service};

/// A change to the service of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    /// The joined host of the service.
    pub host: String,
    pub basis: Basis,
    pub change: Change,
}

/// What happens to the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Delete,
    Switch {
        enabled: bool,
    },
    /// Added, or put in place of the one of that name; without substitutions it keeps the old ones.
    Set(Service),
}

/// How the service was found when the change was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    Host,
    Name,
    /// There was none.
    Nothing,
}

/// A change as it was written.
pub(super) struct Draft {
    action: String,
    service: list::Draft,
    has_auth: bool,
    has_substitutions: bool,
}

/// Reads a proposal's `services`; the error says which entry has which problem.
pub(super) fn read(values: &[Value]) -> Result<Vec<Draft>, Invalid> {
    let services = list::read(values)?;
    let drafts = services.into_iter().zip(values).map(|(service, value)| {
        let substitutions = value.get("substitutions").and_then(Value::as_array);
        Draft {
            action: value.get("action").and_then(Value::as_str).unwrap_or_default().to_owned(),
            service,
            has_auth: value.get("auth").is_some_and(|auth| !auth.is_null()),
            has_substitutions: substitutions.is_some_and(|list| !list.is_empty()),
        }
    });
    Ok(drafts.collect())
}

/// Reads back what [`Entry::to_stored`] printed.
pub(super) fn from_stored(json: &str) -> Result<Vec<Entry>, Invalid> {
    let values: Vec<Value> =
        serde_json::from_str(json).map_err(|error| Invalid::new(format!("stored services: {error}")))?;
    let drafts = read(&values)?;
    let entries = drafts.into_iter().zip(&values).map(|(draft, value)| {
        let basis = match value.get("basis").and_then(Value::as_str) {
            Some("host") => Basis::Host,
            Some("name") => Basis::Name,
            _ => Basis::Nothing,
        };
        draft.restore(basis)
    });
    entries.collect()
}

impl Draft {
    /// Finds the service that is meant among those of the vault, and takes its name.
    pub(super) fn resolve(&mut self, services: &[Service]) -> Result<Basis, Problem> {
        let reference = self.service.reference();
        if !self.service.name().is_empty() {
            let is_there = services.iter().any(|service| service.name == self.service.name());
            return Ok(if is_there { Basis::Name } else { Basis::Nothing });
        }
        if self.action != "delete" {
            list::adopt_names(std::slice::from_mut(&mut self.service), services);
            return Ok(if self.service.name().is_empty() { Basis::Nothing } else { Basis::Name });
        }
        if reference.is_empty() {
            return Ok(Basis::Nothing);
        }
        match list::find_by_host(services, &reference) {
            Found::One(at) => {
                self.service.take_name(&services[at].name);
                Ok(Basis::Host)
            }
            Found::None => Err(Problem::Unknown(reference)),
            Found::Ambiguous(all) => Err(Problem::Ambiguous(Ambiguity::of(reference, services, &all))),
        }
    }

    /// Checks the change against the rules of F.3.
    pub(super) fn check(self, basis: Basis, vault: &Inventory<'_>) -> Result<Entry, Invalid> {
        let reference = self.service.reference();
        match self.action.as_str() {
            "delete" if self.service.name().is_empty() => {
                return Err(Invalid::new("name or host is required"));
            }
            "delete" => {}
            "set" if !self.has_auth && self.has_substitutions => {
                return Err(Invalid::new("substitutions need auth"));
            }
            "set" if !self.has_auth && self.service.enabled().is_none() => {
                return Err(Invalid::new("auth or enabled is required"));
            }
            "set" if self.service.name().is_empty() => {
                return Err(Invalid::new(format!(
                    "name is required: no service is the only one for host {reference:?}"
                )));
            }
            "set" if !self.has_auth && basis == Basis::Nothing => {
                return Err(Invalid::new(format!(
                    "there is no service {:?} to switch; auth is required to add it",
                    self.service.name()
                )));
            }
            "set" => {}
            _ => return Err(Invalid::new("action must be \"set\" or \"delete\"")),
        }
        let stored = vault.services.iter().find(|service| service.name == self.service.name());
        let mut entry = self.into_entry(basis, vault.internal)?;
        // The reviewer reads which service is meant, whatever the agent wrote beside its name.
        if let Some(stored) = stored.filter(|_| !matches!(entry.change, Change::Set(_))) {
            entry.host = stored.joined_host();
        }
        Ok(entry)
    }

    /// What was checked before it was stored.
    fn restore(self, basis: Basis) -> Result<Entry, Invalid> {
        self.into_entry(basis, InternalNames::Allowed)
    }

    fn into_entry(self, basis: Basis, internal: InternalNames) -> Result<Entry, Invalid> {
        let (name, host) = (self.service.name().to_owned(), self.service.reference());
        let change = match (self.action.as_str(), self.service.enabled()) {
            ("delete", _) => Change::Delete,
            (_, Some(enabled)) if !self.has_auth => Change::Switch { enabled },
            _ => {
                let service = self.service.check(internal, &[])?;
                return Ok(Entry { name, host: service.joined_host(), basis, change: Change::Set(service) });
            }
        };
        Ok(Entry { name, host, basis, change })
    }
}

impl Entry {
    /// The change as clients read it.
    pub fn to_json(&self) -> Value {
        match &self.change {
            Change::Delete => json!({"action": "delete", "name": self.name, "host": self.host}),
            Change::Switch { enabled } => {
                json!({"action": "set", "name": self.name, "host": self.host, "enabled": enabled})
            }
            Change::Set(service) => {
                let mut object = Map::new();
                object.insert("action".to_owned(), "set".into());
                if let Value::Object(service) = service.to_json() {
                    object.extend(service);
                }
                Value::Object(object)
            }
        }
    }

    pub(super) fn to_stored(&self) -> Value {
        let mut object = self.to_json();
        match self.basis {
            Basis::Host => object["basis"] = "host".into(),
            Basis::Name => object["basis"] = "name".into(),
            Basis::Nothing => {}
        }
        object
    }
}

impl Ambiguity {
    pub(super) fn of(reference: String, services: &[Service], all: &[usize]) -> Self {
        let one = |at: &usize| (services[*at].name.clone(), services[*at].joined_host());
        Self { reference, candidates: all.iter().map(one).collect() }
    }
}
