//! A whole site: an origin, a broker in front of it, and an agent whose clients run under `agent-vault run`.

use std::path::Path;
use std::process::Command;

use super::broker::Broker;
use super::origin::{Origin, Received};
use super::process::{Ended, run};
use super::{SECRET, contains, tools};

/// A broker with one service and one agent, in front of an origin.
pub(crate) struct Site {
    pub(crate) origin: Origin,
    pub(crate) broker: Broker,
    pub(crate) token: String,
}

impl Site {
    /// Opens a site whose one service puts [`SECRET`] on the requests for `host`.
    #[track_caller]
    pub(crate) fn open(origin: Origin, host: &str) -> Self {
        let name = host.split(':').next().expect("a name before the port");
        let broker = Broker::start(&origin, &[name]).with_credential("API_KEY", SECRET);
        Self::over(origin, broker.with_service("the-api", host, "API_KEY"))
    }

    /// The same with a broker that has been set up already.
    #[track_caller]
    pub(crate) fn over(origin: Origin, broker: Broker) -> Self {
        let token = broker.agent("test-agent");
        Self { origin, broker, token }
    }

    /// Runs a client under `agent-vault run`; it has to succeed and must have seen no secret.
    #[track_caller]
    pub(crate) fn client(&self, program: &Path, args: &[&str]) -> Ended {
        self.observe(self.command().arg(program).args(args))
    }

    /// `agent-vault run` around an observer; the caller adds the client and its arguments.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.broker.run_command(&self.token);
        command.env("NODE_PATH", tools::node_modules()).arg("sh").arg(source("observed.sh"));
        command
    }

    /// Runs what [`Self::command`] began.
    #[track_caller]
    pub(crate) fn observe(&self, command: &mut Command) -> Ended {
        let ended = run(command, b"").expect_success();
        let seen = format!("{}\n{}", ended.stdout, ended.stderr);
        assert!(seen.contains("--- environment\n"), "the client was not observed:\n{seen}");
        assert!(seen.contains("-----BEGIN CERTIFICATE-----"), "no CA was given:\n{seen}");
        for secret in [SECRET, &self.token] {
            assert!(!seen.contains(secret), "{secret} is visible to the client:\n{seen}");
        }
        ended
    }

    #[track_caller]
    pub(crate) fn expect_credential_on(&self, requests: &[Received]) {
        assert!(!requests.is_empty());
        for request in requests {
            let expected = format!("Bearer {SECRET}");
            assert_eq!(request.field("authorization"), Some(expected.as_str()), "{request:?}");
            assert!(request.field("proxy-authorization").is_none(), "{request:?}");
        }
    }

    /// The broker keeps the credential sealed and the token hashed, and logs neither. Ends the broker, so that
    /// all it had to write is written.
    #[track_caller]
    pub(crate) fn expect_no_traces(&mut self) {
        self.broker.stop();
        let log = self.broker.log();
        let stored = self.broker.stored_bytes();
        assert!(!stored.is_empty(), "the broker keeps its state in its home");
        for secret in [SECRET, &self.token] {
            assert!(!contains(&stored, secret), "{secret} is in a file of the broker");
            assert!(!log.contains(secret), "{secret} is in the broker's log:\n{log}");
        }
    }
}

/// Path of a client's source.
pub(crate) fn source(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}
