//! A vault's services as one list: read, named, checked, merged, found.
//!
//! Declaration order is kept by everything here, since matching falls back on it (contract D.2).

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::Value;

use super::host::{self, Parts};
use super::{InternalNames, Invalid, Service, auth, name, substitution};
use crate::vault::sigv4::hex;

/// A service as a client wrote it: split, not yet checked.
#[derive(Clone, Debug)]
pub struct Draft {
    name: String,
    parts: Parts,
    enabled: Option<bool>,
    auth: auth::Draft,
    substitutions: Vec<substitution::Draft>,
}

/// The JSON shape; absent and null are the same, unknown fields are ignored.
#[derive(Default, Deserialize)]
#[serde(default, expecting = "a service object")]
struct Wire {
    name: Option<String>,
    host: Option<String>,
    path: Option<String>,
    enabled: Option<bool>,
    auth: Option<auth::Draft>,
    substitutions: Option<Vec<substitution::Draft>>,
}

/// What a reference names.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// The position of the one service.
    One(usize),
    /// Several share the host: the positions of all.
    Ambiguous(Vec<usize>),
    None,
}

/// Reads a request's `services`; the error says which entry has which problem.
pub fn read(values: &[Value]) -> Result<Vec<Draft>, Invalid> {
    for (at, value) in values.iter().enumerate() {
        if value.get("description").is_some() {
            return Err(Invalid::new(format!(
                "services[{at}]: description is no longer supported; rename via the service name field instead"
            )));
        }
    }
    values.iter().enumerate().map(|(at, value)| Draft::read(value).map_err(|e| in_list(e, at))).collect()
}

/// Gives a nameless draft the name of the one service with the same host, port and path.
pub fn adopt_names(drafts: &mut [Draft], existing: &[Service]) {
    for draft in drafts.iter_mut().filter(|draft| draft.name.is_empty()) {
        let mut same = existing.iter().filter(|service| draft.is_for(service));
        if let (Some(only), None) = (same.next(), same.next()) {
            draft.name = only.name.clone();
        }
    }
}

/// Checks a list, stopping at the first problem; the error names the entry's position.
pub fn check(drafts: Vec<Draft>, internal: InternalNames) -> Result<Vec<Service>, Invalid> {
    let mut services: Vec<Service> = Vec::with_capacity(drafts.len());
    for (at, draft) in drafts.into_iter().enumerate() {
        let service = draft.check(internal, &services).map_err(|e| in_list(e, at))?;
        services.push(service);
    }
    Ok(services)
}

/// Reads and checks a list to its end: the services that are good, and what is wrong with each other one,
/// by position.
pub fn check_each(values: &[Value], internal: InternalNames) -> (Vec<Service>, Vec<(usize, Invalid)>) {
    let (mut services, mut wrong) = (Vec::with_capacity(values.len()), Vec::new());
    for (at, value) in values.iter().enumerate() {
        match Draft::read(value).and_then(|draft| draft.check(internal, &services)) {
            Ok(service) => services.push(service),
            Err(invalid) => wrong.push((at, invalid)),
        }
    }
    (services, wrong)
}

/// Reads what the store holds. Nameless entries get a derived name; internal names pass, since they
/// were judged when they were written.
pub fn from_stored(json: &str) -> Result<Vec<Service>, Invalid> {
    let values: Vec<Value> =
        serde_json::from_str(json).map_err(|error| Invalid::new(format!("stored services: {error}")))?;
    let mut drafts = values.iter().map(Draft::read).collect::<Result<Vec<_>, _>>()?;
    let mut taken: HashSet<String> = drafts.iter().map(|draft| draft.name.clone()).collect();
    for draft in drafts.iter_mut().filter(|draft| draft.name.is_empty()) {
        let port = draft.parts.port.and_then(|port| u16::try_from(port).ok());
        draft.name = name::derive(&draft.parts.host, port, &draft.parts.path, &taken);
        taken.insert(draft.name.clone());
    }
    check(drafts, InternalNames::Allowed)
}

/// Prints a list as it is stored and answered.
pub fn to_json(services: &[Service]) -> Value {
    Value::Array(services.iter().map(Service::to_json).collect())
}

/// Names a list by its content: two lists have the same revision only if they say the same.
pub fn revision(services: &[Service]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, to_json(services).to_string().as_bytes());
    hex(digest.as_ref())
}

/// Replaces by name in place, appends what is new.
pub fn upsert(services: &mut Vec<Service>, incoming: Vec<Service>) {
    for service in incoming {
        match services.iter_mut().find(|old| old.name == service.name) {
            Some(old) => *old = service,
            None => services.push(service),
        }
    }
}

