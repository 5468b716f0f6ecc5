//! Every reason for which the proxy refuses, as one table, and how often each has been given.
//!
//! Status, request-log code, meaning and remedy of a refusal stand here and nowhere else; `error` says
//! which reason an error has, docs/reasons.md prints the table, and a test compares the two. Names are for
//! programs and do not change.

use std::sync::atomic::{AtomicU64, Ordering};

/// One row.
#[derive(Debug)]
pub struct Reason {
    kind: Kind,
    /// In `X-Agent-Vault-Reason` and in the body.
    pub name: &'static str,
    /// The usual one first; none when the connection is closed without an answer.
    pub statuses: &'static [u16],
    /// In the request log (contract F.1); empty for what happens before a scope exists, which has no row.
    pub log_code: &'static str,
    pub meaning: &'static str,
    pub remedy: &'static str,
}

/// Names a row, in the order of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    // The client's request.
    MalformedRequest,
    NotAProxyRequest,
    NoTargetPort,
    InvalidHost,
    MethodRefused,
    AmbiguousPath,
    RequestTooLarge,
    ClientGone,
    ClientTls,
    UnknownTunnel,
    // Who the client is, and how much it asks.
    AuthorizationRequired,
    InvalidToken,
    VaultForbidden,
    VaultNotFound,
    VaultUnclear,
    ScopeUnavailable,
    TooManyFailures,
    TooManyConnections,
    TooManyConnectionsActor,
    TooManyConnectionsVault,
    RateLimitScope,
    ConcurrencyScope,
    // What the vault says.
    Forbidden,
    ServiceDisabled,
    RulesUnreadable,
    PlainHttp,
    Internal,
    CredentialNotFound,
    OauthNotConnected,
    OauthRefreshFailed,
    CredentialUnsafe,
    AwsNotSigned,
    AwsSignatureUnknown,
    // The upstream.
    NetworkBlocked,
    DnsFailure,
    UpstreamUnreachable,
    UpstreamProxy,
    UpstreamTls,
    UpstreamClosed,
    UpstreamMalformed,
    UpstreamTimeout,
    ResponseTooLarge,
    ResponseTruncated,
    // The relay, about the broker.
    BrokerUnreachable,
    BrokerTls,
}

