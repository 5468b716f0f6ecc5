//! What commands that work on the state itself have in common: where it is, and that no broker uses it.

use std::path::{Path, PathBuf};

use super::{Args, Flag, World, ask};
use crate::config::Vars;
use crate::config::server::{Flags, data_dir_only};
use crate::failure::Failure;
use crate::secret::Secret;
use crate::store::{self, Locked};

pub(super) const WHERE: &[Flag] = &[Flag("--data-dir DIR", "state (~/.agent-vault; AGENT_VAULT_DATA_DIR)")];

/// Takes the flag and finds the directory.
pub(super) fn take_data_dir(world: &World<'_>, args: &mut Args) -> Result<PathBuf, Failure> {
    let flags = Flags { data_dir: args.value("--data-dir")?, ..Flags::default() };
    data_dir_only(&flags, &|name| world.var(name))
}

/// For a command that works on a store that is there.
pub(super) fn require_store(dir: &Path) -> Result<(), Failure> {
    if Locked::exists(dir) {
        return Ok(());
    }
    Err(Failure::new(format!("there is no store in {}", dir.display()))
        .with_hint("name its directory with --data-dir or AGENT_VAULT_DATA_DIR"))
}

/// Where passwords come from: variables first, then lines of stdin if so wanted, then a person.
#[derive(Clone, Copy)]
pub(super) struct Passwords<'w> {
    pub(super) world: &'w World<'w>,
    pub(super) on_stdin: bool,
}

impl Passwords<'_> {
    /// The password the store has.
    pub(super) fn current(&self) -> Result<Secret, Failure> {
        self.get("AGENT_VAULT_MASTER_PASSWORD", "the master password", || ask::hidden("Master password: "))
    }

    /// The password the store is to have.
    pub(super) fn next(&self) -> Result<Secret, Failure> {
        let password = self.get("AGENT_VAULT_NEW_MASTER_PASSWORD", "the new master password", || {
            ask::new_password("New master password")
        })?;
        if password.is_empty() {
            return Err(Failure::new("the new master password is empty")
                .with_hint("agent-vault master-password remove leaves the store without one"));
        }
        Ok(password)
    }

    fn get(
        &self,
        name: &str,
        what: &str,
        by_person: impl FnOnce() -> Result<Secret, Failure>,
    ) -> Result<Secret, Failure> {
        let var = |name: &str| self.world.var(name);
        let mut vars = Vars::new(&var);
        let given = vars.secret(name);
        vars.finish()?;
        match given {
            Some(password) => Ok(password),
            None if self.on_stdin => ask::stdin_line(what),
            None if self.world.is_interactive() => by_person(),
            None => Err(Failure::usage(format!("{what} is needed and there is no terminal to ask at"))
                .with_hint(format!("set {name} or {name}_FILE, or use --password-stdin"))),
        }
    }
}

/// What a person is told of a store that does not do what it should.
pub(super) fn failed(error: &store::Error) -> Failure {
    match error {
        store::Error::WrongPassword => Failure::new("wrong master password").with_hint("nothing was changed"),
        other => Failure::new(other.to_string()),
    }
}
