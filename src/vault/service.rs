//! The service object: which host, port and path, and which credential goes there in which form.
//!
//! JSON in and JSON out are exact inverses (contract D.1): `host` carries host, port and path in one
//! string, `path` is never emitted, and an entry that was read and written back is the same entry.

use std::collections::BTreeMap;

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
}
