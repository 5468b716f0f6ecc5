//! The smallest app there is: one static program, one HTTPS call, and a look around.
//!
//! `probe URL [BODY]` calls the URL as any client does (through the proxy and with the roots its
//! environment names) and prints the answer, then what it can see of its own process and of process 1.
//! It attaches no credential: if the origin received one, somebody else attached it.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// No demonstration waits longer than this for a byte.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Outcome<()> {
    let mut args = env::args().skip(1);
    let url = args.next().ok_or("usage: probe https://HOST[:PORT]/PATH [BODY]")?;
    let reply = call(&url, args.next().as_deref())?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", reply.trim_end())?;
    look_around(&mut out)?;
    Ok(())
}

/// GET, or POST when there is a body; returns the whole response as text.
fn call(url: &str, body: Option<&str>) -> Outcome<String> {
    let rest = url.strip_prefix("https://").ok_or("only https:// URLs")?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, _) = authority.split_once(':').unwrap_or((authority, "443"));
    let target = if authority.contains(':') { authority.to_owned() } else { format!("{authority}:443") };
    let tunnel = open_tunnel(&env::var("HTTPS_PROXY")?, &target)?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(&env::var("SSL_CERT_FILE")?)?)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    let mut stream = StreamOwned::new(ClientConnection::new(Arc::new(config), name)?, tunnel);

    let method = if body.is_some() { "POST" } else { "GET" };
    let path = if path.is_empty() { "/" } else { path };
    let body = body.unwrap_or_default();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n")?;
    write!(stream, "Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    stream.flush()?;
    let mut reply = String::new();
    stream.read_to_string(&mut reply)?;
    Ok(reply)
}

fn roots(file: &str) -> Outcome<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    Ok(roots)
}

/// CONNECTs to `target` through a proxy URL of the form `http://user:password@host:port`.
fn open_tunnel(proxy: &str, target: &str) -> Outcome<TcpStream> {
    let proxy = proxy.strip_prefix("http://").ok_or("only http:// proxies")?;
    let (user_info, address) = proxy.rsplit_once('@').ok_or("a proxy URL with a credential")?;
    let mut stream = TcpStream::connect(address.trim_end_matches('/'))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let credential = STANDARD.encode(percent_decoded(user_info)?);
    write!(
        stream,
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Basic {credential}\r\n\r\n"
    )?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head);
    if head.starts_with("HTTP/1.1 200 ") { Ok(stream) } else { Err(format!("proxy refused: {head}").into()) }
}

fn percent_decoded(text: &str) -> Outcome<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (hex, rest) = part.split_at_checked(2).ok_or("two digits after a percent sign")?;
        bytes.push(u8::from_str_radix(hex, 16)?);
        bytes.extend(rest.bytes());
    }
    Ok(bytes)
}

/// Prints what a program in this place can read: its own environment, and process 1.
fn look_around(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "own pid: {}", std::process::id())?;
    for variable in fs::read("/proc/self/environ")?.split(|&byte| byte == 0) {
        writeln!(out, "own environ: {}", String::from_utf8_lossy(variable))?;
    }
    let command = fs::read("/proc/1/cmdline").unwrap_or_default();
    writeln!(out, "pid 1: {}", String::from_utf8_lossy(&command).replace('\0', " ").trim_end())?;
    for file in ["environ", "maps", "mem"] {
        match fs::File::open(format!("/proc/1/{file}")).and_then(|file| first_bytes(&file)) {
            Ok(bytes) => writeln!(out, "pid 1 {file}: {}", String::from_utf8_lossy(&bytes))?,
            Err(error) => writeln!(out, "pid 1 {file}: closed ({})", error.kind())?,
        }
    }
    Ok(())
}

fn first_bytes(file: &fs::File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(64 * 1024).read_to_end(&mut bytes)?;
    Ok(bytes)
}
