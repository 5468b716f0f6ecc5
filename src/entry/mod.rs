//! `run`: being a container's first process.
//!
//! The order of things, from hardening to exit code. What can fail without a broker fails before it is
//! asked; what can fail at all fails before the child exists. Whatever was put somewhere for the child
//! (files, terminal) is taken back by a guard, on every way out.

pub mod admin;
mod child;
pub mod preflight;
mod relay;
mod skills;
mod supervisor;
pub mod token;
mod trust;

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::authority::Authority;
use crate::failure::{Exit, Failure};
use crate::health::Beacon;
use crate::log_event;
use crate::net::reactor::{Limits, Reactor};
use crate::sys::process::{Inherited, Program};
use crate::sys::ready::{self, Watch};
use crate::sys::signals::{Signal, Signals};
use crate::sys::terminal::Terminal;
use crate::sys::{environ, harden};
use preflight::{Broker, Mode, Reach};
use relay::Relay;
use skills::Skill;
use supervisor::Supervisor;
use trust::{Lifetime, TrustFiles};

/// How the child's traffic reaches the broker's proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through our own listener; the child never holds the broker's token.
    Relay,
    /// By itself, with the token; we become the child.
    Direct,
}

/// A run, as asked for.
#[derive(Debug)]
pub struct Plan {
    pub mode: Mode,
    /// The command word and its arguments; never empty.
    pub command: Vec<OsString>,
    pub reach: Reach,
    /// A file with the broker's own roots.
    pub broker_ca: Option<PathBuf>,
    pub ca_dir: Option<PathBuf>,
    /// Hosts the child reaches directly, beside loopback.
    pub no_proxy: Vec<String>,
    pub way: Way,
    pub stop_timeout: Option<Duration>,
    /// `AGENT_VAULT_HEALTH_NAME`.
    pub health_name: Option<String>,
}

/// A failure of ours exits with a code that no ordinary command uses (design 7).
pub fn own_exit(failure: Failure) -> Failure {
    match failure.exit() {
        Exit::Failed | Exit::Usage => failure.with_exit(Exit::RunFailed),
        _ => failure,
    }
}

/// Carries out a run, to the exit code.
pub fn run(mut plan: Plan) -> Result<Exit, Failure> {
    let host = Host::take_over().map_err(|error| Failure::new(format!("preparing the process: {error}")))?;
    let word = plan.command[0].clone();
    let file = child::resolve(&word, host.variable("PATH"))?;
    plan.reach.broker_ca = plan.broker_ca.as_deref().map(read_broker_ca).transpose()?;
    let (mode, reach) = (plan.mode.clone(), plan.reach.clone());
    let broker = interruptible(&host.signals, move || preflight::reach(mode, &reach))??;
    match plan.way {
        Way::Direct => become_child(host, &plan, &file, &broker),
        Way::Relay => supervise(host, &plan, &file, broker),
    }
}

/// The process as it was found, made ours.
struct Host {
    inherited: Inherited,
    environment: Vec<OsString>,
    signals: Signals,
}

impl Host {
    /// Remembers what the child shall have, then protects this process and blocks signals: every thread
    /// that is started later inherits that.
    fn take_over() -> io::Result<Self> {
        let inherited = Inherited::capture()?;
        let environment = environ::read();
        environ::overwrite(&["AGENT_VAULT_TOKEN"]);
        harden::protect()?;
        harden::raise_descriptor_limit()?;
        Ok(Self { inherited, environment, signals: Signals::block()? })
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        child::variable(&self.environment, name)
    }

    fn place_trust(&self, plan: &Plan, ca: &[u8], lifetime: Lifetime<'_>) -> Result<TrustFiles, Failure> {
        let places = trust::places(plan.ca_dir.as_deref(), self.variable("TMPDIR"), self.variable("HOME"));
        let roots = trust::public_roots(self.variable("SSL_CERT_FILE"));
        trust::place(ca, &roots, &places, lifetime)
    }
}

/// `--direct`: no process of ours stays.
fn become_child(host: Host, plan: &Plan, file: &Path, broker: &Broker) -> Result<Exit, Failure> {
    let trust = host.place_trust(plan, &broker.ca_pem, Lifetime::Shared)?;
    let route = child::Route {
        token: &broker.token.current(),
        address: broker.client.address(),
        vault: &broker.vault,
        proxy: &broker.proxy,
        bundle: &trust.bundle(),
        ca: &trust.ca(),
        no_proxy: &plan.no_proxy,
    };
    let environment = child::environment(host.environment, &route);
    let word = &plan.command[0];
    let program = program(file, &plan.command, &environment)?;
    announce(&broker.proxy, word, &environment);
    Err(child::not_started(word, &program.exec(host.inherited)))
}

