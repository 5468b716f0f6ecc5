//! `server --detach`: starts a server that stays when the terminal closes, and sees it serve.
//!
//! Whoever is there is asked here, so the store is opened once before: a wrong password is told to a
//! person and not to a log. The one that stays is this program again, in a session of its own. It gets
//! the password through its stdin, never in an argument or a variable.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::{claim, unlock};
use crate::config::server::{DETACHED, Settings};
use crate::failure::Failure;
use crate::secret::Secret;
use crate::sys::session::in_new_session;

const LOG: &str = "server.log";

/// How long a start may take. The contract's 3 s (D.2) are not enough on a machine that has other work.
const START_LIMIT: Duration = Duration::from_secs(10);

/// More than the lines of a start, and no more than a pipe passes on whole.
const MAX_LINES_BYTES: usize = 4096;

/// Most of a log that a failed start is told with.
const TOLD_BYTES: u64 = 2048;

/// What the server that stays does not need any more.
const SPENT_VARIABLES: &[&str] = &[
    "AGENT_VAULT_MASTER_PASSWORD",
    "AGENT_VAULT_MASTER_PASSWORD_FILE",
    "AGENT_VAULT_OWNER_EMAIL",
    "AGENT_VAULT_OWNER_PASSWORD",
    "AGENT_VAULT_OWNER_PASSWORD_FILE",
    "AGENT_VAULT_SMTP_PASSWORD",
];

/// A server that stays.
#[derive(Debug)]
pub struct Detached {
    pub pid: u32,
    pub log: PathBuf,
}

/// Starts a server with these arguments and waits until it serves.
pub fn detach(settings: &Settings, args: &[String]) -> Result<Detached, Failure> {
    crate::log::set_level(settings.log_level);
    let password = open_once(settings)?;
    let path = settings.data_dir.join(LOG);
    let (mut log, known) = open_log(&path).map_err(|error| cannot(&path.display().to_string(), &error))?;
    let mut child = spawn(args, &log).map_err(|error| cannot("the server", &error))?;
    let started = feed(&mut child, password.as_ref())
        .and_then(|()| await_lines(&mut child))
        .and_then(|lines| log.write_all(&lines));
    match started {
        Ok(()) => Ok(Detached { pid: child.id(), log: path }),
        Err(error) => {
            // It may have ended by itself.
            drop(child.kill());
            let ended = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            let told = tail(&path, known).unwrap_or_default();
            Err(Failure::new(format!("the server did not start: {error} ({ended})\n{told}"))
                .with_hint(format!("its log is {}", path.display())))
        }
    }
}

fn feed(child: &mut Child, password: Option<&Secret>) -> io::Result<()> {
    // Closed when it goes out of scope: the end of what is handed on.
    let Some(mut stdin) = child.stdin.take() else { return Ok(()) };
    stdin.write_all(password.map(Secret::expose).unwrap_or_default())
}

/// Opens the store as the server will, makes the first owner if there is to be one, and lets go of both.
fn open_once(settings: &Settings) -> Result<Option<Secret>, Failure> {
    let _claim = claim(&settings.data_dir)?;
    let unlocked = unlock::open(settings)?;
    unlock::seed_owner(&unlocked, settings)?;
    Ok(unlocked.password)
}

/// The log and its length so far.
fn open_log(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

fn spawn(args: &[String], log: &File) -> io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("server")
        .args(args)
        .env(DETACHED, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log.try_clone()?);
    for name in SPENT_VARIABLES {
        command.env_remove(name);
    }
    in_new_session(&mut command).spawn()
}

/// Waits for what a server prints, at once, when everything listens; its stdout has no other use.
fn await_lines(child: &mut Child) -> io::Result<Vec<u8>> {
    let Some(mut stdout) = child.stdout.take() else { return Ok(Vec::new()) };
    let (said, heard) = mpsc::channel();
    thread::Builder::new().name("detach-wait".to_owned()).spawn(move || {
        let mut bytes = vec![0; MAX_LINES_BYTES];
        let read = stdout.read(&mut bytes).map(|count| {
            bytes.truncate(count);
            bytes
        });
        // The receiver is gone when the wait took too long.
        let _gone = said.send(read);
    })?;
    match heard.recv_timeout(START_LIMIT) {
        Ok(Ok(lines)) if lines.is_empty() => Err(io::Error::other("it ended")),
        Ok(read) => read,
        Err(_) => Err(io::Error::other(format!("it was not serving after {} s", START_LIMIT.as_secs()))),
    }
}

/// What was logged since, the last of it.
fn tail(path: &Path, known: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(known.max(length.saturating_sub(TOLD_BYTES))))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::new(format!("cannot start {what}: {error}"))
}
