//! `run`: being a container's first process.
//!
//! The order of things, from hardening to exit code. What can fail without a broker fails before it is
//! asked; what can fail at all fails before the child exists. Whatever was put somewhere for the child
//! (files, terminal) is taken back by a guard, on every way out.

pub mod admin;
mod admission;
mod announce;
mod bypass;
mod child;
pub mod doctor;
pub mod environment;
mod front;
mod host;
mod java;
mod job;
mod keystore;
mod leftovers;
pub mod mode;
pub mod preflight;
mod relay;
mod roots;
mod skills;
pub mod standalone;
pub mod supervision;
mod supervisor;
pub mod token;
mod trust;

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use crate::authority::Authority;
use crate::failure::{Exit, Failure};
use crate::health::Beacon;
use crate::log_event;
use crate::net::reactor::{Limits, Reactor};
use crate::sys::harden;
use crate::sys::launch::Program;
use crate::sys::memory::Keeping;
use crate::sys::rights;
pub use bypass::Bypass;
use environment::{Changes, Route};
use front::Front;
use host::{Host, interruptible};
use job::Job;
use mode::Mode;
use preflight::{Broker, Reach};
use supervision::Supervision;
use supervisor::Supervisor;
use trust::{Lifetime, TrustFiles};

/// A run, as asked for.
#[derive(Debug)]
pub struct Plan {
    /// The command word and its arguments; empty only in a run that shows its environment.
    pub command: Vec<OsString>,
    pub attacher: Attacher,
    /// In place of starting the command, shows what would change in its environment.
    pub show: Option<Show>,
    pub surroundings: Surroundings,
    pub supervision: Supervision,
    /// `AGENT_VAULT_HEALTH_NAME`.
    pub health_name: Option<String>,
}

/// Who attaches the credentials.
#[derive(Debug)]
pub enum Attacher {
    Broker(Box<BrokerPlan>),
    /// This process, by a document's rules.
    Standalone(Box<standalone::Settings>),
}

/// Shows a person what would change.
pub type Show = fn(&Changes) -> Result<(), Failure>;

/// Which broker attaches the credentials, and the way to it.
#[derive(Clone, Debug)]
pub struct BrokerPlan {
    pub mode: Mode,
    pub reach: Reach,
    /// A file with the broker's own roots.
    pub broker_ca: Option<PathBuf>,
    pub way: Way,
}

/// How the child's traffic reaches the broker's proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Through our own listener; the child never holds the broker's token.
    Relay,
    /// By itself, with the token; we become the child.
    Direct,
}

/// What the child finds around it.
#[derive(Debug)]
pub struct Surroundings {
    /// The only directory the CA files may go to, if the operator named one.
    pub ca_dir: Option<PathBuf>,
    /// Hosts the child reaches directly, beside loopback.
    pub bypass: Bypass,
    pub placeholders: Placeholders,
}

/// Whether keys that the environment lacks are there for SDKs that insist on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholders {
    Given,
    KeptOut,
}

/// A failure of ours exits with a code that no ordinary command uses (design 7).
pub fn own_exit(failure: Failure) -> Failure {
    match failure.exit() {
        Exit::Failed | Exit::Usage => failure.with_exit(Exit::RunFailed),
        _ => failure,
    }
}

/// Carries out a run, to the exit code.
pub fn run(plan: &Plan) -> Result<Exit, Failure> {
    // A start takes and frees the same few sizes over and over, and with each last block of a page the page.
    let keeping = Keeping::start();
    let mut host = Host::take_over(plan.supervision.kill_with_parent)
        .map_err(|error| Failure::new(format!("preparing the process: {error}")))?;
    may_take_on(&plan.supervision)?;
    let file = match plan.command.first() {
        Some(word) => child::resolve(word, host.variable("PATH"))?,
        None => PathBuf::new(),
    };
    let BrokerPlan { mode, mut reach, broker_ca, way } = match &plan.attacher {
        Attacher::Broker(broker) => (**broker).clone(),
        Attacher::Standalone(settings) => {
            let mut front = Front::standalone(settings, &mut host)?;
            if plan.surroundings.placeholders == Placeholders::KeptOut {
                front.placeholders.clear();
            }
            return supervise(host, plan, &file, front, keeping);
        }
    };
    reach.broker_ca = broker_ca.as_deref().map(read_broker_ca).transpose()?;
    let mut broker = interruptible(&host, move || preflight::reach(mode, &reach))??;
    if plan.surroundings.placeholders == Placeholders::KeptOut {
        broker.keys.clear();
    }
    match way {
        Way::Direct => become_child(host, plan, &file, &broker),
        Way::Relay => supervise(host, plan, &file, Front::relay(broker)?, keeping),
    }
}

