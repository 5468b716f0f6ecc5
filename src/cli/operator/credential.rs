//! `vault credential`: the secrets of a vault, by key.
//!
//! A value can be given on the command line, where everyone on the machine may read it, or on stdin or in
//! a file, where only its owner can. A value is never part of a message.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;

use serde_json::{Map, Value};

use super::broker::{Broker, Reach};
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, World, ask, encoded, list, output, text};
use crate::failure::{Exit, Failure};
use crate::json::json;
use crate::secret::Secret;
use crate::vault::service::is_credential_key;

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "credential", "list"],
        usage: "[flags]",
        about: "List the credentials of a vault",
        flags: &[&[Flag("--reveal", "show the values too")], AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault credential list --vault shop",
        run: show_all,
    },
    Verb {
        words: &["vault", "credential", "get"],
        usage: "KEY [flags]",
        about: "Print a credential's value, and nothing else",
        flags: &[IN_VAULT, REACH],
        example: "agent-vault vault credential get STRIPE_KEY --vault shop",
        run: get,
    },
    Verb {
        words: &["vault", "credential", "set"],
        usage: "KEY… | KEY=VALUE… [flags]",
        about: "Set credentials; KEY alone is asked for, or read from stdin as with KEY=-, less one line break at its end",
        flags: &[
            &[Flag("--from-file KEY=PATH", "read the value from a file, likewise; may be repeated")],
            IN_VAULT,
            REACH,
        ],
        example: "agent-vault vault credential set STRIPE_KEY --vault shop < stripe-key",
        run: set,
    },
    Verb {
        words: &["vault", "credential", "usage"],
        usage: "KEY [flags]",
        about: "List the services that use a credential",
        flags: &[AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault credential usage STRIPE_KEY --vault shop",
        run: usage,
    },
    Verb {
        words: &["vault", "credential", "delete"],
        usage: "KEY… [flags]",
        about: "Delete credentials",
        flags: &[IN_VAULT, REACH],
        example: "agent-vault vault credential delete STRIPE_KEY --vault shop",
        run: delete,
    },
];

fn show_all(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, vault) = (Reach::take(&mut args)?, args.value("--vault")?);
    let (as_json, reveal) = (args.flag("--json"), args.flag("--reveal"));
    args.finish()?;
    let (mut broker, vault) = Broker::for_vault(world, &reach, vault)?;
    let reveal = if reveal { "&reveal=true" } else { "" };
    let reply = broker.get(&format!("/v1/credentials?vault={}{reveal}", encoded(&vault)))?;
    if as_json {
        output::print_json(reply.body())?;
    } else {
        output::print(&table(&broker.json(&reply)?))?;
    }
    Ok(Exit::Success)
}

/// As many columns as the caller was told of (contract E.4).
fn table(answer: &Value) -> String {
    let entries: Vec<&Value> = list(answer, "credentials").collect();
    if entries.is_empty() {
        let keys = list(answer, "keys").filter_map(Value::as_str);
        return output::table(&["KEY"], &keys.map(|key| vec![key.to_owned()]).collect::<Vec<_>>());
    }
    let has_values = entries.iter().any(|entry| entry.get("value").is_some());
    let columns: &[&str] = if has_values { &["key", "type", "value"] } else { &["key", "type"] };
    let headers: Vec<String> = columns.iter().map(|column| column.to_uppercase()).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> =
        entries.iter().map(|entry| columns.iter().map(|column| text(entry, column)).collect()).collect();
    output::table(&headers, &rows)
}

fn get(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, vault) = (Reach::take(&mut args)?, args.value("--vault")?);
    let key = args.word("KEY")?;
    args.finish()?;
    let (mut broker, vault) = Broker::for_vault(world, &reach, vault)?;
    let path = format!("/v1/credentials?vault={}&reveal=true&key={}", encoded(&vault), encoded(&key));
    let reply = broker.get(&path)?;
    let answer = broker.json(&reply)?;
    let entry = list(&answer, "credentials").find(|entry| text(entry, "key") == key);
    match entry.and_then(|entry| entry.get("value")?.as_str()) {
        Some(value) => output::print(value)?,
        None => return Err(Failure::new(format!("the broker gave no value for credential {key:?}"))),
    }
    Ok(Exit::Success)
}

