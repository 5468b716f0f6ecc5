//! `vault service set` without a file: a person answers questions, sees the list they made, and decides.
//!
//! Each service is judged as the broker will judge it, so a slip costs one question and not the whole list.
//! Nothing is sent before the last answer, and what is sent replaces only the list that was there at the
//! first one.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::super::ask::{self, Consent};
use super::super::broker::{Broker, named_vault};
use super::super::{World, choose, credential, document, output};
use super::{Held, Place};
use crate::failure::{Exit, Failure};
use crate::json::json;
use crate::vault::service::{InternalNames, Service, list as services};

const APPEND: &str = "append";
const REPLACE: &str = "replace";

/// Type, field of `auth`, question. An answer that is empty leaves the field to the broker.
const FIELDS: [(&str, &str, &str); 6] = [
    ("bearer", "token", "Credential key of the token: "),
    ("basic", "username", "Credential key of the user name: "),
    ("basic", "password", "Credential key of the password: "),
    ("api-key", "key", "Credential key: "),
    ("api-key", "header", "Header [Authorization]: "),
    ("api-key", "prefix", "Text before the key []: "),
];

/// Types whose fields are not lists: those that can be asked for.
const TYPES: [&str; 4] = ["bearer", "basic", "api-key", "passthrough"];

pub(super) fn build(world: &World<'_>, place: Place) -> Result<Exit, Failure> {
    if !world.is_interactive() {
        return Err(Failure::usage("missing flag: -f FILE")
            .with_hint("without a file the services are asked for, and there is no terminal to ask at"));
    }
    let mut broker = Broker::as_person(world, &place.reach)?;
    let vault = match named_vault(world, place.flag) {
        Some(vault) => vault,
        None => choose::vault(&mut broker)?,
    };
    let before = Held::read(&mut broker, &vault)?;
    let keys = credential::keys(&mut broker, &vault)?;
    output::note(&format!("Vault {vault:?} has {} services.", before.services.len()));
    if !keys.is_empty() {
        output::note(&format!("Its credentials: {}", keys.iter().cloned().collect::<Vec<_>>().join(", ")));
    }
    let mut values = match before.services.is_empty() || starts_anew()? {
        true => Vec::new(),
        false => before.services.clone(),
    };
    let judged = loop {
        let judged = extend(&mut values)?;
        if ask::consent(world, false, "Another service?")? == Consent::Declined {
            break judged;
        }
    };
    output::note("");
    output::note(&document::print(&json!({ "vault": vault, "services": values })));
    if ask::consent(world, false, &format!("Make these the services of vault {vault:?}?"))?
        == Consent::Declined
    {
        output::note("Aborted.");
        return Ok(Exit::Success);
    }
    let replaced = before.replace(&mut broker, &vault, &values)?;
    let mut missing = BTreeSet::new();
    missing.extend(judged.iter().flat_map(Service::credential_keys).filter(|key| !keys.contains(*key)));
    let missing = Vec::from_iter(missing);
    if let Some(first) = missing.first() {
        output::note(&format!("Credentials that are not there yet: {}", missing.join(", ")));
        output::note(&format!("Set each with: agent-vault vault credential set {first} --vault {vault}"));
    }
    replaced.tell(world, &vault)
}

/// Whether what is there goes.
fn starts_anew() -> Result<bool, Failure> {
    let choices = [APPEND, REPLACE].map(str::to_owned);
    Ok(ask::pick("Append to them, or replace them?", &choices)? == REPLACE)
}

/// Asks for a service until it is one that the list can take.
fn extend(values: &mut Vec<Value>) -> Result<Vec<Service>, Failure> {
    loop {
        values.push(asked()?);
        let judged =
            services::read(values).and_then(|drafts| services::check(drafts, InternalNames::Allowed));
        match judged {
            Ok(judged) => return Ok(judged),
            Err(invalid) => {
                values.pop();
                let text = invalid.to_string();
                let own = text.strip_prefix(&format!("services[{}]: ", values.len())).unwrap_or(&text);
                output::note(&format!("That is no service: {own}. Once more:"));
            }
        }
    }
}

fn asked() -> Result<Value, Failure> {
    let (name, host) = (ask::line("Name: ")?, ask::line("Host, as in api.example.com:443/v1/*: ")?);
    let kind = loop {
        let typed = ask::line(&format!("Auth type ({}): ", TYPES.join(", ")))?;
        if TYPES.contains(&typed.as_str()) {
            break typed;
        }
        output::note(&format!("{typed:?} is none of them; other types need -f FILE."));
    };
    let mut auth = Map::from_iter([("type".to_owned(), Value::from(kind.as_str()))]);
    for (_, field, question) in FIELDS.iter().filter(|(of, ..)| *of == kind) {
        let answer = ask::line(question)?;
        if !answer.is_empty() {
            auth.insert((*field).to_owned(), answer.into());
        }
    }
    Ok(json!({ "name": name, "host": host, "auth": auth }))
}
