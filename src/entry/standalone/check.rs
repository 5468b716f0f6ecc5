//! Judging a configuration without starting anything: is it good, where are its credentials, and what
//! would become of a request.
//!
//! Nothing is read but the document, and no name is resolved: it works where neither secrets nor network are.

use std::path::PathBuf;

use serde_json::Value;

use super::credentials::{Place, Places, stand_ins};
use super::document::Document;
use super::source::{Source, Unusable};
use crate::failure::Failure;
use crate::json::json;
use crate::proxy::explain::{Explainer, Imagined};
use crate::vault::service::InternalNames;
use crate::vault::{Snapshot, UnmatchedPolicy};

/// A document that is good.
pub struct Checked {
    source: Source,
    document: Document,
    credentials: Vec<Credential>,
}

/// A credential, where its value comes from, and whether there is something in that place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    pub key: String,
    pub from: String,
    pub is_here: bool,
}

/// What is here.
pub struct Here<'h> {
    pub has_variable: &'h dyn Fn(&str) -> bool,
    pub has_key: bool,
}

/// Reads and judges a document.
pub fn check(source: Source, internal: InternalNames, here: &Here<'_>) -> Result<Checked, Unusable> {
    let document = source.read(internal)?;
    let places = Places::new(PathBuf::new(), None);
    let credentials = document
        .keys()
        .into_iter()
        .map(|key| {
            let known = places.of(&document, key);
            let first = known.iter().find(|place| is_here(place, here));
            let from: Vec<String> = first.map_or_else(
                || known.iter().map(ToString::to_string).collect(),
                |place| vec![place.to_string()],
            );
            Credential { key: key.to_owned(), from: from.join(" or "), is_here: first.is_some() }
        })
        .collect();
    Ok(Checked { source, document, credentials })
}

fn is_here(place: &Place<'_>, here: &Here<'_>) -> bool {
    match place {
        Place::Variable(name) => (here.has_variable)(name),
        Place::File(path) => path.metadata().is_ok_and(|found| found.is_file()),
        Place::Sealed(_) => here.has_key,
    }
}

impl Checked {
    pub fn credentials(&self) -> &[Credential] {
        &self.credentials
    }

    /// Those for which there is nothing here, as the reason not to start.
    pub fn missing(&self) -> Option<Failure> {
        let missing = self.credentials.iter().filter(|one| !one.is_here);
        let told: Vec<String> = missing.map(|one| format!("{} ({})", one.key, one.from)).collect();
        (!told.is_empty())
            .then(|| Failure::new(format!("credentials that are not here: {}", told.join(", "))))
    }

    /// What would become of a request, as the proxy tells it; no value of a credential is looked at.
    pub fn explain(&self, method: &str, url: &str) -> Result<Value, &'static str> {
        let document = &self.document;
        let rules = Snapshot::new(document.services.clone(), &stand_ins(document), document.policy);
        let explainer = Explainer { network: None, base_url: String::new() };
        explainer.explain(&rules, Imagined { vault: &document.vault, method, url })
    }

    /// What the document says, for programs.
    pub fn to_json(&self) -> Value {
        let services = self.document.services.iter();
        let services: Vec<Value> = services
            .map(|one| json!({"name": one.name, "host": one.joined_host(), "enabled": one.is_enabled()}))
            .collect();
        let credentials: Vec<Value> = self
            .credentials
            .iter()
            .map(|one| json!({"key": one.key, "from": one.from, "is_here": one.is_here}))
            .collect();
        json!({
            "source": self.source.to_string(),
            "valid": true,
            "vault": self.document.vault,
            "unmatched_host_policy": self.policy(),
            "services": services,
            "credentials": credentials,
        })
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    pub fn vault(&self) -> &str {
        &self.document.vault
    }

    pub fn services(&self) -> usize {
        self.document.services.len()
    }

    pub fn policy(&self) -> &'static str {
        match self.document.policy {
            UnmatchedPolicy::Deny => "deny",
            UnmatchedPolicy::Passthrough => "passthrough",
        }
    }
}

impl Unusable {
    /// What is wrong, for programs.
    pub fn to_json(&self) -> Value {
        let problems: Vec<Value> =
            self.problems.iter().map(|one| json!({"place": one.place, "problem": one.what})).collect();
        json!({"source": self.source, "valid": false, "problems": problems})
    }
}