fn usage(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, vault) = (Reach::take(&mut args)?, args.value("--vault")?);
    let as_json = args.flag("--json");
    let key = args.word("KEY")?;
    args.finish()?;
    let (mut broker, vault) = Broker::for_vault(world, &reach, vault)?;
    let path = format!("/v1/vaults/{}/services/credential-usage?key={}", encoded(&vault), encoded(&key));
    let reply = broker.get(&path)?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let rows: Vec<Vec<String>> =
        list(&answer, "services").map(|service| vec![text(service, "name"), text(service, "host")]).collect();
    output::print(&output::table(&["NAME", "HOST"], &rows))?;
    Ok(Exit::Success)
}

fn set(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, vault) = (Reach::take(&mut args)?, args.value("--vault")?);
    let mut given = Given::in_files(&mut args)?;
    let alone = if world.is_stdin_a_terminal() { Alone::Asked } else { Alone::OnStdin };
    Given::as_words(&mut args, &mut given, alone)?;
    if given.is_empty() {
        return Err(Failure::usage("missing argument: KEY"));
    }
    check(&given)?;
    let (mut broker, vault) = Broker::for_vault(world, &reach, vault)?;
    let mut credentials = Map::new();
    let mut keys = Vec::new();
    for Given { key, place } in given {
        let value = place.read(&key)?;
        let Some(value) = value.expose_str() else {
            return Err(Failure::new(format!("the value of {key} is not UTF-8 text")));
        };
        credentials.insert(key.clone(), value.into());
        keys.push(key);
    }
    broker.post("/v1/credentials", &json!({ "vault": vault, "credentials": credentials }))?;
    for key in keys {
        output::success(world, &format!("Set {key}"))?;
    }
    Ok(Exit::Success)
}

/// A key and where its value is.
pub(super) struct Given {
    pub(super) key: String,
    pub(super) place: Place,
}

/// Where a value is.
pub(super) enum Place {
    Word(Secret),
    Stdin,
    /// On stdin, since nobody is there to be asked.
    Piped,
    /// With a person, who types it unseen.
    Person,
    File(String),
}

/// What a key without a value stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alone {
    Asked,
    OnStdin,
    Refused,
}

impl Given {
    /// Takes the flags that name files.
    pub(super) fn in_files(args: &mut Args) -> Result<Vec<Self>, Failure> {
        args.values("--from-file")?.iter().map(|pair| Self::in_file(pair)).collect()
    }

    /// Takes all words that are left, behind what is given already.
    pub(super) fn as_words(args: &mut Args, given: &mut Vec<Self>, alone: Alone) -> Result<(), Failure> {
        while let Some(pair) = args.opt_word()? {
            given.push(Self::as_word(&pair, given.len(), alone)?);
        }
        Ok(())
    }

    /// The message names the position, since the word may be a secret with its key forgotten.
    fn as_word(pair: &str, before: usize, alone: Alone) -> Result<Self, Failure> {
        match pair.split_once('=') {
            None if is_credential_key(pair) && alone != Alone::Refused => {
                let place = if alone == Alone::Asked { Place::Person } else { Place::Piped };
                Ok(Self { key: pair.to_owned(), place })
            }
            Some((key, "-")) if !key.is_empty() => Ok(Self { key: key.to_owned(), place: Place::Stdin }),
            Some((key, value)) if !key.is_empty() => {
                Ok(Self { key: key.to_owned(), place: Place::Word(value.into()) })
            }
            _ => Err(Failure::usage(format!("credential {} is not of the form KEY=VALUE", before + 1))),
        }
    }

    fn in_file(pair: &str) -> Result<Self, Failure> {
        match pair.split_once('=') {
            Some((key, path)) if !key.is_empty() && !path.is_empty() => {
                Ok(Self { key: key.to_owned(), place: Place::File(path.to_owned()) })
            }
            _ => Err(Failure::usage(format!("--from-file {pair}: not of the form KEY=PATH"))),
        }
    }
}

impl Place {
    pub(super) fn is_stdin(&self) -> bool {
        matches!(self, Self::Stdin | Self::Piped)
    }

