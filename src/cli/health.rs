//! `agent-vault health`: for a HEALTHCHECK in an image with no shell.

use super::{Args, Flag, World};
use crate::failure::{Exit, Failure};
use crate::health::{self, Question, Unwell};

pub(super) const FLAGS: &[Flag] =
    &[Flag("--ready", "also ask whether what it needs can be reached: a run's broker, a server's own port")];

/// Asks what runs in this container how it is; silent when it is well.
pub(super) fn health(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let question = if args.flag("--ready") { Question::Ready } else { Question::Well };
    args.finish()?;
    let name = world.var("AGENT_VAULT_HEALTH_NAME");
    match health::ask(name.as_deref(), question) {
        Ok(()) => Ok(Exit::Success),
        Err(Unwell::Absent) => Err(Failure::new("unhealthy: neither run nor server answers here")),
        Err(Unwell::Silent(error)) => Err(Failure::new(format!("unhealthy: {error}"))),
        Err(Unwell::NotReady(needs, error)) => {
            Err(Failure::new(format!("not ready: {needs} cannot be reached: {error}")))
        }
    }
}
