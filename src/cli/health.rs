//! `agent-vault health`: for a HEALTHCHECK in an image with no shell.

use super::{Args, World};
use crate::failure::{Exit, Failure};
use crate::health::{self, Unwell};

/// Asks what runs in this container how it is; silent when it is well.
pub(super) fn health(world: &World<'_>, args: Args) -> Result<Exit, Failure> {
    args.finish()?;
    let name = world.var("AGENT_VAULT_HEALTH_NAME");
    match health::ask(name.as_deref()) {
        Ok(()) => Ok(Exit::Success),
        Err(Unwell::Absent) => Err(Failure::new("unhealthy: neither run nor server answers here")),
        Err(Unwell::Silent(error)) => Err(Failure::new(format!("unhealthy: {error}"))),
    }
}
