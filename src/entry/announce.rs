//! What a person reads before the child's own output (contract A.11). A closed stderr stops nobody.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _, Write as _};

use super::environment::variable;
use super::skills::{self, Skill};
use crate::authority::Authority;
use crate::log::{self, Format, Level};
use crate::log_event;

/// Brings the skill file up to date and says that the command is about to start.
pub(super) fn start(proxy: &Authority, word: &OsStr, environment: &[OsString]) {
    let skill = skills::install(word, variable(environment, "HOME"));
    // Two lines for a person, one event for a program.
    if log::format() == Format::Json {
        if let Skill::Failed(warning) = &skill {
            log_event!(Warn, warning);
        }
        return log_event!(Info, "starting the command", command = word.display(), proxy = proxy);
    }
    if log::is_enabled(Level::Info) {
        tell(proxy, word, environment, &skill);
    }
}

fn tell(proxy: &Authority, word: &OsStr, environment: &[OsString], skill: &Skill) {
    let mut stderr = io::stderr();
    let is_plain = variable(environment, "TERM").is_some_and(|term| term == "dumb")
        || variable(environment, "NO_COLOR").is_some_and(|value| !value.is_empty());
    let (green, bold, off) = if stderr.is_terminal() && !is_plain {
        ("\u{1b}[32m", "\u{1b}[1m", "\u{1b}[0m")
    } else {
        ("", "", "")
    };
    let skill = match skill {
        Skill::Nothing => String::new(),
        Skill::Installed(agent) => {
            format!("{green}agent-vault:{off} Installed Agent Vault skills for {agent}.\n")
        }
        Skill::Failed(warning) => format!("{warning}\n"),
    };
    // Whole, so that it is one call and nobody else's line comes in between.
    let text = format!(
        "{green}agent-vault:{off} routing HTTP/HTTPS through MITM proxy ({proxy})\n{skill}\
         {green}agent-vault:{off} agent-vault connected. Starting {bold}{}{off}...\n\n",
        word.display()
    );
    drop(stderr.write_all(text.as_bytes()));
}
