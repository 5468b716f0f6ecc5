//! `vault service`: which hosts a vault has credentials for, and how they are attached.

use serde_json::{Map, Value, json};

use super::ask::{self, Consent};
use super::broker::{Broker, Reach, vault_of};
use super::document::{self, Document};
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, WITHOUT_ASKING, World, encoded, list, output, text};
use crate::failure::{Exit, Failure};

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "service", "list"],
        usage: "[flags]",
        about: "Print the services of a vault as YAML, which 'set -f' takes back",
        flags: &[AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault service list --vault shop",
        run: show_all,
    },
    Verb {
        words: &["vault", "service", "add"],
        usage: "[flags]",
        about: "Add a service, or replace the one of the same name",
        flags: &[
            &[Flag("--name NAME", "its name"), Flag("--host HOST", "host[:port][/path]")],
            AUTH,
            FILE,
            IN_VAULT,
            REACH,
        ],
        example: "agent-vault vault service add --vault shop --name stripe --host api.stripe.com --auth-type bearer --token-key STRIPE_KEY",
        run: add,
    },
    Verb {
        words: &["vault", "service", "set"],
        usage: "-f FILE [flags]",
        about: "Replace all services of a vault",
        flags: &[FILE, IN_VAULT, REACH],
        example: "agent-vault vault service set -f services.yaml --vault shop",
        run: set,
    },
    Verb {
        words: &["vault", "service", "enable"],
        usage: "NAME-OR-HOST [flags]",
        about: "Attach a service's credential again",
        flags: &[IN_VAULT, REACH],
        example: "agent-vault vault service enable stripe --vault shop",
        run: enable,
    },
    Verb {
        words: &["vault", "service", "disable"],
        usage: "NAME-OR-HOST [flags]",
        about: "Keep a service and attach nothing for it",
        flags: &[IN_VAULT, REACH],
        example: "agent-vault vault service disable stripe --vault shop",
        run: disable,
    },
    Verb {
        words: &["vault", "service", "remove"],
        usage: "NAME-OR-HOST [flags]",
        about: "Remove a service",
        flags: &[WITHOUT_ASKING, IN_VAULT, REACH],
        example: "agent-vault vault service remove stripe --vault shop --yes",
        run: remove,
    },
    Verb {
        words: &["vault", "service", "clear"],
        usage: "[flags]",
        about: "Remove all services of a vault",
        flags: &[WITHOUT_ASKING, IN_VAULT, REACH],
        example: "agent-vault vault service clear --vault shop --yes",
        run: clear,
    },
];

pub(super) const AUTH: &[Flag] = &[
    Flag("--auth-type TYPE", "bearer, basic, api-key or passthrough; other types need -f"),
    Flag("--token-key KEY", "bearer: the credential"),
    Flag("--username-key KEY, --password-key KEY", "basic: the credentials"),
    Flag("--api-key-key KEY", "api-key: the credential"),
    Flag("--api-key-header NAME, --api-key-prefix TEXT", "api-key: its header, and what stands before it"),
    Flag("--disabled", "add it without attaching anything yet"),
];

const FILE: &[Flag] = &[Flag("-f FILE", "read services from a YAML or JSON file; - is stdin")];

/// Flag, field of the service's `auth`, and the type it belongs to.
const AUTH_FIELDS: [(&str, &str, &str); 6] = [
    ("--token-key", "token", "bearer"),
    ("--username-key", "username", "basic"),
    ("--password-key", "password", "basic"),
    ("--api-key-key", "key", "api-key"),
    ("--api-key-header", "header", "api-key"),
    ("--api-key-prefix", "prefix", "api-key"),
];

/// What every command on services has in common.
struct Place {
    reach: Reach,
    flag: Option<String>,
}

impl Place {
    fn take(args: &mut Args) -> Result<Self, Failure> {
        Ok(Self { reach: Reach::take(args)?, flag: args.value("--vault")? })
    }

    fn open<'w>(self, world: &'w World<'w>) -> Result<(Broker<'w>, String), Failure> {
        Ok((Broker::as_person(world, &self.reach)?, vault_of(world, self.flag)))
    }

    /// The same for services from a file, which must not land in another vault unnoticed.
    fn open_for<'w>(
        self,
        world: &'w World<'w>,
        document: &Document,
    ) -> Result<(Broker<'w>, String), Failure> {
        let is_named = self.flag.is_some();
        let (broker, vault) = self.open(world)?;
        match &document.vault {
            Some(other) if !is_named && *other != vault => Err(Failure::usage(format!(
                "the file is for vault {other:?}, and the vault in use is {vault:?}"
            ))
            .with_hint("name the vault with --vault")),
            _ => Ok((broker, vault)),
        }
    }
}

