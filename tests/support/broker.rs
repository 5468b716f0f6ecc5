//! A real broker: the built binary serving from a folder of its own, set up through its own commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use super::origin::Origin;
use super::process::{Ended, Running, TempDir, run};
use super::tools;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_agent-vault");

/// What the owner logs in with, in every test.
const OWNER: &str = "owner@example.test";
pub(crate) const OWNER_PASSWORD: &str = "correct horse battery";

/// A running broker with an owner who is logged in.
#[derive(Debug)]
pub(crate) struct Broker {
    server: Running,
    command: Command,
    home: TempDir,
    address: String,
    proxy: String,
}

impl Broker {
    /// Starts a broker that resolves `names` to the loopback and trusts the origin's authority.
    #[track_caller]
    pub(crate) fn start(origin: &Origin, names: &[&str]) -> Self {
        Self::start_with(origin, names, &[])
    }

    /// The same with more variables for the server.
    #[track_caller]
    pub(crate) fn start_with(origin: &Origin, names: &[&str], more: &[(&str, &str)]) -> Self {
        let home = TempDir::new();
        let overrides: Vec<String> = names.iter().map(|name| format!("{name}=127.0.0.1")).collect();
        let mut command = bare(Path::new(BINARY), &home.dir("server"));
        command
            .args(["server", "--host", "127.0.0.1", "--port", "0", "--mitm-port", "auto"])
            .env("AGENT_VAULT_MASTER_PASSWORD", "a master password of tests")
            .env("AGENT_VAULT_ALLOW_PRIVATE_RANGES", "true")
            .env("AGENT_VAULT_HOST_OVERRIDES", overrides.join(","));
        if !origin.ca_pem().is_empty() {
            command.env("AGENT_VAULT_UPSTREAM_CA", home.write("origin-ca.pem", origin.ca_pem()));
        }
        command.envs(more.iter().copied());
        let (server, address, proxy) = serve(&mut command);
        let broker = Self { server, command, home, address, proxy };
        broker.cli_with_stdin(&["auth", "register", "--email", OWNER, "--password-stdin"], OWNER_PASSWORD);
        broker
    }

