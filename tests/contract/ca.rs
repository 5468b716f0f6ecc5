//! Cases 61 to 68: the root, the leaves, and where the root is to be had.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agent_vault::tls::ca::Root;
use agent_vault::tls::leaf::Leaves;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

use super::api::Api;
use crate::support::{BINARY, Broker, Origin, Running, TempDir, bare};

/// The object identifier of a common name, 2.5.4.3, in DER.
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];
/// basicConstraints, critical, CA:TRUE and no path length (RFC 5280 §4.2.1.9).
const IS_CA: [u8; 15] =
    [0x06, 0x03, 0x55, 0x1d, 0x13, 0x01, 0x01, 0xff, 0x04, 0x05, 0x30, 0x03, 0x01, 0x01, 0xff];

fn root() -> Root {
    Root::generate(SystemTime::now()).unwrap()
}

fn leaves(extra: Option<&str>) -> Leaves {
    Leaves::new(root(), extra).unwrap()
}

fn leaf(leaves: &Leaves, name: &str) -> CertificateDer<'static> {
    leaves.leaf(name, SystemTime::now()).unwrap().cert[0].clone()
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// How often these bytes occur.
fn count(heap: &[u8], needle: &[u8]) -> usize {
    heap.windows(needle.len()).filter(|window| *window == needle).count()
}

/// A GeneralName as it stands in a SAN (RFC 5280 §4.2.1.6): DNS names have tag 2, addresses tag 7.
fn general_name(tag: u8, content: &[u8]) -> Vec<u8> {
    [&[0x80 | tag, u8::try_from(content.len()).unwrap()], content].concat()
}

fn dns(name: &str) -> Vec<u8> {
    general_name(2, name.as_bytes())
}

/// The subject's common name comes after the issuer's.
fn subject_name(certificate: &[u8]) -> String {
    let at = certificate.windows(5).rposition(|window| window == COMMON_NAME).expect("a common name");
    let length = usize::from(certificate[at + 6]);
    String::from_utf8(certificate[at + 7..at + 7 + length].to_vec()).unwrap()
}

/// Whether a client that trusts this root takes the leaf for `name`, as a server's.
fn is_accepted(root_pem: &str, leaf: &CertificateDer<'_>, name: &str) -> bool {
    let mut roots = RootCertStore::empty();
    roots.add(der(root_pem)).unwrap();
    let provider = agent_vault::tls::provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let name = ServerName::try_from(name).unwrap();
    verifier.verify_server_cert(leaf, &[], &name, &[], UnixTime::now()).is_ok()
}

/// A broker's server without an account, on a home that outlives it.
fn server(home: &Path) -> (Running, String) {
    let mut command = bare(BINARY.as_ref(), home);
    command.args(["server", "--port", "0", "--mitm-port", "auto"]);
    let mut running = Running::start(command.env("AGENT_VAULT_MASTER_PASSWORD", "a password of tests"));
    let address = running.line_after("Agent Vault server listening on ");
    (running, address)
}

#[test]
fn case_061_the_root_is_kept_with_its_modes_and_signs_on() {
    let home = TempDir::new();
    let folder = home.join(".agent-vault/ca");
    drop(server(home.path()));
    let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca.crt.pem"), mode("ca.key.enc"), mode("")), (0o644, 0o600, 0o700));
    let read = || fs::read_to_string(folder.join("ca.crt.pem")).unwrap();
    let first = read();
    drop(server(home.path()));
    assert_eq!(read(), first);

    let root = root();
    let (pem, key) = (root.pem().to_owned(), root.key_sec1().unwrap());
    let before = Leaves::new(root, None).unwrap();
    let after = Leaves::new(Root::load(&pem, &key).unwrap(), None).unwrap();
    assert!(is_accepted(after.root_pem(), &leaf(&before, "a.example"), "a.example"));
    assert!(is_accepted(before.root_pem(), &leaf(&after, "a.example"), "a.example"));
}

#[test]
fn case_062_a_key_that_does_not_open_switches_the_proxy_off_alone() {
    let [home, other] = [(); 2].map(|()| TempDir::new());
    for home in [&home, &other] {
        drop(server(home.path()));
    }
    let key = ".agent-vault/ca/ca.key.enc";
    fs::copy(other.join(key), home.join(key)).unwrap();
    let (mut running, address) = server(home.path());
    running.line_after("No owner account yet");
    let answer = Api::nobody(&address).call("GET", "/v1/mitm/ca.pem", "");
    assert_eq!(answer.said(), (404, "MITM proxy is not enabled on this server\n"));
    assert_eq!(Api::nobody(&address).call("GET", "/health", "").status, 200);
    let warning = running.line_with("warning: transparent proxy disabled (CA init failed: ");
    assert!(warning.ends_with("; pass --mitm-port 0 to suppress"), "{warning}");
}

