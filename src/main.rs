//! Hands the command line and the environment to the library and exits with what it returns.

use std::io::Write;
use std::process::ExitCode;

use agent_vault::cli::{self, World};
use agent_vault::log;

fn main() -> ExitCode {
    log::log_panics();
    let line = std::env::args_os().skip(1).collect();
    let world = World::new(&|name| std::env::var(name).ok());
    match cli::main(line, &world) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            // Nothing is left to tell when even stderr is gone; the exit code still speaks.
            drop(writeln!(std::io::stderr(), "{failure}"));
            failure.exit().into()
        }
    }
}
