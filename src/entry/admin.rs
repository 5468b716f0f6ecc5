//! `run` as a person who logged in: the saved session, the choice of a vault, the token minted for it.
//!
//! The minted token then plays the part of an agent's: nothing behind this module knows the difference.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::{Client, Error};
use crate::failure::Failure;
use crate::secret::Secret;

/// The part of `session.json` that is read (contract E.2).
#[derive(Deserialize)]
struct SessionFile {
    token: String,
    address: String,
}

/// A saved login.
pub(super) struct Session {
    token: Secret,
    pub(super) address: String,
}

/// A token for this run and the vault it is for.
pub(super) struct Minted {
    pub(super) token: Secret,
    pub(super) vault: String,
}

impl Session {
    /// Reads `~/.agent-vault/session.json`.
    pub(super) fn load(home: Option<&Path>) -> Result<Self, Failure> {
        let not_logged_in = || Failure::new("not logged in, run 'agent-vault auth login' first");
        let Some(home) = home else { return Err(not_logged_in()) };
        let loading = |cause: &dyn std::fmt::Display| Failure::new(format!("loading session: {cause}"));
        let bytes = match fs::read(home.join(".agent-vault/session.json")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_logged_in()),
            Err(error) => return Err(loading(&error)),
            Ok(bytes) => Secret::new(bytes),
        };
        let file: SessionFile = serde_json::from_slice(bytes.expose()).map_err(|error| loading(&error))?;
        Ok(Self { token: file.token.into(), address: file.address })
    }
}

/// Chooses the vault and mints a token for it (contract A.6).
pub(super) fn mint(
    client: &Client,
    session: Session,
    vault: Option<String>,
    ttl_seconds: u64,
    home: Option<&Path>,
) -> Result<Minted, Failure> {
    let client = client.clone().with_token(session.token);
    let vault = match vault.or_else(project_vault).or_else(|| context_vault(home)) {
        Some(vault) => vault,
        None => listed_vault(&client)?,
    };
    let mut body = json!({ "vault": vault });
    if ttl_seconds > 0 {
        body["ttl_seconds"] = ttl_seconds.into();
    }
    let failed = |text: String| Err(Failure::new(format!("failed to create scoped session: {text}")));
    let reply = match client.post("/v1/sessions", &body) {
        Ok(reply) if reply.status() == 200 => reply,
        Ok(reply) => return failed(format!("status {}", reply.status())),
        Err(Error::Status { code, body }) => return failed(error_field(&body, code)),
        Err(error) => {
            let address = client.address();
            return Err(Failure::new(format!("could not reach server at {address}: {error}")));
        }
    };
    #[derive(Deserialize)]
    struct Answer {
        token: String,
    }
    let answer: Answer =
        reply.json().map_err(|error| Failure::new(format!("parsing scoped session response: {error}")))?;
    Ok(Minted { token: answer.token.into(), vault })
}

/// `./agent-vault.json`; missing or malformed is no answer.
fn project_vault() -> Option<String> {
    let file: Value = serde_json::from_slice(&fs::read("agent-vault.json").ok()?).ok()?;
    file.get("vault")?.as_str().filter(|vault| !vault.is_empty()).map(str::to_owned)
}

/// `~/.agent-vault/context`, the whole file.
fn context_vault(home: Option<&Path>) -> Option<String> {
    let text = fs::read_to_string(home?.join(".agent-vault/context")).ok()?;
    Some(text.trim().to_owned()).filter(|vault| !vault.is_empty())
}

/// What the broker lists: one vault is it, none or no list is `default`.
fn listed_vault(client: &Client) -> Result<String, Failure> {
    let reply = match client.get("/v1/vaults") {
        Ok(reply) => reply,
        Err(Error::Status { code: 401, body }) => {
            return Err(Failure::new(format!("listing vaults: {}", error_field(&body, 401))));
        }
        Err(_) => return Ok("default".to_owned()),
    };
    let list: Value = reply.json().unwrap_or_default();
    let vaults = list.get("vaults").and_then(Value::as_array);
    let names: Vec<&str> =
        vaults.into_iter().flatten().filter_map(|vault| vault.get("name")?.as_str()).collect();
    match names[..] {
        [] => Ok("default".to_owned()),
        [only] => Ok(only.to_owned()),
        _ => Err(Failure::new(format!("vault selection: there are several ({})", names.join(", ")))
            .with_hint("name one with --vault, or make one the default with 'agent-vault vault use NAME'")),
    }
}

fn error_field(body: &[u8], code: u16) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    match body.get("error").and_then(Value::as_str).filter(|text| !text.is_empty()) {
        Some(text) => text.to_owned(),
        None => format!("status {code}"),
    }
}
