//! Where a request goes and on whose behalf: what the gate has found out, and all later steps share.

use std::sync::Arc;

use super::judge;
use crate::authority::Authority;
use crate::vault::Scheme;
use crate::vault::scope::Scope;

/// Where a request goes and on whose behalf.
pub(super) struct Route<'r> {
    pub(super) target: &'r Authority,
    pub(super) scheme: Scheme,
    /// Path with query, as sent.
    pub(super) path: &'r str,
    pub(super) scope: &'r Arc<Scope>,
}

impl Route<'_> {
    /// The path alone, as sent.
    pub(super) fn raw_path(&self) -> &str {
        judge::raw_path(self.path)
    }
}
