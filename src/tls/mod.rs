//! Certificates and the encrypted stream.
//!
//! Towards the client we are a server with a leaf minted for the name it asks for ([`Acceptor`]);
//! towards the upstream we are a client that trusts the public roots and the operator's own
//! ([`Connector`]). Both speak TLS 1.2 and 1.3 with ALPN `http/1.1` only: a client that offers nothing
//! but `h2` is refused by the handshake (contract B.7).

pub mod ca;
pub mod leaf;
pub mod pem;
mod roots;
pub mod stream;
mod suites;
mod turn;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::UnbufferedClientConnection;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};

use crate::net::Deadline;
use crate::net::tcp::TcpChannel;
use leaf::{Leaves, NamedLeaf};
use stream::TlsChannel;
pub use suites::provider;

/// The only application protocol spoken on either side.
const ALPN: &[u8] = b"http/1.1";

/// Why a TLS configuration cannot be made.
#[derive(Debug)]
pub enum Error {
    /// A PEM text holds no certificate, or one that cannot be read.
    BadPem,
    /// A key is not what it should be, or belongs to another certificate.
    BadKey,
    /// The name cannot stand in a certificate (contract C.3).
    BadName,
    /// The library refused; its text names no secret.
    Library(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadPem => f.write_str("no certificate in PEM form"),
            Self::BadKey => f.write_str("the private key does not belong to the certificate"),
            Self::BadName => f.write_str("not a name a certificate can be issued for"),
            Self::Library(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}

impl From<rcgen::Error> for Error {
    fn from(error: rcgen::Error) -> Self {
        Self::Library(error.to_string())
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::Library(error.to_string())
    }
}

/// Why a handshake with an upstream failed, as far as it helps the one who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// No trusted root leads to the certificate.
    UnknownIssuer,
    /// The certificate is for other names.
    WrongName,
    /// The certificate's time is over, or has not begun.
    NotInForce,
    /// The certificate is broken, revoked or may not be used for this.
    BadCertificate,
    /// The upstream ended the handshake with an alert, or has no version or protocol in common with us.
    Refused,
    /// The connection ended, or what came is not TLS.
    Broken,
    TimedOut,
}

impl HandshakeFailure {
    /// Reads the failure of [`Connector::connect`].
    pub fn of(error: &io::Error) -> Self {
        use rustls::CertificateError as Bad;
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(bad)) => match bad {
                Bad::UnknownIssuer => Self::UnknownIssuer,
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Self::WrongName,
                Bad::Expired
                | Bad::ExpiredContext { .. }
                | Bad::NotValidYet
                | Bad::NotValidYetContext { .. } => Self::NotInForce,
                _ => Self::BadCertificate,
            },
            Some(
                rustls::Error::AlertReceived(_)
                | rustls::Error::PeerIncompatible(_)
                | rustls::Error::NoApplicationProtocol,
            ) => Self::Refused,
            None if error.kind() == io::ErrorKind::TimedOut => Self::TimedOut,
            _ => Self::Broken,
        }
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownIssuer => "its certificate is not issued by a trusted root (--upstream-ca adds one)",
            Self::WrongName => "its certificate is for other names",
            Self::NotInForce => "its certificate has expired or is not valid yet",
            Self::BadCertificate => "its certificate is not acceptable",
            Self::Refused => "it refused the handshake",
            Self::Broken => "the handshake broke off; it may not speak TLS",
            Self::TimedOut => "the handshake took too long",
        })
    }
}

/// Terminates a client's TLS with a leaf for the name it asks for.
pub struct Acceptor {
    config: ServerConfig,
    leaves: Arc<Leaves>,
}

impl Acceptor {
    pub fn new(leaves: Arc<Leaves>) -> Result<Self, Error> {
        let resolver = Arc::new(NamedLeaf::new(Arc::clone(&leaves), String::new()));
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.ignore_client_order = true;
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.ticketer = ring::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        Ok(Self { config, leaves })
    }

    /// Does the handshake. The leaf follows SNI; `fallback` is the name for a client that sends none.
    pub fn accept(&self, client: TcpChannel, fallback: &str, deadline: Deadline) -> io::Result<TlsChannel> {
        let mut config = self.config.clone();
        config.cert_resolver = Arc::new(NamedLeaf::new(Arc::clone(&self.leaves), fallback.to_owned()));
        let connection = UnbufferedServerConnection::new(Arc::new(config)).map_err(io::Error::other)?;
        let mut channel = TlsChannel::server(client, connection);
        channel.handshake(deadline)?;
        Ok(channel)
    }
}

/// Opens verified TLS connections to upstreams.
#[derive(Clone)]
pub struct Connector(Arc<Trust>);

/// Whom upstreams are verified against. The public roots are read for the first connection: a start has no
/// time for them.
struct Trust {
    own: RootCertStore,
    builder: ConfigBuilder<ClientConfig, WantsVerifier>,
    config: OnceLock<Arc<ClientConfig>>,
}

impl Connector {
    /// Trusts the built-in public roots and every certificate in the PEM texts given.
    pub fn new(extra_roots: &[Vec<u8>]) -> Result<Self, Error> {
        let mut own = RootCertStore::empty();
        for pem in extra_roots {
            for certificate in certificates(pem)? {
                own.add(certificate)?;
            }
        }
        let builder =
            ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        Ok(Self(Arc::new(Trust { own, builder, config: OnceLock::new() })))
    }

    fn config(&self) -> Arc<ClientConfig> {
        let Trust { own, builder, config } = &*self.0;
        let config = config.get_or_init(|| {
            let mut trusted = own.clone();
            trusted.extend(roots::built_in());
            let mut config = builder.clone().with_root_certificates(trusted).with_no_client_auth();
            config.alpn_protocols = vec![ALPN.to_vec()];
            Arc::new(config)
        });
        Arc::clone(config)
    }

    /// Whether upstreams are trusted that a client with public roots would not trust.
    pub fn has_own_roots(&self) -> bool {
        !self.0.own.is_empty()
    }

    /// Does the handshake and verifies the upstream's certificate for `host`.
    pub fn connect(&self, upstream: TcpChannel, host: &str, deadline: Deadline) -> io::Result<TlsChannel> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let connection = UnbufferedClientConnection::new(self.config(), name).map_err(io::Error::other)?;
        let mut channel = TlsChannel::client(upstream, connection);
        channel.handshake(deadline)?;
        Ok(channel)
    }
}

/// Reads every certificate of a PEM text; at least one must be there.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(Error::BadPem),
    }
}