/// All reasons.
pub static TABLE: [Reason; 45] = [
    Reason {
        kind: Kind::MalformedRequest,
        name: "malformed_request",
        statuses: &[400, 431, 501, 505],
        log_code: "request_read_error",
        meaning: "the request can be read in two ways or is not HTTP/1.1",
        remedy: "send one length, one Host field, CRLF line ends and no folded fields; the body says which",
    },
    Reason {
        kind: Kind::NotAProxyRequest,
        name: "not_a_proxy_request",
        statuses: &[400],
        log_code: "",
        meaning: "the request is not addressed to a proxy",
        remedy: "use CONNECT for https and http://host/path for http; most clients do once HTTPS_PROXY is set",
    },
    Reason {
        kind: Kind::NoTargetPort,
        name: "no_target_port",
        statuses: &[400],
        log_code: "",
        meaning: "the target of a CONNECT has no port",
        remedy: "name it as host:port",
    },
    Reason {
        kind: Kind::InvalidHost,
        name: "invalid_host",
        statuses: &[400],
        log_code: "",
        meaning: "the target's host is not a host name or address",
        remedy: "correct the URL",
    },
    Reason {
        kind: Kind::MethodRefused,
        name: "method_refused",
        statuses: &[405],
        log_code: "request_read_error",
        meaning: "TRACE and TRACK would show the credential to the client",
        remedy: "use another method",
    },
    Reason {
        kind: Kind::AmbiguousPath,
        name: "ambiguous_path",
        statuses: &[400],
        log_code: "no_match",
        meaning: "the path is escaped twice or has a broken escape, and a service depends on it",
        remedy: "escape each byte of the path once",
    },
    Reason {
        kind: Kind::RequestTooLarge,
        name: "request_too_large",
        statuses: &[413],
        log_code: "request_too_large",
        meaning: "the request's body is longer than the limit, or than what can be hashed for a signature",
        remedy: "send less, or raise --max-request-bytes",
    },
    Reason {
        kind: Kind::ClientGone,
        name: "client_gone",
        statuses: &[400],
        log_code: "request_read_error",
        meaning: "the client stopped in the middle of its request, or stopped reading",
        remedy: "look at the client's own timeouts",
    },
    Reason {
        kind: Kind::ClientTls,
        name: "client_tls",
        statuses: &[],
        log_code: "",
        meaning: "the client broke off the TLS handshake, usually because it does not trust the vault's CA",
        remedy: "start it with agent-vault run, or give it the CA of agent-vault ca fetch",
    },
    Reason {
        kind: Kind::UnknownTunnel,
        name: "unknown_tunnel",
        statuses: &[],
        log_code: "",
        meaning: "the tunnel carries neither TLS nor HTTP",
        remedy: "keep such a client from using the proxy (NO_PROXY)",
    },
    Reason {
        kind: Kind::AuthorizationRequired,
        name: "authorization_required",
        statuses: &[407],
        log_code: "",
        meaning: "there is no token, or not in a form that is known",
        remedy: "put the token into the proxy URL: http://TOKEN:VAULT@host:port",
    },
    Reason {
        kind: Kind::InvalidToken,
        name: "invalid_token",
        statuses: &[407],
        log_code: "",
        meaning: "the token is unknown, expired or revoked",
        remedy: "create or rotate a token: agent-vault agent rotate, agent-vault vault token",
    },
    Reason {
        kind: Kind::VaultForbidden,
        name: "vault_forbidden",
        statuses: &[403],
        log_code: "",
        meaning: "the token may not use this vault",
        remedy: "name another vault, or have an admin add the agent: agent-vault vault agent add",
    },
    Reason {
        kind: Kind::VaultNotFound,
        name: "vault_not_found",
        statuses: &[404],
        log_code: "",
        meaning: "there is no such vault",
        remedy: "check AGENT_VAULT_VAULT",
    },
    Reason {
        kind: Kind::VaultUnclear,
        name: "vault_unclear",
        statuses: &[400],
        log_code: "",
        meaning: "the token may use several vaults, or none, and the request names none",
        remedy: "name the vault: http://TOKEN:VAULT@host:port",
    },
    Reason {
        kind: Kind::ScopeUnavailable,
        name: "scope_unavailable",
        statuses: &[407],
        log_code: "internal",
        meaning: "the broker could not look the token up",
        remedy: "see the broker's log",
    },
    Reason {
        kind: Kind::TooManyFailures,
        name: "too_many_failures",
        statuses: &[429],
        log_code: "",
        meaning: "this address has presented too many bad tokens",
        remedy: "correct the token and wait as Retry-After says (AGENT_VAULT_RATELIMIT_AUTH_*)",
    },
    Reason {
        kind: Kind::TooManyConnections,
        name: "too_many_connections",
        statuses: &[503],
        log_code: "",
        meaning: "the broker has as many connections as it may",
        remedy: "wait as Retry-After says, or raise AGENT_VAULT_MAX_CONNECTIONS",
    },
    Reason {
        kind: Kind::TooManyConnectionsActor,
        name: "too_many_connections_actor",
        statuses: &[429],
        log_code: "",
        meaning: "this actor has as many connections open as one may",
        remedy: "close idle connections, or raise AGENT_VAULT_MAX_CONNECTIONS_PER_ACTOR",
    },
    Reason {
        kind: Kind::TooManyConnectionsVault,
        name: "too_many_connections_vault",
        statuses: &[429],
        log_code: "",
        meaning: "the actors of this vault have as many connections open as one vault may",
        remedy: "close idle connections, or raise AGENT_VAULT_MAX_CONNECTIONS_PER_VAULT",
    },
    Reason {
        kind: Kind::RateLimitScope,
        name: "rate_limit_scope",
        statuses: &[429],
        log_code: "rate_limit_scope",
        meaning: "this actor sends requests to this vault too fast",
        remedy: "wait as Retry-After says, or raise AGENT_VAULT_RATELIMIT_PROXY_RATE and _BURST",
    },
    Reason {
        kind: Kind::ConcurrencyScope,
        name: "concurrency_scope",
        statuses: &[429],
        log_code: "concurrency_scope",
        meaning: "this actor has as many requests under way in this vault as it may",
        remedy: "wait as Retry-After says, or raise AGENT_VAULT_RATELIMIT_PROXY_CONCURRENCY",
    },
    Reason {
        kind: Kind::Forbidden,
        name: "forbidden",
        statuses: &[403],
        log_code: "no_match",
        meaning: "no service matches and the vault denies what no service matches",
        remedy: "add a service: agent-vault vault service add, or in the configuration of a run without a broker; agent-vault vault explain, or check, says what is near",
    },
    Reason {
        kind: Kind::ServiceDisabled,
        name: "service_disabled",
        statuses: &[403],
        log_code: "no_match",
        meaning: "the service that matches is switched off",
        remedy: "switch it on: agent-vault vault service enable",
    },
    Reason {
        kind: Kind::RulesUnreadable,
        name: "rules_unreadable",
        statuses: &[403],
        log_code: "internal",
        meaning: "the broker could not read the vault's rules, so nothing is forwarded",
        remedy: "see the broker's log",
    },
    Reason {
        kind: Kind::PlainHttp,
        name: "plain_http",
        statuses: &[403],
        log_code: "no_match",
        meaning: "the credential would travel in the clear",
        remedy: "use https, or write the port into the service's host to allow plain http there",
    },
    Reason {
        kind: Kind::Internal,
        name: "internal",
        statuses: &[500],
        log_code: "internal",
        meaning: "the broker cannot make sense of the vault's stored rules",
        remedy: "see the broker's log",
    },
    Reason {
        kind: Kind::CredentialNotFound,
        name: "credential_not_found",
        statuses: &[502],
        log_code: "credential_not_found",
        meaning: "the service names a credential that the vault does not have",
        remedy: "set it: agent-vault vault credential set KEY",
    },
    Reason {
        kind: Kind::OauthNotConnected,
        name: "oauth_not_connected",
        statuses: &[502],
        log_code: "oauth_not_connected",
        meaning: "the OAuth credential is configured and has no access token yet",
        remedy: "have a member of the vault complete the connection",
    },
    Reason {
        kind: Kind::OauthRefreshFailed,
        name: "oauth_refresh_failed",
        statuses: &[502],
        log_code: "oauth_refresh_failed",
        meaning: "the OAuth access token has expired and its token endpoint gave no new one",
        remedy: "see the credential's last error; if the refresh token is no good any more, connect again",
    },
    Reason {
        kind: Kind::CredentialUnsafe,
        name: "credential_unsafe",
        statuses: &[502],
        log_code: "upstream_error",
        meaning: "the credential has a line break or a control character and cannot stand in a header field",
        remedy: "store it again without",
    },
    Reason {
        kind: Kind::AwsNotSigned,
        name: "aws_not_signed",
        statuses: &[403],
        log_code: "no_match",
        meaning: "the service signs AWS requests again and this one is not signed",
        remedy: "give the client any access key and secret, such as AWS_ACCESS_KEY_ID=placeholder",
    },
    Reason {
        kind: Kind::AwsSignatureUnknown,
        name: "aws_signature_unknown",
        statuses: &[403],
        log_code: "no_match",
        meaning: "the AWS request is signed in a way that cannot be made again",
        remedy: "use Signature Version 4 in the Authorization header, not a presigned URL",
    },
    Reason {
        kind: Kind::NetworkBlocked,
        name: "network_blocked",
        statuses: &[403],
        log_code: "upstream_error",
        meaning: "the target's address is private, or one that is never dialled",
        remedy: "open a private network with AGENT_VAULT_NETWORK_ALLOWLIST; credential endpoints stay closed",
    },
    Reason {
        kind: Kind::DnsFailure,
        name: "dns_failure",
        statuses: &[502],
        log_code: "upstream_error",
        meaning: "the target's name cannot be resolved from the broker",
        remedy: "check the name and the broker's resolver",
    },
    Reason {
        kind: Kind::UpstreamUnreachable,
        name: "upstream_unreachable",
        statuses: &[502],
        log_code: "upstream_error",
        meaning: "none of the target's addresses took a connection",
        remedy: "check the port and the broker's way out",
    },
    Reason {
        kind: Kind::UpstreamProxy,
        name: "upstream_proxy",
        statuses: &[502],
        log_code: "upstream_error",
        meaning: "the site's own proxy could not be reached or refused the tunnel",
        remedy: "check AGENT_VAULT_UPSTREAM_PROXY and what that proxy allows",
    },
    Reason {
        kind: Kind::UpstreamTls,
        name: "upstream_tls",
        statuses: &[502],
        log_code: "upstream_error",
        meaning: "the TLS handshake with the target failed; the body says why",
        remedy: "name the roots of a private CA with AGENT_VAULT_UPSTREAM_CA",
    },
    Reason {
        kind: Kind::UpstreamClosed,
        name: "upstream_closed",
        statuses: &[502],
        log_code: "upstream_error",
        meaning: "the target closed the connection before its response was complete",
        remedy: "try again; a request that is safe to repeat has been repeated once already",
    },
    Reason {
        kind: Kind::UpstreamMalformed,
        name: "upstream_malformed",
        statuses: &[502],
        log_code: "upstream_error",
        meaning: "the target's response is not HTTP/1.1 or can be read in two ways",
        remedy: "the target has to be corrected",
    },
    Reason {
        kind: Kind::UpstreamTimeout,
        name: "upstream_timeout",
        statuses: &[504],
        log_code: "upstream_error",
        meaning: "the target took too long to connect or was silent for too long",
        remedy: "try again; a stream may be silent for 10 minutes, a response may take 5 to begin",
    },
    Reason {
        kind: Kind::ResponseTooLarge,
        name: "response_too_large",
        statuses: &[502],
        log_code: "response_too_large",
        meaning: "the response's body is longer than the limit",
        remedy: "ask for less, or raise --max-response-bytes",
    },
    Reason {
        kind: Kind::ResponseTruncated,
        name: "response_truncated",
        statuses: &[],
        log_code: "response_truncated",
        meaning: "the response grew longer than the limit after it had begun",
        remedy: "ask for less, or raise --max-response-bytes",
    },
    Reason {
        kind: Kind::BrokerUnreachable,
        name: "broker_unreachable",
        statuses: &[502],
        log_code: "",
        meaning: "the relay of agent-vault run does not reach its broker",
        remedy: "see that the broker runs and can be reached; --retry says how long it is waited for",
    },
    Reason {
        kind: Kind::BrokerTls,
        name: "broker_tls",
        statuses: &[502],
        log_code: "",
        meaning: "the relay's TLS handshake with the broker, for a client that left it out, failed",
        remedy: "the body says why; a broker with another CA than at the start takes a restart of the run",
    },
];

