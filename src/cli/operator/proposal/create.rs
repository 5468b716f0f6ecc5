//! `vault proposal create`: an agent's request, from a file or from flags.

use serde_json::{Map, Value};

use super::Desk;
use crate::cli::operator::document::{self, KEYS};
use crate::cli::operator::{service, text};
use crate::cli::{Args, Flag, World, output};
use crate::failure::{Exit, Failure};
use crate::json::json;

pub(super) const FLAGS: &[Flag] = &[
    Flag("-f FILE", "read the proposal from a YAML or JSON file; - is stdin"),
    Flag("--credential KEY[=DESCRIPTION]", "a credential it needs; may be repeated"),
    Flag("--name NAME", "the service's name"),
    Flag("--host HOST", "its host[:port][/path]"),
];

pub(super) const MESSAGES: &[Flag] = &[
    Flag("-m TEXT, --message TEXT", "what it is for, for the record"),
    Flag("--user-message TEXT", "what it is for, for the person who is to approve it"),
];

/// What a file may say; an unknown key is refused here, since the broker ignores it.
const DOCUMENT_KEYS: [&str; 4] = ["services", "credentials", "message", "user_message"];
const SLOT_KEYS: [&str; 8] =
    ["action", "key", "type", "description", "obtain", "obtain_instructions", "value", "oauth"];

pub(super) fn create(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (place, as_json) = (Desk::take(&mut args)?, args.flag("--json"));
    let file = args.value("-f")?;
    let message = args.value(["-m", "--message"])?;
    let user_message = args.value("--user-message")?;
    let credentials = args.values("--credential")?;
    let described = service::described(&mut args)?;
    args.finish()?;
    let mut proposal = match file {
        Some(_) if described.is_some() || !credentials.is_empty() => {
            return Err(Failure::usage("-f describes the proposal: leave all flags but the messages out"));
        }
        Some(file) => document::read_with(&file, understand)?,
        None if described.is_none() && credentials.is_empty() => {
            return Err(Failure::usage(
                "missing flags: --name, --host and --auth-type, --credential, or -f FILE",
            ));
        }
        None => {
            let service = described.map(service::Described::into_json).transpose()?;
            from_flags(service, &credentials)
        }
    };
    for (key, text) in [("message", message), ("user_message", user_message)] {
        proposal.extend(text.map(|text| (key.to_owned(), text.into())));
    }
    let is_agent =
        ["AGENT_VAULT_TOKEN", "AGENT_VAULT_TOKEN_FILE"].iter().any(|name| world.var(name).is_some());
    if !is_agent {
        return Err(Failure::new("proposals are made by agents, and there is no agent's token here")
            .with_hint("set AGENT_VAULT_TOKEN; a person adds services with 'vault service add' instead"));
    }
    let mut desk = Desk::open(world, place)?;
    let reply = desk.broker.post("/v1/proposals", &Value::Object(proposal))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = desk.broker.json(&reply)?;
    let number = answer.get("id").and_then(Value::as_u64).unwrap_or_default();
    output::success(world, &format!("Proposal {number} created"))?;
    output::print(&format!("Approve here: {}\n", text(&answer, "approval_url")))?;
    Ok(Exit::Success)
}

fn from_flags(service: Option<Value>, credentials: &[String]) -> Map<String, Value> {
    let service = service.map(|mut service| {
        service["action"] = "set".into();
        service
    });
    let slots = credentials.iter().map(|credential| match credential.split_once('=') {
        Some((key, description)) => json!({"action": "set", "key": key, "description": description}),
        None => json!({"action": "set", "key": credential}),
    });
    Map::from_iter([
        ("services".to_owned(), service.into_iter().collect()),
        ("credentials".to_owned(), slots.collect()),
    ])
}

fn understand(document: Value) -> Result<Map<String, Value>, String> {
    let Value::Object(mut document) = document else {
        return Err("not an object with services or credentials".to_owned());
    };
    if let Some(key) = document.keys().find(|key| !DOCUMENT_KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key {key:?}; known are {}", DOCUMENT_KEYS.join(", ")));
    }
    let service_keys = [&["action"], &KEYS[..]].concat();
    each(&mut document, "services", |service| document::joined(service, &service_keys))?;
    each(&mut document, "credentials", |slot| {
        let unknown = slot
            .as_object()
            .and_then(|slot| slot.keys().find(|key| !SLOT_KEYS.contains(&key.as_str())).cloned());
        match unknown {
            Some(key) => Err(format!("unknown key {key:?}; known are {}", SLOT_KEYS.join(", "))),
            None => Ok(slot),
        }
    })?;
    Ok(document)
}

/// Passes every entry of a list through; a problem is told with its place.
fn each(
    document: &mut Map<String, Value>,
    name: &str,
    through: impl Fn(Value) -> Result<Value, String>,
) -> Result<(), String> {
    let entries = match document.remove(name) {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(entries)) => entries,
        Some(_) => return Err(format!("{name:?} is not a list")),
    };
    let entries = entries
        .into_iter()
        .enumerate()
        .map(|(at, entry)| through(entry).map_err(|problem| format!("{name}[{at}]: {problem}")));
    let entries = entries.collect::<Result<Vec<Value>, String>>()?;
    document.insert(name.to_owned(), entries.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_is_what_the_broker_takes_with_the_port_in_its_place() {
        let service = |host: Value| json!({"action": "set", "name": "a", "host": host, "auth": {"type": "passthrough"}});
        let mut apart = service("x.com".into());
        apart["port"] = 8443.into();
        let slots = json!([{"action": "set", "key": "K", "description": "d"}]);
        let document = json!({"message": "m", "services": [apart], "credentials": slots});
        let expected =
            json!({"message": "m", "services": [service("x.com:8443".into())], "credentials": slots});
        assert_eq!(understand(document).map(Value::Object), Ok(expected));
        for (document, problem) in [
            (json!([]), "not an object with services or credentials"),
            (
                json!({"service": []}),
                "unknown key \"service\"; known are services, credentials, message, user_message",
            ),
            (json!({"services": {}}), "\"services\" is not a list"),
            (
                json!({"services": [{"action": "set", "pth": "/a"}]}),
                "services[0]: unknown key \"pth\"; known are action, name, host, port, path, enabled, auth, substitutions",
            ),
            (
                json!({"credentials": [{"action": "set", "keys": "K"}]}),
                "credentials[0]: unknown key \"keys\"; known are action, key, type, description, obtain, obtain_instructions, value, oauth",
            ),
        ] {
            assert_eq!(understand(document), Err(problem.to_owned()));
        }
    }
}
