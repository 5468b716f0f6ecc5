//! Whose fault, which reason, which words: every answer the proxy makes itself. What follows from the
//! reason stands in the table of `reasons`.
//!
//! Three shapes (contract B.9): plain text for what happens before a scope exists and for a few fixed
//! cases; broker errors in JSON, marked with `X-Agent-Vault-Proxy-Error`, which is how an SDK tells our
//! failure from the upstream's. Every one carries its reason in `X-Agent-Vault-Reason`.

use serde_json::Value;

use super::reasons::Kind;
use crate::authority::Authority;
use crate::http1;
use crate::http1::respond::Answer;
use crate::json::json;
use crate::rate::TooMany;
use crate::tls::HandshakeFailure;
use crate::vault::scope::{ScopeError, SnapshotUnavailable};

const NOT_A_PROXY_REQUEST: &str = "this endpoint is an HTTP forward proxy; non-CONNECT requests must use \
     absolute-form URLs (http://host/path). Use CONNECT for https:// upstreams.";
const VAULT_UNCLEAR: &str = "set vault via HTTPS_PROXY=http://<token>:<vault>@host:port";
const HELP: &str = "To see available services, GET {base}/discover. For usage instructions including how to \
     create a proposal, GET {base}/v1/skills/cli";

/// Why an exchange did not happen, or ended early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Error {
    // The client's request.
    Malformed(http1::Error),
    NotAProxyRequest,
    NoTargetPort,
    InvalidHost,
    MethodRefused,
    AmbiguousPath,
    RequestTooLarge,
    TooMany(Tier, TooMany),
    /// The client stopped in the middle of its request, or stopped reading.
    ClientGone,
    // Who the client is.
    AuthorizationRequired,
    Scope(ScopeError),
    // What the vault says.
    NoMatch,
    Disabled,
    PlainHttp,
    Rules(SnapshotUnavailable),
    CredentialNotFound,
    OauthNotConnected,
    OauthRefreshFailed,
    UnsafeValue,
    /// The service signs AWS requests and this one bears no signature to take the scope from.
    NotSigned,
    /// The request is signed in a way that cannot be made again.
    UnknownSignature,
    // The upstream.
    Blocked,
    Unresolved,
    Unreachable,
    /// The site's own proxy could not be reached, or refused the tunnel.
    UpstreamProxy,
    UpstreamTls(HandshakeFailure),
    UpstreamClosed,
    UpstreamMalformed,
    UpstreamTimeout,
    ResponseTooLarge {
        declared: u64,
        limit: u64,
    },
    /// The response turned out to be longer than allowed after it had begun.
    ResponseTruncated,
}

/// Which limit a request has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    Connects,
    Requests,
    RequestRate,
    InFlight,
    ActorConnections,
    VaultConnections,
}

/// What an answer can mention.
pub(super) struct Circumstances<'c> {
    pub(super) target: Option<&'c Authority>,
    pub(super) vault: &'c str,
    /// The base URL of the control API: empty when it is not known, `None` when there is no such API.
    pub(super) base_url: Option<&'c str>,
}

enum Shape {
    Text,
    Broker,
    Rate(TooMany),
}

