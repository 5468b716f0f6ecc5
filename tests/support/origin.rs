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

/// Read at once: a few TLS records, so that large bodies cost few calls.
const BUFFER_BYTES: usize = 64 * 1024;

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

    /// Reads the body, whatever its framing, a piece at a time; a client that waits is told to go on.
    pub(crate) fn read_body(&self, stream: &mut dyn Wire, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
        if self.field("expect").is_some() {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            stream.flush()?;
        }
        if self.field("transfer-encoding").is_none() {
            let length = self.field("content-length").unwrap_or("0");
            return read_exactly(stream, length.parse().map_err(|_| malformed(length))?, take);
        }
        loop {
            let line = read_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16).map_err(|_| malformed(&line))?;
            if size == 0 {
                read_fields(stream)?; // trailers
                return Ok(());
            }
            read_exactly(stream, size, take)?;
            read_line(stream)?;
        }
    }
}

fn read_exactly(stream: &mut dyn Wire, mut left: u64, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    while left > 0 {
        let piece = stream.fill_buf()?;
        let count = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        take(&piece[..count]);
        stream.consume(count);
        left -= count as u64;
    }
    Ok(())
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
    /// The test's own function has the connection.
    Talk(Talking),
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

/// A function that gets the connection behind a request's head: body, answer and all that follows.
#[derive(Clone)]
struct Talking(Arc<Talker>);

type Talker = dyn Fn(&Received, &mut dyn Wire) -> io::Result<()> + Send + Sync;

impl fmt::Debug for Talking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Talking")
    }
}

/// The two directions of a connection.
pub(crate) trait Wire: BufRead + Write {}

impl<S: Read + Write> Wire for Buffered<S> {}

/// A stream read in large pieces and written through.
#[derive(Debug)]
struct Buffered<S>(BufReader<S>);

impl<S: Read> Read for Buffered<S> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl<S: Read> BufRead for Buffered<S> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.0.consume(count);
    }
}

impl<S: Write> Write for Buffered<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.get_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.get_mut().flush()
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

    /// Hands the connection to `talk` behind each request's head, body unread; it ends when `talk` does.
    pub(crate) fn talking(
        self,
        talk: impl Fn(&Received, &mut dyn Wire) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        *hold(&self.shared.reply) = Reply::Talk(Talking(Arc::new(talk)));
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
            return self.exchanges(Buffered(BufReader::with_capacity(BUFFER_BYTES, socket)));
        };
        let connection = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        let served = self.exchanges(Buffered(BufReader::with_capacity(BUFFER_BYTES, &mut stream)));
        stream.conn.send_close_notify();
        stream.flush()?;
        served
    }

    fn exchanges(&self, mut stream: impl Wire) -> io::Result<()> {
        while let Some(mut request) = read_head(&mut stream)? {
            let wants_close = request.field("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
            let reply = hold(&self.reply).clone();
            if !matches!(reply, Reply::Talk(_)) {
                let mut body = Vec::new();
                request.read_body(&mut stream, &mut |piece| body.extend_from_slice(piece))?;
                request.body = body;
            }
            // The request is recorded before a byte of the answer goes out: a client that has its answer
            // finds its request on record.
            hold(&self.requests).push(request.clone());
            self.arrived.notify_all();
            match reply {
                Reply::Talk(talk) => {
                    talk.0(&request, &mut stream)?;
                    return stream.flush();
                }
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

/// Reads one request's head; `None` at a clean end between requests.
fn read_head(stream: &mut impl Wire) -> io::Result<Option<Received>> {
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
    Ok(Some(Received { method: method.to_owned(), target: target.to_owned(), fields, body: Vec::new() }))
}

fn read_fields(stream: &mut (impl BufRead + ?Sized)) -> io::Result<Vec<(String, String)>> {
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

/// Reads one CRLF line without its end; `None` at the end of the stream.
fn read_line(stream: &mut (impl BufRead + ?Sized)) -> io::Result<Option<String>> {
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
        .env("HTTP_CONTENT_ENCODING", request.field("content-encoding").unwrap_or_default())
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
