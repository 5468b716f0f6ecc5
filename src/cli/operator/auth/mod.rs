//! `auth`: the person's account and the login saved on this machine.
//!
//! Logging in and out is here; a file each for getting an account, for a password that was forgotten, and
//! for the logins on other machines.

mod first;
mod logins;
mod recovery;
mod register;

use super::broker::{Broker, Reach};
use super::{AS_JSON, Args, Flag, PUBLIC_REACH, REACH, Verb, World, ask, output, text};
use crate::failure::{Exit, Failure};
use crate::json::json;
use crate::secret::Secret;
pub(super) use first::first_login;

const IDENTITY: &[Flag] = &[
    Flag("--email ADDRESS", "the account; asked for at a terminal"),
    Flag("--password-stdin", "read the password from stdin; needs --email"),
];

const DEVICE: &[Flag] =
    &[Flag("--device-label TEXT", "what this login is called in a list of logins; default: the host's name")];

const EMAIL: &[Flag] = &[Flag("--email ADDRESS", "the account; asked for at a terminal")];

const CODE: &[Flag] = &[Flag("--code CODE", "the six digits; asked for at a terminal")];

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["auth", "register"],
        usage: "[flags]",
        about: "Create an account; the first one owns the instance",
        flags: &[IDENTITY, DEVICE, PUBLIC_REACH],
        example: "agent-vault auth register --email you@example.com --password-stdin < owner-password",
        run: register::register,
    },
    Verb {
        words: &["auth", "verify"],
        usage: "[flags]",
        about: "Prove the address of a new account with its code, and log in",
        flags: &[EMAIL, CODE, DEVICE, PUBLIC_REACH],
        example: "agent-vault auth verify --email you@example.com --code 123456",
        run: register::verify,
    },
    Verb {
        words: &["auth", "resend"],
        usage: "[flags]",
        about: "Ask for another code for a new account",
        flags: &[EMAIL, PUBLIC_REACH],
        example: "agent-vault auth resend --email you@example.com",
        run: register::resend,
    },
    Verb {
        words: &["auth", "login"],
        usage: "[flags]",
        about: "Log in and save the login",
        flags: &[IDENTITY, DEVICE, PUBLIC_REACH],
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
    Verb {
        words: &["auth", "forgot-password"],
        usage: "[flags]",
        about: "Ask for a code that opens the way to a new password",
        flags: &[EMAIL, PUBLIC_REACH],
        example: "agent-vault auth forgot-password --email you@example.com",
        run: recovery::forgot,
    },
    Verb {
        words: &["auth", "reset-password"],
        usage: "[flags]",
        about: "Set a new password with a code; ends every login",
        flags: &[
            EMAIL,
            CODE,
            &[Flag("--password-stdin", "read the new password from stdin; needs --email and --code")],
            PUBLIC_REACH,
        ],
        example: "agent-vault auth reset-password --email you@example.com --code 123456 --password-stdin < new-password",
        run: recovery::reset,
    },
    Verb {
        words: &["auth", "sessions", "list"],
        usage: "[flags]",
        about: "List your logins, on this machine and elsewhere",
        flags: &[AS_JSON, REACH],
        example: "agent-vault auth sessions list",
        run: logins::show_all,
    },
    Verb {
        words: &["auth", "sessions", "revoke"],
        usage: "ID [flags]",
        about: "End one of your logins",
        flags: &[REACH],
        example: "agent-vault auth sessions revoke 0f1e2d3c4b5a69788796",
        run: logins::revoke,
    },
];

/// Who is to be registered or logged in, as far as the command line says.
#[derive(Default)]
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
            device_label: device_label(args)?,
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

fn device_label(args: &mut Args) -> Result<Option<String>, Failure> {
    Ok(args.value("--device-label")?.or_else(host_name))
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

/// A flag's value, or what the person at the terminal says.
fn flag_or_line(
    world: &World<'_>,
    value: Option<String>,
    flag: &str,
    question: &str,
) -> Result<String, Failure> {
    match value {
        Some(value) => Ok(value),
        None if world.is_interactive() => ask::line(question),
        None => Err(Failure::usage(format!("missing flag: {flag}"))),
    }
}

/// Asks for a code to be sent to an address; the answer is the same for every address.
fn ask_for_code(world: &World<'_>, mut args: Args, path: &str) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let email = args.value("--email")?;
    args.finish()?;
    let mut broker = Broker::as_nobody(world, &reach)?;
    let email = flag_or_line(world, email, "--email", "Email: ")?;
    let reply = broker.post(path, &json!({ "email": email }))?;
    output::success(world, &text(&broker.json(&reply)?, "message"))?;
    Ok(Exit::Success)
}

fn login(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let identity = Identity::take(&mut args)?;
    args.finish()?;
    // A script that brings the password along is asked nothing.
    let reach = if identity.password_on_stdin { reach } else { reach.or_chosen(world)? };
    log_in(world, &Broker::as_nobody(world, &reach)?, identity)?;
    output::success(world, LOGGED_IN)?;
    Ok(Exit::Success)
}

const LOGGED_IN: &str = "Login successful.";

/// Logs in and saves the login.
fn log_in(world: &World<'_>, broker: &Broker<'_>, mut identity: Identity) -> Result<(), Failure> {
    let (email, password) = identity.complete(world, || ask::hidden("Password: "))?;
    text_of(&password)?;
    let session = broker.log_in(&email, &password, identity.device_label)?;
    world.state().save_session(&session)
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

/// A password somebody chooses at the terminal.
pub(super) fn new_password() -> Result<Secret, Failure> {
    /// The broker's own rule (contract A.6), which it would say after the form is sent.
    const MIN_BYTES: usize = 8;
    let password = ask::new_password("New password")?;
    if password.len() < MIN_BYTES {
        return Err(Failure::new("the password must be at least 8 characters"));
    }
    Ok(password)
}

/// A password as JSON can carry it.
pub(super) fn text_of(password: &Secret) -> Result<&str, Failure> {
    password.expose_str().ok_or_else(|| Failure::new("the password is not UTF-8 text"))
}
