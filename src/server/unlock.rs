//! Opening the store: where the master password comes from, and the first owner.

use std::io::{self, BufRead as _, IsTerminal as _};

use crate::api::normal_email;
use crate::config::server::{AskFor, Owner, Settings};
use crate::failure::Failure;
use crate::log_event;
use crate::secret::Secret;
use crate::store::password::PasswordHash;
use crate::store::seal::Protection;
use crate::store::{self, Locked, Store, Timestamp};
use crate::sys::prompt::{self, Echo};

/// Attempts at a terminal (contract C.3).
const ATTEMPTS: usize = 3;

/// Shortest password of an account, in bytes (contract A.6).
const MIN_PASSWORD_BYTES: usize = 8;

/// Longest first line of stdin that is taken for a password.
const MAX_PASSWORD_BYTES: usize = 4096;

/// The open store, and the password that opened it.
pub(super) struct Unlocked {
    pub(super) store: Store,
    pub(super) password: Option<Secret>,
}

/// Opens the store with the password its operator gives.
pub(super) fn open(settings: &Settings) -> Result<Unlocked, Failure> {
    let locked = Locked::open(&settings.data_dir).map_err(|error| cannot_open(&error))?;
    let protection = locked.protection().map_err(|error| cannot_open(&error))?;
    let unlocked = match (&settings.master_password, settings.ask_for) {
        (Some(password), _) => unlock(locked, Some(password.clone())),
        (None, AskFor::Parent) => unlock(locked, all_of_stdin()?),
        (None, AskFor::Stdin) => unlock(locked, first_line()?),
        (None, AskFor::Terminal) if io::stdin().is_terminal() => ask_and_unlock(settings, locked, protection),
        (None, AskFor::Terminal) => unlock(locked, None),
    }?;
    if unlocked.store.is_passwordless().map_err(|error| cannot_open(&error))? {
        warn_passwordless(settings);
    }
    Ok(unlocked)
}

fn unlock(locked: Locked, password: Option<Secret>) -> Result<Unlocked, Failure> {
    let store = locked.unlock(password.as_ref()).map_err(|error| cannot_open(&error))?;
    Ok(Unlocked { store, password })
}

fn ask_and_unlock(settings: &Settings, locked: Locked, protection: Protection) -> Result<Unlocked, Failure> {
    match protection {
        Protection::Passwordless => unlock(locked, None),
        Protection::Fresh => {
            let password = ask("Master password (empty for none): ")?;
            if password.is_empty() {
                return unlock(locked, None);
            }
            if ask("Master password again: ")? != password {
                return Err(Failure::new("the two passwords differ"));
            }
            unlock(locked, Some(password))
        }
        Protection::Password => {
            let mut locked = locked;
            for _ in 1..ATTEMPTS {
                let password = ask("Master password: ")?;
                match locked.unlock(Some(&password)) {
                    Ok(store) => return Ok(Unlocked { store, password: Some(password) }),
                    Err(store::Error::WrongPassword) => {
                        locked = Locked::open(&settings.data_dir).map_err(|error| cannot_open(&error))?;
                    }
                    Err(error) => return Err(cannot_open(&error)),
                }
            }
            unlock(locked, Some(ask("Master password: ")?))
        }
    }
}

fn ask(question: &str) -> Result<Secret, Failure> {
    let typed = prompt::ask(question, Echo::Hidden);
    typed.map(Secret::new).map_err(|error| Failure::new(format!("cannot ask for the password: {error}")))
}

/// The first line of stdin; an empty one means no password.
fn first_line() -> Result<Option<Secret>, Failure> {
    let mut line = Vec::new();
    let mut limited = io::Read::take(io::stdin().lock(), MAX_PASSWORD_BYTES as u64);
    let count = limited
        .read_until(b'\n', &mut line)
        .map_err(|error| Failure::new(format!("cannot read the password from stdin: {error}")))?;
    if count == 0 {
        return Err(Failure::new("--password-stdin: stdin ended before a line came")
            .with_hint("an empty line selects a store without a password"));
    }
    let password = Secret::without_line_break(line);
    Ok(Some(password).filter(|password| !password.is_empty()))
}

/// What a server that detached itself hands on: the password, or nothing.
fn all_of_stdin() -> Result<Option<Secret>, Failure> {
    let mut bytes = Vec::with_capacity(MAX_PASSWORD_BYTES);
    let mut limited = io::Read::take(io::stdin().lock(), MAX_PASSWORD_BYTES as u64);
    io::Read::read_to_end(&mut limited, &mut bytes)
        .map_err(|error| Failure::new(format!("cannot read the password from stdin: {error}")))?;
    Ok(Some(Secret::new(bytes)).filter(|password| !password.is_empty()))
}

fn warn_passwordless(settings: &Settings) {
    log_event!(
        Warn,
        "NO MASTER PASSWORD: the key to all credentials lies in the clear beside them; whoever reads the data \
         directory can read every credential",
        data_dir = settings.data_dir.display(),
        remedy = "set AGENT_VAULT_MASTER_PASSWORD before the first start of a new data directory",
    );
}

fn cannot_open(error: &store::Error) -> Failure {
    match error {
        store::Error::WrongPassword => Failure::new("wrong master password")
            .with_hint("nothing was changed; check AGENT_VAULT_MASTER_PASSWORD or what was typed"),
        store::Error::PasswordNeeded => {
            Failure::new("the store is protected by a master password and none was given").with_hint(
                "set AGENT_VAULT_MASTER_PASSWORD, AGENT_VAULT_MASTER_PASSWORD_FILE or use --password-stdin",
            )
        }
        other => Failure::new(format!("cannot open the store: {other}")),
    }
}

/// Makes the owner account named by the operator, if there is no account at all.
pub(super) fn seed_owner(store: &Store, owner: Option<&Owner>) -> Result<(), Failure> {
    let Some(owner) = owner else { return Ok(()) };
    let failed = |error: store::Error| Failure::new(format!("cannot make the owner account: {error}"));
    if store.has_users().map_err(failed)? {
        return Ok(());
    }
    let email = normal_email(&owner.email)
        .ok_or_else(|| Failure::usage(format!("owner: {:?} is not an e-mail address", owner.email)))?;
    if owner.password.len() < MIN_PASSWORD_BYTES {
        return Err(Failure::usage(format!(
            "owner: the password must be at least {MIN_PASSWORD_BYTES} characters"
        )));
    }
    let hash = PasswordHash::new(&owner.password).map_err(failed)?;
    store.create_owner(&email, &hash, Timestamp::now()).map_err(failed)?;
    log_event!(Info, "owner account created", email = email);
    Ok(())
}
