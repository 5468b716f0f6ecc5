//! Setting a broker up and looking after it: one file per noun, each verb one short function.
//!
//! A verb takes its flags and words, asks the broker, and prints. How the broker is reached and as whom
//! is decided in [`broker`], what a person is asked in [`ask`]; results go to stdout, the rest to stderr.

mod account;
mod agent;
mod apply;
mod ask;
mod auth;
mod backup;
mod broker;
mod ca;
mod catalog;
mod choose;
mod config;
mod credential;
mod document;
mod explain;
mod follow;
mod invite;
mod issue;
mod logs;
mod master_password;
mod member;
mod oauth;
mod owner;
mod policy;
mod project;
mod proposal;
mod reset;
mod service;
mod state;
mod token;
mod user;
mod vault;
mod yaml;

use super::answer::{list, text};
use super::{Args, Flag, Verb, World, output};

/// Every command of this folder, in the order help shows them: one list per noun.
pub(super) const TABLE: &[&[Verb]] = &[
    auth::VERBS,
    account::VERBS,
    apply::VERBS,
    vault::VERBS,
    token::VERBS,
    policy::VERBS,
    project::VERBS,
    logs::VERBS,
    explain::VERBS,
    credential::VERBS,
    oauth::VERBS,
    service::VERBS,
    proposal::VERBS,
    member::AGENT_VERBS,
    issue::VERBS,
    agent::VERBS,
    member::USER_VERBS,
    user::VERBS,
    invite::VERBS,
    owner::VERBS,
    catalog::VERBS,
    config::VERBS,
    ca::VERBS,
    backup::VERBS,
    master_password::VERBS,
    reset::VERBS,
];

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
