//! The flags of `run` that say what the command finds around it, each with its variable.

use std::path::PathBuf;

use super::{Args, World, is_set};
use crate::entry::{Bypass, Placeholders, Surroundings};
use crate::failure::Failure;

pub(super) fn read(world: &World<'_>, args: &mut Args) -> Result<Surroundings, Failure> {
    let mut read = |flag: &'static str, twin: &str| Ok(args.value(flag)?.or_else(|| world.var(twin)));
    let ca_dir = read("--ca-dir", "AGENT_VAULT_CA_DIR")?;
    let no_proxy = read("--no-proxy", "AGENT_VAULT_NO_PROXY")?;
    let keeps_out = args.flag("--no-placeholders") || is_set(world, "AGENT_VAULT_NO_PLACEHOLDERS")?;
    Ok(Surroundings {
        ca_dir: ca_dir.map(PathBuf::from),
        bypass: Bypass::read(no_proxy.as_deref(), |name| world.var(name))?,
        placeholders: if keeps_out { Placeholders::KeptOut } else { Placeholders::Given },
    })
}
