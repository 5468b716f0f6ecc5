//! Access tokens that will not do: renewed before they are sent, and once when an upstream refuses them.
//!
//! Both wait for a token endpoint, so both are asked only of a service that uses a token which can be
//! renewed.

use std::sync::Arc;
use std::time::SystemTime;

use super::Proxy;
use super::error::Error;
use super::judge::{self, Judged};
use super::record::Record;
use super::route::Route;
use crate::vault::{Compiled, Snapshot};

/// The rules to serve a request by, with the access tokens it is about to need renewed where they
/// are about to expire (contract G.3). A token that cannot be renewed is used until it has expired.
pub(super) fn before_sending(
    proxy: &Proxy,
    route: &Route<'_>,
    snapshot: Arc<Snapshot>,
    record: &mut Record<'_>,
) -> Result<Arc<Snapshot>, Error> {
    let Some(compiled) = attached(&snapshot, route) else { return Ok(snapshot) };
    let stale = compiled.expiring(SystemTime::now());
    if stale.is_empty() {
        return Ok(snapshot);
    }
    match proxy.directory.refresh(route.scope, &stale) {
        Ok(fresh) => Ok(fresh),
        Err(_) if compiled.has_expired(SystemTime::now()) => {
            record.matched(compiled.service());
            Err(Error::OauthRefreshFailed)
        }
        Err(_) => Ok(snapshot),
    }
}

/// The rules with every access token of a request renewed, whatever its age: the upstream has refused it
/// (contract D.9). `None` when there is none to renew, or it cannot be.
pub(super) fn after_refusal(proxy: &Proxy, route: &Route<'_>, snapshot: &Snapshot) -> Option<Arc<Snapshot>> {
    let stale = attached(snapshot, route)?.refreshable();
    if stale.is_empty() { None } else { proxy.directory.refresh(route.scope, &stale).ok() }
}

/// The service whose credential goes out, if the vault has access tokens at all.
fn attached<'s>(snapshot: &'s Snapshot, route: &Route<'_>) -> Option<&'s Compiled> {
    if !snapshot.has_tokens() {
        return None;
    }
    match judge::target(snapshot, route.target, route.scheme, route.raw_path()) {
        Judged { compiled, outcome: Ok(_) } => compiled,
        Judged { outcome: Err(_), .. } => None,
    }
}
