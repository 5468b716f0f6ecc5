//! A broker that says what a test tells it to: for what `run` does before, beside and without a real one.
//!
//! One port is both its control API and its proxy, so every byte `run` sends is in one record. The proxy
//! answers a CONNECT with 200 and then goes on serving requests, as an origin inside the tunnel would.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::broker::{BINARY, bare};
use super::origin::{Origin, Received};
use super::process::{Ended, PATIENCE, Running, TempDir, run};

/// The token the stand-in knows, until a test says otherwise.
pub(crate) const TOKEN: &str = "av_agt_0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// What it hands out as its CA.
pub(crate) const CA_PEM: &str = "-----BEGIN CERTIFICATE-----\nc3RhbmQtaW4=\n-----END CERTIFICATE-----\n";

/// A running stand-in and a home for the `run` that asks it.
pub(crate) struct StandIn {
    origin: Origin,
    state: Arc<Mutex<State>>,
    home: TempDir,
}

#[derive(Default)]
struct State {
    port: u16,
    token: String,
    /// Answers by method and path; they win over the usual ones.
    answers: HashMap<String, Vec<u8>>,
}

impl StandIn {
    pub(crate) fn start() -> Self {
        Self::on(Origin::plain())
    }

    /// Behind TLS, with a certificate for `localhost` signed by an authority of its own.
    pub(crate) fn tls() -> Self {
        Self::on(Origin::tls(&["localhost"]))
    }

    fn on(origin: Origin) -> Self {
        let state = State { port: origin.port(), token: TOKEN.to_owned(), ..State::default() };
        let state = Arc::new(Mutex::new(state));
        let answering = Arc::clone(&state);
        let origin = origin.answering(move |request| hold(&answering).answer(request));
        Self { origin, state, home: TempDir::new() }
    }

    /// Answers `GET /discover`, for example, with these bytes from now on.
    pub(crate) fn answers(&self, question: &str, bytes: Vec<u8>) -> &Self {
        hold(&self.state).answers.insert(question.to_owned(), bytes);
        self
    }

    /// Knows this token from now on, and no other.
    pub(crate) fn knows(&self, token: &str) {
        token.clone_into(&mut hold(&self.state).token);
    }

    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.origin.port())
    }

    pub(crate) fn port(&self) -> u16 {
        self.origin.port()
    }

    pub(crate) fn ca_pem(&self) -> &str {
        self.origin.ca_pem()
    }

    pub(crate) fn home(&self) -> &TempDir {
        &self.home
    }

    pub(crate) fn requests(&self) -> Vec<Received> {
        self.origin.requests()
    }

    /// The request lines seen so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(|seen| format!("{} {}", seen.method, seen.target)).collect()
    }

    /// `agent-vault` with a home and nothing in its environment.
    pub(crate) fn bare(&self) -> Command {
        bare(Path::new(BINARY), self.home.path())
    }

    /// `agent-vault` in agent mode for the vault `v`; the caller adds the arguments.
    pub(crate) fn agent(&self) -> Command {
        let mut command = self.bare();
        command
            .env("AGENT_VAULT_ADDR", self.address())
            .env("AGENT_VAULT_TOKEN", TOKEN)
            .env("AGENT_VAULT_VAULT", "v");
        command
    }

    /// `agent-vault run -- sh -c SCRIPT`, to its end.
    #[track_caller]
    pub(crate) fn run_script(&self, script: &str) -> Ended {
        run(self.agent().args(["run", "--", "sh", "-c", script]), b"")
    }

    /// `agent-vault run` of a child that says where its relay is and then stays.
    #[track_caller]
    pub(crate) fn stay(&self) -> Run {
        Run::start(self.agent().args(["run", "--"]))
    }
}

impl State {
    fn answer(&self, request: &Received) -> Vec<u8> {
        let path = request.target.split('?').next().unwrap_or_default();
        if let Some(bytes) = self.answers.get(&format!("{} {path}", request.method)) {
            return bytes.clone();
        }
        let is_absolute = request.target.starts_with("http://");
        if request.method == "CONNECT" || is_absolute {
            let pair = format!("{}:v", self.token);
            if request.field("proxy-authorization") != Some(&format!("Basic {}", STANDARD.encode(pair))) {
                return answer(
                    407,
                    &[("Proxy-Authenticate", "Basic realm=\"agent-vault\"")],
                    "invalid or expired session\n",
                );
            }
        }
        match (request.method.as_str(), path) {
            ("CONNECT", _) => b"HTTP/1.1 200 Connection Established\r\n\r\n".to_vec(),
            ("GET", "/discover") => {
                let vault = request.field("x-vault").unwrap_or_default();
                answer(200, &[], &serde_json::json!({ "vault": vault, "services": [] }).to_string())
            }
            ("GET", "/v1/mitm/ca.pem") => answer(200, &[("X-MITM-Port", &self.port.to_string())], CA_PEM),
            ("POST", "/v1/sessions") => answer(200, &[], &format!("{{\"token\":{:?}}}", self.token)),
            _ => {
                let body = String::from_utf8_lossy(&request.body);
                answer(200, &[], &format!("{} {} {body}", request.method, request.target))
            }
        }
    }
}

/// An answer with a length.
pub(crate) fn answer(status: u16, fields: &[(&str, &str)], body: &str) -> Vec<u8> {
    let fields: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} As told\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A run whose child stays until it is told to go.
pub(crate) struct Run {
    running: Running,
    port: u16,
    credential: String,
    bundle: String,
}

impl Run {
    /// Starts the command with a child that tells its proxy URL and the place of its CA bundle.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::with_script(command, "echo proxy $HTTPS_PROXY; echo bundle $SSL_CERT_FILE; exec sleep 60")
    }

    /// The same with a child that does more, after it has told both.
    #[track_caller]
    pub(crate) fn with_script(command: &mut Command, script: &str) -> Self {
        let mut running = Running::start(command.args(["sh", "-c", script]));
        let url = running.line_after("proxy http://");
        let bundle = running.line_after("bundle ");
        let (user, at) = url.split_once('@').expect("a proxy URL names a user");
        let credential = user.split(':').next().unwrap_or_default().to_owned();
        let port = at.rsplit(':').next().unwrap_or_default().parse().expect("a proxy URL names a port");
        Self { running, port, credential, bundle }
    }

    pub(crate) fn credential(&self) -> &str {
        &self.credential
    }

    pub(crate) fn bundle(&self) -> &Path {
        Path::new(&self.bundle)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A connection to the relay.
    #[track_caller]
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the relay listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// A connection on which these bytes have been sent.
    #[track_caller]
    pub(crate) fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = self.connect();
        stream.write_all(bytes.as_bytes()).expect("the relay reads");
        stream
    }

    /// `Proxy-Authorization` as the child's clients send it.
    pub(crate) fn authorization(&self) -> String {
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{}:v", self.credential)))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).expect("the run is there");
    }

    /// Ends the child as a container runtime would; the run's own status.
    #[track_caller]
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        self.signal(Signal::SIGTERM);
        (self.running.wait(), self.running.output())
    }
}

/// Waits until `is_so` holds, looking again and again.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "awaited: {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
