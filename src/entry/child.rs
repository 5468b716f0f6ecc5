//! The child's command: which file it names, and why that one did not start.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::failure::{Exit, Failure};
use crate::sys;

/// Finds the file a command word names (contract A.10).
pub(super) fn resolve(word: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Failure> {
    if word.as_bytes().contains(&b'/') {
        return check(word, Path::new(word));
    }
    let mut refused = None;
    for dir in path.map(std::env::split_paths).into_iter().flatten() {
        // An empty entry means the working directory.
        let candidate = if dir.as_os_str().is_empty() { Path::new(".").join(word) } else { dir.join(word) };
        if word.is_empty() || !candidate.is_file() {
            continue;
        }
        if !sys::process::is_executable(&candidate) {
            refused.get_or_insert(candidate);
        } else if candidate.is_absolute() {
            return Ok(candidate);
        } else {
            return Err(not_found(word).with_hint(format!(
                "PATH leads to {}, which depends on the working directory; name it with a slash to run it",
                candidate.display()
            )));
        }
    }
    match refused {
        Some(candidate) => check(word, &candidate),
        None => Err(not_found(word)),
    }
}

fn check(word: &OsStr, file: &Path) -> Result<PathBuf, Failure> {
    let because = |reason: String| {
        Err(Failure::new(format!("cannot execute {}: {reason}", word.display()))
            .with_exit(Exit::NotExecutable))
    };
    match std::fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(not_found(word)),
        Err(error) => because(error.to_string()),
        Ok(found) if found.is_dir() => because("it is a directory".to_owned()),
        Ok(_) if !sys::process::is_executable(file) => because("permission denied".to_owned()),
        Ok(_) => Ok(file.to_owned()),
    }
}

fn not_found(word: &OsStr) -> Failure {
    Failure::new(format!("command not found: {}", word.display())).with_exit(Exit::NotFound)
}

/// Why a command that was found did not start.
pub(super) fn not_started(word: &OsStr, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("cannot execute {}: {error}", word.display()));
    match error.kind() {
        // No process could be made; the command is not to blame.
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => failure,
        io::ErrorKind::NotFound => failure
            .with_exit(Exit::NotExecutable)
            .with_hint("the file is there; its interpreter or loader is not in this image"),
        _ => failure.with_exit(Exit::NotExecutable),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn commands_are_found_as_a_shell_finds_them() {
        let dir = std::env::temp_dir().join(format!("agent-vault-resolve-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, mode: u32| {
            let file = dir.join(name);
            std::fs::write(&file, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            file
        };
        let (good, plain) = (write("good", 0o755), write("plain", 0o644));
        let find = |word: &str, path: Option<&str>| {
            resolve(OsStr::new(word), path.map(OsStr::new)).map_err(|f| (f.message().to_owned(), f.exit()))
        };
        let here = dir.to_str();
        assert_eq!(find("good", here), Ok(good.clone()));
        assert_eq!(find(good.to_str().unwrap(), None), Ok(good));
        let missing = |word: &str| Err((format!("command not found: {word}"), Exit::NotFound));
        for (word, path) in [("nope", here), ("", here), ("good", None), ("good", Some("")), ("/no/x", here)]
        {
            assert_eq!(find(word, path), missing(word), "{word} on {path:?}");
        }
        let refused =
            |word: &str, why: &str| Err((format!("cannot execute {word}: {why}"), Exit::NotExecutable));
        assert_eq!(find("plain", here), refused("plain", "permission denied"));
        let plain = plain.to_str().unwrap();
        assert_eq!(find(plain, None), refused(plain, "permission denied"));
        assert_eq!(find("/tmp", None), refused("/tmp", "it is a directory"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
