//! Hands the command line and the environment to the library and exits with what it returns.

use std::io::Write;
use std::process::ExitCode;

use agent_vault::cli::{self, World};
use agent_vault::failure::Failure;
use agent_vault::log::{self, Format, Level};

fn main() -> ExitCode {
    log::log_panics();
    let line = std::env::args_os().skip(1).collect();
    let world = World::new(&|name| std::env::var(name).ok());
    match cli::main(line, &world) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            tell(&failure);
            failure.exit().into()
        }
    }
}

/// Nothing is left to tell when even stderr is gone; the exit code still speaks.
fn tell(failure: &Failure) {
    match (log::format(), failure.hint()) {
        (Format::Text, _) => drop(writeln!(std::io::stderr(), "{failure}")),
        (Format::Json, None) => log::event(Level::Error, failure.message(), &[]),
        (Format::Json, Some(hint)) => log::event(Level::Error, failure.message(), &[("hint", &hint)]),
    }
}
