//! The document, read and judged whole before anybody is asked: names, roles, services, and no secret.
//!
//! A key that is not known is refused, since what it was meant to say would not happen. One that looks like
//! a place for a secret is refused with a reason of its own; a message never repeats what may be one.

use serde_json::{Map, Value};

use super::super::document::{each_joined, read_with};
use crate::failure::Failure;
use crate::store::accounts::InstanceRole;
use crate::vault::scope::Role;
use crate::vault::service::misplaced::names_no_secret;
use crate::vault::service::{InternalNames, Service, list, name};

/// Keys under which people keep secrets; none of them is a key of the document.
const SECRETS: [&str; 10] = [
    "credential",
    "credentials",
    "secret",
    "secrets",
    "value",
    "values",
    "password",
    "passwords",
    "token",
    "tokens",
];

/// What the broker is to hold. What a document leaves out is left as it is.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    pub(super) vaults: Vec<Vault>,
    pub(super) agents: Vec<Agent>,
    pub(super) users: Vec<User>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Vault {
    pub(super) name: String,
    /// What happens to requests no service matches, in the API's word.
    pub(super) policy: Option<String>,
    pub(super) services: Option<Vec<Service>>,
}

#[derive(Debug, PartialEq)]
pub(super) struct Agent {
    pub(super) name: String,
    pub(super) role: Option<InstanceRole>,
    /// Vault and role.
    pub(super) grants: Option<Vec<(String, Role)>>,
}

#[derive(Debug, PartialEq)]
pub(super) struct User {
    pub(super) email: String,
    pub(super) grants: Vec<(String, Role)>,
}

/// Reads a file, or stdin when it is called `-`.
pub(super) fn read(path: &str) -> Result<Document, Failure> {
    read_with(path, understand)
}

fn understand(value: Value) -> Result<Document, String> {
    let mut top = object("the document", value)?;
    let mut part = |key: &str| top.remove(key).map_or(Ok(Map::new()), |value| object(key, value));
    let (vaults, agents, users) = (part("vaults")?, part("agents")?, part("users")?);
    nothing_left("the document", &top, "vaults, agents, users")?;
    let document = Document {
        vaults: vaults.into_iter().map(vault).collect::<Result<_, _>>()?,
        agents: agents.into_iter().map(agent).collect::<Result<_, _>>()?,
        users: users.into_iter().map(user).collect::<Result<_, _>>()?,
    };
    if document.vaults.is_empty() && document.agents.is_empty() && document.users.is_empty() {
        return Err("it names no vaults, agents or users".to_owned());
    }
    Ok(document)
}

fn vault((vault, value): (String, Value)) -> Result<Vault, String> {
    let place = format!("vaults.{vault}");
    name::check(&vault).map_err(|invalid| format!("{place}: {invalid}"))?;
    let mut fields = object(&place, value)?;
    let policy = match fields.remove("policy") {
        None | Some(Value::Null) => None,
        Some(Value::String(policy)) if matches!(policy.as_str(), "passthrough" | "deny") => Some(policy),
        Some(_) => return Err(format!("{place}: policy is passthrough or deny")),
    };
    let services = match fields.remove("services") {
        None | Some(Value::Null) => None,
        Some(Value::Array(services)) => {
            Some(checked(services).map_err(|problem| format!("{place}: {problem}"))?)
        }
        Some(_) => return Err(format!("{place}: services is not a list")),
    };
    nothing_left(&place, &fields, "policy, services")?;
    Ok(Vault { name: vault, policy, services })
}

/// Services as the broker would take them; it has the last word on internal host names.
fn checked(services: Vec<Value>) -> Result<Vec<Service>, String> {
    let services = each_joined(services)?;
    for (at, service) in services.iter().enumerate() {
        names_no_secret(service).map_err(|problem| format!("services[{at}].{problem}"))?;
    }
    list::read(&services)
        .and_then(|drafts| list::check(drafts, InternalNames::Allowed))
        .map_err(|invalid| invalid.to_string())
}

fn agent((agent, value): (String, Value)) -> Result<Agent, String> {
    let place = format!("agents.{agent}");
    name::check(&agent).map_err(|invalid| format!("{place}: {invalid}"))?;
    let mut fields = object(&place, value)?;
    let role = match fields.remove("role") {
        None | Some(Value::Null) => None,
        Some(role) => Some(
            role.as_str()
                .and_then(InstanceRole::parse)
                .ok_or_else(|| format!("{place}: role is no-access, member or owner"))?,
        ),
    };
    let grants = match fields.remove("vaults") {
        None | Some(Value::Null) => None,
        Some(vaults) => Some(grants(&place, vaults)?),
    };
    nothing_left(&place, &fields, "role, vaults")?;
    Ok(Agent { name: agent, role, grants })
}

