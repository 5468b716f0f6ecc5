//! What the broker holds of what the document speaks of.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::broker::Broker;
use super::super::{credential, encoded, list, text};
use super::document::Document;
use crate::failure::Failure;
use crate::vault::service::{Service, list as services};

/// The broker as it was asked.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// Every vault there is for this caller.
    pub(super) names: BTreeSet<String>,
    /// Those the document speaks of.
    pub(super) vaults: BTreeMap<String, Vault>,
    pub(super) agents: BTreeMap<String, Agent>,
    /// Per vault, the role of each user in it; asked only for a document that speaks of users.
    pub(super) users: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Default)]
pub(super) struct Vault {
    pub(super) policy: String,
    pub(super) services: Vec<Service>,
    pub(super) keys: BTreeSet<String>,
    /// The services' `ETag`, of a broker that has one.
    pub(super) tag: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Agent {
    pub(super) role: String,
    pub(super) is_revoked: bool,
    /// Vault and role.
    pub(super) grants: BTreeMap<String, String>,
}

/// Sets and maps grow by what is found: collected into, each type of them brings a sort of its own, 7 KB.
impl Observed {
    pub(super) fn of(broker: &mut Broker<'_>, document: &Document) -> Result<Self, Failure> {
        let answer = ask(broker, "/v1/vaults")?;
        let mut observed = Self::default();
        observed.names.extend(list(&answer, "vaults").map(|vault| text(vault, "name")));
        for vault in document.vaults.iter().filter(|vault| observed.names.contains(&vault.name)) {
            let found = Vault::of(broker, &vault.name).map_err(|failure| {
                // An owner sees every vault and is in none by that.
                Failure::new(format!("vault {:?}: {}", vault.name, failure.message()))
            })?;
            observed.vaults.insert(vault.name.clone(), found);
        }
        if !document.agents.is_empty() {
            let answer = ask(broker, "/v1/agents")?;
            observed.agents.extend(list(&answer, "agents").map(|one| (text(one, "name"), Agent::of(one))));
        }
        let granted = document.users.iter().flat_map(|user| user.grants.iter().map(|(vault, _)| vault));
        let spoken_of =
            document.vaults.iter().map(|vault| &vault.name).filter(|_| !document.users.is_empty());
        for vault in spoken_of.chain(granted) {
            if observed.names.contains(vault) && !observed.users.contains_key(vault) {
                let answer = ask(broker, &format!("/v1/vaults/{}/users", encoded(vault)))?;
                let active = list(&answer, "users").filter(|user| text(user, "status") != "pending");
                let roles = observed.users.entry(vault.clone()).or_default();
                roles.extend(active.map(|user| (text(user, "email"), text(user, "role"))));
            }
        }
        Ok(observed)
    }

    /// The revision each vault's services were at.
    pub(super) fn into_tags(self) -> BTreeMap<String, String> {
        let mut tags = BTreeMap::new();
        tags.extend(self.vaults.into_iter().filter_map(|(name, vault)| Some((name, vault.tag?))));
        tags
    }
}

impl Vault {
    fn of(broker: &mut Broker<'_>, name: &str) -> Result<Self, Failure> {
        let path = format!("/v1/vaults/{}", encoded(name));
        let reply = broker.get(&format!("{path}/services"))?;
        let listed = broker.json(&reply)?;
        let stored = listed.get("services").map(Value::to_string).unwrap_or_default();
        let services = services::from_stored(&stored)
            .map_err(|invalid| Failure::new(format!("the broker's services: {invalid}")))?;
        let settings = ask(broker, &format!("{path}/settings"))?;
        Ok(Self {
            policy: text(&settings, "unmatched_host_policy"),
            services,
            keys: credential::keys(broker, name)?,
            tag: reply.field("etag").map(str::to_owned),
        })
    }
}

impl Agent {
    fn of(agent: &Value) -> Self {
        let mut grants = BTreeMap::new();
        grants.extend(list(agent, "vaults").map(|one| (text(one, "vault_name"), text(one, "vault_role"))));
        Self { role: text(agent, "role"), is_revoked: text(agent, "status") == "revoked", grants }
    }
}

fn ask(broker: &mut Broker<'_>, path: &str) -> Result<Value, Failure> {
    let reply = broker.get(path)?;
    broker.json(&reply)
}
