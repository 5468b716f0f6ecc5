//! The facts a page is made of, gathered by the code a run would use.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::clients::{self, Client};
use crate::authority::Authority;
use crate::entry::environment::{self, Changes, Route};
use crate::entry::front::Front;
use crate::entry::host::Host;
use crate::entry::mode::Mode;
use crate::entry::preflight;
use crate::entry::token::Source;
use crate::entry::trust::{Lifetime, TrustFiles};
use crate::entry::{
    Attacher, BrokerPlan, Placeholders, Plan, Way, cannot, child, front, place_trust, read_broker_ca,
    standalone,
};
use crate::failure::Failure;
use crate::health;
use crate::secret::Secret;
use crate::sys::rights::{Capabilities, User};
use crate::sys::{environ, process, rights};

/// Where platforms hand out the credentials of a task or machine.
const ROLES: [&str; 3] = ["169.254.170.2:80", "169.254.170.23:80", "169.254.169.254:80"];
/// Such an address answers from the same machine, or not at all.
const ROLE_LIMIT: Duration = Duration::from_millis(300);

pub(super) struct Facts {
    /// The file of the command, if one was given.
    pub(super) command: Option<Result<PathBuf, Failure>>,
    pub(super) token: TokenFrom,
    pub(super) attacher: Result<Found, Failure>,
    /// Whether the command would hold the broker's token itself.
    pub(super) is_direct: bool,
    /// Where the CA can be put.
    pub(super) ca_place: Result<PathBuf, Failure>,
    pub(super) clients: Vec<&'static Client>,
    pub(super) direct: Vec<String>,
    pub(super) platforms: Vec<&'static str>,
    /// Addresses of task-role credentials that take a connection from here.
    pub(super) roles: Vec<&'static str>,
    pub(super) process: ProcessFacts,
    pub(super) stop_timeout: Option<Duration>,
}

/// Where the token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenFrom {
    Variable,
    File {
        path: PathBuf,
        is_open_to_child: bool,
    },
    Login,
    /// None is needed: the credentials are attached here.
    Nowhere,
}

/// What attaches the credentials.
pub(super) struct Found {
    /// The broker's address; none when it is this process.
    pub(super) broker: Option<String>,
    pub(super) vault: String,
    pub(super) keys: usize,
    /// The broker's proxy, and whether it takes a connection.
    pub(super) proxy: Option<(Authority, Result<(), String>)>,
}

/// This process, and the child as it would be.
pub(super) struct ProcessFacts {
    pub(super) is_init: bool,
    pub(super) user: u32,
    pub(super) child_user: u32,
    pub(super) drops_capabilities: bool,
    /// The capability sets of `/proc/self/status`; all of them where it cannot be read.
    pub(super) effective: u64,
    pub(super) bounding: u64,
    /// `kernel.yama.ptrace_scope`, where the kernel has it.
    pub(super) ptrace_scope: Option<u8>,
}

impl Facts {
    /// Everything, and what a child's environment would be if something attaches credentials and there is a
    /// place for its CA.
    pub(super) fn gather(plan: &Plan) -> (Self, Option<Changes>) {
        let environment = environ::read();
        let path = environment::variable(&environment, "PATH");
        let token = token(plan);
        let opened = open(plan, &environment);
        let ca = opened.as_ref().map_or(&b""[..], |opened| &opened.ca_pem);
        let placed =
            front::fresh_run_id().and_then(|run| place_trust(&environment, plan, ca, Lifetime::Run(&run)));
        let changes = match (&opened, &placed) {
            (Ok(opened), Ok(trust)) => Some(opened.changes(plan, trust)),
            _ => None,
        };
        let facts = Self {
            command: plan.command.first().map(|word| child::resolve(word, path)),
            token,
            attacher: opened.map(|opened| opened.found),
            is_direct: is_direct(plan),
            ca_place: placed.map(|trust| trust.ca().parent().map(Path::to_owned).unwrap_or_default()),
            clients: clients::on(path),
            direct: plan.surroundings.bypass.hosts(&any_port()),
            platforms: plan.surroundings.bypass.platforms().to_vec(),
            roles: ROLES.into_iter().filter(|address| takes_connections(address)).collect(),
            process: ProcessFacts::gather(plan),
            stop_timeout: plan.supervision.stop_timeout,
        };
        (facts, changes)
    }
}

fn is_direct(plan: &Plan) -> bool {
    matches!(&plan.attacher, Attacher::Broker(broker) if broker.way == Way::Direct)
}