/// The relay between child and broker, and this process looking after both.
fn supervise(host: Host, plan: &Plan, file: &Path, broker: Broker) -> Result<Exit, Failure> {
    let credential = relay::fresh_credential()?;
    let trust = host.place_trust(plan, &broker.ca_pem, Lifetime::Run(&relay::fresh_run_id()?))?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(cannot("listen on 127.0.0.1"))?;
    let port = listener.local_addr().map_err(cannot("listen on 127.0.0.1"))?.port();
    let here = Authority::new("127.0.0.1", port).expect("127.0.0.1 is a host");
    let route = child::Route {
        token: &credential,
        address: &format!("http://{here}"),
        vault: &broker.vault,
        proxy: &here,
        bundle: &trust.bundle(),
        ca: &trust.ca(),
        no_proxy: &plan.no_proxy,
    };
    let environment = child::environment(host.environment, &route);
    let word = &plan.command[0];
    let program = program(file, &plan.command, &environment)?;
    announce(&broker.proxy, word, &environment);

    let mut reactor = Reactor::new(Limits::default()).map_err(cannot("start the relay"))?;
    let relay = Relay::new(credential, broker);
    reactor.listen(listener, Arc::new(relay)).map_err(cannot("start the relay"))?;
    harden::adopt_orphans().map_err(cannot("adopt orphans"))?;
    let beacon = Beacon::bind(plan.health_name.as_deref())
        .inspect_err(|error| log_event!(Warn, "agent-vault health will not find this process", cause = error))
        .ok();
    let terminal = Terminal::in_foreground();
    let child =
        program.spawn(host.inherited, terminal.as_ref()).map_err(|error| child::not_started(word, &error))?;
    let supervisor = Supervisor {
        reactor,
        signals: host.signals,
        child,
        terminal,
        beacon,
        stop_timeout: plan.stop_timeout,
        kill_at: None,
    };
    supervisor.run().map(Exit::Child).map_err(cannot("look after the command"))
}

fn program(file: &Path, command: &[OsString], environment: &[OsString]) -> Result<Program, Failure> {
    Program::new(file, command, environment).map_err(cannot("pass the command's arguments on"))
}

fn cannot(what: &str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::new(format!("cannot {what}: {error}"))
}

/// Reads the roots trusted for the broker beside the public ones.
pub fn read_broker_ca(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::new(format!("--broker-ca {}: {error}", path.display())))
}

/// What a person reads before the child's own output (contract A.11). A closed stderr stops nobody.
fn announce(proxy: &Authority, word: &OsStr, environment: &[OsString]) {
    let mut stderr = io::stderr().lock();
    let is_plain = child::variable(environment, "TERM").is_some_and(|term| term == "dumb")
        || child::variable(environment, "NO_COLOR").is_some_and(|value| !value.is_empty());
    let (green, bold, off) = if stderr.is_terminal() && !is_plain {
        ("\u{1b}[32m", "\u{1b}[1m", "\u{1b}[0m")
    } else {
        ("", "", "")
    };
    let skill = match skills::install(word, child::variable(environment, "HOME")) {
        Skill::Nothing => String::new(),
        Skill::Installed(agent) => {
            format!("{green}agent-vault:{off} Installed Agent Vault skills for {agent}.\n")
        }
        Skill::Failed(warning) => format!("{warning}\n"),
    };
    drop(write!(
        stderr,
        "{green}agent-vault:{off} routing HTTP/HTTPS through MITM proxy ({proxy})\n{skill}\
         {green}agent-vault:{off} agent-vault connected. Starting {bold}{}{off}...\n\n",
        word.display()
    ));
}

/// Does blocking work on a thread of its own, so that a signal can end the wait: signals are blocked, and
/// process 1 would not even die of one.
fn interruptible<T: Send + 'static>(
    signals: &Signals,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let (done, at_the_end) = io::pipe().map_err(cannot("make a pipe"))?;
    let worker = thread::Builder::new()
        .name("preflight".to_owned())
        .spawn(move || {
            let outcome = work();
            drop(at_the_end);
            outcome
        })
        .map_err(cannot("start a thread"))?;
    loop {
        let watches = [Watch::new(done.as_fd()).readable(true), Watch::new(signals.as_fd()).readable(true)];
        let found = ready::wait(&watches, None).map_err(cannot("wait for the broker"))?;
        while let Some(signal) = signals.next().map_err(cannot("read signals"))? {
            if [Signal::HUP, Signal::INT, Signal::QUIT, Signal::TERM].contains(&signal) {
                let code = u8::try_from(128 + signal.number()).unwrap_or(u8::MAX);
                return Err(Failure::new(format!("stopped by {signal} before the command was started"))
                    .with_exit(Exit::Child(code)));
            }
        }
        if found.is_some_and(|[done, _]| done.readable) {
            return worker.join().map_err(|_| Failure::new("asking the broker failed unexpectedly"));
        }
    }
}
