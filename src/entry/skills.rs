//! The skill file of a known agent: how to work behind the proxy (contract A.12).
//!
//! Written when it is missing or differs from the built-in text. It is a courtesy: no failure here stops
//! a run.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::client::state::write_private;
use crate::vault::SKILL;

/// Command names of agents, what people call them, and where below the home directory they look.
const AGENTS: [(&str, &str, &str); 13] = [
    ("claude", "Claude Code", ".claude"),
    ("cursor", "Cursor", ".cursor"),
    ("agent", "Cursor", ".cursor"),
    ("codex", "Codex", ".agents"),
    ("hermes", "Hermes", ".hermes"),
    ("opencode", "OpenCode", ".opencode"),
    ("openclaw", "OpenClaw", ".openclaw"),
    ("pi", "Pi", ".pi/agent"),
    ("devin", "Devin", ".config/devin"),
    ("windsurf", "Windsurf / Devin Desktop", ".codeium/windsurf"),
    ("devin-desktop", "Windsurf / Devin Desktop", ".codeium/windsurf"),
    ("cline", "Cline", ".cline"),
    ("roo", "Roo Code", ".roo"),
];

/// What became of the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Skill {
    /// Not an agent we know, no home, or the file is as it should be.
    Nothing,
    Installed(&'static str),
    /// What a person is warned of.
    Failed(String),
}

/// Brings the skill file of the agent named by the command word up to date.
pub(super) fn install(word: &OsStr, home: Option<&OsStr>) -> Skill {
    let name = Path::new(word).file_name().and_then(OsStr::to_str).unwrap_or_default();
    let agent = AGENTS.iter().find(|(command, ..)| *command == name);
    let home = home.filter(|home| !home.is_empty());
    let (Some((_, agent, dir)), Some(home)) = (agent, home) else { return Skill::Nothing };
    let dir = PathBuf::from(home).join(dir).join("skills/agent-vault-cli");
    let file = dir.join("SKILL.md");
    if fs::read(&file).is_ok_and(|found| found == SKILL.as_bytes()) {
        return Skill::Nothing;
    }
    if let Err(error) = DirBuilder::new().recursive(true).mode(0o750).create(&dir) {
        return Skill::Failed(warning("create skill directory", &error));
    }
    match write_private(&file, SKILL.as_bytes()) {
        Ok(()) => Skill::Installed(agent),
        Err(error) => Skill::Failed(warning("write skill file", &error)),
    }
}

fn warning(what: &str, error: &io::Error) -> String {
    format!("Warning: could not {what}: {error}")
}
