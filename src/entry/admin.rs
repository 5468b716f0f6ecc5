//! `run` as a person who logged in: the choice of a vault, the token minted for it.
//!
//! The minted token then plays the part of an agent's: nothing behind this module knows the difference.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::client::state::{Session, State, project_vault};
use crate::client::{Client, Error};
use crate::failure::Failure;
use crate::secret::Secret;

/// A token for this run and the vault it is for.
pub struct Minted {
    pub token: Secret,
    pub vault: String,
}

/// Chooses the vault and mints a token for it (contract A.6).
pub fn mint(
    client: &Client,
    session: Session,
    vault: Option<String>,
    ttl_seconds: u64,
    state: &State,
) -> Result<Minted, Failure> {
    let client = client.clone().with_token(session.token);
    let vault = match vault.or_else(project_vault).or_else(|| state.context_vault()) {
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
