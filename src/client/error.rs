//! Why a broker gave no answer, or not the one that was wanted: typed for callers, worded for people.

use std::fmt;
use std::io;

use serde_json::Value;

/// Why a call has no [`super::Reply`].
#[derive(Debug)]
pub enum Error {
    /// The address is not an `http://` or `https://` URL, or the settings do not fit it.
    Settings(String),
    /// No answer came back.
    Transport(Cause),
    /// The broker answered with something other than success.
    Status { code: u16, body: Vec<u8> },
    /// The answer is not the JSON it should be.
    Malformed(serde_json::Error),
}

/// Why no answer came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    Refused,
    Unresolved,
    TimedOut,
    /// The broker's certificate, or TLS itself, is not acceptable.
    Tls(String),
    Other(String),
}

impl Error {
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The broker's own words: the body's `message` or `error`.
    pub fn broker_text(&self) -> Option<String> {
        let Self::Status { body, .. } = self else {
            return None;
        };
        let body: Value = serde_json::from_slice(body).ok()?;
        let text = |key: &str| body.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        text("message").or_else(|| text("error")).map(str::to_owned)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(text) => f.write_str(text),
            Self::Transport(cause) => cause.fmt(f),
            Self::Status { code, .. } => match self.broker_text() {
                Some(text) => f.write_str(&text),
                None => write!(f, "server returned status {code}"),
            },
            Self::Malformed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl Cause {
    /// Whether waiting may help: a broker that is still starting refuses or has no name yet.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Refused | Self::Unresolved | Self::TimedOut)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Unresolved => f.write_str("no such host"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Tls(text) | Self::Other(text) => f.write_str(text),
        }
    }
}

impl From<ureq::Error> for Cause {
    fn from(error: ureq::Error) -> Self {
        match error {
            ureq::Error::Timeout(_) => Self::TimedOut,
            ureq::Error::HostNotFound => Self::Unresolved,
            ureq::Error::ConnectionFailed => Self::Refused,
            ureq::Error::Rustls(error) => Self::Tls(tls_text(&error)),
            ureq::Error::Tls(text) => Self::Tls(text.to_owned()),
            ureq::Error::Io(error) => Self::from(error),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Self::Tls(tls_text(tls));
        }
        // A failed lookup has no kind of its own; the standard library words it so on every libc.
        if error.to_string().starts_with("failed to lookup address information") {
            return Self::Unresolved;
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
                Self::Other("the connection was closed before an answer came".to_owned())
            }
            _ => Self::Other(error.to_string()),
        }
    }
}

/// Says what to look at when a broker's certificate is refused.
fn tls_text(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer) => {
            "the broker's certificate is not signed by a trusted root".to_owned()
        }
        rustls::Error::InvalidCertificate(reason) => format!("the broker's certificate is refused: {reason}"),
        other => format!("TLS with the broker: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_speaks_with_the_brokers_words() {
        let error = |body: &str| Error::Status { code: 403, body: body.into() }.to_string();
        assert_eq!(error(r#"{"error":"Member role required"}"#), "Member role required");
        assert_eq!(
            error(r#"{"error":"not_initialized","message":"No owner account exists."}"#),
            "No owner account exists."
        );
        assert_eq!(error("<html>"), "server returned status 403");
        assert_eq!(error(r#"{"error":true}"#), "server returned status 403");
    }
}
