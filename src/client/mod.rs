//! Blocking client of a broker's control API: what the command line and `run` ask it.
//!
//! A room of its own because it is the one place that knows the HTTP client library. It knows paths
//! and bodies as its callers give them, turns every answer into a [`Reply`] or a typed [`Error`], and
//! never prints. A token is a [`Secret`] and leaves it only as the `Authorization` field.
//! One exchange, redirects included, ends within ten seconds (contract E.1).

mod error;
mod redirect;
pub mod route;
pub mod state;

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use crate::secret::Secret;
pub use error::{Cause, Error};
pub use route::ProxyVars;

/// The whole of one exchange (contract E.1).
const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);

/// Longest answer that is read. A vault's credentials may be listed with their values, each up to
/// 1 MiB, so this is far above what a healthy answer needs and still a bound.
const MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;

/// What attributes a call to the command line (contract A.1).
const CLIENT_FIELD: &str = concat!("cli/", env!("CARGO_PKG_VERSION"));

/// How to reach a broker.
#[derive(Clone, Debug, Default)]
pub struct Settings<'a> {
    /// Base URL of the control API; trailing slashes do not matter.
    pub address: &'a str,
    /// PEM of roots trusted beside the public ones, for a broker behind a private certificate.
    pub extra_roots: Option<&'a [u8]>,
    /// The proxy variables of the environment.
    pub proxy: ProxyVars,
}

/// A broker's control API, as one caller.
#[derive(Clone, Debug)]
pub struct Client {
    agent: ureq::Agent,
    address: String,
    token: Option<Secret>,
    vault: Option<String>,
    if_match: Option<String>,
}

/// What one call asks, and until when.
struct Asked<'a> {
    method: &'a str,
    body: Option<&'a Value>,
    until: Instant,
}

/// A successful answer.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    fields: http::HeaderMap,
    body: Vec<u8>,
}