#[test]
fn case_063_the_root_says_what_it_is() {
    let root = der(root().pem());
    assert_eq!(count(&root, &IS_CA), 1);
    assert_eq!(subject_name(&root), "Agent Vault Root CA");
    // Issuer and subject, and no third name.
    assert_eq!(count(&root, &COMMON_NAME), 2);
}

#[test]
fn case_064_a_leaf_is_for_its_name_alone() {
    let leaves = leaves(None);
    let named = leaf(&leaves, "example.com");
    assert_eq!(count(&named, &dns("example.com")), 1);
    assert_eq!(subject_name(&named), "example.com");
    assert!(is_accepted(leaves.root_pem(), &named, "example.com"));
    assert!(!is_accepted(leaves.root_pem(), &named, "other.example.com"));

    let numbered = leaf(&leaves, "127.0.0.1");
    assert_eq!(count(&numbered, &general_name(7, &[127, 0, 0, 1])), 1);
    assert_eq!(count(&numbered, &dns("127.0.0.1")), 0);
    assert_eq!(subject_name(&numbered), "127.0.0.1");
    assert!(is_accepted(leaves.root_pem(), &numbered, "127.0.0.1"));
    let numbered = leaf(&leaves, "::1");
    assert!(is_accepted(leaves.root_pem(), &numbered, "::1"));
}

#[test]
fn case_065_leaves_are_kept_until_shortly_before_their_end() {
    let leaves = leaves(None);
    let now = SystemTime::now();
    let at = |name: &str, moment| leaves.leaf(name, moment).unwrap().cert[0].to_vec();
    let first = at("a.example", now);
    assert_eq!(at("a.example", now), first);
    assert_ne!(at("b.example", now), first);
    let day = Duration::from_secs(24 * 3600);
    assert_ne!(at("a.example", now + day - Duration::from_secs(60)), first);
}

#[test]
fn case_066_names_that_are_none_get_no_leaf() {
    let leaves = leaves(None);
    let [long, longest] = ["examples", "example"].map(|last| "a.".repeat(123) + last);
    assert_eq!((long.len(), longest.len()), (254, 253));
    let label = "a".repeat(64);
    let refused = ["", "foo bar", "has/slash", "-leading.com", "trailing-.com", ".x.com", "a..b", "x.com."];
    for name in refused.into_iter().chain([long.as_str(), &label]) {
        assert!(leaves.leaf(name, SystemTime::now()).is_err(), "{name:?}");
    }
    for name in ["host.docker.internal", "localhost", &longest, &label[1..]] {
        assert!(leaves.leaf(name, SystemTime::now()).is_ok(), "{name:?}");
    }
}

#[test]
fn case_067_the_brokers_own_name_stands_beside() {
    let own = "agent-vault-hnh0";
    let beside = leaf(&leaves(Some(own)), "example.com");
    assert_eq!((count(&beside, &dns("example.com")), count(&beside, &dns(own))), (1, 1));
    let once = leaf(&leaves(Some("AGENT-VAULT-HNH0")), own);
    assert_eq!((count(&once, &dns(own)), count(&once, &dns("AGENT-VAULT-HNH0"))), (1, 0));
    for extra in ["", "my_host", "-x", "a b"] {
        let plain = leaf(&leaves(Some(extra)), "example.com");
        assert_eq!(count(&plain, &dns("example.com")), 1, "{extra:?}");
        assert_eq!(count(&plain, &dns(extra)), 0, "{extra:?}");
    }
    let numbered = leaf(&leaves(Some("10.0.0.5")), "example.com");
    assert_eq!(count(&numbered, &general_name(7, &[10, 0, 0, 5])), 1);
}

#[test]
fn case_068_the_root_is_served_while_the_proxy_listens() {
    let broker = Broker::start(&Origin::plain(), &[]);
    let answer = Api::nobody(broker.address()).call("GET", "/v1/mitm/ca.pem", "");
    assert_eq!(answer.status, 200);
    assert!(der(&answer.body).len() > 100);
    assert_eq!(answer.field("content-type"), Some("application/x-pem-file"));
    assert_eq!(answer.field("content-disposition"), Some("attachment; filename=\"agent-vault-ca.pem\""));
    let port = broker.proxy().rsplit(':').next();
    assert_eq!(answer.field("x-mitm-port"), port);
    assert_eq!(answer.field("x-mitm-tls"), None);

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    for (port, what) in [(taken.as_str(), "not bound"), ("0", "off")] {
        let home = TempDir::new();
        let mut command = bare(BINARY.as_ref(), home.path());
        command.args(["server", "--port", "0", "--mitm-port", port]);
        let mut running = Running::start(command.env("AGENT_VAULT_MASTER_PASSWORD", "a password of tests"));
        let address = running.line_after("Agent Vault server listening on ");
        let answer = Api::nobody(&address).call("GET", "/v1/mitm/ca.pem", "");
        assert_eq!(answer.said(), (404, "MITM proxy is not enabled on this server\n"), "{what}");
        assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
    }
}
