//! One call: who may make it, and the function for such a caller.

use std::net::IpAddr;

use super::Api;
use super::caller::{self, Actor, InVault, Person, Who};
use super::refusal::{self, Refusal, Reply};
use super::request::{self, Request};
use crate::rate::Left;
use crate::store::{Store, Timestamp};
use crate::vault::scope::Role;

/// One call, with what its route's path captured.
pub(super) struct Call<'a> {
    pub(super) api: &'a Api,
    pub(super) request: &'a Request,
    /// The path's parameters in order, percent-decoded.
    pub(super) params: Vec<String>,
    pub(super) now: Timestamp,
}

/// Who may call a route, and the function for such a caller.
#[derive(Clone, Copy)]
pub(super) enum Access {
    /// Anyone, at any time.
    Public(fn(&Call<'_>) -> Reply),
    /// Anyone, once there is an account.
    Ready(fn(&Call<'_>) -> Reply),
    /// Anyone with a live token.
    Token(fn(&Call<'_>, &Who) -> Reply),
    /// A person who logged in; neither agents nor scoped tokens.
    Person(fn(&Call<'_>, &Person) -> Reply),
    /// A person or an agent, with at least this instance role.
    Actor(Instance, fn(&Call<'_>, &Actor) -> Reply),
    /// Anyone with at least this role in the vault that is the first path parameter.
    Vault(Role, fn(&Call<'_>, &InVault) -> Reply),
}

/// How much of the instance an actor needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Instance {
    Any,
    Member,
    Owner,
}

/// A row of the table.
pub(super) struct Route {
    pub(super) method: &'static str,
    /// `{}` stands for one parameter.
    pub(super) path: &'static str,
    pub(super) access: Access,
}

impl Call<'_> {
    /// Lets the caller through to the route's function, or not.
    pub(super) fn enter(&self, access: Access) -> Reply {
        if !matches!(access, Access::Public(_)) && !self.api.is_initialized()? {
            return Err(refusal::not_initialized());
        }
        match access {
            Access::Public(function) | Access::Ready(function) => function(self),
            Access::Token(function) => self.identified(|who| function(self, &who)),
            Access::Person(function) => self.identified(|who| function(self, &who.into_person(self)?)),
            Access::Actor(needed, function) => self.identified(|who| {
                let actor = who.into_actor()?;
                actor.require(needed)?;
                function(self, &actor)
            }),
            Access::Vault(role, function) => self.identified(|who| {
                let vault = self.api.store.vault(self.param(0))?;
                let vault = vault.ok_or_else(|| Refusal::error(404, "Vault not found"))?;
                function(self, &who.enter(self, vault, role)?)
            }),
        }
    }

    /// Finds out who calls, counts the call as theirs (tier AUTHED), and says what is left to them.
    fn identified(&self, function: impl FnOnce(Who) -> Reply) -> Reply {
        let who = caller::identify(self)?;
        let left = self.api.limits.admit_actor(&who)?;
        let answer = function(who)?;
        Ok(match left {
            Some(Left { limit, remaining }) => answer
                .with("X-RateLimit-Limit", limit.to_string())
                .with("X-RateLimit-Remaining", remaining.to_string()),
            None => answer,
        })
    }

    pub(super) fn store(&self) -> &Store {
        &self.api.store
    }

    /// A path parameter; the table says how many there are.
    pub(super) fn param(&self, at: usize) -> &str {
        self.params.get(at).map_or("", String::as_str)
    }

    /// The client's address: the peer's, or what a trusted proxy says it is.
    pub(super) fn client_ip(&self) -> IpAddr {
        let peer = self.request.peer;
        if !self.api.settings.trusted_proxies.iter().any(|cidr| cidr.contains(peer)) {
            return peer;
        }
        // A proxy adds to the last field, or adds another one after those the client made up.
        let entries = self.request.fields_named("x-forwarded-for").rev().flat_map(|field| field.rsplit(','));
        let last = entries.map(str::trim).find(|entry| !entry.is_empty());
        last.and_then(|entry| entry.parse().ok()).map_or(peer, |address: IpAddr| address.to_canonical())
    }
}

impl Route {
    /// Matches a path against a pattern and takes its parameters, decoded after the split, so that an
    /// encoded slash may be part of one.
    pub(super) fn capture(&self, path: &str) -> Option<Vec<String>> {
        let mut params = Vec::new();
        let mut segments = path.split('/');
        for expected in self.path.split('/') {
            let segment = segments.next()?;
            if expected == "{}" {
                params.push(request::percent_decode(segment).filter(|text| !text.is_empty())?);
            } else if expected != segment {
                return None;
            }
        }
        segments.next().is_none().then_some(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded_after_the_split() {
        let access = Access::Public(|_| Err(Refusal::error(404, "")));
        let route = Route { method: "GET", path: "/v1/vaults/{}/services/{}", access };
        let capture = |path| route.capture(path);
        assert_eq!(
            capture("/v1/vaults/default/services/slack.com%2Fapi%2F*"),
            Some(vec!["default".to_owned(), "slack.com/api/*".to_owned()])
        );
        assert_eq!(capture("/v1/vaults/default/services"), None);
        assert_eq!(capture("/v1/vaults/default/services/a/b"), None);
        assert_eq!(capture("/v1/vaults//services/a"), None);
        assert_eq!(capture("/v1/vaults/x/services/%ff"), None);
    }
}
