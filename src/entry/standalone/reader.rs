//! Reads a configuration document member by member, and goes on after a problem: all of them are told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::document::{Document, Origin, Problem};
use crate::net::guard::Cidr;
use crate::vault::UnmatchedPolicy;
use crate::vault::service::misplaced::names_no_secret;
use crate::vault::service::{InternalNames, Service, is_credential_key, list, name};

const TOP: &[&str] =
    &["vault", "unmatched_host_policy", "services", "credentials", "upstream_ca", "network_allowlist"];
const SERVICE: &[&str] = &["name", "host", "path", "enabled", "auth", "substitutions"];
const AUTH: &[&str] = &[
    "type",
    "token",
    "username",
    "password",
    "key",
    "header",
    "prefix",
    "headers",
    "param",
    "access_key",
    "secret_key",
    "session_token",
];
const SUBSTITUTION: &[&str] = &["key", "placeholder", "in"];
const ORIGIN: &[&str] = &["env", "file", "sealed"];

/// Variables of our own are no app's credentials.
const OUR_VARIABLES: &str = "AGENT_VAULT_";

/// Gathers problems while it reads.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    pub(super) fn document(&mut self, top: &Map<String, Value>, internal: InternalNames) -> Document {
        self.check_keys("", top, TOP);
        Document {
            vault: self.vault(top.get("vault")),
            policy: self.policy(top.get("unmatched_host_policy")),
            services: self.services(top.get("services"), internal),
            credentials: self.credentials(top.get("credentials")),
            upstream_ca: self.upstream_ca(top.get("upstream_ca")),
            network_allowlist: self.networks(top.get("network_allowlist")),
        }
    }

    fn vault(&mut self, value: Option<&Value>) -> String {
        let vault = match value {
            None => "default",
            Some(Value::String(vault)) => vault,
            Some(_) => {
                self.problem("vault", "not a text");
                "default"
            }
        };
        if let Err(invalid) = name::check(vault) {
            self.problem("vault", invalid.to_string());
        }
        vault.to_owned()
    }

    fn policy(&mut self, value: Option<&Value>) -> UnmatchedPolicy {
        match value.map(Value::as_str) {
            None | Some(Some("deny")) => {}
            Some(Some("passthrough")) => return UnmatchedPolicy::Passthrough,
            Some(_) => self.problem("unmatched_host_policy", "must be deny or passthrough"),
        }
        UnmatchedPolicy::Deny
    }

    fn services(&mut self, value: Option<&Value>, internal: InternalNames) -> Vec<Service> {
        let Some(Value::Array(values)) = value else {
            let what = if value.is_some() { "not a list" } else { "missing: the list of services" };
            self.problem("services", what);
            return Vec::new();
        };
        // Each problem once, and none that is quoted if it may be a secret.
        let sound: Vec<usize> = (0..values.len()).filter(|at| self.is_sound(*at, &values[*at])).collect();
        let checked: Vec<Value> = sound.iter().map(|at| values[*at].clone()).collect();
        let (services, wrong) = list::check_each(&checked, internal);
        for (at, invalid) in wrong {
            self.problem(format!("services[{}]", sound[at]), invalid.to_string());
        }
        services
    }

    /// Whether a service's shape is right, so that its content can be judged.
    fn is_sound(&mut self, at: usize, value: &Value) -> bool {
        let (place, before) = (format!("services[{at}]"), self.problems.len());
        if let Some(service) = self.object(&place, Some(value)) {
            self.check_keys(&place, service, SERVICE);
            if let Some(auth) = service.get("auth").and_then(Value::as_object) {
                self.check_keys(&format!("{place}.auth"), auth, AUTH);
            }
            let substitutions = service.get("substitutions").and_then(Value::as_array);
            for (number, one) in substitutions.into_iter().flatten().enumerate() {
                if let Some(one) = one.as_object() {
                    self.check_keys(&format!("{place}.substitutions[{number}]"), one, SUBSTITUTION);
                }
            }
            if let Err(problem) = names_no_secret(value) {
                self.problem(place, problem);
            }
        }
        self.problems.len() == before
    }

    fn credentials(&mut self, value: Option<&Value>) -> BTreeMap<String, Origin> {
        let Some(value) = value else { return BTreeMap::new() };
        let Some(object) = self.object("credentials", Some(value)) else { return BTreeMap::new() };
        let mut credentials = BTreeMap::new();
        for (key, value) in object {
            let place = format!("credentials.{key}");
            if !is_credential_key(key) {
                self.problem(place, "not the name of a credential, which is like STRIPE_KEY");
            } else if let Some(origin) = self.origin(&place, value) {
                credentials.insert(key.clone(), origin);
            }
        }
        credentials
    }

    fn origin(&mut self, place: &str, value: &Value) -> Option<Origin> {
        let expected = "must be {\"env\": VARIABLE}, {\"file\": PATH} or {\"sealed\": TEXT}";
        let object = value.as_object();
        let Some(object) = object else {
            // Somebody may have put the value itself here.
            self.problem(place, format!("{expected}; a value in the clear is not taken"));
            return None;
        };
        let before = self.problems.len();
        self.check_keys(place, object, ORIGIN);
        let given: Option<(&str, &str)> = match object.iter().next() {
            Some((kind, Value::String(text))) if object.len() == 1 && !text.is_empty() => Some((kind, text)),
            _ => None,
        };
        let origin = match given {
            Some(("env", name)) if name.contains(['=', '\0']) => {
                self.problem(place, "not the name of a variable");
                None
            }
            Some(("env", name)) if name.starts_with(OUR_VARIABLES) => {
                self.problem(place, format!("{name} is a variable of agent-vault itself"));
                None
            }
            Some(("env", name)) => Some(Origin::Env(name.to_owned())),
            Some(("file", path)) => Some(Origin::File(PathBuf::from(path))),
            Some(("sealed", text)) => Some(Origin::Sealed(text.to_owned())),
            _ => None,
        };
        if origin.is_none() && self.problems.len() == before {
            self.problem(place, expected);
        }
        origin
    }

    fn upstream_ca(&mut self, value: Option<&Value>) -> Option<PathBuf> {
        match value? {
            Value::String(path) if !path.is_empty() => return Some(Path::new(path).to_owned()),
            _ => self.problem("upstream_ca", "must be the path of a PEM file"),
        }
        None
    }

    fn networks(&mut self, value: Option<&Value>) -> Vec<Cidr> {
        let Some(value) = value else { return Vec::new() };
        let Value::Array(entries) = value else {
            self.problem("network_allowlist", "not a list");
            return Vec::new();
        };
        let mut networks = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            match entry.as_str().and_then(Cidr::parse) {
                Some(network) => networks.push(network),
                None => {
                    let place = format!("network_allowlist[{at}]");
                    self.problem(place, format!("{entry} is not a network like \"10.0.0.0/8\""));
                }
            }
        }
        networks
    }

    fn object<'v>(&mut self, place: &str, value: Option<&'v Value>) -> Option<&'v Map<String, Value>> {
        let object = value.and_then(Value::as_object);
        if object.is_none() {
            self.problem(place, "not an object");
        }
        object
    }

    fn check_keys(&mut self, place: &str, object: &Map<String, Value>, known: &[&str]) {
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            let near = nearest(key, known);
            self.problem(place, format!("unknown key {key:?}; the nearest known one is {near:?}"));
        }
    }

    fn problem(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.problems.push(Problem::new(place, what));
    }
}

/// The known key that takes the fewest changes to reach; the first of several.
fn nearest<'k>(key: &str, known: &[&'k str]) -> &'k str {
    known.iter().min_by_key(|one| distance(key, one)).copied().unwrap_or_default()
}

/// Letters to insert, remove or replace (Levenshtein); one row at a time. A key may be long, the known
/// ones are short.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(!a.eq_ignore_ascii_case(b));
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}
