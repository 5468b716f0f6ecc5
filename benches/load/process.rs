//! Programs under measurement: started, awaited, looked at from outside, ended.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// For a program to be ready, and to be gone. Interpreters start slowly on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// The kernel's unit of processor time (`USER_HZ`), the same on every Linux of ours.
const TICKS_PER_SECOND: f64 = 100.0;
const STEP: Duration = Duration::from_millis(5);

/// A program that runs until this is dropped; what it says goes to files beside its settings.
pub(crate) struct Program {
    name: String,
    child: Child,
    stdout: Option<BufReader<ChildStdout>>,
}

impl Program {
    pub(crate) fn start(command: &mut Command, dir: &Path) -> io::Result<Self> {
        let path = Path::new(command.get_program()).to_owned();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = File::create(dir.join(format!("{name}.log")))?;
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child =
            command.spawn().map_err(|error| io::Error::other(format!("start {name}: {error}")))?;
        let stdout = child.stdout.take().map(BufReader::new);
        Ok(Self { name, child, stdout })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that starts with `start`; the rest of it.
    pub(crate) fn line_after(&mut self, start: &str) -> io::Result<String> {
        let Some(stdout) = &mut self.stdout else { return Err(io::Error::other("its output is not read")) };
        let mut line = String::new();
        while stdout.read_line(&mut line)? > 0 {
            if let Some(rest) = line.strip_prefix(start) {
                return Ok(rest.trim().to_owned());
            }
            line.clear();
        }
        Err(io::Error::other(format!("{} ended without saying {start:?}", self.name)))
    }

    /// Waits until the program listens.
    pub(crate) fn await_port(&mut self, port: u16) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = self.child.try_wait()? {
                let mut said = String::new();
                if let Some(stdout) = &mut self.stdout {
                    stdout.read_to_string(&mut said)?;
                }
                return Err(io::Error::other(format!("{} ended with {status} {said}", self.name)));
            }
            if Instant::now() > until {
                return Err(io::Error::other(format!("{} does not listen", self.name)));
            }
            thread::park_timeout(STEP);
        }
        // What it says from here on goes nowhere, and never blocks it.
        if let Some(mut stdout) = self.stdout.take() {
            let drain = move || io::copy(&mut stdout, &mut io::sink()).map(drop).unwrap_or_default();
            thread::Builder::new().name("drain".to_owned()).spawn(drain)?;
        }
        Ok(())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let until = Instant::now() + PATIENCE;
        // Gone already is as good.
        kill(pid, Signal::SIGTERM).unwrap_or_default();
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                self.child.kill().unwrap_or_default();
                self.child.wait().map(drop).unwrap_or_default();
                return;
            }
            thread::park_timeout(STEP);
        }
    }
}

/// Runs a program to its end, which has to be a good one; what it wrote.
pub(crate) fn output(command: &mut Command, stdin: &str) -> io::Result<String> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(stdin.as_bytes())?;
    }
    let ended = child.wait_with_output()?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        return Err(io::Error::other(format!(
            "{:?} ended with {}: {said}",
            command.get_program(),
            ended.status
        )));
    }
    Ok(String::from_utf8_lossy(&ended.stdout).trim().to_owned())
}

/// A port that was free a moment ago, for programs that cannot choose one themselves.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Processor seconds of processes and all that descend from them, user and system.
pub(crate) fn cpu_seconds(roots: &[u32]) -> f64 {
    tree(roots).iter().map(|pid| ticks(*pid).unwrap_or(0.0)).sum::<f64>() / TICKS_PER_SECOND
}

/// Resident memory of the same, in bytes; pages that processes share count in each.
pub(crate) fn resident_bytes(roots: &[u32]) -> f64 {
    let of = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse::<f64>().ok()
    };
    tree(roots).iter().filter_map(of).sum::<f64>() * 1024.0
}

/// Fields of proc_pid_stat(5) from the third on.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.rsplit_once(") ")?.1;
    Some(fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

fn ticks(pid: u32) -> Option<f64> {
    let fields = stat(pid)?;
    Some((fields.get(11)? + fields.get(12)?) as f64)
}

fn tree(roots: &[u32]) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let parent = stat(pid).and_then(|fields| u32::try_from(*fields.get(1)?).ok());
        children.entry(parent.unwrap_or(0)).or_default().push(pid);
    }
    let mut tree = roots.to_vec();
    let mut at = 0;
    while let Some(pid) = tree.get(at) {
        tree.extend(children.get(pid).into_iter().flatten());
        at += 1;
    }
    tree
}
