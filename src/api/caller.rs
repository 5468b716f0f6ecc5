//! Who calls, and what they may touch: the one place that answers it (contract B).

use super::refusal::Refusal;
use super::{Call, Instance, Request};
use crate::secret::Secret;
use crate::store::Warrant;
use crate::store::accounts::InstanceRole;
use crate::store::grants::{ActorKind, ActorRef};
use crate::store::sessions::{Holder, Standing};
use crate::store::vaults::Vault;
use crate::vault::scope::Role;

pub(super) const COOKIE: &str = "av_session";

/// Whoever holds a live token.
#[derive(Clone)]
pub(super) struct Who(pub(super) Holder);

/// A person who logged in, and the login itself.
pub(super) struct Person {
    pub(super) id: String,
    pub(super) email: String,
    pub(super) token: Secret,
}

/// A person or an agent.
pub(super) struct Actor {
    pub(super) actor: ActorRef,
    pub(super) role: InstanceRole,
}

/// A caller inside a vault, with a role that suffices.
pub(super) struct InVault {
    pub(super) vault: Vault,
    pub(super) role: Role,
    /// `None` for a scoped token, which names no one.
    pub(super) actor: Option<ActorRef>,
}

/// The token a request carries: a bearer wins over the cookie; another scheme counts as none.
pub(super) fn token(request: &Request) -> Option<Secret> {
    let bearer = request.field("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let cookie = || {
        let pairs = request.field("cookie")?.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.into_iter().find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
    };
    bearer.or_else(cookie).filter(|token| !token.is_empty()).map(Secret::from)
}

/// What the caller's program calls itself, as far as a list of logins has room for it.
pub(super) fn user_agent(request: &Request) -> Option<&str> {
    const MAX_CHARS: usize = 256;
    let text = request.field("user-agent")?;
    Some(text.char_indices().nth(MAX_CHARS).map_or(text, |(end, _)| &text[..end]))
}

/// Finds out who calls, or refuses with 401.
pub(super) fn identify(call: &Call<'_>) -> Result<Who, Refusal> {
    let token = token(call.request).ok_or_else(|| Refusal::error(401, "Authorization required"))?;
    let ip = call.client_ip().to_string();
    match call.store().standing(&token, Some(&ip), user_agent(call.request), call.now)? {
        Standing::Unknown => Err(Refusal::error(401, "Invalid or expired session")),
        Standing::Expired => Err(Refusal::error(401, "Session expired")),
        Standing::Live(holder) => Ok(Who(holder)),
    }
}

impl Who {
    /// Routes about a person's own account and logins.
    pub(super) fn into_person(self, call: &Call<'_>) -> Result<Person, Refusal> {
        match (self.0, token(call.request)) {
            (Holder::User { id, email, .. }, Some(token)) => Ok(Person { id, email, token }),
            _ => Err(Refusal::error(403, "User session required")),
        }
    }

    /// Routes of the instance need someone with a name.
    pub(super) fn into_actor(self) -> Result<Actor, Refusal> {
        match self.0 {
            Holder::User { id, role, .. } => {
                Ok(Actor { actor: ActorRef { kind: ActorKind::User, id }, role })
            }
            Holder::Agent { id, role, .. } => {
                Ok(Actor { actor: ActorRef { kind: ActorKind::Agent, id }, role })
            }
            Holder::Scoped { .. } => Err(Refusal::error(403, "Authentication required")),
        }
    }

    /// Checks the caller against a vault, in the contract's order (B.4).
    pub(super) fn enter(self, call: &Call<'_>, vault: Vault, needed: Role) -> Result<InVault, Refusal> {
        let (role, actor) = self.role_in(call, &vault)?;
        let role = role.ok_or_else(|| Refusal::error(403, "No access to this vault"))?;
        if role < needed {
            return Err(role_required(needed));
        }
        Ok(InVault { vault, role, actor })
    }