fn user((email, value): (String, Value)) -> Result<User, String> {
    let place = format!("users.{email}");
    let mut fields = object(&place, value)?;
    let grants = grants(&place, fields.remove("vaults").unwrap_or_default())?;
    nothing_left(&place, &fields, "vaults")?;
    if grants.iter().any(|(_, role)| *role == Role::Proxy) {
        return Err(format!("{place}: a user's role in a vault is member or admin"));
    }
    Ok(User { email, grants })
}

fn grants(place: &str, value: Value) -> Result<Vec<(String, Role)>, String> {
    let vaults = object(&format!("{place}.vaults"), value)?;
    let each = vaults.into_iter().map(|(vault, role)| match role.as_str().and_then(Role::parse) {
        Some(role) => Ok((vault, role)),
        None => Err(format!("{place}.vaults.{vault}: a role is proxy, member or admin")),
    });
    each.collect()
}

fn object(place: &str, value: Value) -> Result<Map<String, Value>, String> {
    match value {
        Value::Object(object) => Ok(object),
        Value::Null => Ok(Map::new()),
        _ => Err(format!("{place} is not a mapping of names")),
    }
}

fn nothing_left(place: &str, fields: &Map<String, Value>, known: &str) -> Result<(), String> {
    let Some(key) = fields.keys().next() else { return Ok(()) };
    if SECRETS.contains(&key.to_ascii_lowercase().as_str()) {
        return Err(format!(
            "{place}: {key:?} is not taken: the document holds no secrets; \
             set them with 'agent-vault vault credential set KEY=-'"
        ));
    }
    Err(format!("{place}: unknown key {key:?}; known are {known}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_says_what_is_to_be() {
        let document = understand(json!({
            "vaults": {"shop": {"policy": "deny", "services": [
                {"name": "api", "host": "x.com", "port": 8443, "auth": {"type": "bearer", "token": "K"}}
            ]}, "empty": null},
            "agents": {"bot": {"role": "member", "vaults": {"shop": "proxy"}}, "other": {}},
            "users": {"a@b.c": {"vaults": {"shop": "admin"}}},
        }))
        .unwrap();
        let shop = &document.vaults[0];
        assert_eq!((shop.name.as_str(), shop.policy.as_deref()), ("shop", Some("deny")));
        assert_eq!(shop.services.as_ref().unwrap()[0].joined_host(), "x.com:8443");
        assert_eq!(document.vaults[1].services, None);
        assert_eq!(document.agents[0].grants, Some(vec![("shop".to_owned(), Role::Proxy)]));
        assert_eq!(document.agents[1].grants, None);
        assert_eq!(document.users[0].grants, [("shop".to_owned(), Role::Admin)]);
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not_repeated() {
        let service = |auth: Value| json!({"vaults": {"shop": {"services": [{"name": "api", "host": "x.com", "auth": auth}]}}});
        for (value, problem) in [
            (json!([]), "the document is not a mapping of names"),
            (json!({}), "it names no vaults, agents or users"),
            (json!({"vault": {}}), "the document: unknown key \"vault\"; known are vaults, agents, users"),
            (json!({"vaults": {"X": {}}}), "vaults.X: name \"X\" must be at least 3 characters"),
            (json!({"vaults": {"shop": {"policy": "allow"}}}), "vaults.shop: policy is passthrough or deny"),
            (
                json!({"vaults": {"shop": {"credentials": {"K": "sk_live_1"}}}}),
                "vaults.shop: \"credentials\" is not taken: the document holds no secrets; set them with \
                 'agent-vault vault credential set KEY=-'",
            ),
            (
                service(json!({"type": "bearer", "token": "sk_live_1"})),
                "vaults.shop: services[0].auth.token: not the name of a credential, which is like STRIPE_KEY",
            ),
            (
                service(json!({"type": "custom", "headers": {"Authorization": "Bearer sk_live_1"}})),
                "vaults.shop: services[0].auth.headers.Authorization: names no credential; write {{ KEY }} for its value",
            ),
            (json!({"agents": {"bot": {"role": "admin"}}}), "agents.bot: role is no-access, member or owner"),
            (
                json!({"agents": {"bot": {"vaults": {"shop": "owner"}}}}),
                "agents.bot.vaults.shop: a role is proxy, member or admin",
            ),
            (
                json!({"users": {"a@b.c": {"vaults": {"shop": "proxy"}}}}),
                "users.a@b.c: a user's role in a vault is member or admin",
            ),
        ] {
            assert_eq!(understand(value), Err(problem.to_owned()));
        }
    }
}
