//! The flags of `run` that say what it tells, and in which form.

use super::{Args, World, is_set};
use crate::cli::output;
use crate::entry::Show;
use crate::failure::Failure;
use crate::log::{self, Format, Level};

pub(super) struct Telling {
    level: Level,
    format: Format,
    /// What `--env-only` does in place of starting the command.
    pub(super) show: Option<Show>,
}

impl Telling {
    pub(super) fn read(world: &World<'_>, args: &mut Args) -> Result<Self, Failure> {
        let is_quiet = args.flag("--quiet") || is_set(world, "AGENT_VAULT_QUIET")?;
        let asked = level("--log-level", args.value("--log-level")?)?;
        let level = match asked {
            Some(level) => level,
            None if is_quiet => Level::Error,
            None => {
                level("AGENT_VAULT_LOG_LEVEL", world.var("AGENT_VAULT_LOG_LEVEL"))?.unwrap_or(Level::Info)
            }
        };
        let show: Option<Show> = match (args.flag("--env-only"), args.flag("--json")) {
            (false, false) => None,
            (false, true) => {
                return Err(Failure::usage("--json means something with --env-only alone"));
            }
            (true, false) => Some(|changes| output::print(&changes.lines())),
            (true, true) => Some(|changes| output::print(&format!("{:#}\n", changes.json()))),
        };
        Ok(Self { level, format: world.log_format()?, show })
    }

    /// From here on this process tells what was asked for.
    pub(super) fn set_up(&self) {
        log::set_level(self.level);
        log::set_format(self.format);
    }
}

fn level(source: &str, text: Option<String>) -> Result<Option<Level>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let level = Level::named(&text)
        .ok_or_else(|| Failure::usage(format!("{source}: {text:?} is none of error, warn, info, debug")))?;
    Ok(Some(level))
}
