//! `vault service`: which hosts a vault has credentials for, and how they are attached.

mod build;
mod describe;

use serde_json::Value;

use super::ask::{self, Consent};
use super::broker::{Broker, Reach, vault_of};
use super::document::{self, Document};
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, WITHOUT_ASKING, World, encoded, list, output, text};
use crate::failure::{Exit, Failure};
use crate::json::json;
pub(super) use describe::{AUTH, Described, described};

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
        usage: "[flags]",
        about: "Replace all services of a vault, from a file or by questions at a terminal",
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

const FILE: &[Flag] = &[Flag("-f FILE", "read services from a YAML or JSON file; - is stdin")];

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

fn set(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (place, file) = (Place::take(&mut args)?, args.value("-f")?);
    args.finish()?;
    let Some(file) = file else { return build::build(world, place) };
    let document = document::read(&file)?;
    let (mut broker, vault) = place.open_for(world, &document)?;
    let before = Held::read(&mut broker, &vault)?;
    before.replace(&mut broker, &vault, &document.services)?.tell(world, &vault)
}

/// The services a vault has, and the revision they are at: what is put in their place undoes no edit that
/// its operator has not seen.
struct Held {
    services: Vec<Value>,
    /// Missing at a broker that knows no revisions.
    tag: Option<String>,
}

/// What a replacement did.
struct Replaced {
    total: u64,
    removed: Vec<String>,
}

impl Held {
    fn read(broker: &mut Broker<'_>, vault: &str) -> Result<Self, Failure> {
        let reply = broker.get(&path_of(vault))?;
        let services = list(&broker.json(&reply)?, "services").cloned().collect();
        Ok(Self { services, tag: reply.field("etag").map(str::to_owned) })
    }

    fn replace(&self, broker: &mut Broker<'_>, vault: &str, services: &[Value]) -> Result<Replaced, Failure> {
        let mut at_revision = broker.expecting(self.tag.as_deref());
        let reply = at_revision.put(&path_of(vault), &json!({ "services": services }))?;
        let total = broker.json(&reply)?.get("services_count").and_then(Value::as_u64).unwrap_or_default();
        let names = |services: &[Value]| -> Vec<String> {
            services.iter().map(|service| text(service, "name")).collect()
        };
        let (mut removed, kept) = (names(&self.services), names(services));
        removed.retain(|name| !kept.contains(name));
        Ok(Replaced { total, removed })
    }
}

impl Replaced {
    fn tell(&self, world: &World<'_>, vault: &str) -> Result<Exit, Failure> {
        if !self.removed.is_empty() {
            output::note(&format!("No longer there: {}", self.removed.join(", ")));
        }
        output::success(world, &format!("Services of vault {vault:?} set ({} services total)", self.total))?;
        Ok(Exit::Success)
    }
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