fn path_of(vault: &str) -> String {
    format!("/v1/vaults/{}/services", encoded(vault))
}

fn path_to(vault: &str, reference: &str) -> String {
    format!("{}/{}", path_of(vault), encoded(reference))
}

fn show_all(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (place, as_json) = (Place::take(&mut args)?, args.flag("--json"));
    args.finish()?;
    let (mut broker, vault) = place.open(world)?;
    let reply = broker.get(&path_of(&vault))?;
    if as_json {
        output::print_json(reply.body())?;
    } else {
        output::print(&document::print(&broker.json(&reply)?))?;
    }
    Ok(Exit::Success)
}

fn add(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (place, file) = (Place::take(&mut args)?, args.value("-f")?);
    let described = described(&mut args)?;
    args.finish()?;
    let document = match (file, described) {
        (Some(file), None) => document::read(&file)?,
        (None, Some(service)) => Document { vault: None, services: vec![service.into_json()?] },
        (Some(_), Some(_)) => {
            return Err(Failure::usage("-f describes the service: leave the other flags out"));
        }
        (None, None) => {
            return Err(Failure::usage("missing flags: --name, --host and --auth-type, or -f FILE"));
        }
    };
    let (mut broker, vault) = place.open_for(world, &document)?;
    let reply = broker.post(&path_of(&vault), &json!({ "services": document.services }))?;
    let answer = broker.json(&reply)?;
    let names: Vec<&str> = list(&answer, "upserted").filter_map(Value::as_str).collect();
    let total = answer.get("services_count").and_then(Value::as_u64).unwrap_or_default();
    let word = if names.len() == 1 { "Service" } else { "Services" };
    output::success(world, &format!("{word} added: {} ({total} services total)", names.join(", ")))?;
    Ok(Exit::Success)
}

