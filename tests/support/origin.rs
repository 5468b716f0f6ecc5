//! An origin: the server an app wants to reach, with a certificate authority of its own.
//!
//! It listens on a free port, serves HTTP/1.1 with keep-alive, one thread per connection, records every
//! request as it came off the wire and answers what it was told to. It shares no code with the product,
//! so that a mistake in framing cannot hide on both sides; the demo origin in `examples/` is this file.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Longest wait for a byte or for a request: far above what a loaded two-core machine needs, and short
/// enough that a broken test ends by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// A request as the origin saw it: fields in order, names as written, body with its framing removed.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Received {
    /// The value of the only field of that name; two of them would be a finding, so they are no answer.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value.as_str())
    }
}

/// What the origin answers.
#[derive(Clone, Debug)]
enum Reply {
    /// 200 with one line of text naming method and target.
    Line,
    /// These bytes, then close.
    Raw(Vec<u8>),
    /// The git repositories below a folder, over the smart protocol.
    Git(PathBuf),
    /// Whatever the test's own function says.
    By(Answering),
}

/// A function from a request to the bytes of its answer.
#[derive(Clone)]
struct Answering(Arc<Answerer>);

type Answerer = dyn Fn(&Received) -> Vec<u8> + Send + Sync;

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answering")
    }
}

#[derive(Debug)]
struct Shared {
    tls: Option<Arc<ServerConfig>>,
    reply: Mutex<Reply>,
    requests: Mutex<Vec<Received>>,
    arrived: Condvar,
}

/// A running origin; its port closes when the process ends.
#[derive(Debug)]
pub(crate) struct Origin {
    address: SocketAddr,
    ca_pem: String,
    shared: Arc<Shared>,
}

impl Origin {
    /// Serves https on loopback with one certificate for these names, signed by a new authority.
    pub(crate) fn tls(names: &[&str]) -> Self {
        let (config, ca_pem) = credentials_for(names);
        Self::start(Some(config), ca_pem)
    }

    /// Serves plain http on loopback.
    pub(crate) fn plain() -> Self {
        Self::start(None, String::new())
    }

