//! Promise: without a broker, `run` itself attaches the credentials that one document places, and the command
//! sees none of them. What is denied says so, and what is wrong stops the start with every reason.

#[path = "../support/mod.rs"]
mod support;

mod check;
mod clients;
mod reload;
mod start;
mod tunnels;

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::{BINARY, Origin, Running, SECRET, TempDir, bare, need, run};

const API: &str = "api.example.test";

/// An origin and a home for a run whose rules are a document.
struct Alone {
    origin: Origin,
    home: TempDir,
}

impl Alone {
    fn new(origin: Origin) -> Self {
        let home = TempDir::new();
        home.write("origin-ca.pem", origin.ca_pem());
        Self { origin, home }
    }

    fn tls() -> Self {
        Self::new(Origin::tls(&[API, "other.example.test", "deep.wild.example.test"]))
    }

    /// A document that trusts the origin and reaches it on the loopback.
    fn document(&self, services: &Value) -> Value {
        json!({
            "services": services,
            "upstream_ca": self.home.join("origin-ca.pem"),
            "network_allowlist": ["127.0.0.0/8"],
        })
    }

    /// The same with one service, for the API.
    fn one_service(&self) -> Value {
        self.document(&json!([bearer("the-api", API, "API_KEY")]))
    }

    /// `agent-vault`, with the names of the test leading to the loopback.
    fn bare(&self) -> Command {
        let mut command = bare(Path::new(BINARY), self.home.path());
        let names = [API, "other.example.test", "new.example.test", "deep.wild.example.test"];
        let names: Vec<String> = names.iter().map(|name| format!("{name}=127.0.0.1")).collect();
        command.env("AGENT_VAULT_HOST_OVERRIDES", names.join(","));
        command
    }

    /// `agent-vault run --`, by this document in a variable; the caller adds the child's words.
    fn inline(&self, document: &Value) -> Command {
        let mut command = self.bare();
        command.env("AGENT_VAULT_CONFIG", document.to_string()).args(["run", "--"]);
        command
    }
}

fn bearer(name: &str, host: &str, key: &str) -> Value {
    json!({"name": name, "host": host, "auth": {"type": "bearer", "token": key}})
}

/// Asks the listener itself.
#[test]
fn the_listener_answers_the_agent_protocol_as_far_as_it_needs_no_broker() {
    let test = "the_listener_answers_the_agent_protocol_as_far_as_it_needs_no_broker";
    if need(test, "curl", "install curl").is_none() {
        return;
    }
    let alone = Alone::tls();
    let script = r#"
        ask() { curl -s -w ' %{http_code}\n' "$@"; }
        ask -H "Authorization: Bearer $AGENT_VAULT_TOKEN" "$AGENT_VAULT_ADDR/discover"
        ask "$AGENT_VAULT_ADDR/discover"
        ask -d '{}' "$AGENT_VAULT_ADDR/v1/proposals"
        ask "$AGENT_VAULT_ADDR/v1/mitm/ca.pem"
    "#;
    let mut document = alone.one_service();
    document["vault"] = "shop".into();
    let mut command = alone.inline(&document);
    let ended = run(command.env("API_KEY", SECRET).args(["sh", "-c", script]), b"").expect_success();
    let discovered = json!({
        "vault": "shop",
        "services": [{"name": "the-api", "host": API}],
        "available_credentials": ["API_KEY"],
    });
    let lines: Vec<&str> = ended.stdout.lines().collect();
    let (discovery, status) = (lines[0], lines[1]);
    assert_eq!(serde_json::from_str::<Value>(discovery).unwrap(), discovered);
    assert_eq!(status, " 200");
    assert_eq!(lines[2..4], ["{\"error\":\"Invalid or expired session\"}", " 401"]);
    let proposals = "Proposals need a broker, and this run has none: ask whoever keeps its configuration";
    assert_eq!(lines[4..6], [json!({ "error": proposals }).to_string().as_str(), " 404"]);
    assert_eq!(lines[6..8], ["{\"error\":\"Not found\"}", " 404"]);
    assert!(alone.origin.requests().is_empty());
}

/// A client that cannot authenticate is let in when it is of this run; a stranger needs the credential.
#[test]
fn strangers_are_kept_out() {
    let test = "strangers_are_kept_out";
    if need(test, "curl", "install curl").is_none() {
        return;
    }
    let alone = Alone::tls();
    let mut command = alone.inline(&alone.one_service());
    let script = "curl -sS -o /dev/null -w 'own %{http_code}\\n' -x \"$AGENT_VAULT_ADDR\" \"$0\"; \
                  echo \"address $AGENT_VAULT_ADDR\"; exec sleep 60";
    let url = alone.origin.url(API, "/x");
    let mut running = Running::start(command.env("API_KEY", SECRET).args(["sh", "-c", script, &url]));
    assert_eq!(running.line_after("own "), "200");
    assert_eq!(alone.origin.last().field("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    let address = running.line_after("address ");
    let stranger = |credential: &[&str]| {
        let mut curl = bare(Path::new("curl"), alone.home.path());
        let ended = run(curl.args(["-sS", "-i", "-x", &address]).args(credential).arg(&url), b"");
        ended.stdout.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(stranger(&[]), "HTTP/1.1 407 Proxy Authentication Required");
    assert_eq!(
        stranger(&["--proxy-user", "av_sess_0:default"]),
        "HTTP/1.1 407 Proxy Authentication Required"
    );
    assert_eq!(alone.origin.requests().len(), 1);
}

/// What no service mentions is refused while it can still be said why, and goes by untouched where it may.
#[test]
fn other_hosts_are_denied_or_passed_through_untouched() {
    let test = "other_hosts_are_denied_or_passed_through_untouched";
    if need(test, "curl", "install curl").is_none() {
        return;
    }
    let alone = Alone::tls();
    let url = alone.origin.url("other.example.test", "/x");
    let mut document = json!({
        "services": [bearer("the-api", API, "API_KEY")],
        "network_allowlist": ["127.0.0.0/8"],
    });
    let curl = |document: &Value, args: &[&str]| {
        let mut command = alone.inline(document);
        run(command.env("API_KEY", SECRET).arg("curl").arg("-sS").args(args).arg(&url), b"")
    };
    let denied = curl(&document, &["-i"]);
    assert_eq!(denied.code(), Some(56), "{denied:?}");
    assert!(denied.stdout.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{denied:?}");
    assert!(denied.stdout.contains("X-Agent-Vault-Reason: forbidden\r\n"), "{denied:?}");
    assert!(alone.origin.requests().is_empty());

    document["unmatched_host_policy"] = "passthrough".into();
    // The origin's own certificate: a client that trusts nothing else gets through.
    let ca = alone.home.join("origin-ca.pem");
    let passed = curl(&document, &["--cacert", ca.to_str().unwrap()]).expect_success();
    assert_eq!(passed.stdout, "origin saw GET /x\n");
    assert_eq!(alone.origin.last().field("authorization"), None);
}
