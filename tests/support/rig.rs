//! The proxy by itself, in this process: rules from the test, sockets real.
//!
//! For what has to be said byte by byte. Everything a person relies on is tested on the real binary;
//! this rig is for the wire, where a broker around it would only be slower.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use agent_vault::net::guard::Guard;
use agent_vault::net::reactor::{self, Connection, Reactor, Service};
use agent_vault::proxy::{Egress, Ingress, Limits, Outward, Proxy};
use agent_vault::secret::Secret;
use agent_vault::tls::ca::Root;
use agent_vault::tls::leaf::Leaves;
use agent_vault::tls::{Acceptor, Connector};
use agent_vault::vault::request_log::{RequestLog, Row};
use agent_vault::vault::scope::{Actor, Directory, Role, Scope, ScopeError, SnapshotUnavailable};
use agent_vault::vault::service::{self, Auth, HostPattern};
use agent_vault::vault::{Snapshot, UnmatchedPolicy};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub(crate) const TOKEN: &str = "av_agt_test";
/// `Proxy-Authorization` for [`TOKEN`].
pub(crate) const AUTH: &str = "Proxy-Authorization: Bearer av_agt_test\r\n";
const PATIENCE: Duration = Duration::from_secs(20);

/// A running proxy.
pub(crate) struct Rig {
    address: SocketAddr,
    root_pem: String,
    stop: Option<TcpStream>,
    main: Option<thread::JoinHandle<()>>,
}

/// What a rig is started with.
pub(crate) struct Rules {
    pub(crate) services: Vec<service::Service>,
    pub(crate) credentials: Vec<(&'static str, &'static str)>,
    pub(crate) policy: UnmatchedPolicy,
    pub(crate) limits: Limits,
    pub(crate) roots: Vec<Vec<u8>>,
    pub(crate) names: Vec<&'static str>,
    pub(crate) allow_private: bool,
    pub(crate) egress: Option<Egress>,
    /// Why the directory has no rules to give, if it is to have none.
    pub(crate) unavailable: Option<SnapshotUnavailable>,
    pub(crate) base_url: &'static str,
    /// Whom the proxy takes every client for; `None` is who it is.
    pub(crate) peer: Option<SocketAddr>,
    /// Where the rows of the request log go.
    pub(crate) log: Option<Arc<Rows>>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            services: Vec::new(),
            credentials: vec![("TOKEN", "s3cret-value")],
            policy: UnmatchedPolicy::Passthrough,
            limits: Limits::default(),
            roots: Vec::new(),
            names: vec!["api.example.test"],
            allow_private: true,
            egress: None,
            unavailable: None,
            base_url: "http://broker.test",
            peer: None,
            log: None,
        }
    }
}

/// A bearer service with `TOKEN` for a host and port.
pub(crate) fn bearer(host: &str, port: Option<u16>) -> service::Service {
    service::Service {
        name: "api".to_owned(),
        host: HostPattern::Exact(host.to_owned()),
        port,
        path: String::new(),
        enabled: None,
        auth: Auth::Bearer { token: "TOKEN".to_owned() },
        substitutions: Vec::new(),
    }
}

/// A token whose lookup fails.
pub(crate) const UNREADABLE: &str = "av_agt_unreadable";

struct OneVault(Arc<Scope>, Result<Arc<Snapshot>, SnapshotUnavailable>);

/// The rows of a request log, for a test to wait for.
#[derive(Default)]
pub(crate) struct Rows(Mutex<Vec<Row>>, Condvar);

impl RequestLog for Rows {
    fn record(&self, row: Row) {
        self.0.lock().unwrap().push(row);
        self.1.notify_all();
    }
}