    /// Asks the server to end and waits until it has.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.server.signal(Signal::SIGTERM);
        assert_eq!(self.server.wait().code(), Some(0), "{}", self.server.output());
    }

    /// Starts it again on the state it left, with more variables; the owner logs in again.
    #[track_caller]
    pub(crate) fn restart_with(&mut self, more: &[(&str, &str)]) {
        self.stop();
        (self.server, self.address, self.proxy) = serve(self.command.envs(more.iter().copied()));
        self.cli_with_stdin(&["auth", "login", "--email", OWNER, "--password-stdin"], OWNER_PASSWORD);
    }

    /// Starts it again where it was, on the state it left; tokens and logins stay what they are.
    #[track_caller]
    pub(crate) fn restart_in_place(&mut self) {
        self.stop();
        let port = |address: &str| address.rsplit(':').next().unwrap_or_default().to_owned();
        let mut command = Command::new(self.command.get_program());
        command.args(["server", "--host", "127.0.0.1", "--port", &port(&self.address)]);
        command.args(["--mitm-port", &port(&self.proxy)]).env_clear();
        command.envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(self.home.dir("server"));
        (self.server, self.address, self.proxy) = serve(&mut command);
    }

    /// The base URL of the control API.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// `host:port` of the proxy.
    pub(crate) fn proxy(&self) -> &str {
        &self.proxy
    }

    /// Sets a credential in the vault `default`.
    #[track_caller]
    pub(crate) fn with_credential(self, key: &str, value: &str) -> Self {
        self.cli(&["vault", "credential", "set", &format!("{key}={value}"), "--vault", "default"]);
        self
    }

    /// Adds a bearer service to the vault `default`.
    #[track_caller]
    pub(crate) fn with_service(self, name: &str, host: &str, token_key: &str) -> Self {
        let flags = ["--name", name, "--host", host, "--auth-type", "bearer", "--token-key", token_key];
        let args = [&["vault", "service", "add", "--vault", "default"], &flags[..]].concat();
        self.cli(&args);
        self
    }

    /// Replaces the services of the vault `default` by this list of service objects.
    #[track_caller]
    pub(crate) fn with_services(self, services: &serde_json::Value) -> Self {
        let args = ["vault", "service", "set", "-f", "-", "--vault", "default"];
        self.cli_with_stdin(&args, &services.to_string());
        self
    }

    /// Creates an agent that may use the vault `default` through the proxy; returns its token.
    #[track_caller]
    pub(crate) fn agent(&self, name: &str) -> String {
        self.cli(&["agent", "create", name, "--vault", "default:proxy", "--token-only"]).stdout
    }

    /// Runs an operator's command that has to succeed.
    #[track_caller]
    pub(crate) fn cli(&self, args: &[&str]) -> Ended {
        self.cli_with_stdin(args, "")
    }

    #[track_caller]
    pub(crate) fn cli_with_stdin(&self, args: &[&str], stdin: &str) -> Ended {
        run(&mut self.operator(args), format!("{stdin}\n").as_bytes()).expect_success()
    }

    /// An operator's command, not yet run.
    pub(crate) fn operator(&self, args: &[&str]) -> Command {
        let mut command = bare(Path::new(BINARY), &self.operator_home());
        command.args(args).env("AGENT_VAULT_ADDR", &self.address);
        command
    }

    /// `agent-vault run --`, in agent mode for the vault `default`; the caller adds the child's words.
    pub(crate) fn run_command(&self, token: &str) -> Command {
        let mut command = bare(Path::new(BINARY), &self.home.dir("app"));
        command
            .env("AGENT_VAULT_ADDR", &self.address)
            .env("AGENT_VAULT_TOKEN", token)
            .env("AGENT_VAULT_VAULT", "default")
            .args(["run", "--"]);
        command
    }

    /// Every file the broker keeps, as one heap of bytes.
    pub(crate) fn stored_bytes(&self) -> Vec<u8> {
        let mut heap = Vec::new();
        read_all(&self.home.dir("server"), &mut heap);
        heap
    }

    /// Everything the broker wrote to its streams so far.
    pub(crate) fn log(&mut self) -> String {
        self.server.output()
    }

    /// Waits for a line of the broker's log that holds `what`.
    #[track_caller]
    pub(crate) fn log_line(&mut self, what: &str) -> String {
        self.server.line_with(what)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// Where the operator's login is saved.
    pub(crate) fn operator_home(&self) -> PathBuf {
        self.home.dir("operator")
    }
}

/// Starts a server; the process, its address and its proxy's.
#[track_caller]
fn serve(command: &mut Command) -> (Running, String, String) {
    let mut server = Running::start(command);
    let address = server.line_after("Agent Vault server listening on ");
    let proxy = server.line_after("Agent Vault transparent proxy listening on ");
    (server, address, proxy)
}

/// A server in the background, stopped when the test is over.
pub(crate) struct Background<'h>(pub(crate) &'h TempDir);

impl Drop for Background<'_> {
    fn drop(&mut self) {
        // One that was stopped already says so.
        drop(run(bare(Path::new(BINARY), self.0.path()).args(["server", "stop"]), b""));
    }
}

/// A command with a home and a search path, and nothing else of the test's environment.
pub(crate) fn bare(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).env("PATH", tools::search_path()).current_dir(home);
    command
}

fn read_all(dir: &Path, heap: &mut Vec<u8>) {
    for entry in fs::read_dir(dir).expect("a folder of the broker").flatten() {
        if entry.path().is_dir() {
            read_all(&entry.path(), heap);
        } else {
            // A journal may be gone between the listing and the reading.
            heap.extend(fs::read(entry.path()).unwrap_or_default());
        }
    }
}
