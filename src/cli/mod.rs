//! What people type: argument list in, exit code out.
//!
//! A table of verbs drives everything: which words make a command, what its help says and which
//! function carries it out. Help beats everything else on the line. Nothing is printed on failure from
//! here: the failure travels to `main`, which prints it once.

mod absent;
mod answer;
mod args;
mod check;
mod completion;
mod doctor;
mod duration;
mod health;
mod help;
#[cfg(feature = "broker")]
mod operator;
pub mod output;
mod run;
mod sealing;
#[cfg(feature = "broker")]
mod server;
mod stdin;
mod version;
pub mod world;

use std::ffi::{OsStr, OsString};

use crate::failure::{Exit, Failure};
pub use args::Args;
pub use world::World;

/// One command.
struct Verb {
    /// The words that name it, group first.
    words: &'static [&'static str],
    /// What follows the words on its usage line.
    usage: &'static str,
    /// One line for the list of commands.
    about: &'static str,
    /// Its flags, in groups that several commands share.
    flags: &'static [&'static [Flag]],
    /// A whole command line that works.
    example: &'static str,
    run: fn(&World<'_>, Args) -> Result<Exit, Failure>,
}

/// How a flag is written, and what it does.
struct Flag(&'static str, &'static str);

/// Every command, in the order help shows them: lists of lists, one list per noun.
const TABLE: &[&[&[Verb]]] = &[
    &[STARTING],
    #[cfg(feature = "broker")]
    &[server::VERBS],
    &[check::VERBS, sealing::VERBS],
    #[cfg(feature = "broker")]
    operator::TABLE,
    &[completion::VERBS, help::VERBS, ABOUT_ITSELF, version::VERBS],
];

const STARTING: &[Verb] = &[
    Verb {
        words: &["run"],
        usage: run::USAGE,
        about: "Run a command whose calls get their credentials",
        flags: &[],
        example: "agent-vault run -- curl https://api.stripe.com/v1/balance",
        run: run::run,
    },
    Verb {
        words: &["vault", "run"],
        usage: run::USAGE,
        about: "The same as run",
        flags: &[],
        example: "agent-vault vault run -- curl https://api.stripe.com/v1/balance",
        run: run::run,
    },
];

const ABOUT_ITSELF: &[Verb] = &[
    Verb {
        words: &["doctor"],
        usage: run::USAGE,
        about: "Say what a run would find here, and start nothing",
        flags: &[],
        example: "agent-vault doctor -- /app",
        run: doctor::doctor,
    },
    Verb {
        words: &["health"],
        usage: "[flags]",
        about: "Ask the run or server of this container how it is",
        flags: &[health::FLAGS],
        example: "agent-vault health",
        run: health::health,
    },
];

/// Words that mean another word of the table: group, as typed, as listed.
const ALIASES: &[(&str, &str, &str)] = &[("vault", "creds", "credential")];

/// Flags that take a value and may stand before the last command word (contract E.1).
const GROUP_FLAGS: &[&str] = &["--vault", "--address"];

/// Carries out a command line (without the program's name).
pub fn main(line: Vec<OsString>, world: &World<'_>) -> Result<Exit, Failure> {
    let line = without_telemetry(line);
    let mut words = command_words(&line);
    let end_of_flags = line.iter().position(|arg| arg == "--").unwrap_or(line.len());
    let mut wants_help = line[..end_of_flags].iter().any(|arg| arg == "--help" || arg == "-h");
    let mut matched = best_match(&line, &words);
    // `help` in front of other words is `--help` behind them, unless it is a page of its own.
    if !matches!(matched, Match::Verb(_)) && words.first().is_some_and(|&at| line[at] == "help") {
        words.remove(0);
        wants_help = true;
        matched = best_match(&line, &words);
    }
    match matched {
        Match::Verb(verb) if wants_help => output::print(&help::of_verb(verb)),
        Match::Verb(verb) => {
            let spent = &words[..verb.words.len()];
            let rest = line
                .into_iter()
                .enumerate()
                .filter(|(at, _)| !spent.contains(at))
                .map(|(_, arg)| arg)
                .collect();
            return (verb.run)(world, Args::new(rest));
        }
        Match::Group(words) => output::print(&help::of_group(&words)),
        Match::Unknown { group, word } => {
            if let Some(failure) = absent::failure(&group, &word) {
                return Err(failure);
            }
            let known = group.iter().fold("agent-vault".to_owned(), |text, word| text + " " + word);
            return Err(Failure::usage(format!("unknown command {word:?} for {known:?}"))
                .with_hint(format!("{known} --help lists the commands")));
        }
    }?;
    Ok(Exit::Success)
}

