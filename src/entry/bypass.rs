//! What the child reaches without the proxy: loopback, what its platform needs, what the operator named.
//!
//! A platform hands a container credentials and names of its own at addresses that mean something only
//! from inside that container. It says where it is by its variables, so each is a row of one table. What
//! an operator has set in `NO_PROXY` stays; a list that covers every host is refused, since a run that
//! attaches nothing would look like one that does.

use std::net::{IpAddr, Ipv6Addr};

use crate::authority::Authority;
use crate::failure::Failure;

/// Hosts a client always reaches directly: the relay's own API is one of them (contract A.9).
const LOOPBACK: [&str; 2] = ["localhost", "127.0.0.1"];

/// Where an inherited list may stand.
const INHERITED: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// How a variable tells what has to be reached directly.
#[derive(Clone, Copy, Debug)]
enum Tells {
    /// By being set.
    These(&'static [&'static str]),
    /// By being a host, with or without a port.
    ItsHost(&'static [&'static str]),
    /// By being a URL whose host is loopback or link-local: an address of this very container. Any other
    /// host is one like all others.
    HostOfUrl(&'static [&'static str]),
}
use Tells::{HostOfUrl, ItsHost, These};

/// Amazon's and Google's metadata service, at the same address.
const METADATA: &str = "169.254.169.254";
const GOOGLE: Tells = These(&["metadata.google.internal", METADATA]);

/// Platforms by the variables they set themselves.
const PLATFORMS: [(&str, &str, Tells); 19] = [
    ("ECS", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", These(&["169.254.170.2"])),
    ("ECS", "ECS_CONTAINER_METADATA_URI", These(&["169.254.170.2"])),
    ("ECS", "ECS_CONTAINER_METADATA_URI_V4", These(&["169.254.170.2"])),
    ("EKS", "AWS_CONTAINER_CREDENTIALS_FULL_URI", HostOfUrl(&["169.254.170.23", "fd00:ec2::23"])),
    ("Lambda", "AWS_LAMBDA_RUNTIME_API", ItsHost(&[])),
    // A machine of EC2 sets nothing by itself; whoever moves its metadata service says where it is.
    ("EC2", "AWS_EC2_METADATA_SERVICE_ENDPOINT", HostOfUrl(&[])),
    ("Fly", "FLY_APP_NAME", These(&[".internal", ".flycast", "_api.internal"])),
    ("Kubernetes", "KUBERNETES_SERVICE_HOST", ItsHost(&["kubernetes.default", ".svc", ".cluster.local"])),
    ("Cloud Run", "K_SERVICE", GOOGLE),
    ("Cloud Run", "CLOUD_RUN_JOB", GOOGLE),
    ("Cloud Run", "CLOUD_RUN_WORKER_POOL", GOOGLE),
    ("App Engine", "GAE_SERVICE", GOOGLE),
    ("Google Cloud", "GCE_METADATA_HOST", ItsHost(&[])),
    ("Google Cloud", "GCE_METADATA_ROOT", ItsHost(&[])),
    ("Google Cloud", "GCE_METADATA_IP", ItsHost(&[])),
    ("Azure", "IDENTITY_ENDPOINT", HostOfUrl(&[])),
    ("Azure", "MSI_ENDPOINT", HostOfUrl(&[])),
    ("Azure", "IMDS_ENDPOINT", HostOfUrl(&[])),
    ("Railway", "RAILWAY_PRIVATE_DOMAIN", These(&[".railway.internal"])),
];

/// Hosts that are reached without the proxy, in order, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bypass {
    hosts: Vec<String>,
    platforms: Vec<&'static str>,
}

impl Bypass {
    /// From `--no-proxy` (or its variable) and the environment; `var` answers with non-empty values only.
    pub fn read(asked: Option<&str>, var: impl Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let mut bypass = Self::default();
        for (platform, name, tells) in PLATFORMS {
            let Some(value) = var(name) else { continue };
            let told = tells.hosts(&value);
            if !told.is_empty() && !bypass.platforms.contains(&platform) {
                bypass.platforms.push(platform);
            }
            told.into_iter().for_each(|host| bypass.add(host));
        }
        for name in INHERITED {
            bypass.add_list(name, &var(name).unwrap_or_default())?;
        }
        bypass.add_list("--no-proxy", asked.unwrap_or_default())?;
        Ok(bypass)
    }

