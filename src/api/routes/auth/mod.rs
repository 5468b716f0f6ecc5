//! Accounts and logins: one file per thing a person does, and here what they share.

pub(super) mod account;
pub(super) mod codes;
mod cookie;
pub(super) mod login;
pub(super) mod password;
pub(super) mod register;
pub(super) mod sessions;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::PoisonError;

use super::super::caller;
use super::super::refusal::Refusal;
use super::super::{Api, Call};
use crate::secret::Secret;
use crate::store;
use crate::store::invites;
use crate::store::logins::{Device, NewToken};
use crate::store::password::PasswordHash;

/// Shortest password, in bytes (contract A.6).
const MIN_PASSWORD_BYTES: usize = 8;

/// Longest device label, in characters (contract A.6).
const MAX_DEVICE_CHARS: usize = 64;

pub(super) const TOO_MANY: &str = "Too many requests, try again later";

/// Counts a call against its address; what somebody without a login may do is limited by nothing else.
pub(super) fn admit(call: &Call<'_>, message: &str) -> Result<(), Refusal> {
    call.api.admit_attempt(&format!("ip:{}", neighbourhood(call.client_ip())), message)
}

/// The same for a link: many parties may have it.
pub(super) fn admit_link(call: &Call<'_>, token: &Secret) -> Result<(), Refusal> {
    call.api.admit_attempt(&format!("link:{}", invites::link_id(token)), TOO_MANY)
}

/// What one party is given by its provider: an IPv4 address, or the 64 bits in front of as many IPv6
/// addresses as it likes.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

/// Where a login that is about to begin comes from.
struct Origin {
    label: Option<String>,
    ip: String,
}

impl Origin {
    fn of(call: &Call<'_>, label: Option<&str>) -> Self {
        let label = label.map(device_label).filter(|label| !label.is_empty());
        Self { label, ip: call.client_ip().to_string() }
    }

    fn device<'a>(&'a self, call: &'a Call<'_>) -> Device<'a> {
        Device {
            label: self.label.as_deref(),
            ip: Some(&self.ip),
            user_agent: caller::user_agent(call.request),
        }
    }
}

/// Trimmed, without control characters, cut to its limit between characters.
fn device_label(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).take(MAX_DEVICE_CHARS).collect()
}

/// An address as it is stored and compared: trimmed and in lower case. `None` when it is none.
pub(crate) fn normal_email(text: &str) -> Option<String> {
    /// RFC 5321 §4.5.3.1.3, less the angle brackets.
    const MAX_BYTES: usize = 254;
    let email = text.trim().to_lowercase();
    let (local, domain) = email.split_once('@')?;
    let is_clean = |part: &str| {
        !part.is_empty() && !part.chars().any(|c| c.is_whitespace() || c.is_control() || "@<>,;".contains(c))
    };
    let is_email = email.len() <= MAX_BYTES
        && is_clean(local)
        && is_clean(domain)
        && !domain.starts_with('.')
        && !domain.ends_with('.');
    is_email.then_some(email)
}

/// A password somebody chose, long enough.
pub(super) fn chosen_password(password: Option<Secret>) -> Result<Secret, Refusal> {
    password
        .filter(|password| password.len() >= MIN_PASSWORD_BYTES)
        .ok_or_else(|| Refusal::error(400, "Password must be at least 8 characters"))
}

pub(super) fn hash(api: &Api, password: &Secret) -> Result<PasswordHash, Refusal> {
    Ok(derive(api, || PasswordHash::new(password))?)
}

/// Runs a key derivation while no other runs.
fn derive<T>(api: &Api, work: impl FnOnce() -> Result<T, store::Error>) -> Result<T, store::Error> {
    let _turn = api.derivation.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

/// A token just made, as text: it is made of ASCII.
fn text_of(login: &NewToken) -> &str {
    login.token.expose_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_folded_and_nonsense_is_refused() {
        assert_eq!(normal_email(" Ann@Example.COM ").as_deref(), Some("ann@example.com"));
        for text in ["", "a", "@b", "a@", "a b@c", "a@b@c", "a@.b", "a@b\nc", "<a@b>"] {
            assert_eq!(normal_email(text), None, "{text}");
        }
    }

    /// Contract J 16.
    #[test]
    fn device_labels_are_cut_between_characters() {
        assert_eq!(device_label(" a\nb\u{7} "), "ab");
        for (text, kept) in [("é", 33), ("🙂", 17), ("語", 22), ("a", 64)] {
            assert_eq!(device_label(&text.repeat(kept)), text.repeat(kept));
            assert_eq!(device_label(&text.repeat(65)), text.repeat(64));
        }
    }
}
