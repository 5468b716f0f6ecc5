//! The CA files a child's clients read: what goes in, and the first place that can hold them.
//!
//! Nothing of the image is assumed: neither a root store nor a writable disk. Three files are written: the
//! vault's CA alone, and the CA with the public roots, once as PEM and once as the JVM reads it. They are in
//! a directory of their own that is created exclusively, readable by whatever user the child is, and
//! removed when the guard is dropped.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::keystore::{self, Keystore};
use super::leftovers;
use super::roots::{self, Roots};
use crate::failure::Failure;
use crate::sys;
use crate::sys::rights::{self, User};

/// How long the files are needed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lifetime<'a> {
    /// Until the guard is dropped; the directory is named for this run.
    Run(&'a str),
    /// Beyond this process, which is about to become the child; nobody is left to remove them then, on
    /// purpose. The directory is named for its content, so that runs with the same CA share one instead of
    /// leaving one behind each.
    Shared,
}

/// The files, written.
#[derive(Debug)]
pub(super) struct TrustFiles {
    dir: PathBuf,
    /// Held while the files are in use; without it they stay.
    claim: Option<fs::File>,
}

impl TrustFiles {
    /// The vault's CA and the public roots.
    pub(super) fn bundle(&self) -> PathBuf {
        self.dir.join("bundle.pem")
    }

    /// The vault's CA alone.
    pub(super) fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The vault's CA and the public roots, for a JVM.
    pub(super) fn keystore(&self) -> PathBuf {
        self.dir.join("roots.p12")
    }

    fn paths(&self) -> [PathBuf; 3] {
        [self.ca(), self.bundle(), self.keystore()]
    }
}

impl TrustFiles {
    /// Writes another CA in place of the one there is, and the bundle with it. A client reads either the old
    /// file or the new one, never a part; `named` is the root store the environment named at the start.
    pub(super) fn replacement(&self, named: Option<&OsStr>) -> impl Fn(&[u8]) -> io::Result<()> + use<> {
        let (dir, files) = (self.dir.clone(), self.paths());
        let named = named.map(OsStr::to_owned);
        move |pem| {
            let roots = roots::public(named.as_deref());
            let content = Content::new(pem, &roots);
            for (path, parts) in files.iter().zip(content.of_each()) {
                let new = dir.join("new.pem");
                fs::remove_file(&new).or_else(|error| match error.kind() {
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                })?;
                write(&new, parts)?;
                fs::rename(&new, path)?;
            }
            Ok(())
        }
    }
}

impl Drop for TrustFiles {
    fn drop(&mut self) {
        if self.claim.is_some() {
            // What cannot be removed is a public certificate; the run's status matters more.
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

/// A directory that may hold the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    path: PathBuf,
    /// The mode it is created with when it is missing; directories that are the system's are not created.
    created_as: Option<u32>,
    /// The user the child will be, if that is another one.
    reader: Option<User>,
}

impl Place {
    fn new(path: &Path, created_as: Option<u32>) -> Self {
        // The working directory is left once the child is started, and the files are removed after that.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self { path, created_as, reader: None }
    }

    /// The same place, for files that this user has to be able to read.
    #[must_use]
    pub(super) fn read_by(self, reader: Option<User>) -> Self {
        Self { reader, ..self }
    }

    /// Fails unless the reader may pass through every directory on the way to `dir`.
    fn check_reader(&self, dir: &Path) -> io::Result<()> {
        let Some(reader) = self.reader else { return Ok(()) };
        for step in dir.ancestors() {
            if !rights::lets(&fs::metadata(step)?, reader, 1) {
                let text = format!("user {} may not enter {}", reader.user, step.display());
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            }
        }
        Ok(())
    }
}

/// The directories that are tried, in order. A directory the operator names is the only one tried.
pub(super) fn places(named: Option<&Path>, temporary: Option<&OsStr>, home: Option<&OsStr>) -> Vec<Place> {
    if let Some(named) = named {
        return vec![Place::new(named, Some(0o755))];
    }
    // Under a read-only root the usual runtimes still mount /dev/shm writable.
    let mut places = vec![PathBuf::from("/dev/shm"), PathBuf::from("/run")];
    places.extend(temporary.filter(|dir| !dir.is_empty()).map(PathBuf::from));
    places.push(PathBuf::from("/tmp"));
    let mut places: Vec<Place> = places.iter().map(|path| Place::new(path, None)).collect();
    // The client's own state lives there too, so nobody else is let in (contract E.2).
    places.extend(
        home.filter(|dir| !dir.is_empty())
            .map(|home| Place::new(&Path::new(home).join(".agent-vault"), Some(0o700))),
    );
    places
}

/// Writes the vault's CA and the public roots under the first of `places` that can hold them.
pub(super) fn place(
    ca: &[u8],
    roots: &Roots,
    places: &[Place],
    lifetime: Lifetime<'_>,
) -> Result<TrustFiles, Failure> {
    let content = Content::new(ca, roots);
    let mut tried = Vec::new();
    for place in places {
        let written = match lifetime {
            Lifetime::Run(id) => write_under(place, &content, &leftovers::name(id)),
            Lifetime::Shared => share_under(place, &content),
        };
        match written {
            Ok(files) => {
                leftovers::sweep(&place.path);
                return Ok(files);
            }
            Err(error) => tried.push(format!("{}: {error}", place.path.display())),
        }
    }
    Err(Failure::new(format!("MITM setup failed: write CA: no place can hold it ({})", tried.join("; ")))
        .with_hint("mount a small writable directory, a tmpfs for example, and name it with --ca-dir"))
}

/// What the files hold.
struct Content<'a> {
    ca: &'a [u8],
    roots: Cow<'a, [u8]>,
    keystore: Keystore,
}

impl<'a> Content<'a> {
    fn new(ca: &'a [u8], roots: &'a Roots) -> Self {
        Self { ca, roots: roots.pem(), keystore: keystore::of(ca, roots) }
    }