impl Client {
    pub fn new(settings: &Settings<'_>) -> Result<Self, Error> {
        let address = settings.address.trim_end_matches('/').to_owned();
        let uri: http::Uri =
            address.parse().map_err(|_| Error::Settings(format!("{:?} is not a URL", settings.address)))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
            return Err(Error::Settings(format!("{:?} is not an http:// or https:// URL", settings.address)));
        }
        // The address is told to the child when the broker is away; a password in it would be, too.
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            let text = "the broker's address must not hold a user name or password; use a token";
            return Err(Error::Settings(text.to_owned()));
        }
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("agent-vault/", env!("CARGO_PKG_VERSION")))
            .proxy(route::proxy_for(&uri, &settings.proxy)?);
        // The roots are only gathered where they are needed: a plain http broker, the usual case in a
        // container network, costs no start-up time for them.
        if uri.scheme_str() == Some("https") {
            config = config.tls_config(tls_config(settings.extra_roots)?);
        }
        Ok(Self { agent: config.build().new_agent(), address, token: None, vault: None, if_match: None })
    }

    /// The same broker, called with a token.
    #[must_use]
    pub fn with_token(mut self, token: Secret) -> Self {
        self.token = Some(token);
        self
    }

    /// The same broker, with `X-Vault` naming the vault: read by `/discover` and proposals only.
    #[must_use]
    pub fn with_vault(mut self, vault: &str) -> Self {
        self.vault = Some(vault.to_owned());
        self
    }

    /// The same broker, changed only if what is changed still has this `ETag`; 412 otherwise.
    #[must_use]
    pub fn if_match(mut self, tag: &str) -> Self {
        self.if_match = Some(tag.to_owned());
        self
    }

    /// The base URL without trailing slashes.
    pub fn address(&self) -> &str {
        &self.address
    }

    pub fn get(&self, path: &str) -> Result<Reply, Error> {
        self.call("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Reply, Error> {
        self.call("POST", path, Some(body))
    }

    pub fn put(&self, path: &str, body: &Value) -> Result<Reply, Error> {
        self.call("PUT", path, Some(body))
    }

    pub fn patch(&self, path: &str, body: &Value) -> Result<Reply, Error> {
        self.call("PATCH", path, Some(body))
    }

    pub fn delete(&self, path: &str, body: Option<&Value>) -> Result<Reply, Error> {
        self.call("DELETE", path, body)
    }

    /// One exchange; anything but a 2xx is [`Error::Status`]. A redirect is followed where nothing but a
    /// question is asked, and the token goes no further than the broker's own origin.
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Reply, Error> {
        let asked = Asked { method, body, until: Instant::now() + EXCHANGE_LIMIT };
        let first = format!("{}{path}", self.address);
        let first: http::Uri = self.sendable(first.parse().map_err(http::Error::from))?;
        let mut place = first.clone();
        let mut response = self.send(&asked, &place, self.token.as_ref())?;
        for _ in 0..redirect::MAX_REDIRECTS {
            // TLS is set up, or not, for the broker's own scheme.
            let next = redirect::next(&place, response.status(), response.headers())
                .filter(|next| method == "GET" && next.scheme() == first.scheme());
            let Some(next) = next else { break };
            let token = self.token.as_ref().filter(|_| redirect::is_same_origin(&first, &next));
            response = self.send(&asked, &next, token)?;
            place = next;
        }
        read_reply(response)
    }

    fn send(
        &self,
        asked: &Asked<'_>,
        place: &http::Uri,
        token: Option<&Secret>,
    ) -> Result<http::Response<ureq::Body>, Error> {
        let mut request =
            http::Request::builder().method(asked.method).uri(place).header("X-AV-Client", CLIENT_FIELD);
        if let Some(token) = token {
            request = request.header("Authorization", bearer(token)?);
        }
        if let Some(vault) = &self.vault {
            request = request.header("X-Vault", vault);
        }
        if let Some(tag) = &self.if_match {
            request = request.header("If-Match", tag);
        }
        let left = Some(asked.until.saturating_duration_since(Instant::now()));
        let outcome = match asked.body {
            Some(body) => {
                let bytes = serde_json::to_vec(body).map_err(Error::Malformed)?;
                let request = request.header("Content-Type", "application/json").body(bytes);
                let request = self.agent.configure_request(self.sendable(request)?);
                self.agent.run(request.timeout_global(left).build())
            }
            None => {
                let request = self.agent.configure_request(self.sendable(request.body(()))?);
                self.agent.run(request.timeout_global(left).build())
            }
        };
        outcome.map_err(|error| Error::Transport(Cause::from(error)))
    }

    /// A request's construction fails only on a path or vault that cannot be sent.
    fn sendable<T>(&self, built: http::Result<T>) -> Result<T, Error> {
        built.map_err(|error| Error::Settings(format!("request to {}: {error}", self.address)))
    }
}

impl Reply {
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The first field of this name, when it is text.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(|value| value.to_str().ok())
    }

    pub fn body(&self) -> &[u8] {
        &self.body
    }

    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(Error::Malformed)
    }
}

