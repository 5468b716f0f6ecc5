//! Directories of runs that were killed before they could remove them, and the claim that keeps them apart
//! from those in use.
//!
//! A run holds a lock on its directory, which the kernel releases with the process, however it ends. A
//! process number would not do: containers of one pod share `/dev/shm` and see none of each other's
//! processes. What another user made is never touched.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use crate::sys;

const PREFIX: &str = "agent-vault-run-";

/// How often a new directory may be swept away between its creation and its claim.
const ATTEMPTS: u32 = 8;

/// The name of a run's directory.
pub(super) fn name(run: &str) -> String {
    format!("{PREFIX}{run}")
}

/// Creates a directory and claims it. Exclusive: one that somebody else has prepared is refused.
pub(super) fn create_claimed(dir: &Path) -> io::Result<File> {
    for _ in 0..ATTEMPTS {
        DirBuilder::new().mode(0o755).create(dir)?;
        let Some(claim) = absent_as_none(File::open(dir))? else { continue };
        // A sweep that came in between holds it for as long as it takes to remove an empty directory.
        claim.lock()?;
        let is_still_there = absent_as_none(fs::symlink_metadata(dir))?
            .zip(claim.metadata().ok())
            .is_some_and(|(found, claimed)| found.ino() == claimed.ino());
        if is_still_there {
            return Ok(claim);
        }
    }
    Err(io::Error::other("the directory disappears again and again"))
}

/// Removes the directories under `place` that belong to us and that nobody claims. What cannot be removed
/// is a public certificate; the next start tries again.
pub(super) fn sweep(place: &Path) {
    let user = sys::process::user();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let is_a_runs = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        // Not through a link, which could lead anywhere.
        let is_ours = || entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == user);
        if is_a_runs && is_ours() {
            drop(remove_unclaimed(&entry.path()));
        }
    }
}

fn remove_unclaimed(dir: &Path) -> io::Result<()> {
    let claim = File::open(dir)?;
    if claim.try_lock().is_ok() { fs::remove_dir_all(dir) } else { Ok(()) }
}

fn absent_as_none<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_claims_is_removed() {
        let place = std::env::temp_dir().join(format!("agent-vault-leftovers-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        let claimed = place.join(name("1"));
        let claim = create_claimed(&claimed).unwrap();
        assert!(create_claimed(&claimed).is_err());
        let left = place.join(name("2"));
        drop(create_claimed(&left).unwrap());
        fs::write(left.join("ca.pem"), "CA").unwrap();
        let shared = place.join("agent-vault-0-0123456789abcdef");
        fs::create_dir(&shared).unwrap();
        let linked = place.join(name("3"));
        std::os::unix::fs::symlink(&shared, &linked).unwrap();

        sweep(&place);
        assert!(claimed.is_dir() && shared.is_dir() && linked.is_symlink());
        assert!(!left.exists());
        drop(claim);
        sweep(&place);
        assert!(!claimed.exists());
        fs::remove_dir_all(place).unwrap();
    }
}
