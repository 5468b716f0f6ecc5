//! Before the child: what the broker says.
//!
//! It is asked as little as possible: is the token good for the vault, what is the CA, where is the proxy. Each text is the contract's (A.4 to A.8); a hint says the next step where that helps.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::admin;
use super::mode::Mode;
use super::token::Token;
use crate::authority::Authority;
use crate::client::state::State;
use crate::client::{Cause, Client, Error, ProxyVars, Settings};
use crate::failure::Failure;
use crate::secret::Secret;

/// Longest part of a broker's answer that a message repeats.
const MAX_QUOTED_BYTES: usize = 512;
/// How much of an answer to `/discover` is read.
const MAX_DISCOVER_BYTES: usize = 1024 * 1024;
/// The proxy's port when the broker does not say (contract A.7).
const DEFAULT_PROXY_PORT: u16 = 14322;
/// First and longest pause between two attempts under `--wait`.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// How the broker is reached.
#[derive(Clone, Debug, Default)]
pub struct Reach {
    /// Roots trusted beside the public ones, as PEM.
    pub broker_ca: Option<Vec<u8>>,
    pub proxy: ProxyVars,
    /// How long a broker that is still starting is waited for.
    pub wait: Duration,
    /// How long one that goes away later is waited for, by what has not been sent yet.
    pub retry: Duration,
}

/// A broker that answered, and what a run needs of it.
pub struct Broker {
    /// Its control API, as the token for the vault.
    pub client: Client,
    pub token: Token,
    pub vault: String,
    /// Its proxy.
    pub proxy: Authority,
    pub ca_pem: Vec<u8>,
    /// [`Reach::retry`].
    pub retry: Duration,
    /// The keys of the credentials it attaches, as far as it tells.
    pub keys: Vec<String>,
}

/// Asks the broker everything a run needs to know.
pub fn reach(mode: Mode, reach: &Reach) -> Result<Broker, Failure> {
    let patience = Patience::new(reach.wait);
    let (client, token, vault, keys) = match mode {
        Mode::Agent { address, token, vault } => {
            let client = connect(&address, reach)
                .map_err(|error| Failure::new(format!("validate token: contacting {address}: {error}")))?;
            let token = token.open()?;
            let keys = validate(&client, &token.current(), &vault, &patience)?;
            (client, token, vault, keys)
        }
        Mode::Admin { address, vault, ttl_seconds, home } => {
            let state = State::of(home.as_deref());
            let session = state.session()?;
            let address = address.unwrap_or_else(|| session.address.clone());
            let client = connect(&address, reach)
                .map_err(|error| Failure::new(format!("could not reach server at {address}: {error}")))?;
            let minted = admin::mint(&client, session, vault, ttl_seconds, &state)?;
            // The token is good: it has just been made. What cannot be told costs placeholders, no more.
            let asking = client.clone().with_token(minted.token.clone()).with_vault(minted.vault.as_str());
            let keys = asking.get("/discover").map_or_else(|_| Vec::new(), |reply| keys_in(reply.body()));
            (client, Token::fixed(minted.token), minted.vault, keys)
        }
    };
    let (ca_pem, port) = ca_and_port(&client, &patience)?;
    let proxy = proxy_at(client.address(), port);
    Ok(Broker { client, token, vault, proxy, ca_pem, retry: reach.retry, keys })
}

fn connect(address: &str, reach: &Reach) -> Result<Client, Error> {
    Client::new(&Settings { address, extra_roots: reach.broker_ca.as_deref(), proxy: reach.proxy.clone() })
}

/// The one `/discover`: is the token good, and for this vault? Returns the keys it names.
fn validate(
    client: &Client,
    token: &Secret,
    vault: &str,
    patience: &Patience,
) -> Result<Vec<String>, Failure> {
    let asking = client.clone().with_token(token.clone()).with_vault(vault);
    let reply = match patience.call(|| asking.get("/discover")) {
        Ok(reply) => reply,
        Err(Error::Status { code: code @ (401 | 403), .. }) => {
            return Err(Failure::new(format!(
                "agent token rejected by broker (HTTP {code}) — verify AGENT_VAULT_TOKEN is current and has access to vault {vault:?}"
            )));
        }
        Err(Error::Status { code, body }) => {
            return Err(Failure::new(format!(
                "validate token: server returned HTTP {code}: {}",
                quoted(&body)
            )));
        }
        Err(error) => {
            let text = format!("validate token: contacting {}: {error}", client.address());
            return Err(hinted(Failure::new(text), &error));
        }
    };
    let body = reply.body();
    let answer: Value = serde_json::from_slice(&body[..body.len().min(MAX_DISCOVER_BYTES)])
        .map_err(|error| Failure::new(format!("validate token: parsing /discover response: {error}")))?;
    if !answer.is_object() {
        return Err(Failure::new("validate token: parsing /discover response: not a JSON object"));
    }
    match answer.get("vault").and_then(Value::as_str) {
        Some(actual) if !actual.is_empty() && actual != vault => Err(Failure::new(format!(
            "vault mismatch: requested vault {vault:?} does not match the supplied token's vault {actual:?} — \
             set AGENT_VAULT_VAULT (or --vault) to {actual:?}, or use a token for {vault:?}"
        ))),
        _ => Ok(keys_of(&answer)),
    }
}