/// `--direct`: no process of ours stays.
fn become_child(host: Host, plan: &Plan, file: &Path, broker: &Broker) -> Result<Exit, Failure> {
    let trust = place_trust(&host.environment, plan, &broker.ca_pem, Lifetime::Shared)?;
    let route = Route {
        token: &broker.token.current(),
        address: broker.client.address(),
        vault: &broker.vault,
        proxy: &broker.proxy,
        bundle: &trust.bundle(),
        ca: &trust.ca(),
        keystore: &trust.keystore(),
        bypass: &plan.surroundings.bypass,
        placeholders: &environment::placeholders(&broker.keys),
    };
    let changes = Changes::new(&host.environment, &route);
    if let Some(show) = plan.show {
        return show(&changes).map(|()| Exit::Success);
    }
    let environment = changes.apply(host.environment);
    let word = &plan.command[0];
    let program = program(file, &plan.command, &environment)?;
    announce::start(&broker.proxy, word, &environment);
    let options = &plan.supervision;
    let error = program.exec(&host.inherited, options.rights, options.kill_with_parent);
    Err(child::not_started(word, &error))
}

/// A listener of ours in front of the child, and this process looking after both.
fn supervise(
    host: Host,
    plan: &Plan,
    file: &Path,
    mut front: Front,
    keeping: Keeping,
) -> Result<Exit, Failure> {
    let run = front::fresh_run_id()?;
    let trust = place_trust(&host.environment, plan, &front.ca_pem, Lifetime::Run(&run))?;
    if let Some(keeper) = &mut front.keeper {
        keeper.replace_ca_with(Box::new(trust.replacement(host.variable("SSL_CERT_FILE"))));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(cannot("listen on 127.0.0.1"))?;
    let port = listener.local_addr().map_err(cannot("listen on 127.0.0.1"))?.port();
    let here = Authority::new("127.0.0.1", port).expect("127.0.0.1 is a host");
    let route = Route {
        token: &front.credential,
        address: &format!("http://{here}"),
        vault: &front.vault,
        proxy: &here,
        bundle: &trust.bundle(),
        ca: &trust.ca(),
        keystore: &trust.keystore(),
        bypass: &plan.surroundings.bypass,
        placeholders: &front.placeholders,
    };
    let changes = Changes::new(&host.environment, &route);
    if let Some(show) = plan.show {
        return show(&changes).map(|()| Exit::Success);
    }
    let environment = changes.apply(host.environment);
    let word = &plan.command[0];
    let program = program(file, &plan.command, &environment)?;
    announce::start(front.proxy.as_ref().unwrap_or(&here), word, &environment);

    let limits = match &plan.attacher {
        Attacher::Broker(_) => Limits::default(),
        Attacher::Standalone(settings) => settings.connections,
    };
    let mut reactor = Reactor::new(limits).map_err(cannot("start the proxy"))?;
    reactor.listen(listener, front.service).map_err(cannot("start the proxy"))?;
    harden::adopt_orphans().map_err(cannot("adopt orphans"))?;
    let beacon = Beacon::bind(plan.health_name.as_deref(), front.proxy.as_ref())
        .inspect_err(|error| log_event!(Warn, "agent-vault health will not find this process", cause = error))
        .ok();
    let options = &plan.supervision;
    let job = Job::choose(options.job_mode, options.signal_mode);
    let placement = job.placement().map_err(cannot("use the terminal"))?;
    let child = program
        .spawn(&host.inherited, &placement, options.rights)
        .inspect_err(|_| job.did_not_start())
        .map_err(|error| child::not_started(word, &error))?;
    // A terminal in it is the child's.
    drop(placement);
    drop(keeping);
    host.inherited.let_go();
    let supervisor = Supervisor {
        reactor,
        signals: host.signals,
        child,
        job,
        inherited: host.inherited,
        rewrites: options.rewrites.clone(),
        on_hangup: front.reload.filter(|_| options.reloads_on_hup),
        beacon,
        keeper: front.keeper,
        stop_timeout: options.stop_timeout,
        kill_at: None,
    };
    let code = supervisor.run().map_err(cannot("look after the command"))?;
    Ok(Exit::Child(options.exit_codes.apply(code)))
}

/// Another user has to be possible; that is known before anything is asked.
fn may_take_on(options: &Supervision) -> Result<(), Failure> {
    match options.rights.user {
        Some(user) if !rights::may_change_user() => Err(Failure::new(format!(
            "--user {}:{} needs root with the capabilities SETUID, SETGID and KILL, which this process has not",
            user.user, user.group
        ))
        .with_hint("start the container as root, or name the user in the image and leave --user out")),
        _ => Ok(()),
    }
}

fn place_trust(
    environment: &[OsString],
    plan: &Plan,
    ca: &[u8],
    lifetime: Lifetime<'_>,
) -> Result<TrustFiles, Failure> {
    let named = plan.surroundings.ca_dir.as_deref();
    let variable = |name: &str| environment::variable(environment, name);
    let places = trust::places(named, variable("TMPDIR"), variable("HOME"));
    let reader = plan.supervision.rights.user;
    let places: Vec<_> = places.into_iter().map(|place| place.read_by(reader)).collect();
    let roots = roots::public(variable("SSL_CERT_FILE"));
    trust::place(ca, &roots, &places, lifetime)
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