/// What a line's words name.
enum Match {
    Verb(&'static Verb),
    /// A group without a verb, or nothing at all.
    Group(Vec<String>),
    Unknown {
        group: Vec<String>,
        word: String,
    },
}

/// Finds the verb with the most words in common; a verb's own arguments may follow.
fn best_match(line: &[OsString], at: &[usize]) -> Match {
    let words: Vec<&OsStr> = at.iter().map(|&at| line[at].as_os_str()).collect();
    let words = without_alias(words);
    let is_prefix = |verb: &Verb| {
        verb.words.len() <= words.len() && verb.words.iter().zip(&words).all(|(a, b)| OsStr::new(a) == *b)
    };
    if let Some(verb) = verbs().filter(|verb| is_prefix(verb)).max_by_key(|verb| verb.words.len()) {
        return Match::Verb(verb);
    }
    let mut group = Vec::new();
    for word in &words {
        let depth = group.len();
        let is_group = verbs().any(|verb| {
            verb.words.len() > depth + 1
                && verb.words[..depth].iter().eq(group.iter())
                && OsStr::new(verb.words[depth]) == *word
        });
        if !is_group {
            return Match::Unknown { group, word: word.to_string_lossy().into_owned() };
        }
        group.push(word.to_string_lossy().into_owned());
    }
    Match::Group(group)
}

fn verbs() -> impl Iterator<Item = &'static Verb> {
    TABLE.iter().copied().flatten().copied().flatten()
}

fn without_alias(mut words: Vec<&OsStr>) -> Vec<&OsStr> {
    if let [group, word, ..] = &mut words[..]
        && let Some((.., listed)) = ALIASES.iter().find(|(of, typed, _)| *group == *of && *word == *typed)
    {
        *word = OsStr::new(listed);
    }
    words
}

/// Positions of the plain words in front of `--`: the only ones that can name a command.
fn command_words(line: &[OsString]) -> Vec<usize> {
    let mut at = Vec::new();
    let mut skip_value = false;
    for (index, arg) in line.iter().enumerate() {
        if arg == "--" {
            break;
        }
        let is_value = std::mem::replace(&mut skip_value, false);
        if arg.as_encoded_bytes().starts_with(b"-") {
            skip_value = GROUP_FLAGS.iter().any(|flag| arg == flag);
        } else if !is_value {
            at.push(index);
        }
    }
    at
}

/// Old command lines may carry `--telemetry`; it is accepted and means nothing (contract E.1).
fn without_telemetry(line: Vec<OsString>) -> Vec<OsString> {
    let mut is_command = false;
    line.into_iter()
        .filter(|arg| {
            is_command |= arg == "--";
            let bytes = arg.as_encoded_bytes();
            is_command || !(bytes == b"--telemetry" || bytes.starts_with(b"--telemetry="))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<OsString> {
        text.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn telemetry_is_dropped_only_in_front_of_the_command() {
        assert_eq!(
            without_telemetry(line("--telemetry=false run --telemetry -- x --telemetry")),
            line("run -- x --telemetry")
        );
    }

    #[test]
    fn a_group_flags_value_is_not_a_command_word() {
        let words = line("vault --vault prod service list -- run");
        assert_eq!(command_words(&words), [0, 3, 4]);
    }

    #[test]
    fn an_alias_names_the_same_command() {
        for text in ["vault creds list", "vault credential list"] {
            let line = line(text);
            let Match::Verb(verb) = best_match(&line, &command_words(&line)) else {
                panic!("{text} names no command");
            };
            assert_eq!(verb.words, ["vault", "credential", "list"]);
        }
    }

    #[test]
    fn every_command_shows_an_example_of_itself() {
        for verb in verbs() {
            let words = verb.words.join(" ");
            let Some((_, example)) = verb.example.split_once("agent-vault ") else {
                panic!("{words}: {:?}", verb.example);
            };
            let example = line(example);
            let is_it = matches!(best_match(&example, &command_words(&example)),
                Match::Verb(matched) if std::ptr::eq(matched, verb));
            assert!(is_it, "{words}: {:?}", verb.example);
            assert!(!verb.about.ends_with('.'), "{words}");
        }
    }

    /// `agent-vault help` and all that may follow it.
    #[test]
    fn help_in_front_is_help_behind() {
        let world = World::new(&|_| None);
        for text in ["help", "help vault", "help vault creds list", "help exit-codes", "help help"] {
            assert_eq!(main(line(text), &world), Ok(Exit::Success), "{text}");
        }
        assert_eq!(main(line("help fly"), &world).unwrap_err().exit(), Exit::Usage);
    }

    #[test]
    fn an_unknown_command_is_named() {
        let world = World::new(&|_| None);
        let failure = main(line("fly away"), &world).unwrap_err();
        assert!(failure.message().contains("unknown command \"fly\" for \"agent-vault\""));
        assert_eq!(failure.exit(), Exit::Usage);
    }
}