fn keys_in(body: &[u8]) -> Vec<String> {
    let body = &body[..body.len().min(MAX_DISCOVER_BYTES)];
    serde_json::from_slice(body).map_or_else(|_| Vec::new(), |answer| keys_of(&answer))
}

/// The credential keys in an answer to `/discover`; a broker may leave them out.
fn keys_of(answer: &Value) -> Vec<String> {
    let keys = answer.get("available_credentials").and_then(Value::as_array);
    keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Fetches the CA and the proxy's port (contract A.7).
fn ca_and_port(client: &Client, patience: &Patience) -> Result<(Vec<u8>, u16), Failure> {
    match patience.call(|| client.get("/v1/mitm/ca.pem")) {
        Ok(reply) => {
            let port = reply.field("X-MITM-Port").and_then(port).unwrap_or(DEFAULT_PROXY_PORT);
            let is_pem = reply.body().windows(11).any(|part| part == b"-----BEGIN ");
            if !is_pem {
                let text = "MITM setup failed: the server's answer to /v1/mitm/ca.pem is not a certificate";
                return Err(Failure::new(text));
            }
            Ok((reply.body().to_vec(), port))
        }
        Err(Error::Status { code: 404, .. }) => Err(Failure::new(
            "MITM proxy is disabled on the Agent Vault server; restart the server without --mitm-port 0 to enable it",
        )),
        Err(Error::Status { code, body }) => {
            Err(Failure::new(format!("MITM setup failed: server returned {code}: {}", quoted(&body))))
        }
        Err(error) => {
            let address = client.address();
            let text = format!("MITM setup failed: could not reach server at {address}: {error}");
            Err(hinted(Failure::new(text), &error))
        }
    }
}

/// The proxy listens on the host of the control API, always as plain http.
fn proxy_at(address: &str, port: u16) -> Authority {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Authority::parse_or(authority, DEFAULT_PROXY_PORT)
        .and_then(|api| Authority::new(api.host(), port))
        .or_else(|_| Authority::new("127.0.0.1", port))
        .expect("127.0.0.1 is a host")
}

/// A port in digits; the standard parser would take a plus sign.
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|&port| is_number && port != 0)
}

/// The beginning of a body, for a message.
fn quoted(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(MAX_QUOTED_BYTES)]).trim().to_owned()
}

fn hinted(failure: Failure, error: &Error) -> Failure {
    match error {
        Error::Transport(Cause::Tls(_)) => {
            failure.with_hint("name the broker's own CA with --broker-ca FILE (AGENT_VAULT_BROKER_CA)")
        }
        Error::Transport(cause) if cause.may_pass() => failure.with_hint(
            "check AGENT_VAULT_ADDR; with --wait 30s, run waits for a broker that is still starting",
        ),
        _ => failure,
    }
}

/// Retries what waiting can heal: a broker that refuses, has no name yet or answers 5xx. Never a refusal.
struct Patience {
    until: Instant,
}

impl Patience {
    fn new(wait: Duration) -> Self {
        Self { until: Instant::now() + wait }
    }

    fn call<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let mut pause = PAUSES.0;
        loop {
            let error = match attempt() {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let may_pass = match &error {
                Error::Transport(cause) => cause.may_pass(),
                Error::Status { code, .. } => *code >= 500,
                Error::Settings(_) | Error::Malformed(_) => false,
            };
            let left = self.until.saturating_duration_since(Instant::now());
            if !may_pass || left.is_zero() {
                return Err(error);
            }
            // Nobody unparks this thread; a spurious wake-up only makes the next attempt earlier.
            thread::park_timeout(pause.min(left));
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_digits() {
        for (text, expected) in
            [("9001", Some(9001)), ("0", None), ("65536", None), ("abc", None), ("+80", None), ("", None)]
        {
            assert_eq!(port(text), expected, "{text}");
        }
    }

    #[test]
    fn the_proxy_is_where_the_api_is() {
        for (address, expected) in [
            ("http://broker:14321", "broker:9"),
            ("https://broker.example/base", "broker.example:9"),
            ("http://[::1]:14321", "[::1]:9"),
            ("http://user:pass@broker:1", "broker:9"),
            ("nonsense//", "nonsense:9"),
            ("http://", "127.0.0.1:9"),
        ] {
            assert_eq!(proxy_at(address, 9).to_string(), expected, "{address}");
        }
    }

    #[test]
    fn only_what_waiting_can_heal_is_tried_again() {
        let count = |error: fn() -> Error| {
            let mut calls = 0;
            let outcome: Result<(), Error> = Patience::new(Duration::from_millis(150)).call(|| {
                calls += 1;
                Err(error())
            });
            assert!(outcome.is_err());
            calls
        };
        assert!(count(|| Error::Transport(Cause::Refused)) > 1);
        assert!(count(|| Error::Status { code: 503, body: Vec::new() }) > 1);
        assert_eq!(count(|| Error::Status { code: 401, body: Vec::new() }), 1);
        assert_eq!(count(|| Error::Status { code: 404, body: Vec::new() }), 1);
        assert_eq!(count(|| Error::Transport(Cause::Tls(String::new()))), 1);
    }
}
