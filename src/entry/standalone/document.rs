//! The configuration document, read and judged whole: the rules of a run that has no broker.
//!
//! Pure: text in, a [`Document`] or every problem with its place out. An unknown key is a problem, since
//! what it was meant to say would not happen. No message repeats what may be a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::json;
use crate::net::guard::Cidr;
use crate::tls::ca::Names;
use crate::vault::UnmatchedPolicy;
use crate::vault::service::misplaced::names_no_secret;
use crate::vault::service::{HostPattern, InternalNames, Service, is_credential_key, list, name};

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

/// What a run's configuration says.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub vault: String,
    pub policy: UnmatchedPolicy,
    pub services: Vec<Service>,
    /// Where each credential comes from, for those it says it of.
    pub credentials: BTreeMap<String, Origin>,
    pub upstream_ca: Option<PathBuf>,
    pub network_allowlist: Vec<Cidr>,
}

/// Where a credential's value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A variable of the environment.
    Env(String),
    File(PathBuf),
    /// In the document, sealed.
    Sealed(String),
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// As in `services[1].auth`; empty for the document itself.
    pub place: String,
    pub what: String,
}

impl Problem {
    pub(super) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => f.write_str(&self.what),
            place => write!(f, "{place}: {}", self.what),
        }
    }
}

/// Reads a document; every problem is told.
pub fn parse(text: &str, internal: InternalNames) -> Result<Document, Vec<Problem>> {
    let value = json::parse(text).map_err(|error| vec![Problem::new("", error)])?;
    let Value::Object(top) = value else {
        return Err(vec![Problem::new("", "not an object")]);
    };
    let mut reader = Reader { problems: Vec::new() };
    let document = reader.document(&top, internal);
    if reader.problems.is_empty() { Ok(document) } else { Err(reader.problems) }
}

impl Document {
    /// Every credential that services name or the document places, in order.
    pub fn keys(&self) -> BTreeSet<&str> {
        let mut keys = BTreeSet::new();
        keys.extend(self.services.iter().flat_map(Service::credential_keys));
        keys.extend(self.credentials.keys().map(String::as_str));
        keys
    }

    /// What the run's root has to vouch for: under a policy that denies the rest, the services' hosts alone.
    pub fn names(&self) -> Names {
        if self.policy == UnmatchedPolicy::Passthrough {
            return Names::Any;
        }
        let hosts = self.services.iter().map(|service| match &service.host {
            HostPattern::Exact(name) | HostPattern::Wildcard(name) => name.clone(),
        });
        Names::Only(hosts.collect())
    }
}