    /// The caller's role in a vault, if it has one; a scoped token is turned away from any but its own.
    pub(super) fn role_in(
        self,
        call: &Call<'_>,
        vault: &Vault,
    ) -> Result<(Option<Role>, Option<ActorRef>), Refusal> {
        match self.0 {
            Holder::Scoped { vault_id, .. } if vault_id != vault.id => {
                Err(Refusal::error(403, "Session not authorized for this vault"))
            }
            Holder::Scoped { role, .. } => Ok((Some(role), None)),
            Holder::User { id, .. } => {
                let role = call.store().grant(&id, &vault.id)?;
                Ok((role, Some(ActorRef { kind: ActorKind::User, id })))
            }
            Holder::Agent { id, .. } => {
                let role = call.store().grant(&id, &vault.id)?;
                Ok((role, Some(ActorRef { kind: ActorKind::Agent, id })))
            }
        }
    }

    /// Checks the caller against the vault a query or body names. Without a name it is the token's own
    /// vault, for everyone else `default`.
    pub(super) fn enter_named(
        self,
        call: &Call<'_>,
        name: Option<&str>,
        needed: Role,
    ) -> Result<InVault, Refusal> {
        let own = match &self.0 {
            Holder::Scoped { vault_name, .. } => vault_name.clone(),
            _ => "default".to_owned(),
        };
        let name = name.filter(|name| !name.is_empty()).unwrap_or(&own);
        let vault = call
            .store()
            .vault(name)?
            .ok_or_else(|| Refusal::error(404, &format!("Vault {name:?} not found")))?;
        self.enter(call, vault, needed)
    }
}

impl InVault {
    /// What a change in the caller's name rests on.
    pub(super) fn warrant(&self, call: &Call<'_>) -> Option<Warrant> {
        warrant(call).map(|warrant| warrant.in_vault(&self.vault.id, self.role))
    }
}

impl Actor {
    /// What a change in the caller's name rests on.
    pub(super) fn warrant(&self, call: &Call<'_>) -> Option<Warrant> {
        warrant(call).map(|warrant| warrant.as_instance(self.role))
    }

    /// The same for one that takes an admin of these vaults, or an owner.
    pub(super) fn warrant_over<'v>(
        &self,
        call: &Call<'_>,
        vault_ids: impl Iterator<Item = &'v str>,
    ) -> Option<Warrant> {
        let warrant = self.warrant(call)?;
        if self.is_owner() {
            return Some(warrant);
        }
        Some(vault_ids.fold(warrant, |warrant, id| warrant.in_vault(id, Role::Admin)))
    }

    pub(super) fn is_owner(&self) -> bool {
        self.role == InstanceRole::Owner
    }

    /// Checks the role in the instance.
    pub(super) fn require(&self, needed: Instance) -> Result<(), Refusal> {
        match needed {
            Instance::Any => Ok(()),
            Instance::Member if self.role >= InstanceRole::Member => Ok(()),
            Instance::Member => Err(Refusal::error(403, "Instance member role required")),
            Instance::Owner if self.is_owner() => Ok(()),
            Instance::Owner => Err(Refusal::error(403, "Instance owner role required")),
        }
    }

    /// Lets a vault's admin, or any owner, through.
    pub(super) fn require_admin_of(&self, call: &Call<'_>, vault: &Vault) -> Result<(), Refusal> {
        if self.is_owner() {
            return Ok(());
        }
        match call.store().grant(&self.actor.id, &vault.id)? {
            Some(Role::Admin) => Ok(()),
            Some(_) => Err(role_required(Role::Admin)),
            None => Err(Refusal::error(403, "No access to this vault")),
        }
    }
}

/// The token of a call, which let the caller in.
fn warrant(call: &Call<'_>) -> Option<Warrant> {
    token(call.request).as_ref().map(Warrant::of)
}

fn role_required(needed: Role) -> Refusal {
    Refusal::error(
        403,
        if needed == Role::Admin { "Vault admin role required" } else { "Member role required" },
    )
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request {
        Request {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: String::new(),
            fields: fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            body: None,
            peer: IpAddr::from([127, 0, 0, 1]),
        }
    }

    #[test]
    fn a_bearer_wins_over_the_cookie() {
        for (fields, found) in [
            (vec![("Authorization", "Bearer a"), ("Cookie", "av_session=b")], Some("a")),
            (vec![("authorization", "Basic a"), ("cookie", "x=1; av_session=b")], Some("b")),
            (vec![("authorization", "bearer a")], None),
            (vec![("authorization", "Bearer ")], None),
            (vec![("cookie", "av_session=")], None),
            (vec![], None),
        ] {
            assert_eq!(token(&request(&fields)), found.map(Secret::from), "{fields:?}");
        }
    }
}
