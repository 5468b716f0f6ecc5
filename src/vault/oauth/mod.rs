//! OAuth credentials: when an access token has to be renewed.
//!
//! An access token is a credential's value like any other; what is known about it stands here. What a
//! token endpoint is asked, and how its answer is read, is [`call`]. Nothing here speaks to anyone: the
//! room that can is handed to the store as a [`TokenEndpoint`].

pub mod call;
mod url;

use std::time::{Duration, SystemTime};

use call::{Answer, Call, Fault};
pub use url::Url;

/// A token is renewed this long before it expires (contract G.3).
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// After a failed renewal a token that is still good is used for so long before the next attempt, so that
/// a token endpoint that is down, or slow, does not slow every request.
const PAUSE: Duration = Duration::from_secs(30);

/// What is known of an OAuth credential's access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Whether there is one.
    pub is_connected: bool,
    pub expires_at: Option<SystemTime>,
    /// Whether a refresh token is stored, and where to send it is known.
    pub is_refreshable: bool,
    /// Counts the changes of the token and of how it is renewed.
    pub revision: u64,
    /// When renewing it failed, if that was the last that was tried.
    pub failed_at: Option<SystemTime>,
}

/// An access token that will not do any more. It is renewed only while its revision is the current one:
/// who comes late finds that another request has done it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stale {
    pub key: String,
    pub revision: u64,
}

/// Speaks to token endpoints.
pub trait TokenEndpoint: Send + Sync {
    fn post(&self, call: &Call) -> Result<Answer, Fault>;
}

impl Token {
    fn wants_renewal(&self, now: SystemTime) -> bool {
        let Some(expires_at) = self.expires_at.filter(|_| self.is_refreshable) else { return false };
        let is_paused = self.failed_at.is_some_and(|failed_at| now < failed_at + PAUSE);
        expires_at <= now + MARGIN && (self.has_expired(now) || !is_paused)
    }

    fn has_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }
}

/// The access tokens one service uses, by key.
#[derive(Debug, Default)]
pub(super) struct Tokens(Vec<(String, Token)>);

impl Tokens {
    pub(super) fn new(tokens: Vec<(String, Token)>) -> Self {
        Self(tokens)
    }

    /// The first that was never obtained.
    pub(super) fn unconnected(&self) -> Option<&str> {
        self.0.iter().find(|(_, token)| !token.is_connected).map(|(key, _)| key.as_str())
    }

    /// Those that are to be renewed before they are sent.
    pub(super) fn expiring(&self, now: SystemTime) -> Vec<Stale> {
        self.stale(|token| token.wants_renewal(now))
    }

    /// Whether one is past its end. One that cannot be renewed is sent whatever its age: the upstream knows
    /// best.
    pub(super) fn has_expired(&self, now: SystemTime) -> bool {
        self.0.iter().any(|(_, token)| token.is_refreshable && token.has_expired(now))
    }

    /// All that can be renewed, however long they have to live.
    pub(super) fn refreshable(&self) -> Vec<Stale> {
        self.stale(|token| token.is_refreshable)
    }

    fn stale(&self, which: impl Fn(&Token) -> bool) -> Vec<Stale> {
        let found = self.0.iter().filter(|(_, token)| which(token));
        found.map(|(key, token)| Stale { key: key.clone(), revision: token.revision }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000_000;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn token(expires_at: Option<u64>) -> Token {
        Token {
            is_connected: true,
            expires_at: expires_at.map(at),
            is_refreshable: true,
            revision: 7,
            failed_at: None,
        }
    }

    fn wants_renewal(token: Token) -> bool {
        let expiring = Tokens::new(vec![("T".to_owned(), token)]).expiring(at(NOW));
        assert!(expiring.is_empty() || expiring == [Stale { key: "T".to_owned(), revision: 7 }]);
        !expiring.is_empty()
    }

    #[test]
    fn a_token_is_renewed_in_the_five_minutes_before_its_end() {
        for (expires_at, wants) in [
            (None, false),
            (Some(NOW + 301), false),
            (Some(NOW + 300), true),
            (Some(NOW), true),
            (Some(NOW - 1000), true),
        ] {
            assert_eq!(wants_renewal(token(expires_at)), wants, "{expires_at:?}");
            assert!(!wants_renewal(Token { is_refreshable: false, ..token(expires_at) }), "{expires_at:?}");
        }
    }

    #[test]
    fn a_failure_is_followed_by_a_pause_while_the_token_is_good() {
        for (expires_at, failed_at, wants) in
            [(NOW + 60, NOW - 29, false), (NOW + 60, NOW - 30, true), (NOW, NOW - 1, true)]
        {
            let token = Token { failed_at: Some(at(failed_at)), ..token(Some(expires_at)) };
            assert_eq!(wants_renewal(token), wants, "{expires_at} {failed_at}");
        }
    }

    #[test]
    fn only_what_can_be_renewed_can_be_too_old() {
        let expired = |is_refreshable| {
            let token = Token { is_refreshable, ..token(Some(NOW)) };
            Tokens::new(vec![("T".to_owned(), token)]).has_expired(at(NOW))
        };
        assert!(expired(true) && !expired(false));
    }
}
