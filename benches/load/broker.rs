//! The product under measurement: a broker set up through its own commands and API, and `run`'s relay.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::identity::{CA, HOST};
use crate::process::{Program, output};

const OWNER: &str = "owner@bench.test";
const PASSWORD: &str = "a password for the benchmark";
/// The vault that is there from the start.
pub(crate) const VAULT: &str = "default";
/// What a proxy has to attach; the origin says what it saw.
pub(crate) const CREDENTIAL: &str = "Bearer bench-credential";

pub(crate) struct Broker {
    binary: PathBuf,
    home: PathBuf,
    program: Program,
    pub(crate) address: String,
    pub(crate) proxy_port: u16,
}

/// What a broker is started with.
pub(crate) fn command(binary: &Path, home: &Path) -> Command {
    let mut command = bare(binary, home);
    command
        .args(["server", "--port", "0", "--mitm-port", "auto"])
        .env("AGENT_VAULT_ALLOW_PRIVATE_RANGES", "true")
        .env("AGENT_VAULT_HOST_OVERRIDES", format!("{HOST}=127.0.0.1"))
        // One agent is every client here; limits per agent would be what is measured.
        .env("AGENT_VAULT_RATELIMIT_PROFILE", "off");
    command
}

/// Nothing of this process's environment.
pub(crate) fn bare(binary: &Path, home: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().env("HOME", home).current_dir(home);
    command
}

impl Broker {
    /// Starts a broker on the state in `dir/NAME`, or on none; the identity of the origin is in `dir`.
    pub(crate) fn start(binary: &Path, dir: &Path, name: &str, more: &[(&str, &str)]) -> io::Result<Self> {
        let home = dir.join(name);
        fs::create_dir_all(&home)?;
        let mut command = command(binary, &home);
        command.env("AGENT_VAULT_UPSTREAM_CA", dir.join(CA)).envs(more.iter().copied());
        let mut program = Program::start(&mut command, &home)?;
        let address = program.line_after("Agent Vault server listening on ")?;
        let proxy = program.line_after("Agent Vault transparent proxy listening on ")?;
        let proxy_port = port_of(&proxy)?;
        program.await_port(proxy_port)?;
        Ok(Self { binary: binary.to_owned(), home, program, address, proxy_port })
    }

    /// Creates the owner, logged in for what follows.
    pub(crate) fn register(&self) -> io::Result<()> {
        self.cli(&["auth", "register", "--email", OWNER, "--password-stdin"], PASSWORD).map(drop)
    }

    /// Gives the vault a credential and a service for the host measured, behind so many others.
    pub(crate) fn fill_vault(&self, services_before: usize) -> io::Result<()> {
        let key = CREDENTIAL.trim_start_matches("Bearer ");
        self.cli(&["vault", "credential", "set", &format!("KEY={key}"), "--vault", VAULT], "")?;
        let services: Vec<Value> = (0..services_before)
            .map(|number| service(&format!("other-{number}"), &format!("host-{number}.bench.test")))
            .chain([service("measured", HOST)])
            .collect();
        let list = Value::Array(services).to_string();
        self.cli(&["vault", "service", "set", "-f", "-", "--vault", VAULT], &list).map(drop)
    }

    /// Creates an agent for the vault; its token.
    pub(crate) fn agent(&self) -> io::Result<String> {
        let vault = format!("{VAULT}:proxy");
        self.cli(&["agent", "create", "bench", "--vault", &vault, "--token-only"], "")
    }

    /// Creates vaults, each with a credential and a service, and an agent for all of them; the agent's
    /// token and the names of the vaults.
    pub(crate) fn fill_vaults(&self, count: usize) -> io::Result<(String, Vec<String>)> {
        let login = self.post("/v1/auth/login", "", &json!({"email": OWNER, "password": PASSWORD}))?;
        let owner = login["token"].as_str().unwrap_or_default();
        let names: Vec<String> = (0..count).map(|number| format!("vault-{number}")).collect();
        for name in &names {
            self.post("/v1/vaults", owner, &json!({"name": name}))?;
            let key = CREDENTIAL.trim_start_matches("Bearer ");
            self.post("/v1/credentials", owner, &json!({"vault": name, "credentials": {"KEY": key}}))?;
            let services = json!({"services": [service("measured", HOST)]});
            self.post(&format!("/v1/vaults/{name}/services"), owner, &services)?;
        }
        let grants: Vec<Value> =
            names.iter().map(|name| json!({"vault_name": name, "vault_role": "proxy"})).collect();
        let agent = self.post("/v1/agents", owner, &json!({"name": "bench-all", "vaults": grants}))?;
        Ok((agent["av_agent_token"].as_str().unwrap_or_default().to_owned(), names))
    }

    /// What clients of the proxy have to trust.
    pub(crate) fn ca_pem(&self) -> io::Result<Vec<u8>> {
        let mut answer =
            ureq::get(format!("{}/v1/mitm/ca.pem", self.address)).call().map_err(io::Error::other)?;
        answer.body_mut().read_to_vec().map_err(io::Error::other)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// The file that holds the state of the broker in `home`.
    pub(crate) fn database(home: &Path) -> PathBuf {
        home.join(".agent-vault").join("agent-vault.db")
    }

    /// Starts `run` with a child that only stays; the process, its port and the fields its clients send.
    pub(crate) fn relay(&self, token: &str, stay: &Path) -> io::Result<(Program, u16, String)> {
        let home = self.home.join("relay");
        fs::create_dir_all(&home)?;
        let mut command = bare(&self.binary, &home);
        command
            .env("AGENT_VAULT_ADDR", &self.address)
            .env("AGENT_VAULT_TOKEN", token)
            .env("AGENT_VAULT_VAULT", VAULT)
            .args(["run", "--"])
            .arg(stay)
            .arg("stay");
        let mut run = Program::start(&mut command, &home)?;
        let url = run.line_after("proxy http://")?;
        let (user, place) = url
            .split_once('@')
            .ok_or_else(|| io::Error::other(format!("a proxy URL without a user: {url}")))?;
        Ok((run, port_of(place)?, basic(user)))
    }

    fn cli(&self, args: &[&str], stdin: &str) -> io::Result<String> {
        let home = self.home.join("operator");
        fs::create_dir_all(&home)?;
        let mut command = bare(&self.binary, &home);
        output(command.args(args).env("AGENT_VAULT_ADDR", &self.address), &format!("{stdin}\n"))
    }

    fn post(&self, path: &str, token: &str, body: &Value) -> io::Result<Value> {
        let request = ureq::post(format!("{}{path}", self.address))
            .header("Content-Type", "application/json")
            .header("Authorization", format!("Bearer {token}"));
        let mut answer = request
            .send(body.to_string())
            .map_err(|error| io::Error::other(format!("POST {path}: {error}")))?;
        let text = answer.body_mut().read_to_string().map_err(io::Error::other)?;
        serde_json::from_str(&text).map_err(io::Error::other)
    }
}

/// A service with the one credential there is.
pub(crate) fn service(name: &str, host: &str) -> Value {
    json!({"name": name, "host": host, "auth": {"type": "bearer", "token": "KEY"}})
}

/// The field that a client with `user:password` sends in its CONNECT.
pub(crate) fn basic(pair: &str) -> String {
    format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

fn port_of(place: &str) -> io::Result<u16> {
    let port = place.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
    port.ok_or_else(|| io::Error::other(format!("no port in {place:?}")))
}
