//! `auth`: the person's account and the login saved on this machine.

use serde::Deserialize;
use serde_json::json;

use super::broker::{Broker, Reach};
use super::{Args, Flag, PUBLIC_REACH, Verb, World, ask, output};
use crate::client::state::Session;
use crate::failure::{Exit, Failure};
use crate::secret::Secret;

const IDENTITY: &[Flag] = &[
    Flag("--email ADDRESS", "the account; asked for at a terminal"),
    Flag("--password-stdin", "read the password from stdin; needs --email"),
    Flag("--device-label TEXT", "what this login is called in a list of logins; default: the host's name"),
];

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["auth", "register"],
        usage: "[flags]",
        about: "Create an account; the first one owns the instance",
        flags: &[IDENTITY, PUBLIC_REACH],
        example: "agent-vault auth register --email you@example.com --password-stdin < owner-password",
        run: register,
    },
    Verb {
        words: &["auth", "login"],
        usage: "[flags]",
        about: "Log in and save the login",
        flags: &[IDENTITY, PUBLIC_REACH],
        example: "agent-vault auth login --email you@example.com --password-stdin < owner-password",
        run: login,
    },
    Verb {
        words: &["auth", "logout"],
        usage: "",
        about: "End the saved login",
        flags: &[],
        example: "agent-vault auth logout",
        run: logout,
    },
];

/// Who is to be registered or logged in, as far as the command line says.
struct Identity {
    email: Option<String>,
    password_on_stdin: bool,
    device_label: Option<String>,
}

impl Identity {
    fn take(args: &mut Args) -> Result<Self, Failure> {
        let identity = Self {
            email: args.value("--email")?,
            password_on_stdin: args.flag("--password-stdin"),
            device_label: args.value("--device-label")?.or_else(host_name),
        };
        if identity.password_on_stdin && identity.email.is_none() {
            return Err(Failure::usage("--password-stdin requires --email"));
        }
        Ok(identity)
    }

    /// The address and the password, from stdin or from the person at the terminal.
    fn complete(
        &mut self,
        world: &World<'_>,
        ask_password: impl FnOnce() -> Result<Secret, Failure>,
    ) -> Result<(String, Secret), Failure> {
        if self.password_on_stdin {
            let password = ask::stdin()?;
            return Ok((self.email.take().unwrap_or_default(), password));
        }
        if !world.is_interactive() {
            return Err(Failure::usage("there is no terminal to ask for the password at")
                .with_hint("pass --email ADDRESS --password-stdin and the password on stdin"));
        }
        let email = match self.email.take() {
            Some(email) => email,
            None => ask::line("Email: ")?,
        };
        Ok((email, ask_password()?))
    }
}

#[derive(Deserialize)]
struct Registered {
    message: Option<String>,
    /// There when the account can be used at once.
    token: Option<String>,
}

fn register(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let mut identity = Identity::take(&mut args)?;
    args.finish()?;
    let mut broker = Broker::as_nobody(world, &reach)?;
    let (email, password) = identity.complete(world, new_password)?;
    let mut body = json!({ "email": email, "password": text_of(&password)? });
    if let Some(label) = &identity.device_label {
        body["device_label"] = label.as_str().into();
    }
    let reply = broker.post("/v1/auth/register", &body)?;
    let answer: Registered = serde_json::from_value(broker.json(&reply)?)
        .map_err(|error| Failure::new(format!("registering: {error}")))?;
    if let Some(token) = answer.token {
        let address = broker.address().to_owned();
        let device_label = identity.device_label;
        let session = Session { token: token.into(), address, email: Some(email), device_label };
        world.state().save_session(&session)?;
    }
    output::success(world, answer.message.as_deref().unwrap_or("Account created."))?;
    Ok(Exit::Success)
}

fn login(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let mut identity = Identity::take(&mut args)?;
    args.finish()?;
    let broker = Broker::as_nobody(world, &reach)?;
    let (email, password) = identity.complete(world, || ask::hidden("Password: "))?;
    text_of(&password)?;
    let session = broker.log_in(&email, &password, identity.device_label)?;
    world.state().save_session(&session)?;
    output::success(world, "Login successful.")?;
    Ok(Exit::Success)
}

/// Forgets the login here whatever the broker says, and says so when it did not end there.
fn logout(world: &World<'_>, args: Args) -> Result<Exit, Failure> {
    args.finish()?;
    let state = world.state();
    let Some(session) = state.find_session()? else {
        output::note("There is no saved login.");
        return Ok(Exit::Success);
    };
    // A renewal would log in to log out.
    let ended = Broker::as_session(world, session).and_then(|mut it| it.post("/v1/auth/logout", &json!({})));
    state.forget_session()?;
    if let Err(failure) = ended {
        return Err(Failure::new(format!(
            "forgotten here, but not ended at the broker: {}",
            failure.message()
        ))
        .with_hint("whoever has a copy of it can use it until it expires"));
    }
    output::success(world, "Logged out.")?;
    Ok(Exit::Success)
}

/// Twice, since nobody sees what was typed.
pub(super) fn new_password() -> Result<Secret, Failure> {
    let password = ask::hidden("New password: ")?;
    if ask::hidden("The same again: ")? == password {
        Ok(password)
    } else {
        Err(Failure::new("the two passwords are not the same"))
    }
}

pub(super) fn text_of(password: &Secret) -> Result<&str, Failure> {
    password.expose_str().ok_or_else(|| Failure::new("the password is not UTF-8 text"))
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}
