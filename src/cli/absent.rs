//! What this build leaves out, when it was built as the entrypoint alone: a person who asks for it is told so,
//! and not that there is no such command.

use crate::failure::Failure;

/// First words of the commands that only the whole program has; a test holds them to its table.
const WORDS: &[&str] = &[
    "account",
    "agent",
    "apply",
    "auth",
    "backup",
    "ca",
    "catalog",
    "master-password",
    "owner",
    "restore",
    "server",
    "user",
    "vault",
];

/// Why a command that is not in the table is not there, if it is for that.
pub(super) fn failure(group: &[String], word: &str) -> Option<Failure> {
    let first = group.first().map_or(word, String::as_str);
    if cfg!(feature = "broker") || !WORDS.contains(&first) {
        return None;
    }
    let asked = group.iter().fold("agent-vault".to_owned(), |text, word| text + " " + word);
    Some(
        Failure::usage(format!("this build is the entrypoint alone: it has no {asked} {word}"))
            .with_hint("the broker and what looks after one are in the whole program"),
    )
}

#[cfg(all(test, feature = "broker"))]
mod tests {
    use std::collections::BTreeSet;

    use super::super::{operator, server};
    use super::*;

    #[test]
    fn every_command_that_is_left_out_is_known() {
        let left_out = operator::TABLE.iter().copied().flatten().chain(server::VERBS);
        let firsts: BTreeSet<&str> = left_out.map(|verb| verb.words[0]).collect();
        assert_eq!(WORDS.iter().copied().collect::<BTreeSet<_>>(), firsts);
    }
}
