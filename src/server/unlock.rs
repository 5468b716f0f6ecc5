//! Opening the store: where the master password comes from, and the first owner.

use std::io::{self, BufRead as _, IsTerminal as _};

use crate::api::normal_email;
use crate::config::server::{AskFor, Settings};
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
        (None, AskFor::Terminal) if is_person_asked(settings) => ask_and_unlock(settings, locked, protection),
        (None, AskFor::Terminal) => unlock(locked, None),
    }?;
    if unlocked.store.is_passwordless().map_err(|error| cannot_open(&error))? {
        warn_passwordless(settings);
    }
    Ok(unlocked)
}

/// Whether what no setting gives is asked for at a terminal.
fn is_person_asked(settings: &Settings) -> bool {
    settings.ask_for == AskFor::Terminal && io::stdin().is_terminal()
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
    ask_for(question, Echo::Hidden)
}

fn ask_for(question: &str, echo: Echo) -> Result<Secret, Failure> {
    let typed = prompt::ask(question, echo);
    typed.map(Secret::new).map_err(|error| Failure::new(format!("cannot ask at the terminal: {error}")))
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

/// Makes the owner account if there is no account at all: the one the operator named, or the one a person
/// at the terminal chooses now. Nobody has to: the first registration owns the instance, too.
pub(super) fn seed_owner(unlocked: &Unlocked, settings: &Settings) -> Result<(), Failure> {
    let store = &unlocked.store;
    if store.has_users().map_err(|error| no_owner(&error))? {
        return Ok(());
    }
    match &settings.owner {
        Some(owner) => {
            let email = normal_email(&owner.email).ok_or_else(|| {
                Failure::usage(format!("owner: {:?} is not an e-mail address", owner.email))
            })?;
            check_password(&owner.password, None)
                .map_err(|why| Failure::usage(format!("owner: the password {why}")))?;
            make_owner(store, &email, &owner.password)
        }
        // Who was asked for the master password can be asked for this, too.
        None if settings.master_password.is_none() && is_person_asked(settings) => {
            match ask_owner(unlocked.password.as_ref())? {
                Some((email, password)) => make_owner(store, &email, &password),
                None => Ok(()),
            }
        }
        None => Ok(()),
    }
}

fn make_owner(store: &Store, email: &str, password: &Secret) -> Result<(), Failure> {
    let hash = PasswordHash::new(password).map_err(|error| no_owner(&error))?;
    store.create_owner(email, &hash, Timestamp::now()).map_err(|error| no_owner(&error))?;
    log_event!(Info, "owner account created", email = email);
    Ok(())
}

fn no_owner(error: &store::Error) -> Failure {
    Failure::new(format!("cannot make the owner account: {error}"))
}

/// An address and a password; `None` when the person wants to register later.
fn ask_owner(master: Option<&Secret>) -> Result<Option<(String, Secret)>, Failure> {
    const EMAIL: &str = "E-mail of the owner (empty to register later): ";
    let email = attempts(|lead| {
        let typed = ask_for(&format!("{lead}{EMAIL}"), Echo::Shown)?;
        let typed = typed.expose_str().unwrap_or_default().trim();
        if typed.is_empty() {
            return Ok(Ok(None));
        }
        Ok(normal_email(typed).map(Some).ok_or_else(|| "This is not an e-mail address.".to_owned()))
    })?;
    let Some(email) = email else { return Ok(None) };
    let password = attempts(|lead| {
        let password = ask(&format!("{lead}Password of the owner: "))?;
        if let Err(why) = check_password(&password, master) {
            return Ok(Err(format!("The password {why}.")));
        }
        let is_same = ask("Password of the owner again: ")? == password;
        Ok(is_same.then_some(password).ok_or_else(|| "The two passwords differ.".to_owned()))
    })?;
    Ok(Some((email, password)))
}

/// Asks until an answer will do; what is wrong with one is said in front of the next question.
fn attempts<T>(ask: impl Fn(&str) -> Result<Result<T, String>, Failure>) -> Result<T, Failure> {
    let mut lead = String::new();
    for _ in 0..ATTEMPTS {
        match ask(&lead)? {
            Ok(answer) => return Ok(answer),
            Err(why) => lead = why + "\n",
        }
    }
    Err(Failure::new("no owner account was made").with_hint("start the server again to be asked again"))
}

/// Contract A.6 and D.2.
fn check_password(password: &Secret, master: Option<&Secret>) -> Result<(), String> {
    if password.len() < MIN_PASSWORD_BYTES {
        return Err(format!("must be at least {MIN_PASSWORD_BYTES} characters"));
    }
    if master == Some(password) {
        return Err("must not be the master password".to_owned());
    }
    Ok(())
}
