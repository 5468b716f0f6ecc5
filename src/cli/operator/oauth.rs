//! `vault credential oauth`: credentials whose value is an access token.
//!
//! Secrets come from a file or from stdin and never from the command line, which anyone on the machine may
//! read.

use serde_json::{Map, Value};

use super::broker::{Broker, Reach};
use super::credential::Place;
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, World, encoded, output, text};
use crate::failure::{Exit, Failure};

/// Flags that name the client and its endpoint, and the keys they have in the API.
const CLIENT: &[(&str, &str)] = &[
    ("--token-url", "token_url"),
    ("--client-id", "client_id"),
    ("--token-auth-method", "token_auth_method"),
];
const CLIENT_FLAGS: &[Flag] = &[
    Flag("--token-url URL", "where tokens are renewed"),
    Flag("--client-id ID", "who asks for them"),
    Flag("--client-secret FILE", "the client's secret is in this file, or on stdin (-)"),
    Flag("--token-auth-method METHOD", "client_secret_post (the default) or client_secret_basic"),
];

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "credential", "oauth", "connect"],
        usage: "KEY [flags]",
        about: "Print the URL where a person consents; the credential is connected once they have",
        flags: &[
            &[
                Flag("--authorization-url URL", "the provider's page for consent"),
                Flag("--scopes SCOPES", "what to ask for"),
                Flag("--scope-separator TEXT", "what stands between two scopes, if not a space"),
                Flag("--no-pkce", "for providers that refuse a code challenge"),
            ],
            CLIENT_FLAGS,
            IN_VAULT,
            REACH,
        ],
        example: "agent-vault vault credential oauth connect GITHUB_TOKEN --client-id Iv1.8a61f9b3 --client-secret - \
                  --authorization-url https://github.com/login/oauth/authorize \
                  --token-url https://github.com/login/oauth/access_token < client-secret",
        run: connect,
    },
    Verb {
        words: &["vault", "credential", "oauth", "set-tokens"],
        usage: "KEY [flags]",
        about: "Store tokens that were obtained elsewhere; a refresh token is tried at once",
        flags: &[
            &[
                Flag("--access-token FILE", "the access token is in this file, or on stdin (-)"),
                Flag("--refresh-token FILE", "likewise the refresh token; needs --token-url"),
            ],
            CLIENT_FLAGS,
            IN_VAULT,
            REACH,
        ],
        example: "agent-vault vault credential oauth set-tokens CRM_TOKEN --refresh-token - --client-id crm \
                  --token-url https://id.example.com/token < refresh-token",
        run: set_tokens,
    },
    Verb {
        words: &["vault", "credential", "oauth", "status"],
        usage: "KEY [flags]",
        about: "Say whether a credential is connected, and what went wrong last",
        flags: &[AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault credential oauth status CRM_TOKEN --vault shop",
        run: status,
    },
];

/// The words of a command, as the API reads them.
struct Form {
    reach: Reach,
    vault: Option<String>,
    fields: Map<String, Value>,
}

impl Form {
    /// Takes the flags of a client, and the secrets and texts given.
    fn take(
        args: &mut Args,
        secrets: &[(&'static str, &str)],
        texts: &[(&'static str, &str)],
    ) -> Result<Self, Failure> {
        let (reach, vault) = (Reach::take(args)?, args.value("--vault")?);
        let mut fields = Map::new();
        for (flag, field) in CLIENT.iter().chain(texts) {
            if let Some(value) = args.value(*flag)? {
                fields.insert((*field).to_owned(), value.into());
            }
        }
        let mut is_stdin_taken = false;
        for (flag, field) in secrets.iter().chain(&[("--client-secret", "client_secret")]) {
            let Some(place) = args.value(*flag)? else { continue };
            let is_stdin = place == "-";
            if is_stdin && std::mem::replace(&mut is_stdin_taken, true) {
                return Err(Failure::usage("only one value can be read from stdin"));
            }
            let value = if is_stdin { Place::Stdin } else { Place::File(place) }.read(flag)?;
            let Some(value) = value.expose_str() else {
                return Err(Failure::new(format!("the value of {flag} is not UTF-8 text")));
            };
            fields.insert((*field).to_owned(), value.into());
        }
        Ok(Self { reach, vault, fields })
    }

    /// Sends it; the answer.
    fn post(mut self, world: &World<'_>, key: &str, path: &str) -> Result<Value, Failure> {
        let (mut broker, vault) = Broker::for_vault(world, &self.reach, self.vault)?;
        self.fields.insert("vault".to_owned(), vault.into());
        self.fields.insert("key".to_owned(), key.into());
        let reply = broker.post(path, &Value::Object(self.fields))?;
        broker.json(&reply)
    }
}

fn connect(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let texts = [
        ("--authorization-url", "authorization_url"),
        ("--scopes", "scopes"),
        ("--scope-separator", "scope_separator"),
    ];
    let mut form = Form::take(&mut args, &[], &texts)?;
    form.fields.insert("disable_pkce".to_owned(), args.flag("--no-pkce").into());
    let key = args.word("KEY")?;
    args.finish()?;
    let answer = form.post(world, &key, "/v1/credentials/oauth/connect")?;
    output::print(&format!("{}\n", text(&answer, "authorization_url")))?;
    output::note("Open this URL in a browser within ten minutes and consent");
    Ok(Exit::Success)
}

fn set_tokens(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let secrets = [("--access-token", "access_token"), ("--refresh-token", "refresh_token")];
    let form = Form::take(&mut args, &secrets, &[])?;
    let key = args.word("KEY")?;
    args.finish()?;
    form.post(world, &key, "/v1/credentials/oauth/tokens")?;
    output::success(world, &format!("Connected {key}"))?;
    Ok(Exit::Success)
}

fn status(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, vault) = (Reach::take(&mut args)?, args.value("--vault")?);
    let as_json = args.flag("--json");
    let key = args.word("KEY")?;
    args.finish()?;
    let (mut broker, vault) = Broker::for_vault(world, &reach, vault)?;
    let path = format!("/v1/credentials/oauth/status?vault={}&key={}", encoded(&vault), encoded(&key));
    let reply = broker.get(&path)?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let is_connected = answer.get("connected").and_then(Value::as_bool) == Some(true);
    let mut lines = if is_connected {
        format!("connected since {}\n", text(&answer, "connected_at"))
    } else {
        "not connected\n".to_owned()
    };
    if answer.get("last_error").is_some() {
        lines.push_str(&format!("last error: {}\n", text(&answer, "last_error")));
    }
    output::print(&lines)?;
    Ok(Exit::Success)
}
