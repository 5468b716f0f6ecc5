//! Getting an account: the first one is open at once, every other one is proved with a code.

use serde::Deserialize;

use super::super::broker::{Broker, Reach};
use super::super::{Args, World, ask, output};
use super::{Identity, device_label, flag_or_line, new_password, text_of};
use crate::client::state::Session;
use crate::failure::{Exit, Failure};
use crate::json::json;

#[derive(Deserialize)]
struct Registered {
    message: Option<String>,
    /// There when the account can be used at once.
    token: Option<String>,
}

/// What came of a registration.
pub(super) enum Registration {
    /// The login is saved.
    LoggedIn(String),
    /// Nobody was there to ask for the code.
    AwaitsCode { message: String, advice: String },
}

pub(super) fn register(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let identity = Identity::take(&mut args)?;
    args.finish()?;
    match create(world, &mut Broker::as_nobody(world, &reach)?, identity)? {
        Registration::LoggedIn(message) => output::success(world, &message)?,
        Registration::AwaitsCode { message, advice } => {
            output::success(world, &message)?;
            output::note(&advice);
        }
    }
    Ok(Exit::Success)
}

/// Creates the account, and proves its address if that is needed and a person is there to type the code.
pub(super) fn create(
    world: &World<'_>,
    broker: &mut Broker<'_>,
    mut identity: Identity,
) -> Result<Registration, Failure> {
    let (email, password) = identity.complete(world, new_password)?;
    let mut body = json!({ "email": email, "password": text_of(&password)? });
    if let Some(label) = &identity.device_label {
        body["device_label"] = label.as_str().into();
    }
    let reply = broker.post("/v1/auth/register", &body)?;
    let answer: Registered = serde_json::from_value(broker.json(&reply)?)
        .map_err(|error| Failure::new(format!("registering: {error}")))?;
    let message = answer.message.unwrap_or_else(|| "Account created.".to_owned());
    if let Some(token) = answer.token {
        let address = broker.address().to_owned();
        let device_label = identity.device_label;
        let session = Session { token: token.into(), address, email: Some(email), device_label };
        world.state().save_session(&session)?;
        return Ok(Registration::LoggedIn(message));
    }
    let command =
        format!("agent-vault auth verify --email {email} --code CODE --address {}", broker.address());
    if !world.is_interactive() {
        return Ok(Registration::AwaitsCode { message, advice: format!("With the code: {command}") });
    }
    output::note(&message);
    let code = ask::line("Code: ")?;
    prove(world, broker, Proof { email, code, device_label: identity.device_label })
        .map(|()| Registration::LoggedIn(PROVED.to_owned()))
        .map_err(|failure| failure.with_hint(format!("try again with: {command}")))
}

pub(super) fn verify(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let (email, code) = (args.value("--email")?, args.value("--code")?);
    let device_label = device_label(&mut args)?;
    args.finish()?;
    let mut broker = Broker::as_nobody(world, &reach)?;
    let email = flag_or_line(world, email, "--email", "Email: ")?;
    let code = flag_or_line(world, code, "--code", "Code: ")?;
    prove(world, &mut broker, Proof { email, code, device_label })?;
    output::success(world, PROVED)?;
    Ok(Exit::Success)
}

const PROVED: &str = "Account verified. You are logged in.";

/// An address, and the code that proves it.
struct Proof {
    email: String,
    code: String,
    device_label: Option<String>,
}

/// Opens the account and saves the login that comes with it.
fn prove(world: &World<'_>, broker: &mut Broker<'_>, proof: Proof) -> Result<(), Failure> {
    #[derive(Deserialize)]
    struct Verified {
        token: String,
    }
    let mut body = json!({ "email": proof.email, "code": proof.code });
    if let Some(label) = &proof.device_label {
        body["device_label"] = label.as_str().into();
    }
    let reply = broker.post("/v1/auth/verify", &body)?;
    let answer: Verified = serde_json::from_value(broker.json(&reply)?)
        .map_err(|error| Failure::new(format!("verifying: {error}")))?;
    world.state().save_session(&Session {
        token: answer.token.into(),
        address: broker.address().to_owned(),
        email: Some(proof.email),
        device_label: proof.device_label,
    })
}

pub(super) fn resend(world: &World<'_>, args: Args) -> Result<Exit, Failure> {
    super::ask_for_code(world, args, "/v1/auth/resend-verification")
}
