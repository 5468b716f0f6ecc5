//! `backup` and `restore`: the whole state as one file.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};

use super::state::{Passwords, WHERE, failed, require_store, take_data_dir};
use super::{Args, Flag, Verb, World, output};
use crate::failure::{Exit, Failure};
use crate::server;
use crate::store::backup::{self, Staged, Temporary};
use crate::store::seal::Protection;
use crate::store::{self, Locked, Timestamp};

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["backup"],
        usage: "[flags] FILE|-",
        about: "Write the broker's state of this moment to a file; the broker may be serving",
        flags: &[&[Flag("--force", "replace FILE if it is there")], WHERE],
        example: "agent-vault backup --data-dir /data /backups/vault.db",
        run: back_up,
    },
    Verb {
        words: &["restore"],
        usage: "[flags] FILE|-",
        about: "Check a backup and make it the state; the broker is stopped meanwhile",
        flags: &[
            &[
                Flag("--force", "replace the state that is there"),
                Flag("--password-stdin", "its master password is a line of stdin"),
            ],
            WHERE,
        ],
        example: "agent-vault restore --data-dir /data /backups/vault.db",
        run: restore,
    },
];

fn back_up(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let is_forced = args.flag("--force");
    let dir = take_data_dir(world, &mut args)?;
    let target = args.word("FILE")?;
    args.finish()?;
    require_store(&dir)?;
    if target == "-" {
        return back_up_to_stdout(&dir);
    }
    let target = Path::new(&target);
    let taken =
        || Failure::new(format!("{} is there already", target.display())).with_hint("--force replaces it");
    if !is_forced && target.exists() {
        return Err(taken());
    }
    let file = copy(&dir, temporary_beside(target))?;
    if is_forced {
        file.become_file(target).map_err(|error| failed(&error))?;
    } else if !file.become_new_file(target).map_err(|error| failed(&error))? {
        return Err(taken());
    }
    output::success(world, &format!("Backup written to {}", target.display()))?;
    Ok(Exit::Success)
}

/// The copy is whole before its first byte is out.
fn back_up_to_stdout(dir: &Path) -> Result<Exit, Failure> {
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        return Err(Failure::usage("a backup is no text for a terminal: redirect it or name a file"));
    }
    let file = copy(dir, dir.join(format!("backup-{}.tmp", std::process::id())))?;
    File::open(file.path())
        .and_then(|mut file| io::copy(&mut file, &mut stdout))
        .map_err(|error| Failure::new(format!("cannot write to stdout: {error}")))?;
    Ok(Exit::Success)
}

fn copy(dir: &Path, path: PathBuf) -> Result<Temporary, Failure> {
    let file = Temporary::create(path).map_err(|error| failed(&error))?;
    backup::write(dir, &file, Timestamp::now())
        .map_err(|error| Failure::new(format!("the backup failed: {error}")))?;
    Ok(file)
}

/// On the same file system, so that a rename is all it takes.
fn temporary_beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    target.with_file_name(name)
}

fn restore(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let is_forced = args.flag("--force");
    let passwords = Passwords { world, on_stdin: args.flag("--password-stdin") };
    let dir = take_data_dir(world, &mut args)?;
    let source = args.word("FILE")?;
    args.finish()?;
    if source == "-" && passwords.on_stdin {
        return Err(Failure::usage(
            "stdin cannot be the backup and its password: give one of them another way",
        ));
    }
    // Given up after the claim, which lies in it.
    let place = Place::prepare(&dir)?;
    let _stopped = server::hold(&dir)?;
    if !is_forced && (Locked::exists(&dir) || dir.join("ca").exists()) {
        return Err(Failure::new(format!("there is a store in {} already", dir.display()))
            .with_hint("--force replaces it; agent-vault backup saves it first"));
    }
    let unusable = |error: &store::Error| match error {
        store::Error::WrongPassword => {
            Failure::new("wrong master password for this backup").with_hint("nothing was changed")
        }
        other => Failure::new(format!("cannot restore {source}: {other}")).with_hint("nothing was changed"),
    };
    let staged = if source == "-" {
        Staged::read(io::stdin().lock(), &dir)
    } else {
        let file = File::open(&source).map_err(|error| Failure::new(format!("{source}: {error}")))?;
        Staged::read(file, &dir)
    }
    .map_err(|error| unusable(&error))?;
    let password = match staged.protection().map_err(|error| unusable(&error))? {
        Protection::Password => Some(passwords.current()?),
        Protection::Fresh | Protection::Passwordless => None,
    };
    let made_at = staged.made_at().rfc3339();
    staged.install(password.as_ref(), Timestamp::now()).map_err(|error| unusable(&error))?;
    place.keep();
    output::success(world, &format!("State of {made_at} restored to {}", dir.display()))?;
    Ok(Exit::Success)
}

/// The directory to restore to. One that was made for it goes again when nothing came of it.
struct Place<'d> {
    made: Option<&'d Path>,
}

impl<'d> Place<'d> {
    fn prepare(dir: &'d Path) -> Result<Self, Failure> {
        let made = Some(dir).filter(|dir| !dir.exists());
        store::create_private_dir(dir).map_err(|error| failed(&error))?;
        Ok(Self { made })
    }

    fn keep(mut self) {
        self.made = None;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(dir) = self.made {
            // One that somebody put something into stays.
            drop(fs::remove_dir(dir));
        }
    }
}
