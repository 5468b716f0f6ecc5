//! The benchmark: `scripts/bench.sh` builds what it needs and runs it.
//!
//! ```text
//! load BINARY [--quick] [--full] [--rounds N] [--seconds S] [--peers|--no-peers]
//!             [--entrypoint FILE] [--tools DIR] [--commit NAME] [--json FILE]
//! load compare OLD.json NEW.json
//! ```
//!
//! Everything is measured on this machine in one run: the origin, the load and whatever is between them
//! share its processors, so ratios say something and absolute numbers little. The load shares no code with
//! the product. What is started and written is gone at the end.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]
#![allow(clippy::unwrap_used, reason = "a benchmark ends when something fails")]

mod broker;
mod client;
mod copy;
mod drive;
mod identity;
mod origin;
mod peers;
mod phases;
mod process;
mod report;
mod scale;
mod start;
mod ways;
mod wire;

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pico_args::Arguments;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use report::Report;
use ways::Setting;

/// How much is measured.
pub(crate) struct Scope {
    rounds: usize,
    /// The length of each phase.
    run: Duration,
    connections: Vec<usize>,
    idle: Vec<usize>,
    starts: usize,
    services: Vec<usize>,
    vaults: Vec<usize>,
    log_rows: Vec<usize>,
    crowds: Vec<usize>,
}

impl Scope {
    fn normal() -> Self {
        Self {
            rounds: 3,
            run: Duration::from_secs(1),
            connections: vec![1, 16, 64, 256],
            idle: vec![1000, 5000],
            starts: 15,
            services: vec![1, 50, 500, 5000],
            vaults: vec![1, 30, 1000],
            log_rows: vec![0, 100_000, 1_000_000],
            crowds: vec![1, 16, 256, 1000, 5000],
        }
    }

    /// Proves that all of it works; its numbers mean nothing.
    fn quick() -> Self {
        Self {
            rounds: 1,
            run: Duration::from_millis(100),
            connections: vec![1, 16],
            idle: vec![40],
            starts: 1,
            services: vec![1, 20],
            vaults: vec![1, 3],
            log_rows: vec![0, 1000],
            crowds: vec![1, 40],
        }
    }
}

fn main() -> ExitCode {
    let mut words: Vec<OsString> = env::args_os().skip(1).collect();
    let first = if words.is_empty() { OsString::new() } else { words.remove(0) };
    let done = match (first.to_str(), &words[..]) {
        (Some("origin"), [identity]) => origin::serve(identity.as_ref()).map_err(Into::into),
        (Some("copy"), ports) => copy_between(ports),
        (Some("stay"), []) => stay().map_err(Into::into),
        (Some("stamp"), []) => start::stamp().map_err(Into::into),
        (Some("compare"), [old, new]) => compare(&old.into(), &new.into()),
        _ => measure(first.into(), Arguments::from_vec(words)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(binary: PathBuf, mut args: Arguments) -> Result<(), Box<dyn Error>> {
    let is_quick = args.contains("--quick");
    let mut scope = if is_quick { Scope::quick() } else { Scope::normal() };
    if args.contains("--full") {
        scope.log_rows.push(10_000_000);
    }
    scope.rounds = args.opt_value_from_str("--rounds")?.unwrap_or(scope.rounds);
    if let Some(seconds) = args.opt_value_from_str("--seconds")? {
        scope.run = Duration::try_from_secs_f64(seconds)?;
    }
    let with_peers = args.contains("--peers") || !(args.contains("--no-peers") || is_quick);
    let entrypoint = args.opt_value_from_str("--entrypoint")?;
    let tools = args.opt_value_from_str("--tools")?.unwrap_or_default();
    let commit: String = args.opt_value_from_str("--commit")?.unwrap_or_default();
    let json: Option<PathBuf> = args.opt_value_from_str("--json")?;
    if let [word, ..] = &args.finish()[..] {
        return Err(format!("unknown argument {}", word.display()).into());
    }
    allow_descriptors(scope.idle.iter().chain(&scope.crowds).max().copied().unwrap_or(0))?;

    let setting = Setting {
        binary: fs::canonicalize(binary)?,
        entrypoint,
        own: env::current_exe()?,
        tools,
        dir: tempfile::tempdir()?,
    };
    let origins = setting.origins(&phases::SIZES, with_peers)?;
    let (broker, ways) = setting.ways(&origins, with_peers)?;
    let mut report = Report {
        commit,
        date: OffsetDateTime::now_utc().replace_nanosecond(0)?.format(&Rfc3339)?,
        machine: machine(),
        origin: origins.described.to_owned(),
        ways: ways.iter().map(|way| way.name.to_owned()).collect(),
        absent: ways
            .iter()
            .filter_map(|way| Some((way.name.to_owned(), way.ready.as_ref().err()?.clone())))
            .collect(),
        ..Report::default()
    };
    say("memory");
    phases::memory(&ways, &scope, &mut report)?;
    say("traffic");
    phases::traffic(&ways, &scope, &mut report);
    // What is measured next has the machine for itself.
    drop((broker, ways));
    say("starting");
    start::measure(&setting, &scope, &mut report)?;
    say("growing");
    scale::measure(&setting, &origins, &scope, &mut report)?;

    let head =
        format!("commit {}, {}, {}; origin: {}", report.commit, report.date, report.machine, report.origin);
    println!("{head}\n\n{}", report.tables());
    if let Some(path) = json {
        fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    match report.failures(&ways::ALWAYS)[..] {
        [] => Ok(()),
        ref failures => Err(format!("no figure for\n{}", failures.join("\n")).into()),
    }
}

fn compare(old: &PathBuf, new: &PathBuf) -> Result<(), Box<dyn Error>> {
    let read = |path: &PathBuf| -> Result<Report, Box<dyn Error>> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?)
    };
    println!("{}", report::compare(&read(old)?, &read(new)?));
    Ok(())
}

/// The copier in front of the ports that are given.
fn copy_between(ports: &[OsString]) -> Result<(), Box<dyn Error>> {
    let ports: Result<Vec<u16>, _> = ports.iter().map(|port| port.to_string_lossy().parse()).collect();
    Ok(copy::serve(&ports?)?)
}

/// The child of a `run` that stays: says where its proxy is, and ends when nobody holds its stdin any more.
fn stay() -> io::Result<()> {
    writeln!(io::stdout(), "proxy {}", env::var("HTTPS_PROXY").unwrap_or_default())?;
    io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// Client and proxy each hold a connection; the proxy has others to the origin.
fn allow_descriptors(connections: usize) -> Result<(), Box<dyn Error>> {
    let needed = connections as u64 * 2 + 500;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard < needed {
        return Err(format!(
            "{needed} open files are needed, and no more than {hard} are allowed: ulimit -Hn"
        )
        .into());
    }
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.max(needed), hard)?)
}

fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map(|(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let count = std::thread::available_parallelism().map_or(0, Into::into);
    format!("{count} × {}, Linux {}", model.unwrap_or("unknown processor").trim(), kernel.trim())
}

fn say(what: &str) {
    eprintln!("bench: {what}");
}
