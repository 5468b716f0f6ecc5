//! `master-password`: what protects the key to everything else. The broker is stopped meanwhile.

use super::state::{Passwords, WHERE, failed, require_store, take_data_dir};
use super::{Args, Flag, Verb, World, output};
use crate::failure::{Exit, Failure};
use crate::secret::Secret;
use crate::server;
use crate::store::Locked;
use crate::store::seal::Protection;

const FLAGS: &[Flag] = &[
    Flag(
        "--password-stdin",
        "read what no variable gives from stdin: a line with the current password, then one with the new",
    ),
    Flag("--force", "go on although DATABASE_URL is set; the store of --data-dir is meant"),
];

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["master-password", "set"],
        usage: "[flags]",
        about: "Protect a store that has no master password with one",
        flags: &[FLAGS, WHERE],
        example: "AGENT_VAULT_NEW_MASTER_PASSWORD_FILE=/run/secrets/master agent-vault master-password set",
        run: set,
    },
    Verb {
        words: &["master-password", "change"],
        usage: "[flags]",
        about: "Give the store another master password",
        flags: &[FLAGS, WHERE],
        example: "printf '%s\\n%s\\n' \"$OLD\" \"$NEW\" | agent-vault master-password change --password-stdin",
        run: change,
    },
    Verb {
        words: &["master-password", "remove"],
        usage: "[flags]",
        about: "Leave the store without a master password: its key lies in the clear then",
        flags: &[FLAGS, WHERE],
        example: "AGENT_VAULT_MASTER_PASSWORD_FILE=/run/secrets/master agent-vault master-password remove",
        run: remove,
    },
];

fn set(world: &World<'_>, args: Args) -> Result<Exit, Failure> {
    rewrap(world, args, Protection::Passwordless, "Master password set.", |passwords| {
        Ok((None, Some(passwords.next()?)))
    })
}

fn change(world: &World<'_>, args: Args) -> Result<Exit, Failure> {
    rewrap(world, args, Protection::Password, "Master password changed.", |passwords| {
        Ok((Some(passwords.current()?), Some(passwords.next()?)))
    })
}

fn remove(world: &World<'_>, args: Args) -> Result<Exit, Failure> {
    rewrap(world, args, Protection::Password, "Master password removed.", |passwords| {
        Ok((Some(passwords.current()?), None))
    })
}

/// The password a store has and the one it is to have; none where it has none.
type OldAndNew = (Option<Secret>, Option<Secret>);

/// Asks for the passwords only once everything else is clear.
fn rewrap(
    world: &World<'_>,
    mut args: Args,
    needed: Protection,
    done: &str,
    ask: impl FnOnce(&Passwords<'_>) -> Result<OldAndNew, Failure>,
) -> Result<Exit, Failure> {
    let passwords = Passwords { world, on_stdin: args.flag("--password-stdin") };
    let is_forced = args.flag("--force");
    let dir = take_data_dir(world, &mut args)?;
    args.finish()?;
    require_store(&dir)?;
    if world.var("DATABASE_URL").is_some() && !is_forced {
        return Err(Failure::new("DATABASE_URL is set: other brokers may be using that state")
            .with_hint("unset it, or pass --force to mean the store in the data directory"));
    }
    let _stopped = server::hold(&dir)?;
    let locked = Locked::open(&dir).map_err(|error| failed(&error))?;
    match (locked.protection().map_err(|error| failed(&error))?, needed) {
        (found, needed) if found == needed => {}
        (Protection::Fresh, _) => {
            return Err(Failure::new("the store has no key yet: its first start chooses the protection"));
        }
        (Protection::Password, _) => {
            return Err(Failure::new("the store has a master password already")
                .with_hint("agent-vault master-password change gives it another"));
        }
        (Protection::Passwordless, _) => {
            return Err(Failure::new("the store has no master password")
                .with_hint("agent-vault master-password set gives it one"));
        }
    }
    let (old, new) = ask(&passwords)?;
    locked.change_password(old.as_ref(), new.as_ref()).map_err(|error| failed(&error))?;
    output::success(world, done)?;
    Ok(Exit::Success)
}
