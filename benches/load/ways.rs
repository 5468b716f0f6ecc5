//! The ways to the origin that are measured beside each other: direct, ours, the peers'.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustls::client::Resumption;

use crate::broker::{Broker, CREDENTIAL, VAULT, basic};
use crate::client::{Ask, Proxy, Target};
use crate::drive::{Crowd, Lasting, Plan};
use crate::identity::{self, CA, LEAF_WITH_KEY};
use crate::peers::{self, Absent, Peer, Site};
use crate::process::Program;

pub(crate) const DIRECT: &str = "direct";
/// Only copies bytes: the least that being in between costs here.
pub(crate) const COPY: &str = "copy";
pub(crate) const BROKER: &str = "broker";
pub(crate) const RELAY: &str = "relay";
/// Those that are there on every machine.
pub(crate) const ALWAYS: [&str; 4] = [DIRECT, COPY, BROKER, RELAY];

/// One way, or why there is none.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) ready: Result<Ready, String>,
}

pub(crate) struct Ready {
    pub(crate) target: Target,
    /// Whose processor time and memory this way costs.
    pub(crate) pids: Vec<u32>,
    _program: Option<Program>,
}

/// The origins; both have the same certificate.
pub(crate) struct Origins {
    pub(crate) fetch_port: u16,
    pub(crate) send_port: u16,
    pub(crate) described: &'static str,
    _programs: Vec<Program>,
}