    /// The platforms that were recognised.
    pub fn platforms(&self) -> &[&'static str] {
        &self.platforms
    }

    /// The whole list, for a child whose proxy is this one.
    pub(super) fn hosts(&self, proxy: &Authority) -> Vec<String> {
        let mut whole = Self::default();
        LOOPBACK.iter().for_each(|host| whole.add((*host).to_owned()));
        // The relay listens on 127.0.0.1; a client that prefers the other loopback address stays local too.
        let is_ours = LOOPBACK.contains(&proxy.host());
        whole.add(if is_ours { "::1" } else { proxy.host() }.to_owned());
        self.hosts.iter().for_each(|host| whole.add(host.clone()));
        whole.hosts
    }

    fn add_list(&mut self, source: &str, list: &str) -> Result<(), Failure> {
        // Commas are what everybody reads; curl takes spaces, too.
        for host in list.split([',', ' ', '\t', '\n']).filter(|host| !host.is_empty()) {
            if covers_everything(host) {
                return Err(Failure::new(format!(
                    "{source} has {host:?}, which sends every call around the proxy: no credential would be attached"
                ))
                .with_hint("name the hosts that have to be reached directly; leave agent-vault out if all have to"));
            }
            self.add(host.to_owned());
        }
        Ok(())
    }

    fn add(&mut self, host: String) {
        if !self.hosts.iter().any(|known| known.eq_ignore_ascii_case(&host)) {
            self.hosts.push(host);
        }
    }
}

impl Tells {
    fn hosts(self, value: &str) -> Vec<String> {
        let (host, more) = match self {
            These(hosts) => (None, hosts),
            ItsHost(more) => (host_of(value), more),
            HostOfUrl(more) => {
                let here = value
                    .split_once("://")
                    .and_then(|(_, rest)| host_of(rest.split(['/', '?', '#']).next()?))
                    .filter(|host| is_of_this_container(host));
                // The credential endpoint of pods has a second address that its URL does not tell.
                let more = if here.as_deref().is_some_and(|host| more.contains(&host)) { more } else { &[] };
                (here, more)
            }
        };
        host.into_iter().chain(more.iter().map(|&host| host.to_owned())).collect()
    }
}

/// The host of `HOST`, `HOST:PORT` or an IPv6 address, bare or in brackets.
fn host_of(text: &str) -> Option<String> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some(text.to_owned());
    }
    Authority::parse_or(text, 80).ok().map(|authority| authority.host().to_owned())
}

/// Whether what listens there belongs to this container or to its machine.
fn is_of_this_container(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unicast_link_local() || ip.segments()[..2] == [0xfd00, 0x0ec2]
        }
        Err(_) => host == "localhost",
    }
}

