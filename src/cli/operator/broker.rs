//! The broker a command asks, and as whom: nobody, the person who logged in, or an agent.
//!
//! One place decides address and vault (contract E.2), words every refusal, and offers a new login when
//! the saved one has expired and somebody is there to be asked.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::auth::first_login;
use super::{Args, World, ask, choose, list, output, text};
use crate::client::state::{Session, State, project_vault};
use crate::client::{Cause, Client, Error, ProxyVars, Reply, Settings};
use crate::entry;
use crate::entry::mode::{Asked, Mode};
use crate::failure::Failure;
use crate::json::json;
use crate::secret::Secret;

/// Where `agent-vault server` listens when it is told nothing.
pub(super) const LOCAL: &str = "http://127.0.0.1:14321";

/// What the command line says about the way to the broker.
#[derive(Clone)]
pub(super) struct Reach {
    address: Option<String>,
    broker_ca: Option<String>,
}

/// A broker, as one caller.
pub(super) struct Broker<'w> {
    world: &'w World<'w>,
    client: Client,
    /// The saved login it is called with, if it was saved for this address: then it can be renewed.
    renewable: Option<Session>,
    as_whom: Caller,
}

/// As whom a broker is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    Nobody,
    Person,
    Agent,
}

/// A broker whose changes are refused when somebody else's came first.
pub(super) struct Conditional<'b, 'w> {
    broker: &'b mut Broker<'w>,
    tag: Option<String>,
}

impl Conditional<'_, '_> {
    pub(super) fn post(&mut self, path: &str, body: &Value) -> Result<Reply, Failure> {
        self.call(&|client| client.post(path, body))
    }

    pub(super) fn put(&mut self, path: &str, body: &Value) -> Result<Reply, Failure> {
        self.call(&|client| client.put(path, body))
    }

    pub(super) fn delete(&mut self, path: &str) -> Result<Reply, Failure> {
        self.call(&|client| client.delete(path, None))
    }

    fn call(&mut self, exchange: &dyn Fn(&Client) -> Result<Reply, Error>) -> Result<Reply, Failure> {
        match &self.tag {
            Some(tag) => self.broker.call(&|client| exchange(&client.clone().if_match(tag))),
            None => self.broker.call(exchange),
        }
    }
}

impl Reach {
    pub(super) fn take(args: &mut Args) -> Result<Self, Failure> {
        Ok(Self { address: args.value("--address")?, broker_ca: args.value("--broker-ca")? })
    }

    /// What a person at the terminal says, where neither the command line nor the environment does.
    pub(super) fn or_chosen(self, world: &World<'_>) -> Result<Self, Failure> {
        let is_named = self.address.is_some() || world.var("AGENT_VAULT_ADDR").is_some();
        if is_named || !world.is_interactive() {
            return Ok(self);
        }
        Ok(Self { address: Some(choose::address(world)?), ..self })
    }

    /// Where a link leads, unless the command line names another address.
    pub(super) fn or_address(self, address: Option<String>) -> Self {
        Self { address: self.address.or(address), ..self }
    }

    fn client(&self, world: &World<'_>, address: &str) -> Result<Client, Failure> {
        let file = self.broker_ca.clone().or_else(|| world.var("AGENT_VAULT_BROKER_CA"));
        let roots = file.map(|file| entry::read_broker_ca(Path::new(&file))).transpose()?;
        let proxy = ProxyVars::read(|name| world.var(name));
        Client::new(&Settings { address, extra_roots: roots.as_deref(), proxy })
            .map_err(|error| Failure::usage(error.to_string()))
    }
}

impl<'w> Broker<'w> {
    /// As nobody: to register, to log in, to fetch what is public.
    pub(super) fn as_nobody(world: &'w World<'w>, reach: &Reach) -> Result<Self, Failure> {
        let named = reach.address.clone().or_else(|| world.var("AGENT_VAULT_ADDR"));
        let address = match named {
            Some(address) => address,
            None => world.state().find_session()?.map_or_else(|| LOCAL.to_owned(), |saved| saved.address),
        };
        Ok(Self { world, client: reach.client(world, &address)?, renewable: None, as_whom: Caller::Nobody })
    }

