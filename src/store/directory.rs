//! What the proxy asks on its hot path, answered from memory.
//!
//! Two caches: what a token may do, by the token's hash, and each vault's rules. A miss is read through a
//! connection of its own, and the answer is kept only if nothing changed in the meantime: a change
//! counts up `epoch` while it clears, and a load that started under an older count is not stored.
//! So a change that has returned is seen by every later request.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::caches::{Facts, Reach};
use super::fresh::TokenHash;
use super::grants::{ActorKind, ActorRef};
use super::sessions::{self, Holder};
use super::uses::LastNote;
use super::{Error, Store, Timestamp, credentials, oauth, vaults};
use crate::secret::Secret;
use crate::vault::Snapshot;
use crate::vault::oauth::Stale;
use crate::vault::scope::{Actor, Directory, RefreshFailed, Role, Scope, ScopeError, SnapshotUnavailable};

impl Directory for Store {
    fn scope(&self, token: &Secret, vault_hint: Option<&str>) -> Result<Arc<Scope>, ScopeError> {
        self.scope_at(token, vault_hint, Timestamp::now())
    }

    fn snapshot(&self, scope: &Scope) -> Result<Arc<Snapshot>, SnapshotUnavailable> {
        self.rules(&scope.vault_id).map_err(|error| {
            crate::log_event!(Error, "vault rules unavailable", vault = scope.vault_name, error = error);
            match error {
                Error::Corrupt(_) => SnapshotUnavailable::Corrupt,
                _ => SnapshotUnavailable::Unreadable,
            }
        })
    }

    fn refresh(&self, scope: &Scope, stale: &[Stale]) -> Result<Arc<Snapshot>, RefreshFailed> {
        self.refresh_all(scope, stale)?;
        self.snapshot(scope).map_err(|_| RefreshFailed)
    }
}

impl Store {
    /// Tokens whose rights are in memory.
    pub fn cached_tokens(&self) -> usize {
        self.caches.read().tokens.len()
    }

    /// A vault's rules as they are now.
    pub fn rules(&self, vault_id: &str) -> Result<Arc<Snapshot>, Error> {
        let epoch = {
            let cached = self.caches.read();
            if let Some(snapshot) = cached.snapshots.get(vault_id) {
                return Ok(Arc::clone(snapshot));
            }
            cached.epoch
        };
        let snapshot = Arc::new(self.load_snapshot(vault_id)?);
        self.caches.keep_snapshot(epoch, vault_id.into(), &snapshot);
        Ok(snapshot)
    }

    pub(super) fn scope_at(
        &self,
        token: &Secret,
        vault_hint: Option<&str>,
        now: Timestamp,
    ) -> Result<Arc<Scope>, ScopeError> {
        let facts = self.facts(token, now)?;
        if facts.expires_at.is_some_and(|end| now > end) {
            return Err(ScopeError::InvalidToken);
        }
        // A login opens no vault, so being refused here is no use of it.
        if !matches!(facts.reach, Reach::Nothing) && facts.last_note.is_due(now) {
            self.uses.note(&facts.id, now);
        }
        match (&facts.reach, vault_hint.filter(|hint| !hint.is_empty())) {
            (Reach::Nothing, _) => Err(ScopeError::VaultUnclear),
            (Reach::One(scope), None) => Ok(Arc::clone(scope)),
            (Reach::One(scope), Some(hint)) if *scope.vault_name == *hint => Ok(Arc::clone(scope)),
            (Reach::One(_), Some(_)) => Err(ScopeError::Forbidden),
            (Reach::Granted(scopes), None) => match &scopes[..] {
                [only] => Ok(Arc::clone(only)),
                _ => Err(ScopeError::VaultUnclear),
            },
            (Reach::Granted(scopes), Some(hint)) => {
                match scopes.iter().find(|scope| *scope.vault_name == *hint) {
                    Some(scope) => Ok(Arc::clone(scope)),
                    None => Err(self.why_not_granted(hint)),
                }
            }
        }
    }

    fn why_not_granted(&self, vault: &str) -> ScopeError {
        match self.misses.with(|connection| vault_exists(connection, vault)) {
            Ok(true) => ScopeError::Forbidden,
            Ok(false) => ScopeError::VaultNotFound,
            Err(error) => unavailable(&error),
        }
    }

    fn facts(&self, token: &Secret, now: Timestamp) -> Result<Arc<Facts>, ScopeError> {
        let hash = TokenHash::of(token);
        let epoch = {
            let cached = self.caches.read();
            if let Some(facts) = cached.tokens.get(&hash) {
                return Ok(Arc::clone(facts));
            }
            cached.epoch
        };
        let facts = match self.misses.with(|connection| load_facts(connection, &hash.id(), now)) {
            Ok(Some(facts)) => Arc::new(facts),
            Ok(None) => return Err(ScopeError::InvalidToken),
            Err(error) => return Err(unavailable(&error)),
        };
        // A login's idle limit moves with its use, so it is looked up each time; it opens no vault anyway.
        if !matches!(facts.reach, Reach::Nothing) {
            self.caches.keep_token(epoch, hash, &facts);
        }
        Ok(facts)
    }