impl Rows {
    /// Waits for row number `index` (from 0): it is written when the exchange is over, which the client
    /// does not see.
    #[track_caller]
    pub(crate) fn next(&self, index: usize) -> Row {
        let rows = self.0.lock().unwrap();
        let (rows, _) = self.1.wait_timeout_while(rows, PATIENCE, |rows| rows.len() <= index).unwrap();
        assert!(rows.len() > index, "awaited: row {index} of {}", rows.len());
        rows[index].clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// The listener, with clients that seem to come from elsewhere.
struct Seeming(Ingress, Option<SocketAddr>);

impl Service for Seeming {
    fn connect(&self, stream: TcpStream, peer: SocketAddr) -> io::Result<Box<dyn Connection>> {
        self.0.connect(stream, self.1.unwrap_or(peer))
    }

    fn refuse(&self, stream: TcpStream) {
        self.0.refuse(stream);
    }
}

impl Directory for OneVault {
    fn scope(&self, token: &Secret, hint: Option<&str>) -> Result<Arc<Scope>, ScopeError> {
        if *token == Secret::from(UNREADABLE) {
            return Err(ScopeError::Unavailable);
        }
        if *token != Secret::from(TOKEN) {
            return Err(ScopeError::InvalidToken);
        }
        if hint.is_some_and(|hint| hint != "default") {
            Err(ScopeError::Forbidden)
        } else {
            Ok(Arc::clone(&self.0))
        }
    }

    fn snapshot(&self, _scope: &Scope) -> Result<Arc<Snapshot>, SnapshotUnavailable> {
        self.1.clone()
    }
}

impl Rig {
    pub(crate) fn start(rules: Rules) -> Self {
        let peer = rules.peer;
        let credentials: HashMap<String, Secret> =
            rules.credentials.iter().map(|(key, value)| ((*key).to_owned(), Secret::from(*value))).collect();
        let snapshot = Snapshot::new(rules.services, &credentials, rules.policy);
        let scope = Scope {
            actor: Actor::Agent("agent-1".into()),
            vault_id: "vault-1".into(),
            vault_name: "default".into(),
            role: Role::Proxy,
        };
        let leaves = Arc::new(Leaves::new(Root::generate(SystemTime::now()).unwrap(), None).unwrap());
        let root_pem = leaves.root_pem().to_owned();
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let names = rules.names.iter().map(|name| ((*name).to_owned(), loopback)).collect();
        let proxy = Proxy::new(
            Arc::new(OneVault(Arc::new(scope), rules.unavailable.map_or(Ok(Arc::new(snapshot)), Err))),
            Acceptor::new(leaves).unwrap(),
            Outward {
                guard: Guard::new(rules.allow_private, Vec::new()).with_overrides(names),
                connector: Connector::new(&rules.roots).unwrap(),
                egress: rules.egress,
            },
            rules.limits,
            Some(rules.base_url),
        );
        let proxy = Arc::new(match rules.log {
            Some(log) => proxy.with_log(log),
            None => proxy,
        });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let knob = TcpListener::bind("127.0.0.1:0").unwrap();
        let stop = TcpStream::connect(knob.local_addr().unwrap()).unwrap();
        let stopped = knob.accept().unwrap().0;
        let main = thread::Builder::new()
            .spawn(move || {
                let mut reactor = Reactor::new(reactor::Limits::default()).unwrap();
                reactor.listen(listener, Arc::new(Seeming(Ingress(proxy), peer))).unwrap();
                reactor.watch(std::os::fd::AsRawFd::as_raw_fd(&stopped)).unwrap();
                reactor.turn(None).unwrap();
                reactor.stop_accepting();
                reactor.drain(Instant::now() + PATIENCE).unwrap();
                assert_eq!(reactor.counts().panicked, 0, "a connection panicked");
            })
            .unwrap();
        Self { address, root_pem, stop: Some(stop), main: Some(main) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// A connection to the listener.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A tunnel to `host:port`, TLS done.
    pub(crate) fn tunnel(&self, host: &'static str, port: u16) -> StreamOwned<ClientConnection, TcpStream> {
        self.tunnel_with(host, port, "")
    }

    /// The same, with more fields in the CONNECT.
    pub(crate) fn tunnel_with(
        &self,
        host: &'static str,
        port: u16,
        fields: &str,
    ) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from(host).unwrap();
        let config = Arc::new(self.client_config());
        StreamOwned::new(ClientConnection::new(config, name).unwrap(), self.open(host, port, fields))
    }

    /// A tunnel to `host:port`, nothing said in it yet.
    pub(crate) fn open(&self, host: &str, port: u16, fields: &str) -> TcpStream {
        let mut stream = self.connect();
        write!(stream, "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{AUTH}{fields}\r\n")
            .unwrap();
        assert_eq!(read_head(&mut stream), "HTTP/1.1 200 Connection Established\r\n\r\n");
        stream
    }

    /// What a client that trusts the proxy's root starts TLS with.
    pub(crate) fn client_config(&self) -> ClientConfig {
        self.client_config_with(rustls::crypto::ring::default_provider())
    }

    /// The same, with crypto of the client's own choice.
    pub(crate) fn client_config_with(&self, provider: CryptoProvider) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.root_pem.as_bytes()).unwrap()).unwrap();
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.main.take().map(thread::JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the proxy did not end well");
        }
    }
}

/// Reads up to the empty line.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Ok(_) => break,
            Err(error) => panic!("no head: {error}; so far {:?}", String::from_utf8_lossy(&head)),
        }
    }
    String::from_utf8(head).unwrap()
}

/// Reads exactly as many bytes as `expected` has and compares.
pub(crate) fn expect(stream: &mut impl Read, expected: &str) {
    let mut found = vec![0; expected.len()];
    let mut known = 0;
    while known < found.len() {
        match stream.read(&mut found[known..]) {
            Ok(0) => break,
            Ok(count) => known += count,
            Err(error) => panic!("{error}; so far {:?}", String::from_utf8_lossy(&found[..known])),
        }
    }
    assert_eq!(String::from_utf8_lossy(&found[..known]), expected);
}

/// A head and the body its `Content-Length` announces.
pub(crate) fn read_answer(stream: &mut impl Read) -> (String, String) {
    let head = read_head(stream);
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned))
        .map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// A plain origin that does to each connection what the script says.
pub(crate) struct Script {
    pub(crate) port: u16,
}

impl Script {
    pub(crate) fn start(script: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(script);
        thread::Builder::new()
            .spawn(move || {
                for (number, stream) in listener.incoming().flatten().enumerate() {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let script = Arc::clone(&script);
                    thread::Builder::new().spawn(move || script(stream, number)).unwrap();
                }
            })
            .unwrap();
        Self { port }
    }
}