type Make = fn(&Site<'_>) -> Result<Peer, Absent>;

/// What is measured, and where things are.
pub(crate) struct Setting {
    pub(crate) binary: PathBuf,
    /// The build without the broker; only its size is measured.
    pub(crate) entrypoint: Option<PathBuf>,
    /// This program, which is also the origin and the child of `run`.
    pub(crate) own: PathBuf,
    pub(crate) tools: PathBuf,
    pub(crate) dir: tempfile::TempDir,
}

impl Setting {
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts our origin, and nginx beside it when it is there and wanted.
    pub(crate) fn origins(&self, sizes: &[usize], with_nginx: bool) -> io::Result<Origins> {
        identity::write(self.dir()).map_err(|error| io::Error::other(error.to_string()))?;
        let mut command = Command::new(&self.own);
        let mut ours = Program::start(command.arg("origin").arg(self.dir().join(LEAF_WITH_KEY)), self.dir())?;
        let port = ours.line_after("origin listening on ")?;
        let send_port = port.parse().map_err(io::Error::other)?;
        let mut origins =
            Origins { fetch_port: send_port, send_port, described: "our own", _programs: vec![ours] };
        if with_nginx {
            match peers::nginx(&self.site(&[]), sizes) {
                Ok(nginx) => {
                    origins.fetch_port = nginx.port;
                    origins.described = "nginx; our own for what is sent";
                    origins._programs.push(nginx.program);
                }
                Err(Absent::NotInstalled(_)) => origins.described = "our own (nginx is not installed)",
                Err(Absent::Failed(error)) => return Err(error),
            }
        }
        Ok(origins)
    }

    fn copier(&self, origins: &Origins, trusted: &[u8]) -> io::Result<Result<Ready, String>> {
        let mut command = Command::new(&self.own);
        let ports = [origins.fetch_port, origins.send_port];
        let mut program =
            Program::start(command.arg("copy").args(ports.map(|port| port.to_string())), self.dir())?;
        let mut port = || program.line_after("copying from ")?.parse().map_err(io::Error::other);
        let [fetch_port, send_port] = [port()?, port()?];
        let through = Target { fetch_port, send_port, ..target(origins, None, trusted)? };
        Ok(ready(through, vec![program.pid()], Some(program)))
    }

    fn site<'s>(&'s self, origins: &'s [u16]) -> Site<'s> {
        Site { dir: self.dir(), tools: &self.tools, origins }
    }

    /// All ways there are; each has shown that it does the job.
    pub(crate) fn ways(&self, origins: &Origins, with_peers: bool) -> io::Result<(Broker, Vec<Way>)> {
        let broker = Broker::start(&self.binary, self.dir(), "broker", &[])?;
        broker.register()?;
        broker.fill_vault(0)?;
        let token = broker.agent()?;
        let trusted = fs::read(self.dir().join(CA))?;
        let ca = broker.ca_pem()?;
        let fields = basic(&format!("{token}:{VAULT}"));
        let (run, relay_port, relay_fields) = broker.relay(&token, &self.own)?;
        let relay_pids = vec![run.pid(), broker.pid()];
        let mut ways = vec![
            Way { name: DIRECT, ready: ready(target(origins, None, &trusted)?, Vec::new(), None) },
            Way { name: COPY, ready: self.copier(origins, &trusted)? },
            Way {
                name: BROKER,
                ready: ready(
                    target(origins, Some((broker.proxy_port, vec![fields])), &ca)?,
                    vec![broker.pid()],
                    None,
                ),
            },
            Way {
                name: RELAY,
                ready: ready(
                    target(origins, Some((relay_port, vec![relay_fields])), &ca)?,
                    relay_pids,
                    Some(run),
                ),
            },
        ];
        if with_peers {
            let ports = [origins.fetch_port, origins.send_port];
            let count = if ports[0] == ports[1] { 1 } else { 2 };
            let site = self.site(&ports[..count]);
            let makers: [(&str, Make); 3] =
                [("squid", peers::squid), ("Envoy", peers::envoy), ("mitmproxy", peers::mitmproxy)];
            for (name, make) in makers {
                ways.push(Way { name, ready: peer(make(&site), origins) });
            }
        }
        for way in &mut ways {
            if let Ok(ready) = &way.ready
                && let Err(error) = check(way.name, &ready.target)
            {
                if ALWAYS.contains(&way.name) {
                    return Err(io::Error::other(format!("{}: {error}", way.name)));
                }
                way.ready = Err(format!("does not do the job: {error}"));
            }
        }
        Ok((broker, ways))
    }
}

fn ready(target: Target, pids: Vec<u32>, program: Option<Program>) -> Result<Ready, String> {
    Ok(Ready { target, pids, _program: program })
}

fn peer(made: Result<Peer, Absent>, origins: &Origins) -> Result<Ready, String> {
    let peer = match made {
        Ok(peer) => peer,
        Err(Absent::NotInstalled(what)) => return Err(format!("not installed: {what}")),
        Err(Absent::Failed(error)) => return Err(format!("does not start: {error}")),
    };
    let ca = fs::read(&peer.ca).map_err(|error| error.to_string())?;
    let proxy = Some((peer.port, vec![String::new()]));
    let target = target(origins, proxy, &ca).map_err(|error| error.to_string())?;
    ready(target, vec![peer.program.pid()], Some(peer.program))
}

/// A target behind a proxy on this machine, if any, and the fields of its CONNECTs.
pub(crate) fn target(
    origins: &Origins,
    proxy: Option<(u16, Vec<String>)>,
    trusted: &[u8],
) -> io::Result<Target> {
    Ok(Target {
        fetch_port: origins.fetch_port,
        send_port: origins.send_port,
        proxy: proxy.map(|(port, fields)| Proxy { address: ([127, 0, 0, 1], port).into(), fields }),
        tls: identity::client_config(trusted, Resumption::disabled())?,
        resuming: identity::client_config(trusted, Resumption::in_memory_sessions(64))?,
    })
}

/// Asks our origin which credential it sees: the job is to attach one.
pub(crate) fn check(name: &str, target: &Target) -> io::Result<()> {
    let plan = Plan { ask: Ask::Seen, connections: 1, lasting: Lasting::KeepAlive, run: Duration::ZERO };
    let crowd = Crowd::open(target, plan, 1, Instant::now() + Duration::from_secs(10))?;
    let seen = String::from_utf8_lossy(crowd.first_body()).into_owned();
    let expected = if matches!(name, DIRECT | COPY) { "" } else { CREDENTIAL };
    if seen == expected { Ok(()) } else { Err(io::Error::other(format!("the origin saw {seen:?}"))) }
}
