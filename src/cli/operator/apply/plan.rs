//! The difference between a document and a broker, as steps in an order that works: vaults before what is
//! in them, agents with their grants, removals last.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::document::{Agent, Document, User, Vault};
use super::observed::{self, Observed};
use crate::failure::Failure;
use crate::json::json;
use crate::store::accounts::InstanceRole;
use crate::vault::scope::Role;
use crate::vault::service::Service;

/// What becomes of services, grants and agents the document does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unnamed {
    Kept,
    Removed,
}

/// What has to happen, and what is so already.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    unchanged: usize,
    /// Per vault, the keys its services refer to and it has no value for.
    missing: BTreeMap<String, BTreeSet<String>>,
}

/// One change and the call that makes it.
#[derive(Debug, PartialEq)]
pub(super) struct Step {
    pub(super) action: Action,
    /// What is changed, as a person reads it; its first word is the kind.
    pub(super) what: String,
    pub(super) call: Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Change,
    Remove,
}

/// What is asked of the broker.
#[derive(Debug, PartialEq)]
pub(super) enum Call {
    CreateVault { vault: String },
    SetPolicy { vault: String, policy: String },
    PutService { vault: String, service: Value },
    RemoveService { vault: String, name: String },
    CreateAgent { name: String, role: Option<&'static str>, grants: Vec<(String, Role)> },
    SetAgentRole { name: String, role: &'static str },
    DeleteAgent { name: String },
    Grant { member: Member, vault: String, role: Role },
    ChangeGrant { member: Member, vault: String, role: Role },
    RemoveGrant { member: Member, vault: String },
}

/// Who has a role in a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Agent(String),
    User(String),
}

impl Action {
    fn sign(self) -> char {
        match self {
            Self::Create => '+',
            Self::Change => '~',
            Self::Remove => '-',
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Change => "change",
            Self::Remove => "remove",
        }
    }
}

impl Member {
    pub(super) fn name(&self) -> &str {
        let (Self::Agent(name) | Self::User(name)) = self;
        name
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Agent(_) => "agent",
            Self::User(_) => "user",
        }
    }
}

/// Compares; a document that cannot be applied is refused here, before anything is changed.
pub(super) fn between(document: &Document, observed: &Observed, unnamed: Unnamed) -> Result<Plan, Failure> {
    check(document, observed)?;
    let mut plan = Plan::default();
    for vault in &document.vaults {
        plan.vault(vault, observed.vaults.get(&vault.name));
    }
    for agent in &document.agents {
        plan.agent(agent, observed.agents.get(&agent.name), unnamed);
    }
    for user in &document.users {
        plan.user(user, observed, unnamed);
    }
    if unnamed == Unnamed::Removed {
        plan.removals(document, observed);
    }
    Ok(plan)
}

/// Grants lead to vaults that will be there, and nobody who was shut out comes back by a document.
fn check(document: &Document, observed: &Observed) -> Result<(), Failure> {
    let will_be = |name: &String| {
        observed.names.contains(name) || document.vaults.iter().any(|vault| vault.name == *name)
    };
    let of_agents = document
        .agents
        .iter()
        .flat_map(|agent| agent.grants.iter().flatten().map(|grant| (&agent.name, grant)));
    let of_users =
        document.users.iter().flat_map(|user| user.grants.iter().map(|grant| (&user.email, grant)));
    if let Some((who, (vault, _))) = of_agents.chain(of_users).find(|(_, (vault, _))| !will_be(vault)) {
        return Err(Failure::new(format!(
            "{who} is granted vault {vault:?}, which is neither in the document nor at the broker"
        )));
    }
    let is_revoked = |agent: &&Agent| observed.agents.get(&agent.name).is_some_and(|found| found.is_revoked);
    match document.agents.iter().find(is_revoked) {
        Some(Agent { name, .. }) => Err(Failure::new(format!("agent {name:?} has been revoked")).with_hint(
            format!("revive it with 'agent-vault agent rotate {name}', or take it out of the document"),
        )),
        None => Ok(()),
    }
}

impl Plan {
    fn step(&mut self, action: Action, what: String, call: Call) {
        self.steps.push(Step { action, what, call });
    }

    fn vault(&mut self, wanted: &Vault, found: Option<&observed::Vault>) {
        let vault = &wanted.name;
        let nothing = observed::Vault { policy: "passthrough".to_owned(), ..observed::Vault::default() };
        match found {
            Some(_) => self.unchanged += 1,
            None => {
                let call = Call::CreateVault { vault: vault.clone() };
                self.step(Action::Create, format!("vault {vault}"), call);
            }
        }
        let found = found.unwrap_or(&nothing);
        match &wanted.policy {
            Some(policy) if *policy != found.policy => {
                let what = format!("vault {vault}: unmatched hosts {} → {policy}", found.policy);
                let call = Call::SetPolicy { vault: vault.clone(), policy: policy.clone() };
                self.step(Action::Change, what, call);
            }
            _ => {}
        }
        let services = wanted.services.as_deref().unwrap_or_default();
        for service in services {
            self.service(vault, service, found.services.iter().find(|old| old.name == service.name));
        }
        let named = services.iter().flat_map(Service::credential_keys);
        let mut missing = BTreeSet::new();
        missing.extend(named.filter(|key| !found.keys.contains(*key)).map(str::to_owned));
        if !missing.is_empty() {
            self.missing.insert(vault.clone(), missing);
        }
    }

