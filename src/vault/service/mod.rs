//! The service object: which host, port and path, and which credential goes there in which form.
//!
//! JSON in and JSON out are exact inverses (contract D.1): `host` carries host, port and path in one
//! string, `path` is never emitted, and an entry that was read and written back is the same entry.

mod auth;
mod host;
pub mod list;
pub mod misplaced;
pub mod name;
mod substitution;
pub mod template;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// Fields that concern one connection only (RFC 9110 §7.6.1) or frame a message: the proxy writes them
/// itself, takes away what either side sent, and attaches no credential under their names.
pub const PER_CONNECTION: [&str; 10] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// One service of a vault, already checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Slug, unique in its vault; the identity for update and delete.
    pub name: String,
    pub host: HostPattern,
    /// `None` matches every port.
    pub port: Option<u16>,
    /// Empty matches every path; `*` matches any run of bytes, `/` included.
    pub path: String,
    /// Absent on output when it was never set; absent means enabled.
    pub enabled: Option<bool>,
    pub auth: Auth,
    pub substitutions: Vec<Substitution>,
}

/// A host name in lower case, or one wildcard label in front of a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Exact(String),
    /// `*.rest`: exactly one more label than `rest`.
    Wildcard(String),
}

/// How the credential is attached; every value is a credential key unless said otherwise (contract D.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    Bearer {
        token: String,
    },
    Basic {
        username: String,
        password: Option<String>,
    },
    ApiKey {
        key: String,
        /// Literal field name; `Authorization` when absent.
        header: Option<String>,
        /// Literal text in front of the value.
        prefix: Option<String>,
    },
    /// Field name to template with `{{ KEY }}` in it.
    Custom {
        headers: BTreeMap<String, String>,
    },
    Passthrough,
    /// The value as a query parameter of this literal name; beyond the contract.
    Query {
        key: String,
        param: String,
    },
    /// The request is signed again with these keys; beyond the contract.
    AwsSigv4 {
        access_key: String,
        secret_key: String,
        session_token: Option<String>,
    },
}

/// A placeholder in the client's request that is replaced by a credential (contract D.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Substitution {
    pub key: String,
    pub placeholder: String,
    /// Never empty; `path` and `query` when the client named none.
    pub surfaces: Vec<Surface>,
}

/// A part of a request in which a placeholder may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surface {
    Path,
    Query,
    Header,
    Body,
    Websocket,
}

impl Service {
    pub fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(true)
    }

    /// The matcher in one string: `host[:port][/path]`.
    pub fn joined_host(&self) -> String {
        host::join(&self.host, self.port, &self.path)
    }

    /// The host alone, as it is written.
    pub fn host_name(&self) -> String {
        host::join(&self.host, None, "")
    }

    /// The credential keys it refers to: auth first, then substitutions, without repeats.
    pub fn credential_keys(&self) -> Vec<&str> {
        let mut keys = self.auth.credential_keys();
        keys.extend(self.substitutions.iter().map(|substitution| substitution.key.as_str()));
        without_repeats(keys)
    }

    /// The object as clients read it: the exact inverse of reading it.
    pub fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("name".to_owned(), self.name.as_str().into());
        object.insert("host".to_owned(), self.joined_host().into());
        if let Some(enabled) = self.enabled {
            object.insert("enabled".to_owned(), enabled.into());
        }
        object.insert("auth".to_owned(), self.auth.to_json());
        if !self.substitutions.is_empty() {
            let list = self.substitutions.iter().map(Substitution::to_json).collect();
            object.insert("substitutions".to_owned(), Value::Array(list));
        }
        Value::Object(object)
    }
}

/// Whether a host name that reaches into the machine or its platform may be a service
/// (`AGENT_VAULT_DEV_MODE`, contract D.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InternalNames {
    Allowed,
    Refused,
}

/// Why a service is not accepted, in the contract's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(String);

impl Invalid {
    pub(in crate::vault) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The same reason, with the place in front of it.
    pub(in crate::vault) fn within(self, place: impl fmt::Display) -> Self {
        Self(format!("{place}: {}", self.0))
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// Splits `host[:port][/path]` as it is written, unchecked: a port may be out of range.
pub fn split_host(inline: &str) -> (String, Option<u64>, String) {
    let host::Parts { host, port, path } = host::Parts::split(inline, "");
    (host, port, path)
}

/// Whether a text is a credential key: `^[A-Z][A-Z0-9_]*$`.
pub fn is_credential_key(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

fn without_repeats(keys: Vec<&str>) -> Vec<&str> {
    let mut unique: Vec<&str> = Vec::with_capacity(keys.len());
    for key in keys {
        if !unique.contains(&key) {
            unique.push(key);
        }
    }
    unique
}