impl Error {
    /// Its row of the table.
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Malformed(_) => Kind::MalformedRequest,
            Self::NotAProxyRequest => Kind::NotAProxyRequest,
            Self::NoTargetPort => Kind::NoTargetPort,
            Self::InvalidHost => Kind::InvalidHost,
            Self::MethodRefused => Kind::MethodRefused,
            Self::AmbiguousPath => Kind::AmbiguousPath,
            Self::RequestTooLarge => Kind::RequestTooLarge,
            Self::TooMany(Tier::Connects | Tier::Requests, _) => Kind::TooManyFailures,
            Self::TooMany(Tier::RequestRate, _) => Kind::RateLimitScope,
            Self::TooMany(Tier::InFlight, _) => Kind::ConcurrencyScope,
            Self::TooMany(Tier::ActorConnections, _) => Kind::TooManyConnectionsActor,
            Self::TooMany(Tier::VaultConnections, _) => Kind::TooManyConnectionsVault,
            Self::ClientGone => Kind::ClientGone,
            Self::AuthorizationRequired => Kind::AuthorizationRequired,
            Self::Scope(ScopeError::InvalidToken) => Kind::InvalidToken,
            Self::Scope(ScopeError::Forbidden) => Kind::VaultForbidden,
            Self::Scope(ScopeError::VaultNotFound) => Kind::VaultNotFound,
            Self::Scope(ScopeError::VaultUnclear) => Kind::VaultUnclear,
            Self::Scope(ScopeError::Unavailable) => Kind::ScopeUnavailable,
            Self::NoMatch => Kind::Forbidden,
            Self::Disabled => Kind::ServiceDisabled,
            Self::PlainHttp => Kind::PlainHttp,
            Self::Rules(SnapshotUnavailable::Corrupt) => Kind::Internal,
            Self::Rules(SnapshotUnavailable::Unreadable) => Kind::RulesUnreadable,
            Self::CredentialNotFound => Kind::CredentialNotFound,
            Self::OauthNotConnected => Kind::OauthNotConnected,
            Self::OauthRefreshFailed => Kind::OauthRefreshFailed,
            Self::UnsafeValue => Kind::CredentialUnsafe,
            Self::NotSigned => Kind::AwsNotSigned,
            Self::UnknownSignature => Kind::AwsSignatureUnknown,
            Self::Blocked => Kind::NetworkBlocked,
            Self::Unresolved => Kind::DnsFailure,
            Self::Unreachable => Kind::UpstreamUnreachable,
            Self::UpstreamProxy => Kind::UpstreamProxy,
            Self::UpstreamTls(_) => Kind::UpstreamTls,
            Self::UpstreamClosed => Kind::UpstreamClosed,
            Self::UpstreamMalformed => Kind::UpstreamMalformed,
            Self::UpstreamTimeout => Kind::UpstreamTimeout,
            Self::ResponseTooLarge { .. } => Kind::ResponseTooLarge,
            Self::ResponseTruncated => Kind::ResponseTruncated,
        }
    }

    /// The machine-readable reason.
    pub(super) fn reason(&self) -> &'static str {
        self.kind().reason().name
    }

    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Malformed(error) => error.status(),
            _ => self.kind().reason().status(),
        }
    }

    /// The code in the request log.
    pub(super) fn log_code(&self) -> &'static str {
        self.kind().reason().log_code
    }

    /// The whole answer.
    pub(super) fn answer(&self, at: &Circumstances<'_>) -> Answer {
        let (shape, text) = self.words(at);
        let answer = match shape {
            Shape::Text => Answer::text(self.status(), &text),
            Shape::Rate(too_many) => {
                let document = json!({"error": "too_many_requests", "message": text});
                Answer::json(self.status(), &document)
                    .with("X-RateLimit-Limit", too_many.limit.to_string())
                    .with("X-RateLimit-Remaining", "0")
                    .with("Retry-After", too_many.retry_after_secs().to_string())
            }
            Shape::Broker => {
                let document = self.document(&text, at);
                Answer::json(self.status(), &document).with("X-Agent-Vault-Proxy-Error", "true")
            }
        };
        let answer = answer.with("X-Agent-Vault-Reason", self.reason());
        if self.status() == 407 {
            answer.with("Proxy-Authenticate", "Basic realm=\"agent-vault\"")
        } else {
            answer
        }
    }

    /// The text of the answer alone.
    pub(super) fn message(&self, at: &Circumstances<'_>) -> String {
        self.words(at).1
    }

    fn words(&self, at: &Circumstances<'_>) -> (Shape, String) {
        let target = at.target.map(ToString::to_string).unwrap_or_default();
        let vault = at.vault;
        let text = |words: &str| (Shape::Text, words.to_owned());
        let broker = |words: String| (Shape::Broker, words);
        match self {
            Self::Malformed(error) => (Shape::Text, error.to_string()),
            Self::NotAProxyRequest => text(NOT_A_PROXY_REQUEST),
            Self::NoTargetPort => text("CONNECT target must be host:port"),
            Self::InvalidHost => text("invalid host"),
            Self::MethodRefused => text("this method is not forwarded"),
            Self::RequestTooLarge => text("Request Entity Too Large"),
            Self::TooMany(tier, too_many) => (Shape::Rate(*too_many), too_often(*tier).to_owned()),
            Self::ClientGone => text("Bad Request"),
            Self::AuthorizationRequired => text("Proxy-Authorization required"),
            // A failed lookup is told like an unknown token (contract B.6); the reason tells them apart.
            Self::Scope(ScopeError::InvalidToken | ScopeError::Unavailable) => {
                text("invalid or expired session")
            }
            Self::Scope(ScopeError::Forbidden) => text("forbidden"),
            Self::Scope(ScopeError::VaultNotFound) => text("vault not found"),
            Self::Scope(ScopeError::VaultUnclear) => text(VAULT_UNCLEAR),
            Self::NoMatch => {
                broker(format!("No broker service matching host \"{target}\" in vault \"{vault}\""))
            }
            Self::Disabled => broker(format!(
                "Broker service matching host \"{target}\" in vault \"{vault}\" is currently disabled"
            )),
            Self::PlainHttp => broker(format!(
                "The credential for \"{target}\" is not sent over plain http; use https, or write the port into \
                 the service's host to allow it"
            )),
            Self::AmbiguousPath => broker(
                "The path is escaped twice or has a broken escape, and a service of this host depends on the path"
                    .to_owned(),
            ),
            Self::Rules(SnapshotUnavailable::Corrupt) => {
                broker("Failed to resolve broker services".to_owned())
            }
            Self::Rules(SnapshotUnavailable::Unreadable) => {
                broker(format!("The rules of vault \"{vault}\" cannot be read, so nothing is forwarded"))
            }
            Self::CredentialNotFound => {
                broker("A required credential could not be resolved; check vault configuration".to_owned())
            }
            Self::OauthNotConnected => broker(
                "OAuth credential is approved but not yet connected — complete the connection in the Agent Vault \
                 dashboard"
                    .to_owned(),
            ),
            Self::OauthRefreshFailed => broker(
                "OAuth token expired and refresh failed — reconnect in the Agent Vault dashboard".to_owned(),
            ),
            Self::UnsafeValue => broker(
                "A credential cannot stand in a header field (it has a line break or a control character); store \
                 it again without"
                    .to_owned(),
            ),
            Self::NotSigned => broker(
                "This service signs AWS requests again, and this one is not signed: give the client any access key \
                 and secret, for example AWS_ACCESS_KEY_ID=placeholder AWS_SECRET_ACCESS_KEY=placeholder"
                    .to_owned(),
            ),
            Self::UnknownSignature => broker(
                "This AWS request is signed in a way that cannot be made again; Signature Version 4 in the \
                 Authorization header can"
                    .to_owned(),
            ),
            Self::Blocked => broker(format!("The address of \"{target}\" is blocked by the network policy")),
            Self::Unresolved => broker(format!("bad gateway: the name of \"{target}\" cannot be resolved")),
            Self::Unreachable => broker(format!("bad gateway: no connection to \"{target}\"")),
            Self::UpstreamProxy => {
                broker(format!("bad gateway: the configured upstream proxy opened no tunnel to \"{target}\""))
            }
            Self::UpstreamTls(failure) => {
                broker(format!("bad gateway: the TLS handshake with \"{target}\" failed: {failure}"))
            }
            Self::UpstreamClosed => {
                broker(format!("bad gateway: \"{target}\" closed the connection before its response was complete"))
            }
            Self::UpstreamMalformed => broker(format!("bad gateway: the response of \"{target}\" is malformed")),
            Self::UpstreamTimeout => broker(format!("\"{target}\" did not answer in time")),
            Self::ResponseTooLarge { declared, limit } => broker(format!(
                "Upstream response body ({declared} bytes) exceeds the proxy response-size limit ({limit} bytes)."
            )),
            Self::ResponseTruncated => {
                broker(format!("The response of \"{target}\" exceeds the proxy response-size limit"))
            }
        }
    }

    fn document(&self, text: &str, at: &Circumstances<'_>) -> Value {
        // A deny for which existing clients know no other word (contract D.2).
        let is_deny = *self == Self::Rules(SnapshotUnavailable::Unreadable);
        let error = if is_deny { "forbidden" } else { self.reason() };
        let mut document = json!({"error": error, "message": text, "reason": self.reason()});
        // Proposals are made to a control API.
        if *self == Self::NoMatch && at.base_url.is_some() {
            document["proposal_hint"] = proposal_hint(at);
        }
        if let Some(base_url) = at.base_url.filter(|url| self.has_help() && !url.is_empty()) {
            let help = HELP.replace("{base}", base_url);
            let help = match self {
                Self::NoMatch => format!("This request was intercepted by Agent Vault. {help}"),
                _ => help,
            };
            document["help"] = help.into();
        }
        document
    }

    fn has_help(&self) -> bool {
        matches!(
            self,
            Self::NoMatch
                | Self::Disabled
                | Self::CredentialNotFound
                | Self::OauthNotConnected
                | Self::OauthRefreshFailed
                | Self::UnsafeValue
                | Self::PlainHttp
        )
    }
}

