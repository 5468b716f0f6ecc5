//! A password that was forgotten: a code, then a new one.

use super::super::broker::{Broker, Reach};
use super::super::{Args, World, ask, output};
use super::{flag_or_line, new_password, text_of};
use crate::failure::{Exit, Failure};
use crate::json::json;

pub(super) fn forgot(world: &World<'_>, args: Args) -> Result<Exit, Failure> {
    super::ask_for_code(world, args, "/v1/auth/forgot-password")
}

/// The broker gives the login that follows to browsers only, so the person logs in with the new password.
pub(super) fn reset(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let (email, code) = (args.value("--email")?, args.value("--code")?);
    let is_on_stdin = args.flag("--password-stdin");
    args.finish()?;
    if is_on_stdin && (email.is_none() || code.is_none()) {
        return Err(Failure::usage("--password-stdin requires --email and --code"));
    }
    if !is_on_stdin && !world.is_interactive() {
        return Err(Failure::usage("there is no terminal to ask for the password at")
            .with_hint("pass --email ADDRESS --code CODE --password-stdin and the new password on stdin"));
    }
    let mut broker = Broker::as_nobody(world, &reach)?;
    let email = flag_or_line(world, email, "--email", "Email: ")?;
    let code = flag_or_line(world, code, "--code", "Code: ")?;
    let password = if is_on_stdin { ask::stdin()? } else { new_password()? };
    let body = json!({ "email": email, "code": code, "new_password": text_of(&password)? });
    broker.post("/v1/auth/reset-password", &body)?;
    output::success(world, "Password reset; every login has ended.")?;
    output::note("Log in with 'agent-vault auth login'.");
    Ok(Exit::Success)
}
