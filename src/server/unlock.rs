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
const MAX_PASSWORD_BYTES: u64 = 4096;

/// Opens the store with the password its operator gives.
pub(super) fn open(settings: &Settings) -> Result<Store, Failure> {
    let locked = Locked::open(&settings.data_dir).map_err(|error| cannot_open(&error))?;
    let protection = locked.protection().map_err(|error| cannot_open(&error))?;
    let asks_person = settings.master_password.is_none()
        && settings.ask_for == AskFor::Terminal
        && io::stdin().is_terminal();
    let store = match (&settings.master_password, settings.ask_for) {
        (Some(password), _) => unlock(locked, Some(password)),
        (None, AskFor::Stdin) => unlock(locked, first_line()?.as_ref()),
        (None, AskFor::Terminal) if asks_person => return ask_and_unlock(settings, locked, protection),
        (None, AskFor::Terminal) => unlock(locked, None),
    }?;
    if store.is_passwordless().map_err(|error| cannot_open(&error))? {
        warn_passwordless(settings);
    }
    Ok(store)
}

fn unlock(locked: Locked, password: Option<&Secret>) -> Result<Store, Failure> {
    locked.unlock(password).map_err(|error| cannot_open(&error))
}

fn ask_and_unlock(settings: &Settings, locked: Locked, protection: Protection) -> Result<Store, Failure> {
    match protection {
        Protection::Passwordless => {
            warn_passwordless(settings);
            unlock(locked, None)
        }
        Protection::Fresh => {
            let password = ask("Master password (empty for none): ")?;
            if password.is_empty() {
                warn_passwordless(settings);
                return unlock(locked, None);
            }
            if ask("Master password again: ")? != password {
                return Err(Failure::new("the two passwords differ"));
            }
            unlock(locked, Some(&password))
        }
        Protection::Password => {
            let mut locked = locked;
            for _ in 1..ATTEMPTS {
                let password = ask("Master password: ")?;
                match locked.unlock(Some(&password)) {
                    Ok(store) => return Ok(store),
                    Err(store::Error::WrongPassword) => {
                        locked = Locked::open(&settings.data_dir).map_err(|error| cannot_open(&error))?;
                    }
                    Err(error) => return Err(cannot_open(&error)),
                }
            }
            unlock(locked, Some(&ask("Master password: ")?))
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
    let mut limited = io::Read::take(io::stdin().lock(), MAX_PASSWORD_BYTES);
    let count = limited
        .read_until(b'\n', &mut line)
        .map_err(|error| Failure::new(format!("cannot read the password from stdin: {error}")))?;
    if count == 0 {
        return Err(Failure::new("--password-stdin: stdin ended before a line came")
            .with_hint("an empty line selects a store without a password"));
    }
    let password = Secret::new(crate::config::without_line_end(line));
    Ok(Some(password).filter(|password| !password.is_empty()))
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