    /// Each file's, in the order of [`TrustFiles::paths`], in the parts there are: putting them together
    /// would copy all roots once more.
    fn of_each(&self) -> [[&[u8]; 3]; 3] {
        let gap: &[u8] = if self.ca.ends_with(b"\n") { b"" } else { b"\n" };
        [[self.ca, b"", b""], [self.ca, gap, &self.roots], [self.keystore.bytes(), b"", b""]]
    }
}

fn write_under(place: &Place, content: &Content<'_>, name: &str) -> io::Result<TrustFiles> {
    if let Some(mode) = place.created_as.filter(|_| !place.path.is_dir()) {
        DirBuilder::new().recursive(true).mode(mode).create(&place.path)?;
    }
    let dir = place.path.join(name);
    let claim = leftovers::create_claimed(&dir)?;
    let files = TrustFiles { dir, claim: Some(claim) };
    place.check_reader(&place.path)?;
    // The mask a process was started with must not hide the files from a child of another user.
    fs::set_permissions(&files.dir, Permissions::from_mode(0o755))?;
    files.paths().iter().zip(content.of_each()).try_for_each(|(path, parts)| write(path, parts))?;
    Ok(files)
}

fn share_under(place: &Place, content: &Content<'_>) -> io::Result<TrustFiles> {
    // The name only has to tell contents apart: what is found under it is compared byte by byte.
    let mut hasher = DefaultHasher::new();
    content.of_each()[1].iter().for_each(|part| hasher.write(part));
    let user = sys::process::user();
    let name = format!("agent-vault-{user}-{:016x}", hasher.finish());
    let mut files = match write_under(place, content, &name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let files = TrustFiles { dir: place.path.join(name), claim: None };
            place.check_reader(&files.dir)?;
            let found = fs::symlink_metadata(&files.dir)?;
            let is_ours = found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0;
            let is_so = |(path, parts): (&PathBuf, [&[u8]; 3])| {
                fs::read(path).is_ok_and(|found| found == parts.concat())
            };
            if !is_ours || !files.paths().iter().zip(content.of_each()).all(is_so) {
                return Err(error);
            }
            files
        }
        written => written?,
    };
    files.claim = None;
    Ok(files)
}

fn write(path: &Path, parts: [&[u8]; 3]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    parts.iter().filter(|part| !part.is_empty()).try_for_each(|part| file.write_all(part))?;
    file.set_permissions(Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("agent-vault-trust-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn roots(text: &[u8]) -> Roots {
        Roots::Pem(text.to_vec())
    }

    fn at(path: &Path) -> Place {
        Place::new(path, Some(0o755))
    }

    #[test]
    fn the_first_place_that_works_holds_the_files_until_the_guard_goes() {
        let good = scratch("place");
        let missing = Place::new(&good.join("missing"), None);
        let not_a_dir = good.join("file");
        fs::write(&not_a_dir, "").unwrap();
        let files = place(b"CA", &roots(b"ROOTS"), &[missing, at(&not_a_dir), at(&good)], Lifetime::Run("1"))
            .unwrap();
        assert!(files.ca().starts_with(&good));
        assert_eq!(fs::read(files.ca()).unwrap(), b"CA");
        assert_eq!(fs::read(files.bundle()).unwrap(), b"CA\nROOTS");
        for path in [files.ca(), files.bundle()] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o644);
        }
        assert!(!good.join("missing").exists());
        let dir = files.dir.clone();
        drop(files);
        assert!(!dir.exists());
        fs::remove_dir_all(good).unwrap();
    }

    #[test]
    fn a_prepared_directory_is_refused() {
        let place_dir = scratch("prepared");
        fs::create_dir(place_dir.join("agent-vault-run-7")).unwrap();
        let failure = place(b"CA", &roots(b""), &[at(&place_dir)], Lifetime::Run("7")).unwrap_err();
        assert!(failure.message().starts_with("MITM setup failed: write CA: "), "{failure}");
        assert!(failure.message().contains(place_dir.to_str().unwrap()));
        fs::remove_dir_all(place_dir).unwrap();
    }

    #[test]
    fn a_shared_directory_is_found_again_and_left_behind() {
        let place_dir = scratch("shared");
        let share = |ca: &[u8]| {
            place(ca, &roots(b"ROOTS"), &[at(&place_dir)], Lifetime::Shared).map(|files| files.ca())
        };
        let first = share(b"CA").unwrap();
        assert_eq!(share(b"CA").unwrap(), first);
        assert_eq!(fs::read(&first).unwrap(), b"CA");
        assert_ne!(share(b"OTHER").unwrap(), first);
        fs::write(&first, "changed").unwrap();
        assert!(share(b"CA").is_err());
        fs::remove_dir_all(place_dir).unwrap();
    }

    #[test]
    fn places_follow_the_surroundings() {
        let shown = |named: Option<&str>, temporary: Option<&str>, home: Option<&str>| {
            places(named.map(Path::new), temporary.map(OsStr::new), home.map(OsStr::new))
                .iter()
                .map(|place| place.path.display().to_string())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(shown(None, None, None), "/dev/shm /run /tmp");
        assert_eq!(shown(None, Some("/t"), Some("/h")), "/dev/shm /run /t /tmp /h/.agent-vault");
        assert_eq!(shown(Some("/mine"), Some("/t"), Some("/h")), "/mine");
    }
}
