//! Notes what a build was made from and with, for `agent-vault version`.
//!
//! A commit is noted for release builds in a git checkout only: a debug build would have to be made anew
//! after each commit, and an archive has none. What cannot be told is left out.

use std::env;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

/// What the program is made of: a commit is told as changed when one of these differs from it.
const SOURCES: [&str; 4] = ["build.rs", "Cargo.toml", "Cargo.lock", "src"];

fn main() -> io::Result<()> {
    let var = |name| env::var(name).unwrap_or_default();
    let mut told = vec![format!("rustc-env=AGENT_VAULT_TARGET={}", var("TARGET"))];
    let toolchain = output_of(&var("RUSTC"), &["--version"]);
    told.extend(toolchain.map(|text| format!("rustc-env=AGENT_VAULT_TOOLCHAIN={text}")));
    let is_noted = var("PROFILE") == "release" && Path::new(".git").exists();
    let watched = if is_noted { &SOURCES[..] } else { &SOURCES[..1] };
    told.extend(watched.iter().map(|path| format!("rerun-if-changed={path}")));
    if is_noted && let Some(commit) = output_of("git", &["log", "-1", "--format=%h %cs"]) {
        let is_as_committed = output_of("git", &[&["status", "--porcelain", "--"], &SOURCES[..]].concat())
            .is_some_and(|differs| differs.is_empty());
        let changed = if is_as_committed { "" } else { ", changed" };
        told.push(format!("rustc-env=AGENT_VAULT_COMMIT={commit}{changed}"));
        // HEAD moves with the branch, its log with each commit.
        let moving = ["HEAD", "logs/HEAD"].map(|file| output_of("git", &["rev-parse", "--git-path", file]));
        let moving = moving.into_iter().flatten().filter(|path| Path::new(path).exists());
        told.extend(moving.map(|path| format!("rerun-if-changed={path}")));
    }
    told.extend(packed_relocations());
    told.iter().try_for_each(|line| writeln!(io::stdout(), "cargo::{line}"))
}

/// What a program says, if it is there and succeeds.
fn output_of(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A static binary moves itself to where it is loaded; the list of what is to be adjusted takes a fortieth of
/// its room when packed. The C library that comes with Rust for musl reads it; an older linker says that it
/// leaves the list as it is. A linker that is not reached through a C compiler is not asked.
fn packed_relocations() -> Option<String> {
    let var = |name| env::var(name).unwrap_or_default();
    let is_packed = var("CARGO_CFG_TARGET_ENV") == "musl"
        && var("CARGO_CFG_TARGET_ARCH") == "x86_64"
        && !var("RUSTC_LINKER").contains("lld");
    is_packed.then(|| "rustc-link-arg-bins=-Wl,-z,pack-relative-relocs".to_owned())
}