    fn service(&mut self, vault: &str, wanted: &Service, found: Option<&Service>) {
        let place = format!("service {vault}/{}", wanted.name);
        let put = Call::PutService { vault: vault.to_owned(), service: wanted.to_json() };
        let Some(found) = found else {
            return self.step(Action::Create, format!("{place} ({})", wanted.joined_host()), put);
        };
        let differs = [
            ("host", wanted.joined_host() != found.joined_host()),
            ("enabled", wanted.is_enabled() != found.is_enabled()),
            ("auth", wanted.auth != found.auth),
            ("substitutions", wanted.substitutions != found.substitutions),
        ];
        let parts: Vec<&str> =
            differs.iter().filter(|(_, differs)| *differs).map(|(part, _)| *part).collect();
        if parts.is_empty() {
            self.unchanged += 1;
        } else {
            self.step(Action::Change, format!("{place}: {}", parts.join(", ")), put);
        }
    }

    fn agent(&mut self, wanted: &Agent, found: Option<&observed::Agent>, unnamed: Unnamed) {
        let name = &wanted.name;
        let Some(found) = found else {
            let grants = wanted.grants.clone().unwrap_or_default();
            let role = wanted.role.map(InstanceRole::as_str);
            let mut parts = vec![role.unwrap_or("no-access").to_owned()];
            parts.extend(grants.iter().map(|(vault, role)| format!("{vault}:{}", role.as_str())));
            let what = format!("agent {name} ({})", parts.join(", "));
            return self.step(Action::Create, what, Call::CreateAgent { name: name.clone(), role, grants });
        };
        match wanted.role.map(InstanceRole::as_str) {
            Some(role) if role != found.role => {
                let what = format!("agent {name}: role {} → {role}", found.role);
                self.step(Action::Change, what, Call::SetAgentRole { name: name.clone(), role });
            }
            _ => self.unchanged += 1,
        }
        if let Some(grants) = &wanted.grants {
            self.grants(&Member::Agent(name.clone()), grants, &found.grants, unnamed);
        }
    }

    fn user(&mut self, wanted: &User, observed: &Observed, unnamed: Unnamed) {
        let held = observed
            .users
            .iter()
            .filter_map(|(vault, roles)| roles.get(&wanted.email).map(|role| (vault.clone(), role.clone())));
        self.grants(&Member::User(wanted.email.clone()), &wanted.grants, &held.collect(), unnamed);
    }

    fn grants(
        &mut self,
        member: &Member,
        wanted: &[(String, Role)],
        found: &BTreeMap<String, String>,
        unnamed: Unnamed,
    ) {
        let named = |vault: &str| format!("grant of vault {vault} to {} {}", member.kind(), member.name());
        for (vault, role) in wanted {
            let (member, vault, role) = (member.clone(), vault.clone(), *role);
            match found.get(&vault).map(String::as_str) {
                Some(held) if held == role.as_str() => self.unchanged += 1,
                Some(held) => {
                    let what = format!("{}: {held} → {}", named(&vault), role.as_str());
                    self.step(Action::Change, what, Call::ChangeGrant { member, vault, role });
                }
                None => {
                    let what = format!("{}: {}", named(&vault), role.as_str());
                    self.step(Action::Create, what, Call::Grant { member, vault, role });
                }
            }
        }
        if unnamed == Unnamed::Removed {
            for vault in found.keys().filter(|vault| !wanted.iter().any(|(kept, _)| kept == *vault)) {
                let call = Call::RemoveGrant { member: member.clone(), vault: vault.clone() };
                self.step(Action::Remove, named(vault), call);
            }
        }
    }

    /// Services of vaults whose services the document lists, and agents when it lists agents.
    fn removals(&mut self, document: &Document, observed: &Observed) {
        for vault in &document.vaults {
            let (Some(wanted), Some(found)) = (&vault.services, observed.vaults.get(&vault.name)) else {
                continue;
            };
            for old in found.services.iter().filter(|old| !wanted.iter().any(|kept| kept.name == old.name)) {
                let call = Call::RemoveService { vault: vault.name.clone(), name: old.name.clone() };
                self.step(Action::Remove, format!("service {}/{}", vault.name, old.name), call);
            }
        }
        // A revoked agent is the record of one, and keeps no door open.
        let kept = |name: &String| document.agents.iter().any(|agent| agent.name == *name);
        for (name, _) in observed.agents.iter().filter(|(name, agent)| !agent.is_revoked && !kept(name)) {
            self.step(Action::Remove, format!("agent {name}"), Call::DeleteAgent { name: name.clone() });
        }
    }

    pub(super) fn creates_agents(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.call, Call::CreateAgent { .. }))
    }

    fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }

    pub(super) fn text(&self) -> String {
        let lines: String = self.steps.iter().map(|step| format!("{}\n", step.line())).collect();
        format!(
            "{lines}+ {} to create, ~ {} to change, - {} to remove, = {} unchanged\n{}",
            self.count(Action::Create),
            self.count(Action::Change),
            self.count(Action::Remove),
            self.unchanged,
            self.missing_text()
        )
    }

    /// The keys that still need a value; nothing when there are none.
    pub(super) fn missing_text(&self) -> String {
        let each = self.missing.iter().map(|(vault, keys)| {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            format!("missing credentials in vault {vault}: {}\n", keys.join(", "))
        });
        each.collect()
    }

    pub(super) fn json(&self) -> String {
        let changes: Vec<Value> =
            self.steps.iter().map(|step| json!({"action": step.action.word(), "what": step.what})).collect();
        let plan = json!({
            "changes": changes,
            "create": self.count(Action::Create),
            "change": self.count(Action::Change),
            "remove": self.count(Action::Remove),
            "unchanged": self.unchanged,
            "missing_credentials": self.missing,
        });
        format!("{plan}\n")
    }
}

impl Step {
    pub(super) fn line(&self) -> String {
        format!("{} {}", self.action.sign(), self.what)
    }
}