    /// Reads the value; `key` stands in messages for it.
    pub(super) fn read(self, key: &str) -> Result<Secret, Failure> {
        match self {
            Self::Word(value) => Ok(value),
            Self::Stdin => ask::stdin(),
            Self::Piped => not_empty(key, ask::stdin()?),
            Self::Person => not_empty(key, ask::hidden(&format!("Value of {key}: "))?),
            Self::File(path) => {
                let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{key}: {path}: {error}"));
                let mut bytes = Vec::new();
                let file = File::open(&path).map_err(|error| failed(&error))?;
                file.take(ask::MAX_INPUT_BYTES + 1)
                    .read_to_end(&mut bytes)
                    .map_err(|error| failed(&error))?;
                if bytes.len() as u64 > ask::MAX_INPUT_BYTES {
                    return Err(failed(&"longer than 1 MiB"));
                }
                Ok(Secret::without_line_break(bytes))
            }
        }
    }
}

/// The keys of a vault's credentials.
pub(super) fn keys(broker: &mut Broker<'_>, vault: &str) -> Result<BTreeSet<String>, Failure> {
    let reply = broker.get(&format!("/v1/credentials?vault={}", encoded(vault)))?;
    let answer = broker.json(&reply)?;
    let mut keys = BTreeSet::new();
    keys.extend(list(&answer, "keys").filter_map(Value::as_str).map(str::to_owned));
    Ok(keys)
}

/// Nobody who gives a key alone means to set nothing.
fn not_empty(key: &str, value: Secret) -> Result<Secret, Failure> {
    if value.is_empty() {
        return Err(
            Failure::new(format!("no value came for {key}")).with_hint(format!("{key}= sets an empty one"))
        );
    }
    Ok(value)
}

/// Each key once, and stdin for one of them at most.
pub(super) fn check(given: &[Given]) -> Result<(), Failure> {
    let mut keys = BTreeSet::new();
    if let Some(again) = given.iter().find(|one| !keys.insert(&one.key)) {
        return Err(Failure::usage(format!("{} is given more than once", again.key)));
    }
    if given.iter().filter(|one| one.place.is_stdin()).count() > 1 {
        return Err(Failure::usage("only one value can be read from stdin"));
    }
    Ok(())
}

fn delete(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, vault) = (Reach::take(&mut args)?, args.value("--vault")?);
    let keys = args.words("KEY")?;
    let (mut broker, vault) = Broker::for_vault(world, &reach, vault)?;
    broker.delete("/v1/credentials", Some(&json!({ "vault": vault, "keys": keys })))?;
    for key in keys {
        output::success(world, &format!("Deleted {key}"))?;
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(words: &[&str]) -> Result<Vec<Given>, Failure> {
        let given: Vec<Given> = words
            .iter()
            .enumerate()
            .map(|(at, word)| Given::as_word(word, at, Alone::OnStdin))
            .collect::<Result<_, _>>()?;
        check(&given)?;
        Ok(given)
    }

    #[test]
    fn a_pair_is_split_at_its_first_equals_sign() {
        let pairs = given(&["A=b=c", "B=", "C"]).unwrap();
        assert!(matches!(&pairs[0].place, Place::Word(value) if *value == Secret::from("b=c")));
        assert!(matches!(&pairs[1].place, Place::Word(value) if value.is_empty()));
        assert!(matches!(pairs[2].place, Place::Piped));
        assert!(matches!(given(&["C=-"]).unwrap()[0].place, Place::Stdin));
    }

    #[test]
    fn a_refusal_repeats_no_value() {
        for (words, message) in [
            (&["A=1", "sk_live_1"][..], "credential 2 is not of the form KEY=VALUE"),
            (&["=sk_live_1"], "credential 1 is not of the form KEY=VALUE"),
            (&["A=1", "A=2"], "A is given more than once"),
            (&["A", "B"], "only one value can be read from stdin"),
            (&["A=-", "B=-"], "only one value can be read from stdin"),
        ] {
            assert_eq!(given(words).err().unwrap().message(), message);
        }
    }

    #[test]
    fn columns_are_what_the_broker_told() {
        let keys = json!({"keys": ["A", "B"]});
        assert_eq!(table(&keys), "KEY\nA\nB\n");
        let typed = json!({"keys": ["A"], "credentials": [{"key": "A", "type": "static"}]});
        assert_eq!(table(&typed), "KEY  TYPE\nA    static\n");
        let shown = json!({"keys": ["A"], "credentials": [{"key": "A", "type": "static", "value": "v"}]});
        assert_eq!(table(&shown), "KEY  TYPE    VALUE\nA    static  v\n");
    }
}
