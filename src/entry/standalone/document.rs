//! The configuration document, read and judged whole: the rules of a run that has no broker.
//!
//! Pure: text in, a [`Document`] or every problem with its place out. An unknown key is a problem, since
//! what it was meant to say would not happen. No message repeats what may be a secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

use super::reader::Reader;
use crate::json;
use crate::net::guard::Cidr;
use crate::tls::ca::Names;
use crate::vault::UnmatchedPolicy;
use crate::vault::service::{HostPattern, InternalNames, Service};

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
    let mut reader = Reader::default();
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
        let mut names = BTreeSet::new();
        names.extend(self.services.iter().map(|service| match &service.host {
            HostPattern::Exact(name) | HostPattern::Wildcard(name) => name.clone(),
        }));
        Names::Only(names)
    }
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
