//! What a person at a terminal who is not logged in is asked, when a command needs a login (contract E.1).
//!
//! All of it is on stderr: the command's own result is still to come on stdout.

use super::super::broker::{Broker, Reach};
use super::super::{World, ask, output};
use super::register::{self, Registration};
use super::{Identity, LOGGED_IN, host_name, log_in};
use crate::failure::Failure;

const LOG_IN: &str = "log in";
const SIGN_UP: &str = "sign up";

/// Leads to a saved login, or says why there is none.
pub(in super::super) fn first_login(world: &World<'_>, reach: Reach) -> Result<(), Failure> {
    output::note("You are not logged in.");
    let mut broker = Broker::as_nobody(world, &reach.or_chosen(world)?)?;
    let status = broker.get("/v1/status")?;
    let is_new = broker.json(&status)?["needs_first_user"] == true;
    let identity = Identity { device_label: host_name(), ..Identity::default() };
    if is_new {
        output::note("This broker has no account yet; the first one owns it.");
    } else if ask::pick("What now?", &[LOG_IN, SIGN_UP].map(str::to_owned))? == LOG_IN {
        log_in(world, &broker, identity)?;
        output::note(&format!("✓ {LOGGED_IN}"));
        return Ok(());
    }
    match register::create(world, &mut broker, identity)? {
        Registration::LoggedIn(message) => output::note(&format!("✓ {message}")),
        Registration::AwaitsCode { message, advice } => {
            return Err(Failure::new(message).with_hint(advice));
        }
    }
    Ok(())
}
