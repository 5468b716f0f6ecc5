//! `version`: which program this is, what it was built from and with.

use super::{Args, Flag, Verb, World, output};
use crate::failure::{Exit, Failure};

pub(super) const VERBS: &[Verb] = &[Verb {
    words: &["version"],
    usage: "[flags]",
    about: "Print the version, and what this program was built from and with",
    flags: &[&[Flag("--json", "for programs")]],
    example: "agent-vault version",
    run: version,
}];

/// What is told: a name for programs, a label for people, and the text.
const TOLD: [(&str, &str, &str); 4] = [
    ("version", "agent-vault", env!("CARGO_PKG_VERSION")),
    // Left out by a build that could not know it: from an archive, or a debug build.
    ("commit", "commit", text_or(option_env!("AGENT_VAULT_COMMIT"), "unknown")),
    ("target", "target", env!("AGENT_VAULT_TARGET")),
    ("toolchain", "toolchain", text_or(option_env!("AGENT_VAULT_TOOLCHAIN"), "unknown")),
];

const fn text_or(text: Option<&'static str>, other: &'static str) -> &'static str {
    match text {
        Some(text) => text,
        None => other,
    }
}

fn version(_: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let as_json = args.flag("--json");
    args.finish()?;
    if as_json {
        let told: serde_json::Map<_, _> =
            TOLD.iter().map(|(name, _, text)| ((*name).to_owned(), (*text).into())).collect();
        output::print(&format!("{}\n", serde_json::Value::Object(told)))?;
    } else {
        let told: String = TOLD.iter().map(|(_, label, text)| format!("{label} {text}\n")).collect();
        output::print(&told)?;
    }
    Ok(Exit::Success)
}