/// Whether an entry leaves nothing for the proxy, with whatever reading a client has.
fn covers_everything(entry: &str) -> bool {
    let name = entry.rsplit_once(':').map_or(entry, |(name, _)| name);
    let is_any_name = |name: &str| !name.is_empty() && name.bytes().all(|b| matches!(b, b'*' | b'.'));
    is_any_name(entry) || is_any_name(name) || entry.ends_with("/0")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(asked: Option<&str>, vars: &[(&str, &str)]) -> Result<Bypass, String> {
        let var = |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, v)| (*v).to_owned());
        Bypass::read(asked, var).map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn each_platform_is_known_by_its_own_variables() {
        let cases: &[(&str, &str, &[&str])] = &[
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x", &["169.254.170.2"]),
            ("ECS_CONTAINER_METADATA_URI", "http://169.254.170.2/v3/x", &["169.254.170.2"]),
            ("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/x", &["169.254.170.2"]),
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "http://169.254.170.23/v1/credentials",
                &["169.254.170.23", "fd00:ec2::23"],
            ),
            (
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "http://[fd00:ec2::23]/v1/credentials",
                &["fd00:ec2::23", "169.254.170.23"],
            ),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://localhost:8080/creds", &["localhost"]),
            // An ordinary host is reached as all others are.
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "https://creds.example.com/x", &[]),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "nonsense", &[]),
            ("AWS_LAMBDA_RUNTIME_API", "169.254.100.1:9001", &["169.254.100.1"]),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254/", &["169.254.169.254"]),
            ("FLY_APP_NAME", "my-app", &[".internal", ".flycast", "_api.internal"]),
            (
                "KUBERNETES_SERVICE_HOST",
                "10.96.0.1",
                &["10.96.0.1", "kubernetes.default", ".svc", ".cluster.local"],
            ),
            (
                "KUBERNETES_SERVICE_HOST",
                "fd00:10:96::1",
                &["fd00:10:96::1", "kubernetes.default", ".svc", ".cluster.local"],
            ),
            ("K_SERVICE", "svc", &["metadata.google.internal", "169.254.169.254"]),
            ("CLOUD_RUN_JOB", "job", &["metadata.google.internal", "169.254.169.254"]),
            ("CLOUD_RUN_WORKER_POOL", "p", &["metadata.google.internal", "169.254.169.254"]),
            ("GAE_SERVICE", "default", &["metadata.google.internal", "169.254.169.254"]),
            ("GCE_METADATA_HOST", "metadata:8080", &["metadata"]),
            ("GCE_METADATA_ROOT", "metadata.google.internal", &["metadata.google.internal"]),
            ("GCE_METADATA_IP", "169.254.169.254", &["169.254.169.254"]),
            ("IDENTITY_ENDPOINT", "http://169.254.129.2:8081/msi/token", &["169.254.129.2"]),
            ("MSI_ENDPOINT", "http://127.0.0.1:41741/MSI/token/", &["127.0.0.1"]),
            ("IMDS_ENDPOINT", "http://localhost:40342", &["localhost"]),
            ("RAILWAY_PRIVATE_DOMAIN", "api.railway.internal", &[".railway.internal"]),
        ];
        for (name, value, hosts) in cases {
            assert_eq!(read(None, &[(name, value)]).unwrap().hosts, *hosts, "{name}={value}");
        }
        for (platform, name, _) in PLATFORMS {
            let case = cases.iter().find(|(known, ..)| *known == name);
            let (_, value, _) = case.unwrap_or_else(|| panic!("{name} has no case"));
            assert_eq!(read(None, &[(name, value)]).unwrap().platforms(), [platform]);
        }
        assert_eq!(read(None, &[]).unwrap(), Bypass::default());
    }

    #[test]
    fn an_inherited_list_is_merged_in_order_and_each_host_once() {
        let vars = [
            ("FLY_APP_NAME", "x"),
            ("NO_PROXY", "corp.example, .Internal,10.0.0.0/8,,db:5432"),
            ("no_proxy", "localhost corp.example lower.example"),
        ];
        let bypass = read(Some("flag.example,10.0.0.0/8"), &vars).unwrap();
        let expected = [
            "localhost",
            "127.0.0.1",
            "::1",
            ".internal",
            ".flycast",
            "_api.internal",
            "corp.example",
            "10.0.0.0/8",
            "db:5432",
            "lower.example",
            "flag.example",
        ];
        assert_eq!(bypass.hosts(&Authority::parse("127.0.0.1:5").unwrap()), expected);
        let broker = Authority::parse("broker.test:14322").unwrap();
        assert_eq!(bypass.hosts(&broker)[..3], ["localhost", "127.0.0.1", "broker.test"]);
    }

    #[test]
    fn a_list_that_covers_every_host_is_refused() {
        for entry in ["*", "a.example,*", "*.*", ".", "*:443", "0.0.0.0/0", "::/0"] {
            for name in INHERITED {
                let text = read(None, &[(name, entry)]).unwrap_err();
                assert!(text.starts_with(&format!("{name} has ")), "{entry}: {text}");
            }
            assert!(read(Some(entry), &[]).unwrap_err().starts_with("--no-proxy has "), "{entry}");
        }
        for entry in ["*.example", ".example", "10.0.0.0/8", "::1", "fd00::/8", "[::1]:80", "a:80"] {
            assert_eq!(read(Some(entry), &[]).unwrap().hosts, [entry]);
        }
    }
}
