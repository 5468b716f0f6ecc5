//! What the store remembers for the proxy: what tokens may do, and the rules of vaults.
//!
//! A change counts up the epoch while it clears; what was read under an older one is not kept. So a change
//! that has returned is seen by every later request.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::Timestamp;
use super::fresh::TokenHash;
use super::uses::LastNote;
use crate::vault::Snapshot;
use crate::vault::scope::Scope;

/// Tokens remembered at once. Past it the cache starts over: a fleet beyond this size pays one read per
/// token now and then, and memory stays bounded.
const MAX_TOKENS: usize = 10_000;

#[derive(Default)]
pub(super) struct Caches {
    inner: RwLock<Inner>,
}

#[derive(Default)]
pub(super) struct Inner {
    pub(super) epoch: u64,
    pub(super) tokens: HashMap<TokenHash, Arc<Facts>>,
    pub(super) snapshots: HashMap<Arc<str>, Arc<Snapshot>>,
}

/// What is known of a live token.
pub(super) struct Facts {
    pub(super) id: String,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) last_note: LastNote,
    pub(super) reach: Reach,
}

pub(super) enum Reach {
    /// A scoped token: its one vault.
    One(Arc<Scope>),
    /// An agent: a scope per granted vault.
    Granted(Vec<Arc<Scope>>),
    /// A person's login: no vault at all.
    Nothing,
}

impl Caches {
    pub(super) fn forget_tokens(&self) {
        let mut inner = self.write();
        inner.epoch += 1;
        inner.tokens.clear();
    }

    pub(super) fn forget_vault(&self, id: &str) {
        let mut inner = self.write();
        inner.epoch += 1;
        inner.snapshots.remove(id);
    }

    pub(super) fn forget_all(&self) {
        let mut inner = self.write();
        inner.epoch += 1;
        inner.tokens.clear();
        inner.snapshots.clear();
    }

    pub(super) fn keep_token(&self, epoch: u64, token: TokenHash, facts: &Arc<Facts>) {
        let mut inner = self.write();
        if inner.epoch != epoch {
            return;
        }
        if inner.tokens.len() >= MAX_TOKENS {
            inner.tokens.clear();
        }
        inner.tokens.insert(token, Arc::clone(facts));
    }

    pub(super) fn keep_snapshot(&self, epoch: u64, id: Arc<str>, snapshot: &Arc<Snapshot>) {
        let mut inner = self.write();
        if inner.epoch == epoch {
            inner.snapshots.insert(id, Arc::clone(snapshot));
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}
