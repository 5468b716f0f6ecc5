//! A plan, carried out step by step.
//!
//! Services are changed only at the revision the plan was made for, so an edit that came in between is not
//! undone: the step fails, and another run makes a new plan. A token leaves this process the moment it is
//! made, before the next step can fail.

use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::broker::Broker;
use super::super::issue::token_of;
use super::super::{encoded, output};
use super::plan::{Call, Member, Step};
use crate::client::state;
use crate::failure::Failure;
use crate::json::json;

/// Where tokens of new agents go.
pub(super) struct Tokens(Option<PathBuf>);

impl Tokens {
    pub(super) fn on_stdout() -> Self {
        Self(None)
    }

    /// Makes the folder, private, and tries it: no token is made that cannot be kept.
    pub(super) fn in_folder(folder: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::new(format!("--tokens-dir {}: {error}", folder.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let trial = folder.join(".agent-vault-trial");
        state::write_private(&trial, b"").and_then(|()| std::fs::remove_file(&trial)).map_err(failed)?;
        Ok(Self(Some(folder.to_owned())))
    }

    /// A file that cannot be written after all leaves stdout: a token cannot be asked for again.
    fn keep(&self, agent: &str, token: &str) -> Result<(), Failure> {
        let Some(folder) = &self.0 else { return output::print(&format!("{agent}={token}\n")) };
        let path = folder.join(agent);
        state::write_private(&path, token.as_bytes()).or_else(|error| {
            output::note(&format!("writing {}: {error}; the token is on stdout", path.display()));
            output::print(&format!("{agent}={token}\n"))
        })
    }
}

/// Carries out the steps; `tags` are the revisions of the services that were seen.
pub(super) fn run(
    broker: &mut Broker<'_>,
    steps: &[Step],
    tokens: &Tokens,
    mut tags: BTreeMap<String, String>,
) -> Result<(), Failure> {
    let total = steps.len();
    for (done, step) in steps.iter().enumerate() {
        if let Err(failure) = carry_out(broker, &step.call, tokens, &mut tags) {
            let line = step.line();
            output::note(&format!("failed: {line}"));
            for left in &steps[done + 1..] {
                output::note(&format!("not done: {}", left.line()));
            }
            let text = format!("{done} of {total} changes done; {line}: {}", failure.message());
            return Err(Failure::new(text).with_hint("run it again: what is done is not done twice"));
        }
        output::note(&format!("done: {}", step.line()));
    }
    Ok(())
}

fn carry_out(
    broker: &mut Broker<'_>,
    call: &Call,
    tokens: &Tokens,
    tags: &mut BTreeMap<String, String>,
) -> Result<(), Failure> {
    match call {
        Call::CreateVault { vault } => broker.post("/v1/vaults", &json!({"name": vault}))?,
        Call::SetPolicy { vault, policy } => {
            let path = format!("/v1/vaults/{}/settings", encoded(vault));
            broker.patch(&path, &json!({"unmatched_host_policy": policy}))?
        }
        Call::PutService { vault, service } => {
            let path = format!("/v1/vaults/{}/services", encoded(vault));
            let body = json!({"services": [service]});
            let reply = broker.expecting(tags.get(vault).map(String::as_str)).post(&path, &body)?;
            tags.extend(reply.field("etag").map(|tag| (vault.clone(), tag.to_owned())));
            reply
        }
        Call::RemoveService { vault, name } => {
            let path = format!("/v1/vaults/{}/services/{}", encoded(vault), encoded(name));
            let reply = broker.expecting(tags.get(vault).map(String::as_str)).delete(&path)?;
            tags.extend(reply.field("etag").map(|tag| (vault.clone(), tag.to_owned())));
            reply
        }
        Call::CreateAgent { name, role, grants } => {
            let vaults: Vec<Value> = grants
                .iter()
                .map(|(vault, role)| json!({"vault_name": vault, "vault_role": role.as_str()}))
                .collect();
            let mut body = json!({"name": name, "vaults": vaults});
            if let Some(role) = role {
                body["role"] = (*role).into();
            }
            let reply = broker.post("/v1/agents", &body)?;
            tokens.keep(name, token_of(&broker.json(&reply)?)?)?;
            reply
        }
        Call::SetAgentRole { name, role } => {
            broker.post(&format!("/v1/agents/{}/role", encoded(name)), &json!({"role": role}))?
        }
        Call::DeleteAgent { name } => {
            broker.post(&format!("/v1/agents/{}/delete", encoded(name)), &json!({}))?
        }
        Call::Grant { member, vault, role } => {
            let (list, field) = match member {
                Member::Agent(_) => ("agents", "name"),
                Member::User(_) => ("users", "email"),
            };
            let path = format!("/v1/vaults/{}/{list}", encoded(vault));
            broker.post(&path, &json!({field: member.name(), "role": role.as_str()}))?
        }
        Call::ChangeGrant { member, vault, role } => {
            broker.post(&format!("{}/role", path_of(member, vault)), &json!({"role": role.as_str()}))?
        }
        Call::RemoveGrant { member, vault } => broker.delete(&path_of(member, vault), None)?,
    };
    Ok(())
}

fn path_of(member: &Member, vault: &str) -> String {
    let list = match member {
        Member::Agent(_) => "agents",
        Member::User(_) => "users",
    };
    format!("/v1/vaults/{}/{list}/{}", encoded(vault), encoded(member.name()))
}
