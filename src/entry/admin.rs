//! `run` as a person who logged in: the choice of a vault, the token minted for it.
//!
//! The minted token then plays the part of an agent's: nothing behind this module knows the difference.

use std::io::{self, IsTerminal as _};

use serde::Deserialize;
use serde_json::Value;

use crate::client::state::{Session, State, project_vault};
use crate::client::{Client, Error, Reply};
use crate::failure::Failure;
use crate::json::json;
use crate::secret::Secret;
use crate::sys::prompt::{self, Echo};

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
    let mut login = Login::new(client, session, state);
    let vault = match vault.or_else(project_vault).or_else(|| state.context_vault()) {
        Some(vault) => vault,
        None => listed_vault(&mut login)?,
    };
    let mut body = json!({ "vault": vault });
    if ttl_seconds > 0 {
        body["ttl_seconds"] = ttl_seconds.into();
    }
    let failed = |text: String| Err(Failure::new(format!("failed to create scoped session: {text}")));
    let reply = match login.call(&|client| client.post("/v1/sessions", &body))? {
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
fn listed_vault(login: &mut Login<'_>) -> Result<String, Failure> {
    let reply = match login.call(&|client| client.get("/v1/vaults"))? {
        Ok(reply) => reply,
        Err(Error::Status { code: 401, body }) => {
            return Err(Failure::new(format!("listing vaults: {}", error_field(&body, 401))));
        }
        Err(_) => return Ok("default".to_owned()),
    };
    let list: Value = reply.json().unwrap_or_default();
    let vaults = list.get("vaults").and_then(Value::as_array);
    let names = vaults.into_iter().flatten().filter_map(|vault| vault.get("name")?.as_str());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    match names.len() {
        0 | 1 => Ok(names.pop().unwrap_or_else(|| "default".to_owned())),
        _ if io::stdin().is_terminal() => prompt::pick("Which vault?", &names)
            .map_err(|cause| Failure::new(format!("vault selection: {cause}")).with_hint(NAME_ONE)),
        _ => Err(Failure::new(format!("vault selection: there are several ({})", names.join(", ")))
            .with_hint(NAME_ONE)),
    }
}

const NAME_ONE: &str = "name one with --vault, or make one the default with 'agent-vault vault use NAME'";

/// A person's login. One that has expired is renewed once, if the person is there to type the password and
/// the broker is the one that the login was saved for.
struct Login<'s> {
    client: Client,
    renewable: Option<Session>,
    state: &'s State,
}

impl<'s> Login<'s> {
    fn new(client: &Client, session: Session, state: &'s State) -> Self {
        let is_its_broker = session.address.trim_end_matches('/') == client.address();
        let client = client.clone().with_token(session.token.clone());
        Self {
            client,
            renewable: Some(session).filter(|_| is_its_broker && io::stdin().is_terminal()),
            state,
        }
    }

    /// One exchange, and once more after a renewal. The inner result is the broker's answer.
    fn call(
        &mut self,
        exchange: &dyn Fn(&Client) -> Result<Reply, Error>,
    ) -> Result<Result<Reply, Error>, Failure> {
        let outcome = exchange(&self.client);
        let is_expired = outcome.as_ref().is_err_and(|error| error.status() == Some(401));
        match self.renewable.take_if(|_| is_expired) {
            Some(expired) => {
                self.renew(expired)
                    .map_err(|cause| Failure::new(format!("re-authentication failed: {cause}")))?;
                Ok(exchange(&self.client))
            }
            None => Ok(outcome),
        }
    }

    fn renew(&mut self, expired: Session) -> Result<(), String> {
        let told = |error: io::Error| error.to_string();
        let address = &expired.address;
        let lead = format!("The login for {address} is no longer valid.\n");
        let (lead, email) = match &expired.email {
            Some(email) => (lead, email.clone()),
            None => {
                let typed = prompt::ask(&format!("{lead}Email: "), Echo::Shown).map_err(told)?;
                (String::new(), String::from_utf8_lossy(&typed).trim().to_owned())
            }
        };
        let password = prompt::ask(&format!("{lead}Password for {email}: "), Echo::Hidden).map_err(told)?;
        let password = Secret::new(password);
        let mut body = json!({ "email": email, "password": password.expose_str() });
        if let Some(label) = &expired.device_label {
            body["device_label"] = label.as_str().into();
        }
        #[derive(Deserialize)]
        struct Answer {
            token: String,
        }
        let reply = self.client.post("/v1/auth/login", &body).map_err(|error| error.to_string())?;
        let answer: Answer = reply.json().map_err(|error| error.to_string())?;
        let token = Secret::from(answer.token);
        let renewed = Session { token: token.clone(), email: Some(email), ..expired };
        self.state.save_session(&renewed).map_err(|failure| failure.message().to_owned())?;
        self.client = self.client.clone().with_token(token);
        Ok(())
    }
}

fn error_field(body: &[u8], code: u16) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    match body.get("error").and_then(Value::as_str).filter(|text| !text.is_empty()) {
        Some(text) => text.to_owned(),
        None => format!("status {code}"),
    }
}
