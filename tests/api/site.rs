//! A broker of the test's own and callers of its control API.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::{HeaderMap, Request};

use crate::support::{BINARY, Running, TempDir, bare};

pub(crate) const OWNER: &str = "owner@example.test";
pub(crate) const PASSWORD: &str = "correct horse battery";

/// A running broker without a master password: what is tested here does not depend on one.
pub(crate) struct Site {
    pub(crate) process: Running,
    pub(crate) home: TempDir,
    pub(crate) address: String,
}

/// One caller: nobody, a login, an agent, a scoped token.
#[derive(Clone)]
pub(crate) struct Caller {
    agent: ureq::Agent,
    address: String,
    pub(crate) token: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: String,
}

impl Site {
    pub(crate) fn start() -> Self {
        Self::start_with(&[], &[])
    }

    pub(crate) fn start_with(args: &[&str], vars: &[(&str, &str)]) -> Self {
        Self::start_in(TempDir::new(), args, vars)
    }

    /// Starts on the state another broker left behind.
    pub(crate) fn start_in(home: TempDir, args: &[&str], vars: &[(&str, &str)]) -> Self {
        let mut command = bare(Path::new(BINARY), home.path());
        command.args(["server", "--port", "0"]).args(args).envs(vars.iter().copied());
        if !args.contains(&"--mitm-port") {
            command.args(["--mitm-port", "auto"]);
        }
        let mut process = Running::start(&mut command);
        let shown = process.line_after("Agent Vault server listening on ");
        // A chosen public address says nothing about where the test finds the broker.
        let address =
            if vars.iter().any(|(name, _)| *name == "AGENT_VAULT_ADDR") { String::new() } else { shown };
        Self { process, home, address }
    }

    pub(crate) fn nobody(&self) -> Caller {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .proxy(None)
            .max_redirects(0)
            .timeout_global(Some(Duration::from_secs(30)))
            .build();
        Caller { agent: config.new_agent(), address: self.address.clone(), token: None }
    }

    pub(crate) fn with_token(&self, token: &str) -> Caller {
        Caller { token: Some(token.to_owned()), ..self.nobody() }
    }

    /// Registers the owner and returns the login.
    pub(crate) fn owner(&self) -> Caller {
        let body = json!({"email": OWNER, "password": PASSWORD});
        let answer = self.nobody().post("/v1/auth/register", &body).expect(201);
        self.with_token(text(&answer.json(), "token"))
    }

    /// Invites somebody, takes the invite up and logs in; `vaults` as an invite names them.
    pub(crate) fn person(&self, owner: &Caller, email: &str, role: &str, vaults: &Value) -> Caller {
        let invite = json!({"email": email, "role": role, "vaults": vaults});
        let made = owner.post("/v1/users/invites", &invite).expect(201).json();
        let path = format!("/v1/users/invites/{}/accept", token_in(&made));
        self.nobody().post(&path, &json!({"password": PASSWORD})).expect(200);
        let form = json!({"email": email, "password": PASSWORD});
        let login = self.nobody().post("/v1/auth/login", &form).expect(200).json();
        self.with_token(text(&login, "token"))
    }

    /// An agent in vault `default` with this role there.
    pub(crate) fn agent(&self, owner: &Caller, name: &str, role: &str) -> Caller {
        let vaults = json!([{"vault_name": "default", "vault_role": role}]);
        let made = owner.post("/v1/agents", &json!({"name": name, "vaults": vaults})).expect(201);
        self.with_token(text(&made.json(), "av_agent_token"))
    }
}

impl Caller {
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], None)
    }

    pub(crate) fn get_with(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.call("GET", path, fields, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, body)
    }

    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.call(method, path, &[], Some(body.to_string()))
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], None)
    }

    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Option<String>,
    ) -> Answer {
        self.try_call(method, path, fields, body).unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// A call to a broker that may be gone.
    pub(crate) fn try_call(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Option<String>,
    ) -> Result<Answer, ureq::Error> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.address));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut response = match body {
            Some(body) => self.agent.run(request.body(body).expect("a request"))?,
            None => self.agent.run(request.body(()).expect("a request"))?,
        };
        let body = response.body_mut().with_config().limit(64 << 20).read_to_string()?;
        Ok(Answer { status: response.status().as_u16(), fields: response.headers().clone(), body })
    }
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert!(self.body.ends_with('\n'), "an answer ends with a newline: {:?}", self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Status and `error`, the way refusals are listed in tests.
    #[track_caller]
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status, text(&self.json(), "error").to_owned())
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", |value| value.to_str().expect("a text field"))
    }
}

/// A field of an answer that has to be text.
#[track_caller]
pub(crate) fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is not text in {value}"))
}

/// The token in the link of an invite just made.
#[track_caller]
pub(crate) fn token_in(invite: &Value) -> &str {
    let link = text(invite, "invite_link");
    link.rsplit_once("/invite/").unwrap_or_else(|| panic!("no token in {link}")).1
}

/// What [`Answer::refusal`] is compared with.
pub(crate) fn refused(status: u16, error: &str) -> (u16, String) {
    (status, error.to_owned())
}