fn token(plan: &Plan) -> TokenFrom {
    let Attacher::Broker(broker) = &plan.attacher else { return TokenFrom::Nowhere };
    match &broker.mode {
        Mode::Admin { .. } => TokenFrom::Login,
        Mode::Agent { token: Source::Value(_), .. } => TokenFrom::Variable,
        Mode::Agent { token: Source::File(path), .. } => {
            let child = child_user(plan);
            let is_open = |found: fs::Metadata| rights::lets(&found, child, 4);
            TokenFrom::File { path: path.clone(), is_open_to_child: fs::metadata(path).is_ok_and(is_open) }
        }
    }
}

/// Where a run listens; it takes any free port, so what is shown has none.
fn any_port() -> Authority {
    Authority::new("127.0.0.1", 1).expect("127.0.0.1 is a host")
}

/// What a run would have opened before it starts the command.
struct Opened {
    found: Found,
    token: Secret,
    address: String,
    /// What the child is given as its proxy.
    proxy: Authority,
    ca_pem: Vec<u8>,
    placeholders: Vec<(String, String)>,
    /// What the child inherits: credentials that are attached here are taken out.
    environment: Vec<OsString>,
}

fn open(plan: &Plan, environment: &[OsString]) -> Result<Opened, Failure> {
    let mut opened = match &plan.attacher {
        Attacher::Broker(broker) => ask(broker, environment)?,
        Attacher::Standalone(settings) => open_here(settings)?,
    };
    if plan.surroundings.placeholders == Placeholders::KeptOut {
        opened.placeholders.clear();
    }
    Ok(opened)
}

fn ask(plan: &BrokerPlan, environment: &[OsString]) -> Result<Opened, Failure> {
    let mut reach = plan.reach.clone();
    reach.broker_ca = plan.broker_ca.as_deref().map(read_broker_ca).transpose()?;
    let broker = preflight::reach(plan.mode.clone(), &reach)?;
    let (proxy, address) = match plan.way {
        Way::Direct => (broker.proxy.clone(), broker.client.address().to_owned()),
        Way::Relay => (any_port(), format!("http://{}", any_port())),
    };
    let answer = health::reach(&broker.proxy).map_err(|error| error.to_string());
    Ok(Opened {
        found: Found {
            broker: Some(broker.client.address().to_owned()),
            vault: broker.vault,
            keys: broker.keys.len(),
            proxy: Some((broker.proxy, answer)),
        },
        token: broker.token.current(),
        address,
        proxy,
        ca_pem: broker.ca_pem,
        placeholders: environment::placeholders(&broker.keys),
        environment: environment.to_vec(),
    })
}

fn open_here(settings: &standalone::Settings) -> Result<Opened, Failure> {
    let mut host = Host::take_over(None).map_err(cannot("prepare the process"))?;
    let front = Front::standalone(settings, &mut host)?;
    let mut names = BTreeSet::new();
    names.extend(front.placeholders.iter().map(|(_, value)| value.as_str()));
    Ok(Opened {
        found: Found { broker: None, vault: front.vault, keys: names.len(), proxy: None },
        token: front.credential,
        address: format!("http://{}", any_port()),
        proxy: any_port(),
        ca_pem: front.ca_pem,
        placeholders: front.placeholders,
        environment: host.environment,
    })
}

impl Opened {
    fn changes(&self, plan: &Plan, trust: &TrustFiles) -> Changes {
        let route = Route {
            token: &self.token,
            address: &self.address,
            vault: &self.found.vault,
            proxy: &self.proxy,
            bundle: &trust.bundle(),
            ca: &trust.ca(),
            keystore: &trust.keystore(),
            bypass: &plan.surroundings.bypass,
            placeholders: &self.placeholders,
        };
        Changes::new(&self.environment, &route)
    }
}

fn takes_connections(address: &str) -> bool {
    let address: SocketAddr = address.parse().expect("an address of the table");
    TcpStream::connect_timeout(&address, ROLE_LIMIT).is_ok()
}

fn child_user(plan: &Plan) -> User {
    let user = process::user();
    plan.supervision.rights.user.unwrap_or(User { user, group: user })
}

impl ProcessFacts {
    fn gather(plan: &Plan) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").ok();
        Self {
            is_init: process::is_init(),
            user: process::user(),
            child_user: child_user(plan).user,
            drops_capabilities: plan.supervision.rights.capabilities == Capabilities::Dropped,
            effective: set_in(&status, "CapEff:"),
            bounding: set_in(&status, "CapBnd:"),
            ptrace_scope: scope.and_then(|text| text.trim().parse().ok()),
        }
    }
}

/// A capability set by its label in `/proc/PID/status`.
fn set_in(status: &str, label: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(label));
    line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(u64::MAX)
}