/// A service as flags describe it.
#[derive(Debug)]
pub(super) struct Described {
    name: Option<String>,
    host: Option<String>,
    auth_type: Option<String>,
    fields: Vec<((&'static str, &'static str, &'static str), String)>,
    is_disabled: bool,
}

/// Takes the describing flags; `None` when there is none of them.
pub(super) fn described(args: &mut Args) -> Result<Option<Described>, Failure> {
    let (name, host) = (args.value("--name")?, args.value("--host")?);
    let auth_type = args.value("--auth-type")?;
    let mut fields = Vec::new();
    for field in AUTH_FIELDS {
        fields.extend(args.value(field.0)?.map(|value| (field, value)));
    }
    let is_disabled = args.flag("--disabled");
    let is_any = name.is_some() || host.is_some() || auth_type.is_some() || !fields.is_empty() || is_disabled;
    Ok(is_any.then_some(Described { name, host, auth_type, fields, is_disabled }))
}

impl Described {
    /// The broker judges names, hosts and keys; here flags that do not go together are named as flags.
    pub(super) fn into_json(self) -> Result<Value, Failure> {
        let missing = |flag: &str| Failure::usage(format!("missing flag: {flag}"));
        let host = self.host.ok_or_else(|| missing("--host"))?;
        let kind = self.auth_type.ok_or_else(|| missing("--auth-type"))?;
        if kind == "custom" {
            return Err(Failure::usage("--auth-type custom needs -f FILE: its headers are a list"));
        }
        if matches!(kind.as_str(), "query" | "aws-sigv4") {
            return Err(Failure::usage(format!(
                "--auth-type {kind} needs -f FILE: its fields have no flags"
            )));
        }
        if let Some(((flag, ..), _)) = self.fields.iter().find(|((_, _, of), _)| *of != kind) {
            return Err(Failure::usage(format!("{flag} does not belong to --auth-type {kind}")));
        }
        let mut auth = Map::new();
        auth.insert("type".to_owned(), kind.into());
        auth.extend(self.fields.into_iter().map(|((_, field, _), value)| (field.to_owned(), value.into())));
        let mut service = json!({ "host": host, "auth": auth });
        if let Some(name) = self.name {
            service["name"] = name.into();
        }
        if self.is_disabled {
            service["enabled"] = false.into();
        }
        Ok(service)
    }
}

fn set(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (place, file) = (Place::take(&mut args)?, args.value("-f")?);
    args.finish()?;
    let file = file.ok_or_else(|| Failure::usage("missing flag: -f FILE"))?;
    let document = document::read(&file)?;
    let (mut broker, vault) = place.open_for(world, &document)?;
    let reply = broker.put(&path_of(&vault), &json!({ "services": document.services }))?;
    let answer = broker.json(&reply)?;
    let count = answer.get("services_count").and_then(Value::as_u64).unwrap_or_default();
    output::success(world, &format!("Services of vault {vault:?} set ({count} services total)"))?;
    Ok(Exit::Success)
}

fn enable(world: &World<'_>, args: Args) -> Result<Exit, Failure> {
    switch(world, args, true)
}

fn disable(world: &World<'_>, args: Args) -> Result<Exit, Failure> {
    switch(world, args, false)
}

fn switch(world: &World<'_>, mut args: Args, enabled: bool) -> Result<Exit, Failure> {
    let place = Place::take(&mut args)?;
    let reference = args.word("NAME-OR-HOST")?;
    args.finish()?;
    let (mut broker, vault) = place.open(world)?;
    let reply = broker.patch(&path_to(&vault, &reference), &json!({ "enabled": enabled }))?;
    let name = text(&broker.json(&reply)?, "name");
    let done = if enabled { "enabled" } else { "disabled" };
    output::success(world, &format!("Service {done}: {name}"))?;
    Ok(Exit::Success)
}

fn remove(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (place, yes) = (Place::take(&mut args)?, args.flag("--yes"));
    let reference = args.word("NAME-OR-HOST")?;
    args.finish()?;
    let (mut broker, vault) = place.open(world)?;
    let question = format!("Remove service {reference:?} from vault {vault:?}?");
    if ask::consent(world, yes, &question)? == Consent::Declined {
        output::note("Aborted.");
        return Ok(Exit::Success);
    }
    let reply = broker.delete(&path_to(&vault, &reference), None)?;
    let answer = broker.json(&reply)?;
    let total = answer.get("services_count").and_then(Value::as_u64).unwrap_or_default();
    output::success(
        world,
        &format!("Service removed: {} ({total} services total)", text(&answer, "removed")),
    )?;
    Ok(Exit::Success)
}

fn clear(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (place, yes) = (Place::take(&mut args)?, args.flag("--yes"));
    args.finish()?;
    let (mut broker, vault) = place.open(world)?;
    let question = format!("Remove all services from vault {vault:?}?");
    if ask::consent(world, yes, &question)? == Consent::Declined {
        output::note("Aborted.");
        return Ok(Exit::Success);
    }
    broker.delete(&path_of(&vault), None)?;
    output::success(world, &format!("All services of vault {vault:?} removed"))?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn service(line: &str) -> Result<Value, String> {
        let mut args = Args::new(line.split_whitespace().map(OsString::from).collect());
        let described = described(&mut args).unwrap().unwrap();
        described.into_json().map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn flags_become_the_brokers_object() {
        for (line, object) in [
            (
                "--name a --host x.com --auth-type bearer --token-key K",
                json!({"host": "x.com", "auth": {"type": "bearer", "token": "K"}, "name": "a"}),
            ),
            (
                "--host x.com --auth-type basic --username-key U --password-key P --disabled",
                json!({"host": "x.com", "auth": {"type": "basic", "username": "U", "password": "P"}, "enabled": false}),
            ),
            (
                "--host x.com --auth-type api-key --api-key-key K --api-key-header X-Key --api-key-prefix T",
                json!({"host": "x.com", "auth": {"type": "api-key", "key": "K", "header": "X-Key", "prefix": "T"}}),
            ),
            (
                "--host x.com --auth-type passthrough",
                json!({"host": "x.com", "auth": {"type": "passthrough"}}),
            ),
        ] {
            assert_eq!(service(line), Ok(object), "{line}");
        }
    }

    #[test]
    fn flags_that_do_not_go_together_are_named() {
        for (line, message) in [
            ("--name a", "missing flag: --host"),
            ("--host x.com", "missing flag: --auth-type"),
            ("--host x.com --auth-type custom", "--auth-type custom needs -f FILE: its headers are a list"),
            ("--host x.com --auth-type query", "--auth-type query needs -f FILE: its fields have no flags"),
            (
                "--host x.com --auth-type passthrough --token-key K",
                "--token-key does not belong to --auth-type passthrough",
            ),
        ] {
            assert_eq!(service(line), Err(message.to_owned()));
        }
    }
}
