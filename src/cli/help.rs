//! Help, drawn from the table of commands, and the flags that help lists: what a shell completes.

use super::{Args, Exit, Failure, Flag, Verb, World, output, verbs};
use crate::failure::{EXIT_OF_A_CHILD, EXITS};

pub(super) const VERBS: &[Verb] = &[Verb {
    words: &["help", "exit-codes"],
    usage: "",
    about: "Say what the codes mean that commands end with",
    flags: &[],
    example: "agent-vault help exit-codes",
    run: exit_codes,
}];

fn exit_codes(_: &World<'_>, args: Args) -> Result<Exit, Failure> {
    args.finish()?;
    let rows: Vec<Vec<String>> =
        EXITS.iter().map(|(exit, meaning)| vec![exit.code().to_string(), (*meaning).to_owned()]).collect();
    output::print(&format!("{}\n{EXIT_OF_A_CHILD}\n", output::table(&["CODE", "MEANING"], &rows)))?;
    Ok(Exit::Success)
}

/// A flag as help spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) name: &'static str,
    /// What stands for its value; empty when it takes none.
    pub(super) value: &'static str,
    pub(super) meaning: &'static str,
}

/// Every flag that a command's help lists.
pub(super) fn flags(verb: &Verb) -> Vec<Listed> {
    let in_table = verb.flags.iter().copied().flatten().map(|Flag(form, meaning)| (*form, *meaning));
    // Commands with a grammar of their own list their flags behind the usage line.
    let in_usage = verb.usage.lines().filter_map(|line| line.strip_prefix("  ")).map(|line| {
        let (form, meaning) = line.split_once("  ").unwrap_or((line, ""));
        (form, meaning.trim_start())
    });
    let listed = in_table.chain(in_usage.filter(|(form, _)| form.starts_with('-')));
    listed.flat_map(|(form, meaning)| spellings(form, meaning)).collect()
}

/// `--a VALUE, --b` is two flags; a letter in front of a word is the same flag, value and all.
fn spellings(form: &'static str, meaning: &'static str) -> Vec<Listed> {
    let mut all: Vec<Listed> = form
        .split(", ")
        .map(|one| {
            let (name, value) = one.split_once(' ').unwrap_or((one, ""));
            Listed { name, value, meaning }
        })
        .collect();
    if let [letter, word] = &mut all[..]
        && !letter.name.starts_with("--")
        && letter.value.is_empty()
    {
        letter.value = word.value;
    }
    all
}

pub(super) fn of_verb(verb: &Verb) -> String {
    let mut text =
        format!("{}\n\nUsage:\n  agent-vault {}{}\n", verb.about, verb.words.join(" "), spaced(verb.usage));
    let flags: Vec<&Flag> = verb.flags.iter().copied().flatten().collect();
    if let Some(width) = flags.iter().map(|flag| flag.0.len()).max() {
        text.push_str("\nFlags:\n");
        for Flag(form, meaning) in flags {
            text.push_str(&format!("  {form:width$}  {meaning}\n"));
        }
    }
    text + "\nExample:\n  " + verb.example + "\n"
}

pub(super) fn of_group(group: &[String]) -> String {
    let mut text =
        String::from("Agent Vault: the app calls real APIs, the proxy attaches the key.\n\nCommands:\n");
    let in_group =
        |verb: &&Verb| verb.words.len() > group.len() && verb.words.iter().zip(group).all(|(a, b)| a == b);
    let verbs: Vec<_> = verbs().filter(in_group).collect();
    let width = verbs.iter().map(|verb| verb.words.join(" ").len()).max().unwrap_or(0);
    for verb in verbs {
        text.push_str(&format!("  {:width$}  {}\n", verb.words.join(" "), verb.about));
    }
    text.push_str("\nagent-vault COMMAND --help shows a command's arguments.\n");
    if group.is_empty() {
        text.push_str("agent-vault help exit-codes says what the codes mean that commands end with.\n");
    }
    text
}

fn spaced(usage: &str) -> String {
    if usage.is_empty() { String::new() } else { format!(" {usage}") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsString;

    use super::super::args::{Takes, witness};
    use super::super::{Args, World};
    use super::*;

    /// A flag that is not in help is unknown to people; one that is only there is a lie.
    #[test]
    fn help_lists_exactly_the_flags_a_command_takes() {
        let home = |name: &str| (name == "HOME").then(|| "/nonexistent".to_owned());
        for verb in verbs() {
            let words = verb.words.join(" ");
            witness::recall();
            // Flags are taken before anything is done, and one that nobody knows ends the command there.
            let args = Args::new(vec![OsString::from("--no-such-flag")]);
            let failure = (verb.run)(&World::new(&home), args).expect_err(&words);
            assert_eq!(failure.message(), "unknown flag: --no-such-flag", "{words}");
            let listed: BTreeSet<_> = flags(verb).iter().map(|flag| (flag.name, takes(flag))).collect();
            let hidden: BTreeSet<_> = UNLISTED
                .iter()
                .filter(|(of, ..)| *of == words)
                .map(|(_, name, takes)| (*name, *takes))
                .collect();
            let taken: BTreeSet<_> = witness::recall().difference(&hidden).copied().collect();
            assert_eq!(listed, taken, "help of {words:?} (left), and what it takes");
        }
    }

    fn takes(flag: &Listed) -> Takes {
        if flag.value.is_empty() { Takes::Nothing } else { Takes::Value }
    }

    /// A flag of existing command lines that only explains why it is not taken; and a switch that can be
    /// switched off, which is listed as a switch.
    const UNLISTED: [(&str, &str, Takes); 2] =
        [("owner config set", "--invite-only", Takes::Value), ("server", "--database-url", Takes::Value)];

    #[test]
    fn a_form_is_read_as_it_is_written() {
        let read = |form| spellings(form, "").iter().map(|flag| (flag.name, flag.value)).collect::<Vec<_>>();
        assert_eq!(read("-p, --port PORT"), [("-p", "PORT"), ("--port", "PORT")]);
        assert_eq!(read("--image REF, --keep"), [("--image", "REF"), ("--keep", "")]);
        assert_eq!(read("--yes"), [("--yes", "")]);
    }
}
