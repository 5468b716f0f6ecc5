//! A service as flags describe it: for `vault service add`, and for a proposal.

use serde_json::{Map, Value};

use super::super::{Args, Flag};
use crate::failure::Failure;
use crate::json::json;

pub(in super::super) const AUTH: &[Flag] = &[
    Flag("--auth-type TYPE", "bearer, basic, api-key or passthrough; other types need -f"),
    Flag("--token-key KEY", "bearer: the credential"),
    Flag("--username-key KEY, --password-key KEY", "basic: the credentials"),
    Flag("--api-key-key KEY", "api-key: the credential"),
    Flag("--api-key-header NAME, --api-key-prefix TEXT", "api-key: its header, and what stands before it"),
    Flag("--disabled", "add it without attaching anything yet"),
];

/// Flag, field of the service's `auth`, and the type it belongs to.
const AUTH_FIELDS: [(&str, &str, &str); 6] = [
    ("--token-key", "token", "bearer"),
    ("--username-key", "username", "basic"),
    ("--password-key", "password", "basic"),
    ("--api-key-key", "key", "api-key"),
    ("--api-key-header", "header", "api-key"),
    ("--api-key-prefix", "prefix", "api-key"),
];

/// A service as flags describe it.
#[derive(Debug)]
pub(in super::super) struct Described {
    name: Option<String>,
    host: Option<String>,
    auth_type: Option<String>,
    fields: Vec<((&'static str, &'static str, &'static str), String)>,
    is_disabled: bool,
}

/// Takes the describing flags; `None` when there is none of them.
pub(in super::super) fn described(args: &mut Args) -> Result<Option<Described>, Failure> {
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
    pub(in super::super) fn into_json(self) -> Result<Value, Failure> {
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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use serde_json::json;

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