fn too_often(tier: Tier) -> &'static str {
    match tier {
        Tier::Connects => "Too many CONNECT attempts",
        Tier::Requests => "Too many proxy requests",
        Tier::RequestRate => "Proxy rate limit exceeded for this scope",
        Tier::InFlight => "Proxy at concurrency limit for this scope",
        Tier::ActorConnections => "Too many open connections of this actor",
        Tier::VaultConnections => "Too many open connections to this vault",
    }
}

fn proposal_hint(at: &Circumstances<'_>) -> Value {
    json!({
        "host": at.target.map(ToString::to_string).unwrap_or_default(),
        "endpoint": "POST /v1/proposals",
        "supported_auth_types": ["bearer", "basic", "api-key", "custom", "passthrough"],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(error: &Error, base_url: &str) -> Value {
        let target = Authority::parse("api.stripe.com:443").unwrap();
        let at = Circumstances { target: Some(&target), vault: "default", base_url: Some(base_url) };
        serde_json::from_slice(&error.answer(&at).body).unwrap()
    }

    #[test]
    fn a_deny_says_what_to_do_next() {
        let base = "http://127.0.0.1:14321";
        let document = body(&Error::NoMatch, base);
        assert_eq!(document["error"], "forbidden");
        assert_eq!(
            document["message"],
            "No broker service matching host \"api.stripe.com:443\" in vault \"default\""
        );
        assert_eq!(document["proposal_hint"]["endpoint"], "POST /v1/proposals");
        let help = document["help"].as_str().unwrap();
        assert!(help.starts_with("This request was intercepted by Agent Vault. "));
        assert!(help.contains("http://127.0.0.1:14321/discover") && help.contains("/v1/skills/cli"));
        assert!(body(&Error::NoMatch, "").get("help").is_none());
    }

    #[test]
    fn a_malformed_request_has_a_status_of_the_table() {
        use http1::Error as Wire;
        for wire in
            [Wire::BadField, Wire::HeadTooLarge, Wire::TooManyFields, Wire::UnknownCoding, Wire::Version]
        {
            let error = Error::Malformed(wire);
            assert!(error.kind().reason().statuses.contains(&error.status()), "{wire}");
        }
    }

    #[test]
    fn only_broker_errors_carry_the_mark() {
        let at = Circumstances { target: None, vault: "", base_url: None };
        let marked = |error: Error| {
            error.answer(&at).fields.iter().any(|(name, _)| *name == "X-Agent-Vault-Proxy-Error")
        };
        assert!(marked(Error::Unreachable) && marked(Error::Blocked) && marked(Error::CredentialNotFound));
        assert!(!marked(Error::AuthorizationRequired) && !marked(Error::RequestTooLarge));
    }
}