/// The `Authorization` value, marked so that no library prints it.
fn bearer(token: &Secret) -> Result<http::HeaderValue, Error> {
    let mut bytes = b"Bearer ".to_vec();
    bytes.extend_from_slice(token.expose());
    let value = http::HeaderValue::from_bytes(&bytes);
    zeroize::Zeroize::zeroize(&mut bytes);
    let mut value = value.map_err(|_| Error::Settings("the token holds a byte no token has".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn read_reply(response: http::Response<ureq::Body>) -> Result<Reply, Error> {
    let (parts, mut body) = response.into_parts();
    let body = body
        .with_config()
        .limit(MAX_BODY_BYTES)
        .read_to_vec()
        .map_err(|error| Error::Transport(Cause::from(error)))?;
    let code = parts.status.as_u16();
    if !parts.status.is_success() {
        return Err(Error::Status { code, body });
    }
    Ok(Reply { status: code, fields: parts.headers, body })
}

/// Public roots and the given ones; the ring provider, which is linked already.
fn tls_config(extra_roots: Option<&[u8]>) -> Result<TlsConfig, Error> {
    let mut roots: Vec<Certificate<'static>> =
        webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Certificate::from_der(der)).collect();
    if let Some(pem) = extra_roots {
        let before = roots.len();
        for item in ureq::tls::parse_pem(pem) {
            if let Ok(PemItem::Certificate(certificate)) = item {
                roots.push(certificate);
            }
        }
        if roots.len() == before {
            return Err(Error::Settings("the broker CA file holds no certificate".to_owned()));
        }
    }
    Ok(TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&roots))
        .build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_http_url() {
        for address in ["", "broker:14321", "ftp://broker", "/x", "http://"] {
            let settings = Settings { address, ..Settings::default() };
            assert!(matches!(Client::new(&settings), Err(Error::Settings(_))), "{address}");
        }
        let settings = Settings { address: "http://user:pa55@broker", ..Settings::default() };
        let refusal = Client::new(&settings).unwrap_err().to_string();
        assert!(!refusal.contains("pa55"), "{refusal}");
        let settings = Settings { address: "http://broker:14321//", ..Settings::default() };
        assert_eq!(Client::new(&settings).unwrap().address(), "http://broker:14321");
    }

    /// Another port of the broker's host is not the broker.
    #[test]
    fn a_redirect_takes_the_token_to_the_brokers_own_origin_only() {
        use std::io::{Read as _, Write as _};
        let answering = |answers: Vec<String>| {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = format!("http://{}", listener.local_addr().unwrap());
            let heads = std::thread::Builder::new().spawn(move || {
                let mut heads = Vec::new();
                for answer in answers {
                    let mut stream = listener.accept().unwrap().0;
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let mut byte = [0];
                        stream.read_exact(&mut byte).unwrap();
                        head.push(byte[0]);
                    }
                    write!(stream, "HTTP/1.1 {answer}Connection: close\r\nContent-Length: 0\r\n\r\n")
                        .unwrap();
                    heads.push(String::from_utf8(head).unwrap().to_ascii_lowercase());
                }
                heads
            });
            (address, heads.unwrap())
        };
        let (elsewhere, asked_elsewhere) = answering(vec!["200 OK\r\n".to_owned()]);
        let found = |place: &str| format!("307 Elsewhere\r\nLocation: {place}\r\n");
        let (address, asked) =
            answering(vec![found("/there"), found(&format!("{elsewhere}/x")), found("/y")]);
        let client = Client::new(&Settings { address: &address, ..Settings::default() }).unwrap();
        let client = client.with_token("av_sess_token".into());
        assert_eq!(client.get("/here").unwrap().status(), 200);
        // What changes something goes where it was sent and nowhere else.
        let refusal = client.post("/here", &Value::Null).unwrap_err();
        assert_eq!(refusal.status(), Some(307));
        let tokens = |heads: &[String]| -> Vec<bool> {
            heads.iter().map(|head| head.contains("\r\nauthorization: bearer av_sess_token\r\n")).collect()
        };
        let (asked, asked_elsewhere) = (asked.join().unwrap(), asked_elsewhere.join().unwrap());
        assert_eq!(tokens(&asked), [true, true, true]);
        assert!(asked[1].starts_with("get /there "), "{asked:?}");
        assert_eq!(tokens(&asked_elsewhere), [false]);
        assert!(asked_elsewhere[0].starts_with("get /x "), "{asked_elsewhere:?}");
    }

    #[test]
    fn a_refused_connection_is_told_apart() {
        // Bound and dropped, so the port was free a moment ago and nothing listens on it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("http://127.0.0.1:{port}");
        let client = Client::new(&Settings { address: &address, ..Settings::default() }).unwrap();
        match client.get("/health") {
            Err(Error::Transport(cause)) => {
                assert_eq!(cause, Cause::Refused);
                assert_eq!(cause.to_string(), "connection refused");
                assert!(cause.may_pass());
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn debug_output_hides_the_token() {
        let client = Client::new(&Settings { address: "http://x", ..Settings::default() }).unwrap();
        let shown = format!("{:?}", client.with_token(Secret::from("av_agt_1234")));
        assert!(!shown.contains("av_agt_1234"), "{shown}");
    }
}