    fn load_snapshot(&self, vault_id: &str) -> Result<Snapshot, Error> {
        self.misses.with(|connection| {
            // One read transaction, so that services and credentials are of the same moment.
            let moment = connection.transaction()?;
            let services = vaults::read_services(&moment, vault_id)?;
            let opened = credentials::open_all(&moment, &self.seal, vault_id)?;
            let tokens = oauth::tokens(&moment, vault_id, &opened)?;
            let policy = vaults::read_policy(&moment, vault_id)?;
            Ok(Snapshot::new(services, &opened, policy).with_tokens(&tokens))
        })
    }
}

fn unavailable(error: &Error) -> ScopeError {
    crate::log_event!(Error, "token lookup failed", error = error);
    ScopeError::Unavailable
}

/// Reads a token's facts; `None` when there is no such live token.
fn load_facts(connection: &Connection, id: &str, now: Timestamp) -> Result<Option<Facts>, Error> {
    let Some(row) = sessions::find(connection, id)?.filter(|row| !row.limits.are_passed(now)) else {
        return Ok(None);
    };
    let reach = match row.holder {
        Holder::User { .. } => Reach::Nothing,
        Holder::Agent { id, .. } => Reach::Granted(load_grants(connection, &id)?),
        Holder::Scoped { token_id, vault_id, vault_name, role, minted_by } => Reach::One(Arc::new(Scope {
            actor: minter(minted_by, &token_id),
            vault_id: vault_id.into(),
            vault_name: vault_name.into(),
            role,
        })),
    };
    let last_note = LastNote::new(row.limits.last_used_at);
    Ok(Some(Facts { id: id.to_owned(), expires_at: row.limits.expires_at, last_note, reach }))
}

/// A minted token stands for its minter (design 7).
fn minter(minted_by: Option<ActorRef>, token_id: &str) -> Actor {
    match minted_by {
        Some(ActorRef { kind: ActorKind::Agent, id }) => Actor::Agent(id.into()),
        Some(ActorRef { kind: ActorKind::User, id }) => Actor::User(id.into()),
        None => Actor::Minted(token_id.into()),
    }
}

