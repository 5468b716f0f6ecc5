//! One broker per data directory, and a way to find it.
//!
//! The file is locked for as long as the broker lives, so a number left behind by a crash, or by another
//! container on the same volume, is never taken for a running one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::failure::Failure;
use crate::sys::process::Pid;
use crate::sys::signals::{self, Signal};

const NAME: &str = "agent-vault.pid";

/// How long `server stop` waits (contract D.2).
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The claim on a data directory; given up and removed when dropped.
pub(super) struct PidFile {
    file: File,
    path: PathBuf,
}

impl PidFile {
    /// Claims the directory, or says who has it.
    pub(super) fn claim(dir: &Path) -> Result<Self, Failure> {
        let path = dir.join(NAME);
        let cannot = |cause: io::Error| Failure::new(format!("{}: {cause}", path.display()));
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(cannot)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file, path }),
            Err(TryLockError::WouldBlock) => {
                let pid = read_pid(&mut file).map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
                Err(Failure::new(format!("server is already running (PID {pid})"))
                    .with_hint("agent-vault server stop ends it"))
            }
            Err(TryLockError::Error(cause)) => Err(cannot(cause)),
        }
    }

    /// Writes our own number, once everything listens.
    pub(super) fn announce(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.rewind()?;
        self.file.write_all(std::process::id().to_string().as_bytes())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that stays behind is found unlocked and is taken over.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Stops the broker of a data directory; `note` is told once it is known whom.
pub(super) fn stop(dir: &Path, note: impl FnOnce(i32)) -> Result<(), Failure> {
    let path = dir.join(NAME);
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::new(format!("server is not running (no {})", path.display())));
        }
        Err(error) => return Err(Failure::new(format!("{}: {error}", path.display()))),
    };
    if file.try_lock().is_ok() {
        // Best effort: the message is the same when it cannot be removed.
        drop(std::fs::remove_file(&path));
        return Err(Failure::new("server is not running (a stale PID file was removed)"));
    }
    let pid = read_pid(&mut file)
        .ok_or_else(|| Failure::new(format!("{} holds no process number yet; try again", path.display())))?;
    note(pid);
    signals::send_to(Pid::from_raw(pid), Signal::TERM)
        .map_err(|error| Failure::new(format!("cannot stop the server (PID {pid}): {error}")))?;
    if await_lock(file) {
        Ok(())
    } else {
        Err(Failure::new(format!("server (PID {pid}) is still running after {} s", STOP_LIMIT.as_secs())))
    }
}

/// The broker's lock is free once it has ended.
fn await_lock(file: File) -> bool {
    let (done, is_free) = mpsc::channel();
    let waiter = thread::Builder::new().name("stop-wait".to_owned()).spawn(move || {
        let locked = file.lock();
        // The receiver is gone when the wait took too long.
        let _gone = done.send(locked.is_ok());
    });
    waiter.is_ok() && is_free.recv_timeout(STOP_LIMIT).unwrap_or(false)
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_broker() {
        let dir = tempfile::tempdir().unwrap();
        let mut claim = PidFile::claim(dir.path()).unwrap();
        claim.announce().unwrap();
        let refused = PidFile::claim(dir.path()).map(drop).unwrap_err();
        assert_eq!(refused.message(), format!("server is already running (PID {})", std::process::id()));
        drop(claim);
        assert!(PidFile::claim(dir.path()).is_ok());
    }

    #[test]
    fn a_number_without_a_lock_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(NAME), std::process::id().to_string()).unwrap();
        let failure = stop(dir.path(), |_| panic!("nobody to stop")).unwrap_err();
        assert_eq!(failure.message(), "server is not running (a stale PID file was removed)");
        let failure = stop(dir.path(), |_| panic!("nobody to stop")).unwrap_err();
        assert!(failure.message().starts_with("server is not running (no "));
    }
}
