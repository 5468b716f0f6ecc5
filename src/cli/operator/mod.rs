//! Setting a broker up and looking after it: one file per noun, each verb one short function.
//!
//! A verb takes its flags and words, asks the broker, and prints. How the broker is reached and as whom
//! is decided in [`broker`], what a person is asked in [`ask`]; results go to stdout, the rest to stderr.

pub(super) mod account;
pub(super) mod agent;
pub(super) mod apply;
pub(super) mod ask;
pub(super) mod auth;
pub(super) mod backup;
mod broker;
pub(super) mod ca;
pub(super) mod catalog;
mod choose;
pub(super) mod config;
pub(super) mod credential;
mod document;
pub(super) mod explain;
mod follow;
pub(super) mod grant;
pub(super) mod invite;
pub(super) mod issue;
pub(super) mod logs;
pub(super) mod master_password;
pub(super) mod member;
pub(super) mod oauth;
pub(super) mod owner;
pub(super) mod project;
pub(super) mod proposal;
pub(super) mod reset;
pub(super) mod service;
mod state;
pub(super) mod user;
pub(super) mod vault;
mod yaml;

use serde_json::Value;

use super::{Args, Flag, Verb, World, output};

/// Flags of every command that asks a broker.
const REACH: &[Flag] = &[
    Flag("--address URL", "broker, if not the one the login was saved for"),
    Flag("--broker-ca FILE", "trust this CA for an https broker (AGENT_VAULT_BROKER_CA)"),
];

/// The same for commands that need no login.
const PUBLIC_REACH: &[Flag] = &[
    Flag("--address URL", "broker (AGENT_VAULT_ADDR; else the saved one, else http://127.0.0.1:14321)"),
    Flag("--broker-ca FILE", "trust this CA for an https broker (AGENT_VAULT_BROKER_CA)"),
];

const IN_VAULT: &[Flag] = &[Flag(
    "--vault NAME",
    "vault (AGENT_VAULT_VAULT; else ./agent-vault.json, 'vault use', the vault \"default\")",
)];

const AS_JSON: &[Flag] = &[Flag("--json", "print the broker's answer for programs")];

const WITHOUT_ASKING: &[Flag] = &[Flag("--yes", "do not ask; needed when there is no terminal")];

const TOKEN_ONLY: &[Flag] = &[Flag("--token-only", "print the token and nothing else, without a newline")];

/// A text of a broker's answer, for a table; empty when it is not there.
fn text(object: &Value, key: &str) -> String {
    object.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A list of a broker's answer.
fn list<'a>(answer: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    answer.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// Percent-encodes one segment of a path, or one value of a query.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_one_segment() {
        assert_eq!(encoded("slack.com/api/*?x"), "slack.com%2Fapi%2F%2A%3Fx");
        assert_eq!(encoded("é"), "%C3%A9");
    }
}