/// Gathers problems while it reads.
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn document(&mut self, top: &Map<String, Value>, internal: InternalNames) -> Document {
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

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{
        "vault": "shop",
        "unmatched_host_policy": "passthrough",
        "services": [
            {"name": "stripe", "host": "api.stripe.com:443/v1/*", "auth": {"type": "bearer", "token": "STRIPE_KEY"}},
            {"name": "wild", "host": "*.example.com", "auth": {"type": "passthrough"},
             "substitutions": [{"key": "TEAM", "placeholder": "__team__", "in": ["path"]}]}
        ],
        "credentials": {
            "STRIPE_KEY": {"file": "/run/secrets/stripe"},
            "OTHER": {"env": "OTHER_TOKEN"},
            "OLD": {"sealed": "av1.x"}
        },
        "upstream_ca": "/etc/our-roots.pem",
        "network_allowlist": ["10.0.0.0/8", "fd00::/8"]
    }"#;

    fn problems(text: &str) -> Vec<String> {
        let parsed = parse(text, InternalNames::Refused);
        parsed.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_whole_document_is_read() {
        let document = parse(WHOLE, InternalNames::Refused).unwrap();
        assert_eq!((document.vault.as_str(), document.policy), ("shop", UnmatchedPolicy::Passthrough));
        assert_eq!(document.services[0].joined_host(), "api.stripe.com:443/v1/*");
        assert_eq!(Vec::from_iter(document.keys()), ["OLD", "OTHER", "STRIPE_KEY", "TEAM"]);
        assert_eq!(document.credentials["OTHER"], Origin::Env("OTHER_TOKEN".to_owned()));
        assert_eq!(document.credentials["OLD"], Origin::Sealed("av1.x".to_owned()));
        assert_eq!(document.upstream_ca, Some("/etc/our-roots.pem".into()));
        assert_eq!(document.network_allowlist.len(), 2);
        assert_eq!(document.names(), Names::Any);
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        let document = parse(r#"{"services": []}"#, InternalNames::Refused).unwrap();
        assert_eq!((document.vault.as_str(), document.policy), ("default", UnmatchedPolicy::Deny));
        let strict = WHOLE.replace("passthrough\",\n        \"services", "deny\",\n        \"services");
        let names = ["api.stripe.com", "example.com"].map(str::to_owned).into();
        assert_eq!(parse(&strict, InternalNames::Refused).unwrap().names(), Names::Only(names));
    }

    #[test]
    fn every_problem_is_told_with_its_place() {
        let told = problems(
            r#"{
            "servises": [], "vault": "X", "unmatched_host_policy": "allow",
            "services": [
                {"name": "one", "host": "x.com", "auth": {"type": "bearer", "tokn": "K"}},
                {"name": "two", "host": "localhost", "auth": {"type": "passthrough"}},
                {"nam": "three"},
                7,
                {"name": "two-b", "host": "y.com", "auth": {"type": "passthrough"},
                 "substitutions": [{"key": "K", "placeholder": "__k__", "into": []}]}
            ],
            "credentials": {"lower": {"env": "X"}, "TWO": {"env": "A", "file": "/b"}, "KIND": {"envv": "A"},
                            "OURS": {"env": "AGENT_VAULT_KEY"}, "EMPTY": {"env": ""}},
            "upstream_ca": 5, "network_allowlist": ["10.0.0.0/33", 4]
        }"#,
        );
        let expected = [
            "unknown key \"servises\"; the nearest known one is \"services\"",
            "vault: name \"X\" must be at least 3 characters",
            "unmatched_host_policy: must be deny or passthrough",
            "services[0].auth: unknown key \"tokn\"; the nearest known one is \"token\"",
            "services[2]: unknown key \"nam\"; the nearest known one is \"name\"",
            "services[3]: not an object",
            "services[4].substitutions[0]: unknown key \"into\"; the nearest known one is \"in\"",
            "services[1]: host \"localhost\" is a local/internal name and is not allowed (set AGENT_VAULT_DEV_MODE=true to override)",
            "credentials.lower: not the name of a credential, which is like STRIPE_KEY",
            "credentials.TWO: must be {\"env\": VARIABLE}, {\"file\": PATH} or {\"sealed\": TEXT}",
            "credentials.KIND: unknown key \"envv\"; the nearest known one is \"env\"",
            "credentials.OURS: AGENT_VAULT_KEY is a variable of agent-vault itself",
            "credentials.EMPTY: must be {\"env\": VARIABLE}, {\"file\": PATH} or {\"sealed\": TEXT}",
            "upstream_ca: must be the path of a PEM file",
            "network_allowlist[0]: \"10.0.0.0/33\" is not a network like \"10.0.0.0/8\"",
            "network_allowlist[1]: 4 is not a network like \"10.0.0.0/8\"",
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_no_document_is_told_as_such() {
        assert_eq!(problems("[]"), ["not an object"]);
        assert_eq!(problems("{}"), ["services: missing: the list of services"]);
        assert!(problems("{").concat().contains("line 1"));
        let twice = problems("{\"services\": [],\n\"services\": []}");
        assert!(twice[0].starts_with("key \"services\" is there twice at line 2"), "{twice:?}");
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        for text in [
            r#"{"services": [{"name": "one", "host": "x.com", "auth": {"type": "bearer", "token": "sk_live_1"}}]}"#,
            r#"{"services": [], "credentials": {"KEY": "sk_live_1"}}"#,
            r#"{"services": [], "credentials": {"KEY": {"value": "sk_live_1"}}}"#,
            r#"{"services": [], "credentials": {"KEY": {"env": "sk=live_1"}}}"#,
        ] {
            let told = problems(text);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(!told[0].contains("live_1"), "{told:?}");
        }
    }
}