/// Finds by exact name, else by joined host.
pub fn find(services: &[Service], reference: &str) -> Found {
    if let Some(at) = services.iter().position(|service| service.name == reference) {
        return Found::One(at);
    }
    find_by_host(services, reference)
}

/// Finds by joined host alone. A bare host that several services refine with a port or path names none
/// of them, so it is ambiguous too; it never stands for the only one.
pub fn find_by_host(services: &[Service], reference: &str) -> Found {
    let positions = |matches: &dyn Fn(&Service) -> bool| -> Vec<usize> {
        services.iter().enumerate().filter(|(_, service)| matches(service)).map(|(at, _)| at).collect()
    };
    let reference = Parts::split(reference, "");
    let joined = positions(&|service| {
        service.port.map(u64::from) == reference.port
            && service.path == reference.path
            && host::join(&service.host, None, "") == reference.host
    });
    match joined[..] {
        [only] => return Found::One(only),
        [_, ..] => return Found::Ambiguous(joined),
        [] => {}
    }
    if reference.port.is_some() || !reference.path.is_empty() {
        return Found::None;
    }
    let refined = positions(&|service| host::join(&service.host, None, "") == reference.host);
    if refined.len() > 1 { Found::Ambiguous(refined) } else { Found::None }
}

impl Draft {
    fn read(value: &Value) -> Result<Self, Invalid> {
        let wire = Wire::deserialize(value).map_err(|error| Invalid::new(error.to_string()))?;
        Ok(Self {
            name: wire.name.unwrap_or_default(),
            parts: Parts::split(&wire.host.unwrap_or_default(), &wire.path.unwrap_or_default()),
            enabled: wire.enabled,
            auth: wire.auth.unwrap_or_default(),
            substitutions: wire.substitutions.unwrap_or_default(),
        })
    }

    pub(in crate::vault) fn name(&self) -> &str {
        &self.name
    }

    pub(in crate::vault) fn take_name(&mut self, name: &str) {
        name.clone_into(&mut self.name);
    }

    /// The matcher in one string, as [`find_by_host`] reads it.
    pub(in crate::vault) fn reference(&self) -> String {
        let port = self.parts.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}{}", self.parts.host, self.parts.path)
    }

    pub(in crate::vault) fn enabled(&self) -> Option<bool> {
        self.enabled
    }

    pub(in crate::vault) fn is_for(&self, service: &Service) -> bool {
        self.parts.host == host::join(&service.host, None, "")
            && self.parts.port == service.port.map(u64::from)
            && self.parts.path == service.path
    }

    /// Checks one service; `before` are the ones its name must differ from.
    pub(in crate::vault) fn check(
        self,
        internal: InternalNames,
        before: &[Service],
    ) -> Result<Service, Invalid> {
        let host = host::check_host(&self.parts.host, internal)?;
        name::check(&self.name)?;
        if let Some(at) = before.iter().position(|other| other.name == self.name) {
            return Err(Invalid::new(format!("duplicate name {:?} (also at service {at})", self.name)));
        }
        host::check_path(&self.parts.path)?;
        let port = host::check_port(self.parts.port)?;
        let auth = self.auth.check().map_err(|invalid| invalid.within("auth"))?;
        let substitutions = substitution::check_list(self.substitutions)?;
        let path = self.parts.path;
        Ok(Service { name: self.name, host, port, path, enabled: self.enabled, auth, substitutions })
    }
}