    /// As the person whose login is saved, or who logs in now.
    pub(super) fn as_person(world: &'w World<'w>, reach: &Reach) -> Result<Self, Failure> {
        if world.is_interactive() && world.state().find_session()?.is_none() {
            first_login(world, reach.clone())?;
        }
        let session = world.state().session()?;
        let address = reach.address.clone().unwrap_or_else(|| session.address.clone());
        let client = reach.client(world, &address)?.with_token(session.token.clone());
        let is_saved_one = client.address() == session.address.trim_end_matches('/');
        Ok(Self { world, client, renewable: Some(session).filter(|_| is_saved_one), as_whom: Caller::Person })
    }

    /// With a saved login as it is: it is not renewed.
    pub(super) fn as_session(world: &'w World<'w>, session: Session) -> Result<Self, Failure> {
        let reach = Reach { address: None, broker_ca: None };
        let client = reach.client(world, &session.address)?.with_token(session.token);
        Ok(Self { world, client, renewable: None, as_whom: Caller::Person })
    }

    /// As an agent when the environment holds its token, else as a person; and the vault to speak of.
    pub(super) fn for_vault(
        world: &'w World<'w>,
        reach: &Reach,
        vault: Option<String>,
    ) -> Result<(Self, String), Failure> {
        let asked = Asked { vault, address: reach.address.clone(), ttl_seconds: None };
        match Mode::choose(asked, |name| world.var(name))? {
            Mode::Agent { address, token, vault } => {
                let client = reach.client(world, &address)?;
                let client = client.with_token(token.open()?.current()).with_vault(&vault);
                Ok((Self { world, client, renewable: None, as_whom: Caller::Agent }, vault))
            }
            Mode::Admin { vault, .. } => Ok((Self::as_person(world, reach)?, vault_of(world, vault))),
        }
    }

    /// The same, but a 401 is an answer and no sign of an expired login.
    pub(super) fn without_renewal(self) -> Self {
        Self { renewable: None, ..self }
    }

    /// The same broker, called with a token that was just minted.
    pub(super) fn with_token(self, token: Secret) -> Self {
        Self { client: self.client.with_token(token), renewable: None, as_whom: Caller::Agent, ..self }
    }

    pub(super) fn as_whom(&self) -> Caller {
        self.as_whom
    }

    pub(super) fn address(&self) -> &str {
        self.client.address()
    }