fn load_grants(connection: &Connection, agent: &str) -> Result<Vec<Arc<Scope>>, Error> {
    let mut statement = connection.prepare_cached(
        "SELECT v.id, v.name, g.role FROM vault_grants g JOIN vaults v ON v.id = g.vault_id
         WHERE g.actor_id = ?1",
    )?;
    let actor = Actor::Agent(agent.into());
    let rows = statement.query_map([agent], |row| {
        Ok(Arc::new(Scope {
            actor: actor.clone(),
            vault_id: row.get::<_, String>(0)?.into(),
            vault_name: row.get::<_, String>(1)?.into(),
            role: row.get::<_, Role>(2)?,
        }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn vault_exists(connection: &Connection, name: &str) -> Result<bool, Error> {
    let found: Option<i64> = connection
        .prepare_cached("SELECT 1 FROM vaults WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(found.is_some())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::store::accounts::InstanceRole;
    use crate::store::agents::{NewAgent, Outcome};
    use crate::store::members::Membership;
    use crate::store::scratch;
    use crate::store::sessions::Mint;
    use crate::store::vaults::DEFAULT_ID;

    const MAKER: &str = "maker";

    fn maker() -> ActorRef {
        ActorRef { kind: ActorKind::User, id: MAKER.to_owned() }
    }

    fn agent(store: &Store, name: &str, vaults: &[(String, Role)]) -> Secret {
        let new =
            NewAgent { name, role: InstanceRole::NoAccess, created_by: &maker(), vaults, warrant: None };
        store.create_agent(&new, Timestamp::now()).unwrap().unwrap()
    }

    fn id_of(store: &Store, agent: &str) -> String {
        store.agent(agent, Timestamp::now()).unwrap().unwrap().id
    }

    fn mint(store: &Store, by: Option<&ActorRef>) -> Secret {
        let mint = Mint {
            vault_id: DEFAULT_ID,
            label: None,
            created_by: by,
            life: Duration::from_secs(300),
            warrant: None,
        };
        store.mint(&mint, Timestamp::now()).unwrap().token
    }

    fn vault(store: &Store, name: &str) -> String {
        store.create_vault(name, &maker(), None, Timestamp::now()).unwrap().unwrap().id
    }

    #[test]
    fn an_agent_reaches_the_vaults_it_was_granted() {
        let (_dir, store) = scratch();
        let other = vault(&store, "other");
        let third = vault(&store, "third");
        let none = agent(&store, "none", &[]);
        let one = agent(&store, "one", &[(other.clone(), Role::Proxy)]);
        let two = agent(&store, "two", &[(other.clone(), Role::Proxy), (third, Role::Admin)]);
        let name = |token: &Secret, hint| store.scope(token, hint).map(|scope| scope.vault_name.to_string());
        assert_eq!(name(&none, None), Err(ScopeError::VaultUnclear));
        assert_eq!(name(&one, None).as_deref(), Ok("other"));
        assert_eq!(name(&two, None), Err(ScopeError::VaultUnclear));
        assert_eq!(name(&two, Some("third")).as_deref(), Ok("third"));
        assert_eq!(name(&one, Some("third")), Err(ScopeError::Forbidden));
        assert_eq!(name(&one, Some("nowhere")), Err(ScopeError::VaultNotFound));
        assert_eq!(name(&Secret::from("av_agt_no"), None), Err(ScopeError::InvalidToken));
        let scope = store.scope(&two, Some("third")).unwrap();
        assert_eq!(scope.role, Role::Admin);
        assert_eq!(scope.actor, Actor::Agent(id_of(&store, "two").into()));
    }

    #[test]
    fn a_scoped_token_never_leaves_its_vault_and_carries_its_minter() {
        let (_dir, store) = scratch();
        vault(&store, "other");
        let token = mint(&store, Some(&maker()));
        for hint in [None, Some(""), Some("default")] {
            let scope = store.scope(&token, hint).unwrap();
            assert_eq!((&*scope.vault_id, scope.role), (DEFAULT_ID, Role::Proxy));
            assert_eq!(scope.actor, Actor::User(MAKER.into()));
        }
        assert_eq!(store.scope(&token, Some("other")), Err(ScopeError::Forbidden));
        let anonymous = mint(&store, None);
        assert!(matches!(store.scope(&anonymous, None).unwrap().actor, Actor::Minted(_)));
    }

    #[test]
    fn a_token_expires_although_it_is_cached() {
        let (_dir, store) = scratch();
        let token = mint(&store, None);
        let now = Timestamp::now();
        assert!(store.scope_at(&token, None, now).is_ok());
        let later = now.plus(Duration::from_secs(302));
        assert_eq!(store.scope_at(&token, None, later), Err(ScopeError::InvalidToken));
    }

    /// Each change is made between two lookups of a token that is in the cache.
    #[test]
    fn every_revocation_acts_on_the_next_lookup() {
        type Change = fn(&Store, &str);
        let changes: [(&str, Change); 4] = [
            ("revoke", |store, id| {
                assert_eq!(store.revoke_agent(id, Timestamp::now()).unwrap(), Outcome::Done);
            }),
            ("delete", |store, id| assert_eq!(store.delete_agent(id).unwrap(), Outcome::Done)),
            ("rotate", |store, id| drop(store.rotate_agent(id, None, None, Timestamp::now()).unwrap())),
            ("grant", |store, id| {
                assert_eq!(store.remove_member(id, DEFAULT_ID).unwrap(), Membership::Changed);
            }),
        ];
        for (what, change) in changes {
            let (_dir, store) = scratch();
            let token = agent(&store, "bot", &[(DEFAULT_ID.to_owned(), Role::Member)]);
            let id = id_of(&store, "bot");
            let minted = mint(&store, Some(&ActorRef { kind: ActorKind::Agent, id: id.clone() }));
            assert!(store.scope(&token, None).is_ok() && store.scope(&minted, None).is_ok());
            change(&store, &id);
            assert!(store.scope(&token, None).is_err(), "{what}");
            assert_eq!(store.scope(&minted, None), Err(ScopeError::InvalidToken), "{what}");
        }
    }

    #[test]
    fn a_snapshot_is_shared_until_its_vault_changes() {
        let (_dir, store) = scratch();
        let token = mint(&store, None);
        let scope = store.scope(&token, None).unwrap();
        let first = store.snapshot(&scope).unwrap();
        assert!(Arc::ptr_eq(&first, &store.snapshot(&scope).unwrap()));
        let values = BTreeMap::from([("KEY".to_owned(), Secret::from("v"))]);
        store.set_credentials(DEFAULT_ID, &values, Timestamp::now()).unwrap();
        assert!(!Arc::ptr_eq(&first, &store.snapshot(&scope).unwrap()));
    }

    #[test]
    fn an_answer_read_before_a_change_is_not_kept() {
        let (_dir, store) = scratch();
        let token = mint(&store, None);
        let hash = TokenHash::of(&token);
        let facts = store
            .misses
            .with(|connection| load_facts(connection, &hash.id(), Timestamp::now()))
            .unwrap()
            .unwrap();
        let epoch = store.caches.read().epoch;
        store.end_session(&token).unwrap();
        store.caches.keep_token(epoch, hash, &Arc::new(facts));
        assert_eq!(store.scope(&token, None), Err(ScopeError::InvalidToken));
    }
}