fn in_list(invalid: Invalid, at: usize) -> Invalid {
    invalid.within(format!("service {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(value: &Value) -> Result<Vec<Service>, String> {
        let values = value.as_array().unwrap();
        read(values).and_then(|drafts| check(drafts, InternalNames::Refused)).map_err(|e| e.to_string())
    }

    fn bearer(name: &str, host: &str) -> Value {
        json!({"name": name, "host": host, "auth": {"type": "bearer", "token": "K"}})
    }

    #[test]
    fn printing_is_the_inverse_of_reading() {
        let list = json!([
            {
                "name": "slack-bot",
                "host": "slack.com/api/*",
                "enabled": true,
                "auth": {"type": "bearer", "token": "SLACK_BOT_TOKEN"},
                "substitutions": [{"key": "TEAM_ID", "placeholder": "__team_id__", "in": ["path"]}]
            },
            {"name": "corp", "host": "*.corp.com:3000/a", "enabled": false, "auth": {"type": "passthrough"}},
            bearer("stripe", "api.stripe.com")
        ]);
        let services = parse(&list).unwrap();
        assert_eq!(to_json(&services), list);
        assert_eq!(from_stored(&to_json(&services).to_string()).unwrap(), services);
    }

    #[test]
    fn a_separate_path_is_joined_and_null_is_absent() {
        let list = json!([{
            "name": "abc", "host": "x.com", "path": "/a", "port": 9, "enabled": null,
            "auth": {"type": "passthrough", "token": null}, "substitutions": null, "other": 1
        }]);
        let services = parse(&list).unwrap();
        let printed = json!([{"name": "abc", "host": "x.com/a", "auth": {"type": "passthrough"}}]);
        assert_eq!(to_json(&services), printed);
    }

    #[test]
    fn the_first_problem_is_reported_with_its_place() {
        for (list, why) in [
            (json!([{}]), "service 0: host is required"),
            (json!([bearer("", "x.com")]), "service 0: name is required"),
            (
                json!([bearer("abc", "x.com"), bearer("abc", "y.com")]),
                "service 1: duplicate name \"abc\" (also at service 0)",
            ),
            (
                json!([bearer("abc", "x.com:99999")]),
                "service 0: port 99999 is out of range (must be 1-65535)",
            ),
            (
                json!([{"name": "abc", "host": "x.com"}]),
                "service 0: auth: type is required (supported: bearer, basic, api-key, custom, passthrough, query, aws-sigv4)",
            ),
            (
                json!([{"name": "abc", "host": "x.com", "auth": {"type": "passthrough"},
                        "substitutions": [{"key": "K"}]}]),
                "service 0: substitution 0: \"placeholder\" is required (recommended convention: __name__)",
            ),
            (
                json!([bearer("abc", "x.com"), {"description": "x"}]),
                "services[1]: description is no longer supported; rename via the service name field instead",
            ),
            (json!([5]), "service 0: invalid type: integer `5`, expected a service object"),
        ] {
            assert_eq!(parse(&list), Err(why.to_owned()));
        }
    }

    #[test]
    fn a_nameless_entry_adopts_a_name_only_from_the_one_same_matcher() {
        let existing = parse(&json!([
            bearer("one", "a.com"),
            bearer("two", "b.com/x"),
            bearer("three", "c.com"),
            bearer("four", "c.com")
        ]))
        .unwrap();
        let adopted = |host: &str| {
            let mut drafts = read(&[bearer("", host)]).unwrap();
            adopt_names(&mut drafts, &existing);
            drafts[0].name.clone()
        };
        assert_eq!(adopted("A.com"), "one");
        assert_eq!(adopted("b.com/x"), "two");
        assert_eq!(adopted("b.com"), "");
        assert_eq!(adopted("a.com:443"), "");
        assert_eq!(adopted("c.com"), "");
    }

    #[test]
    fn stored_entries_without_a_name_get_one() {
        let stored = json!([
            {"host": "api.anthropic.com", "auth": {"type": "bearer", "token": "K"}},
            {"name": "api-anthropic-com-2", "host": "x.com", "auth": {"type": "passthrough"}},
            {"host": "api.anthropic.com", "auth": {"type": "passthrough"}}
        ]);
        let services = from_stored(&stored.to_string()).unwrap();
        let names: Vec<_> = services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(names, ["api-anthropic-com", "api-anthropic-com-2", "api-anthropic-com-3"]);
    }

    #[test]
    fn references_name_by_name_then_by_joined_host() {
        let services = parse(&json!([
            bearer("one", "a.com"),
            bearer("two", "slack.com/api/*"),
            bearer("three", "slack.com/x"),
            bearer("four", "dup.com"),
            bearer("five", "dup.com"),
            bearer("six", "lone.com:8443")
        ]))
        .unwrap();
        for (reference, found) in [
            ("one", Found::One(0)),
            ("a.com", Found::One(0)),
            ("slack.com/api/*", Found::One(1)),
            ("slack.com", Found::Ambiguous(vec![1, 2])),
            ("dup.com", Found::Ambiguous(vec![3, 4])),
            ("lone.com:8443", Found::One(5)),
            ("lone.com", Found::None),
            ("nope", Found::None),
        ] {
            assert_eq!(find(&services, reference), found, "{reference}");
        }
    }

    #[test]
    fn upsert_replaces_in_place_and_appends() {
        let mut services = parse(&json!([bearer("one", "a.com"), bearer("two", "b.com")])).unwrap();
        upsert(&mut services, parse(&json!([bearer("one", "c.com"), bearer("new", "d.com")])).unwrap());
        let hosts: Vec<_> = services.iter().map(Service::joined_host).collect();
        assert_eq!(hosts, ["c.com", "b.com", "d.com"]);
    }
}