/// A row is found by its number, so the order is checked where the table is compiled.
const _: () = {
    let mut at = 0;
    while at < TABLE.len() {
        assert!(TABLE[at].kind as usize == at);
        at += 1;
    }
};

impl Kind {
    pub(crate) fn reason(self) -> &'static Reason {
        &TABLE[self as usize]
    }
}

impl Reason {
    /// The status it is usually answered with; 0 when it has none.
    pub(crate) fn status(&self) -> u16 {
        self.statuses.first().copied().unwrap_or(0)
    }
}

/// How often each reason was given since the start.
pub(super) struct Counters([AtomicU64; TABLE.len()]);

impl Counters {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    pub(super) fn count(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Name and number of every reason, in the order of the table.
    pub(super) fn all(&self) -> Vec<(&'static str, u64)> {
        let numbers = self.0.iter().map(|number| number.load(Ordering::Relaxed));
        TABLE.iter().map(|reason| reason.name).zip(numbers).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a row may say in the request log (contract D.12, F.1).
    const LOG_CODES: [&str; 13] = [
        "",
        "internal",
        "no_match",
        "credential_not_found",
        "oauth_not_connected",
        "oauth_refresh_failed",
        "request_too_large",
        "request_read_error",
        "upstream_error",
        "response_too_large",
        "response_truncated",
        "rate_limit_scope",
        "concurrency_scope",
    ];

    #[test]
    fn every_row_is_complete() {
        for reason in &TABLE {
            let twins = TABLE.iter().filter(|other| other.name == reason.name).count();
            assert_eq!(twins, 1, "{}", reason.name);
            let is_plain = |b: u8| b.is_ascii_lowercase() || b == b'_';
            assert!(reason.name.bytes().all(is_plain), "{}", reason.name);
            assert!(!reason.meaning.is_empty() && !reason.remedy.is_empty(), "{}", reason.name);
            assert!(reason.statuses.iter().all(|status| (400..600).contains(status)), "{}", reason.name);
            assert!(LOG_CODES.contains(&reason.log_code), "{}: {}", reason.name, reason.log_code);
        }
    }
}
