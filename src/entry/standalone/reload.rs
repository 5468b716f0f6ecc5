//! Reading the configuration again while the child lives: on SIGHUP and when a file has changed.
//!
//! What was read is put in force whole, or refused whole and the old rules stay, with one line that says
//! why. What the proxy and the child were built on cannot change under them: such a document is refused.

use std::fs;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::credentials::Places;
use super::document::{Document, Problem};
use super::rules::{InForce, Rules};
use super::source::Source;
use crate::log_event;
use crate::proxy::Proxy;
use crate::sys::watch::Changes;
use crate::tls::leaf::Leaves;
use crate::vault::service::InternalNames;

/// Replaces the CA the child's clients read.
pub(in crate::entry) type ReplaceCa = Box<dyn Fn(&[u8]) -> io::Result<()>>;

/// What the main thread does for a run without a broker.
pub(in crate::entry) struct Keeper {
    pub(super) source: Source,
    pub(super) internal: InternalNames,
    pub(super) places: Places,
    pub(super) rules: Arc<Rules>,
    pub(super) proxy: Arc<Proxy>,
    pub(super) leaves: Arc<Leaves>,
    /// The document in force.
    pub(super) document: Document,
    pub(super) replace_ca: Option<ReplaceCa>,
    pub(super) changes: Option<Changes>,
    /// The files as they were when they were read last.
    pub(super) seen: Vec<Seen>,
}

/// A file, and how it was found. Two contents of one file differ in it, short of somebody hiding a change.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    path: PathBuf,
    found: Option<(u64, u64, u64, [i64; 4])>,
}

impl Seen {
    /// The document's own file, to be noted before it is read: a change in between is then found.
    pub(super) fn config(source: &Source) -> Option<Self> {
        match source {
            Source::File(path) => Some(Self::at(path.clone())),
            Source::Inline(_) => None,
        }
    }

    /// All files of a document, to be noted before its credentials are read.
    pub(super) fn all(config: Option<Self>, places: &Places, document: &Document) -> Vec<Self> {
        config.into_iter().chain(places.files(document).into_iter().map(Self::at)).collect()
    }

    fn at(path: PathBuf) -> Self {
        let found = fs::metadata(&path).ok().map(|found| {
            let times = [found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()];
            (found.dev(), found.ino(), found.size(), times)
        });
        Self { path, found }
    }
}

impl Keeper {
    /// Says how the CA files of the child are replaced.
    pub(in crate::entry) fn replace_ca_with(&mut self, replace: ReplaceCa) {
        self.replace_ca = Some(replace);
    }

    /// Begins to watch the files, once the child runs: a folder with many entries takes milliseconds. The
    /// descriptor is readable when a file may have changed.
    pub(in crate::entry) fn begin(&mut self) -> Option<RawFd> {
        self.watch();
        // What changed before it was watched is told by nobody.
        self.look();
        self.changes.as_ref().map(Changes::descriptor)
    }

    /// Gives back what is idle; when to call again.
    pub(in crate::entry) fn tend(&self, now: Instant) -> Option<Instant> {
        self.proxy.purge(now)
    }

    /// Something may have happened to a file: reads all of them again if one is another than before.
    pub(in crate::entry) fn look(&mut self) {
        if let Some(changes) = &mut self.changes
            && let Err(error) = changes.take()
        {
            log_event!(Warn, "cannot tell what has changed", cause = error);
        }
        let now: Vec<Seen> = self.seen.iter().map(|seen| Seen::at(seen.path.clone())).collect();
        if now != self.seen {
            self.reload();
        }
    }

    /// Reads everything again.
    pub(in crate::entry) fn reload(&mut self) {
        match self.read_again() {
            Ok(()) => {
                let services = self.document.services.len();
                log_event!(Info, "configuration reloaded", file = self.source, services = services);
            }
            Err(problems) => {
                let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
                log_event!(
                    Error,
                    "configuration not reloaded; the old one stays in force",
                    file = self.source,
                    problems = told.join("; ")
                );
            }
        }
    }

    fn read_again(&mut self) -> Result<(), Vec<Problem>> {
        let config = Seen::config(&self.source);
        let document = self.source.read(self.internal).map_err(|unusable| unusable.problems);
        self.seen = Seen::all(config, &self.places, document.as_ref().unwrap_or(&self.document));
        self.watch();
        let document = document?;
        self.may_follow(&document)?;
        let in_force = InForce::new(&document, &self.places.open(&document)?);
        self.replace_ca(&document).map_err(|what| vec![Problem::new("", what)])?;
        self.rules.swap(in_force);
        self.document = document;
        Ok(())
    }

    /// Refuses what only a new start can change.
    fn may_follow(&self, document: &Document) -> Result<(), Vec<Problem>> {
        let old = &self.document;
        let fixed = [
            ("vault", document.vault == old.vault),
            ("upstream_ca", document.upstream_ca == old.upstream_ca),
            ("network_allowlist", document.network_allowlist == old.network_allowlist),
        ];
        let changed = fixed.iter().filter(|(_, is_same)| !is_same);
        let problems: Vec<Problem> = changed
            .map(|(key, _)| Problem::new(*key, "cannot change while the command runs; start it again"))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// Lets the run's root vouch for the hosts of this document. Clients read its certificate when they
    /// start: those that run already do not trust it for a host that is new.
    fn replace_ca(&self, document: &Document) -> Result<(), String> {
        let names = document.names();
        let Some(replace) = self.replace_ca.as_ref().filter(|_| names != self.document.names()) else {
            return Ok(());
        };
        let pem = self.leaves.root().certify_for(&names, SystemTime::now());
        let pem = pem.map_err(|error| format!("cannot make a CA for the new hosts: {error}"))?;
        replace(pem.as_bytes()).map_err(|error| format!("cannot write a CA for the new hosts: {error}"))?;
        log_event!(
            Info,
            "the CA is for other hosts now; a program that was started before may not trust it for new ones"
        );
        Ok(())
    }

    /// Watches the files that were read.
    fn watch(&mut self) {
        let Some(first) = self.seen.first() else { return };
        if self.changes.is_none() {
            match Changes::new() {
                Ok(changes) => self.changes = Some(changes),
                Err(error) => unheard(&first.path, &error),
            }
        }
        let Some(changes) = &mut self.changes else { return };
        for Seen { path, .. } in &self.seen {
            // A folder that does not exist has nothing to tell; the credential may be elsewhere.
            if let Err(error) = changes.follow(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                unheard(path, &error);
            }
        }
    }
}

fn unheard(file: &Path, error: &io::Error) {
    log_event!(
        Warn,
        "changes of a file will not be noticed; send SIGHUP after one",
        file = file.display(),
        cause = error
    );
}
