//! A file of services, as people keep it: YAML or JSON, with host, port and path apart.
//!
//! The broker takes host, port and path as one text. A misspelled key is refused here, since the broker
//! ignores it, and a service without its path or port would get its credential to more places than meant.

use std::fs::File;
use std::io::Read as _;

use serde_json::{Map, Value};

use super::{ask, yaml};
use crate::failure::Failure;
use crate::json::{self, json};
use crate::vault::service::split_host;

/// What a service may say; the broker has an answer of its own for `description`.
pub(super) const KEYS: [&str; 8] =
    ["name", "host", "port", "path", "enabled", "auth", "substitutions", "description"];

/// Services as the broker takes them, and the vault they were listed from, if the file says so.
#[derive(Debug, PartialEq)]
pub(super) struct Document {
    pub(super) vault: Option<String>,
    pub(super) services: Vec<Value>,
}

/// Reads a file of services, or stdin when it is called `-`.
pub(super) fn read(path: &str) -> Result<Document, Failure> {
    read_with(path, services)
}

/// Reads a YAML or JSON file, or stdin when it is called `-`, and makes of it what is wanted; a problem is
/// told with the file's name.
pub(super) fn read_with<T>(
    path: &str,
    understand: impl FnOnce(Value) -> Result<T, String>,
) -> Result<T, Failure> {
    let name = if path == "-" { "stdin" } else { path };
    let failed = |problem: &dyn std::fmt::Display| Failure::new(format!("{name}: {problem}"));
    let bytes = if path == "-" {
        ask::stdin_bytes()?
    } else {
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(ask::MAX_INPUT_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| failed(&error))?;
        bytes
    };
    if bytes.len() as u64 > ask::MAX_INPUT_BYTES {
        return Err(failed(&"longer than 1 MiB"));
    }
    let text = str::from_utf8(&bytes).map_err(|_| failed(&"not UTF-8 text"))?;
    parse(text).and_then(understand).map_err(|problem| failed(&problem))
}

fn parse(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with(['{', '[']) { json::parse(text) } else { yaml::parse(text) }
}

fn services(value: Value) -> Result<Document, String> {
    let (vault, services) = match value {
        Value::Array(services) => (None, services),
        Value::Object(mut document) => {
            let services = match document.remove("services") {
                Some(Value::Array(services)) => services,
                Some(_) => return Err("\"services\" is not a list".to_owned()),
                None => return Err("there is no list \"services\"".to_owned()),
            };
            let vault = document.remove("vault").and_then(|vault| Some(vault.as_str()?.to_owned()));
            if let Some(key) = document.keys().next() {
                return Err(format!("unknown key {key:?}; known are vault and services"));
            }
            (vault, services)
        }
        _ => return Err("there is no list \"services\"".to_owned()),
    };
    Ok(Document { vault, services: each_joined(services)? })
}

/// A list of services as the broker takes them.
pub(super) fn each_joined(services: Vec<Value>) -> Result<Vec<Value>, String> {
    let each = services
        .into_iter()
        .enumerate()
        .map(|(at, service)| joined(service, &KEYS).map_err(|problem| format!("services[{at}]: {problem}")));
    each.collect()
}

/// A service with its port where the broker looks for it, if it has no other keys than these; the last of
/// them is not recommended.
pub(super) fn joined(service: Value, known: &[&str]) -> Result<Value, String> {
    let Value::Object(mut service) = service else {
        return Err("not an object".to_owned());
    };
    if let Some(key) = service.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("unknown key {key:?}; known are {}", known[..known.len() - 1].join(", ")));
    }
    let port = match service.remove("port") {
        None | Some(Value::Null) => return Ok(Value::Object(service)),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::String(text)) => text,
        Some(_) => return Err("port is not a number".to_owned()),
    };
    if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("port {port:?} is not a number"));
    }
    let inline = service.get("host").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (host, inline_port, path) = split_host(&inline);
    if let Some(embedded) = inline_port.filter(|embedded| embedded.to_string() != port) {
        return Err(format!("host {inline:?} embeds port {embedded} but port field is {port}"));
    }
    service.insert("host".to_owned(), format!("{host}:{port}{path}").into());
    Ok(Value::Object(service))
}

/// The broker's answer with host, port and path apart: what [`read`] takes back.
pub(super) fn print(answer: &Value) -> String {
    let services = answer.get("services").and_then(Value::as_array).cloned().unwrap_or_default();
    let services: Vec<Value> = services.into_iter().map(apart).collect();
    yaml::print(&json!({ "vault": answer.get("vault"), "services": services }))
}

fn apart(service: Value) -> Value {
    let Value::Object(service) = service else { return service };
    let mut split = Map::new();
    for (key, value) in service {
        let Some(inline) = value.as_str().filter(|_| key == "host") else {
            split.insert(key, value);
            continue;
        };
        let (host, port, path) = split_host(inline);
        split.insert(key, host.into());
        if let Some(port) = port {
            split.insert("port".to_owned(), port.into());
        }
        if !path.is_empty() {
            split.insert("path".to_owned(), path.into());
        }
    }
    Value::Object(split)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document(text: &str) -> Result<Document, String> {
        parse(text).and_then(services)
    }

    #[test]
    fn what_was_listed_can_be_set() {
        let listed = json!([
            {"name": "a", "host": "*.x.com:8443/api/*", "auth": {"type": "bearer", "token": "K"}},
            {"name": "b", "host": "y.com", "enabled": false, "auth": {"type": "passthrough"}},
        ]);
        let text = print(&json!({"vault": "shop", "services": listed}));
        assert!(text.starts_with(
            "vault: shop\nservices:\n  - name: a\n    host: \"*.x.com\"\n    port: 8443\n    path: \"/api/*\"\n"
        ));
        let read = document(&text).unwrap();
        assert_eq!(read.vault.as_deref(), Some("shop"));
        assert_eq!(read.services[0]["host"], "*.x.com:8443");
        assert_eq!(read.services[0]["path"], "/api/*");
        assert_eq!(read.services[1], listed[1]);
        assert_eq!(document(&print(&json!({"services": []}))).unwrap().services, [] as [Value; 0]);
    }

    #[test]
    fn json_and_a_bare_list_are_taken_too() {
        let expected = vec![json!({"name": "a", "host": "x.com:80/p"})];
        for text in [
            r#"{"services": [{"name": "a", "host": "x.com/p", "port": 80}]}"#,
            r#"[{"name": "a", "host": "x.com:80/p"}]"#,
            "- name: a\n  host: x.com:80/p\n  port: 80\n",
        ] {
            assert_eq!(document(text), Ok(Document { vault: None, services: expected.clone() }), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, problem) in [
            (
                "services:\n  - {host: x.com, pth: /a}\n",
                "services[0]: unknown key \"pth\"; known are name, host, port, path, enabled, auth, substitutions",
            ),
            ("service: []\n", "there is no list \"services\""),
            ("services: {}\n", "\"services\" is not a list"),
            ("services: []\nversion: 1\n", "unknown key \"version\"; known are vault and services"),
            (
                "- {host: 'x.com:80', port: 81}\n",
                "services[0]: host \"x.com:80\" embeds port 80 but port field is 81",
            ),
            ("- {host: x.com, port: +81}\n", "services[0]: port \"+81\" is not a number"),
            ("- x\n", "services[0]: not an object"),
            ("", "there is no list \"services\""),
        ] {
            assert_eq!(document(text), Err(problem.to_owned()));
        }
        assert!(document("{").unwrap_err().contains("line 1"));
    }
}
