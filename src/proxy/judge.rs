//! What the rules say of a request, in the proxy's own errors.
//!
//! An exchange acts on it and `explain` tells it, so what is told is what would happen.

use super::error::Error;
use crate::authority::Authority;
use crate::vault::attach::AttachError;
use crate::vault::{Compiled, Prepared, Refusal, Scheme, Snapshot, Verdict};

/// The vault's answer.
pub(super) struct Judged<'s> {
    /// The service that matched, whether or not the request may go on.
    pub(super) compiled: Option<&'s Compiled>,
    /// What to do to the request (`None`: nothing), or why it is refused.
    pub(super) outcome: Result<Option<&'s Prepared>, Error>,
}

/// Refuses methods that are never forwarded: they would show the credential to the client.
pub(super) fn method(method: &str) -> Result<(), Error> {
    if matches!(method, "TRACE" | "TRACK") { Err(Error::MethodRefused) } else { Ok(()) }
}

/// The path alone of a path with query; an absent one is the root.
pub(super) fn raw_path(path: &str) -> &str {
    let path = path.split('?').next().unwrap_or_default();
    if path.is_empty() { "/" } else { path }
}

/// Asks the vault.
pub(super) fn target<'s>(
    snapshot: &'s Snapshot,
    target: &Authority,
    scheme: Scheme,
    raw_path: &str,
) -> Judged<'s> {
    let (compiled, outcome) = match snapshot.judge(target, scheme, raw_path) {
        Verdict::Pass => (None, Ok(None)),
        Verdict::Attach(compiled) => (Some(compiled), prepared(compiled).map(Some)),
        Verdict::Refuse(Refusal::NoMatch) => (None, Err(Error::NoMatch)),
        Verdict::Refuse(Refusal::AmbiguousPath) => (None, Err(Error::AmbiguousPath)),
        Verdict::Refuse(Refusal::Disabled(compiled)) => (Some(compiled), Err(Error::Disabled)),
        Verdict::Refuse(Refusal::PlainHttp(compiled)) => (Some(compiled), Err(Error::PlainHttp)),
    };
    Judged { compiled, outcome }
}

fn prepared(compiled: &Compiled) -> Result<&Prepared, Error> {
    compiled.prepared().map_err(|error| match error {
        AttachError::CredentialNotFound(_) => Error::CredentialNotFound,
        AttachError::NotConnected(_) => Error::OauthNotConnected,
        AttachError::UnsafeValue(_) => Error::UnsafeValue,
    })
}
