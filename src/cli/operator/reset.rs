//! `owner reset`: an end to everything the broker keeps.
//!
//! Whoever may write to the state owns it, and a reset has to work when nobody can log in any more, so the
//! permission of the files is the permission asked for, and a confirmation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::path::Path;

use super::ask::{self, Consent};
use super::state::{WHERE, require_store, take_data_dir};
use super::{Args, Verb, WITHOUT_ASKING, World, output};
use crate::failure::{Exit, Failure};
use crate::server;

pub(in crate::cli) const VERBS: &[Verb] = &[Verb {
    words: &["owner", "reset"],
    usage: "[flags]",
    about: "Stop the broker of this machine and destroy its state: vaults, credentials, accounts, CA",
    flags: &[WITHOUT_ASKING, WHERE],
    example: "agent-vault owner reset --yes --data-dir /data",
    run: reset,
}];

/// What a broker keeps, and what it may have left unfinished. Other files of the directory are not ours.
const FILES: &[&str] = &[
    "agent-vault.db",
    "agent-vault.db-wal",
    "agent-vault.db-shm",
    "agent-vault.db-journal",
    "restore.tmp",
    "ca/ca.key.enc",
    "ca/ca.crt.pem",
    "ca.new/ca.key.enc",
    "ca.new/ca.crt.pem",
    "server.log",
    "session.json",
    "context",
];

const DIRECTORIES: &[&str] = &["ca", "ca.new"];

fn reset(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let is_given = args.flag("--yes");
    let dir = take_data_dir(world, &mut args)?;
    args.finish()?;
    require_store(&dir)?;
    if world.var("DATABASE_URL").is_some() {
        return Err(Failure::new("DATABASE_URL is set: owner reset destroys a state on this machine only")
            .with_hint("unset it to mean the store in the data directory"));
    }
    let question = format!("Destroy the broker's state in {} for good?", dir.display());
    if ask::consent(world, is_given, &question)? == Consent::Declined {
        return Err(Failure::new("nothing was destroyed"));
    }
    let stopped = match server::hold(&dir) {
        Ok(stopped) => stopped,
        Err(_) => {
            server::stop(&dir)?;
            server::hold(&dir)?
        }
    };
    for name in FILES {
        let path = dir.join(name);
        destroy(&path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    }
    // Files that are not ours keep their directory.
    for name in DIRECTORIES {
        drop(fs::remove_dir(dir.join(name)));
    }
    drop(stopped);
    drop(fs::remove_dir(&dir));
    output::success(world, &format!("The broker's state in {} is destroyed.", dir.display()))?;
    Ok(Exit::Success)
}

/// Overwrites a file and removes it. Storage that writes elsewhere than it reads keeps the old bytes all
/// the same: against that only the master password helps.
fn destroy(path: &Path) -> io::Result<()> {
    let mut file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    overwrite(&mut file)?;
    fs::remove_file(path)
}

fn overwrite(file: &mut File) -> io::Result<()> {
    let size = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(size), file)?;
    file.sync_all()
}