    fn start(tls: Option<Arc<ServerConfig>>, ca_pem: String) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free loopback port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            tls,
            reply: Mutex::new(Reply::Line),
            requests: Mutex::new(Vec::new()),
            arrived: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        spawn("origin", move || {
            for socket in listener.incoming().flatten() {
                let shared = Arc::clone(&accepting);
                spawn("origin-connection", move || {
                    // A client may go away at any time; what it sent until then is recorded.
                    shared.serve(socket).unwrap_or(());
                });
            }
        });
        Self { address, ca_pem, shared }
    }

    /// Answers every request with exactly these bytes, then closes the connection.
    pub(crate) fn replying(self, bytes: &str) -> Self {
        *hold(&self.shared.reply) = Reply::Raw(bytes.as_bytes().to_vec());
        self
    }

    /// Answers every request with what `answer` makes of it; the connection goes on.
    pub(crate) fn answering(self, answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        *hold(&self.shared.reply) = Reply::By(Answering(Arc::new(answer)));
        self
    }

    /// Serves the bare repositories in `root` to git.
    pub(crate) fn serving_git(self, root: &Path) -> Self {
        *hold(&self.shared.reply) = Reply::Git(root.to_owned());
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The authority a client has to trust, as PEM; empty for plain http.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The URL of `path` under one of the names.
    pub(crate) fn url(&self, name: &str, path: &str) -> String {
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{name}:{}{path}", self.port())
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Received> {
        hold(&self.shared.requests).clone()
    }

    /// Waits, however long it takes, for request number `index` (from 0).
    pub(crate) fn next(&self, index: usize) -> Received {
        let requests = hold(&self.shared.requests);
        let arrived = self.shared.arrived.wait_while(requests, |requests| requests.len() <= index);
        arrived.unwrap_or_else(PoisonError::into_inner)[index].clone()
    }

    /// The latest request; there must be one.
    pub(crate) fn last(&self) -> Received {
        self.requests().pop().expect("the origin saw no request")
    }
}

impl Shared {
    fn serve(&self, socket: TcpStream) -> io::Result<()> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        socket.set_nodelay(true)?;
        let Some(config) = &self.tls else {
            return self.exchanges(BufReader::new(socket));
        };
        let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        let served = self.exchanges(BufReader::new(&mut stream));
        stream.conn.send_close_notify();
        stream.flush()?;
        served
    }

    fn exchanges<S: Read + Write>(&self, mut stream: BufReader<S>) -> io::Result<()> {
        while let Some(request) = read_request(&mut stream)? {
            let wants_close = request.field("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
            // The reply is chosen and the request recorded before a byte goes out: a client that has its
            // answer finds its request on record.
            let reply = hold(&self.reply).clone();
            hold(&self.requests).push(request.clone());
            self.arrived.notify_all();
            let stream = stream.get_mut();
            match reply {
                Reply::Line => stream.write_all(&line(&request))?,
                Reply::By(answer) => stream.write_all(&answer.0(&request))?,
                Reply::Git(root) => stream.write_all(&git_backend(&root, &request)?)?,
                Reply::Raw(bytes) => {
                    stream.write_all(&bytes)?;
                    return stream.flush();
                }
            }
            stream.flush()?;
            if wants_close {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Reads one request; `None` at a clean end between requests.
fn read_request<S: Read + Write>(stream: &mut BufReader<S>) -> io::Result<Option<Received>> {
    let Some(start) = read_line(stream)? else {
        return Ok(None);
    };
    let mut words = start.split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed(&start));
    };
    let fields = read_fields(stream)?;
    let mut request =
        Received { method: method.to_owned(), target: target.to_owned(), fields, body: Vec::new() };
    if request.field("expect").is_some() {
        stream.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        stream.get_mut().flush()?;
    }
    if request.field("transfer-encoding").is_some() {
        request.body = read_chunks(stream)?;
    } else if let Some(length) = request.field("content-length") {
        let length = length.parse().map_err(|_| malformed(length))?;
        request.body.resize(length, 0);
        stream.read_exact(&mut request.body)?;
    }
    Ok(Some(request))
}

fn read_fields<S: Read>(stream: &mut BufReader<S>) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = read_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_chunks<S: Read>(stream: &mut BufReader<S>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = line.split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(|_| malformed(&line))?;
        if size == 0 {
            read_fields(stream)?; // trailers
            return Ok(body);
        }
        let start = body.len();
        body.resize(start + size, 0);
        stream.read_exact(&mut body[start..])?;
        read_line(stream)?;
    }
}

/// Reads one CRLF line without its end; `None` at the end of the stream.
fn read_line<S: Read>(stream: &mut BufReader<S>) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&line);
    text.strip_suffix("\r\n").map(|line| Some(line.to_owned())).ok_or_else(|| malformed(&text))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not HTTP/1.1: {what:?}"))
}

fn line(request: &Received) -> Vec<u8> {
    let body = format!("origin saw {} {}\n", request.method, request.target);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length:";
    format!("{head} {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Lets git's own CGI program answer, and turns its reply into an HTTP/1.1 response.
fn git_backend(root: &Path, request: &Received) -> io::Result<Vec<u8>> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut backend = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_PROTOCOL", request.field("git-protocol").unwrap_or_default())
        .env("REQUEST_METHOD", &request.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", request.field("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    backend.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(&request.body))?;
    let reply = backend.wait_with_output()?.stdout;
    let end = reply.windows(4).position(|window| window == b"\r\n\r\n").map_or(reply.len(), |at| at + 4);
    let (head, body) = reply.split_at(end);
    let mut response = b"HTTP/1.1 200 OK\r\n".to_vec();
    response.extend(format!("Content-Length: {}\r\n", body.len()).bytes());
    response.extend(head);
    response.extend(body);
    Ok(response)
}

/// A new authority, and a server configuration with a leaf for `names` signed by it.
fn credentials_for(names: &[&str]) -> (Arc<ServerConfig>, String) {
    let ca_key = KeyPair::generate().expect("a key pair");
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    ca.distinguished_name.push(DnType::CommonName, "Origin Test CA");
    let ca_pem = ca.self_signed(&ca_key).expect("a self-signed root").pem();

    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let leaf_key = KeyPair::generate().expect("a key pair");
    let mut leaf = CertificateParams::new(names).expect("names that fit a certificate");
    leaf.use_authority_key_identifier_extension = true;
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key)).expect("a signed leaf");

    let key = PrivateKeyDer::try_from(leaf_key.serialize_der()).expect("a PKCS#8 key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider supports TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .expect("the key fits the leaf");
    (Arc::new(config), ca_pem)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(work);
    drop(thread.expect("a thread"));
}

/// Locks, whatever another thread's panic left behind.
fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