    /// Its client, for a conversation that is not one of a command's own.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn get(&mut self, path: &str) -> Result<Reply, Failure> {
        self.call(&|client| client.get(path))
    }

    pub(super) fn post(&mut self, path: &str, body: &Value) -> Result<Reply, Failure> {
        self.call(&|client| client.post(path, body))
    }

    pub(super) fn put(&mut self, path: &str, body: &Value) -> Result<Reply, Failure> {
        self.call(&|client| client.put(path, body))
    }

    pub(super) fn patch(&mut self, path: &str, body: &Value) -> Result<Reply, Failure> {
        self.call(&|client| client.patch(path, body))
    }

    pub(super) fn delete(&mut self, path: &str, body: Option<&Value>) -> Result<Reply, Failure> {
        self.call(&|client| client.delete(path, body))
    }

    /// The next calls change only what still has this `ETag`; without one they change whatever is there.
    pub(super) fn expecting(&mut self, tag: Option<&str>) -> Conditional<'_, 'w> {
        Conditional { broker: self, tag: tag.map(str::to_owned) }
    }

    /// Logs in and returns the new login; nothing is saved yet.
    pub(super) fn log_in(
        &self,
        email: &str,
        password: &Secret,
        device_label: Option<String>,
    ) -> Result<Session, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            token: String,
        }
        let mut body = json!({ "email": email, "password": password.expose_str() });
        if let Some(label) = &device_label {
            body["device_label"] = label.as_str().into();
        }
        let reply = self.client.post("/v1/auth/login", &body).map_err(|error| self.told(&error))?;
        let answer: Answer = reply.json().map_err(|error| self.told(&error))?;
        Ok(Session {
            token: answer.token.into(),
            address: self.client.address().to_owned(),
            email: Some(email.to_owned()),
            device_label,
        })
    }

    /// The answer's JSON.
    pub(super) fn json(&self, reply: &Reply) -> Result<Value, Failure> {
        reply.json().map_err(|error| self.told(&error))
    }

    /// One exchange; a login that has expired is renewed once if there is somebody to ask.
    fn call(&mut self, exchange: &dyn Fn(&Client) -> Result<Reply, Error>) -> Result<Reply, Failure> {
        let error = match exchange(&self.client) {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let Some(expired) = self.renewable.take_if(|_| error.status() == Some(401)) else {
            return Err(self.told(&error));
        };
        if !self.world.is_interactive() {
            return Err(self.told(&error).with_hint("log in again with 'agent-vault auth login'"));
        }
        self.renew(expired)?;
        exchange(&self.client).map_err(|error| self.told(&error))
    }

    fn renew(&mut self, expired: Session) -> Result<(), Failure> {
        output::note(&format!("The login for {} is no longer valid.", expired.address));
        let email = match expired.email {
            Some(email) => email,
            None => ask::line("Email: ")?,
        };
        let password = ask::hidden(&format!("Password for {email}: "))?;
        let session = self.log_in(&email, &password, expired.device_label)?;
        self.world.state().save_session(&session)?;
        self.client = self.client.clone().with_token(session.token);
        Ok(())
    }

    /// A refusal in the broker's words, anything else in ours.
    fn told(&self, error: &Error) -> Failure {
        let address = self.client.address();
        match error {
            Error::Status { code, body } => {
                let failure = Failure::new(error.to_string());
                match candidates(body) {
                    Some(candidates) => failure.with_hint(format!("use one of the names: {candidates}")),
                    None if *code == 412 => {
                        failure.with_hint("somebody else changed them just now; run the command again")
                    }
                    None => failure,
                }
            }
            Error::Transport(cause) => {
                let failure = Failure::new(format!("could not reach server at {address}: {cause}"));
                match cause {
                    Cause::Tls(_) => failure.with_hint("name the broker's own CA with --broker-ca FILE"),
                    _ => failure.with_hint("check that the broker runs there; --address names another one"),
                }
            }
            Error::Malformed(cause) => {
                Failure::new(format!("the answer of {address} is not a broker's: {cause}"))
            }
            Error::Settings(cause) => Failure::new(cause.clone()),
        }
    }
}

/// The services a reference by host could have meant (contract A.1).
fn candidates(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let names: Vec<String> = list(&body, "candidates")
        .map(|one| format!("{} ({})", text(one, "name"), text(one, "host")))
        .collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The vault an ordinary command means when it must have one (contract E.2).
pub(super) fn vault_of(world: &World<'_>, flag: Option<String>) -> String {
    named_vault(world, flag).unwrap_or_else(|| "default".to_owned())
}

/// The vault that the command line or its surroundings name.
pub(super) fn named_vault(world: &World<'_>, flag: Option<String>) -> Option<String> {
    resolve(flag, |name| world.var(name), project_vault, &world.state())
}

fn resolve(
    flag: Option<String>,
    var: impl Fn(&str) -> Option<String>,
    project: impl Fn() -> Option<String>,
    state: &State,
) -> Option<String> {
    flag.or_else(|| var("AGENT_VAULT_VAULT")).or_else(project).or_else(|| state.context_vault())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract J 114.
    #[test]
    fn flag_environment_project_context() {
        let home = tempfile::tempdir().unwrap();
        let state = State::of(Some(home.path()));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(resolve(None, |_| None, || None, &state), None);
        state.save_context_vault("context").unwrap();
        assert_eq!(resolve(None, |_| None, || None, &state), some("context"));
        assert_eq!(resolve(None, |_| None, || some("project"), &state), some("project"));
        assert_eq!(resolve(None, |_| some("variable"), || some("project"), &state), some("variable"));
        assert_eq!(resolve(some("flag"), |_| some("variable"), || some("project"), &state), some("flag"));
    }

    #[test]
    fn an_ambiguous_reference_is_answered_with_names() {
        let body =
            br#"{"error":"x","candidates":[{"name":"a","host":"s.com/a"},{"name":"b","host":"s.com"}]}"#;
        assert_eq!(candidates(body).as_deref(), Some("a (s.com/a), b (s.com)"));
        assert_eq!(candidates(br#"{"error":"x"}"#), None);
    }
}
