//! Programs under test: started with nothing inherited, watched line by line, ended with a deadline.
//!
//! A test waits for a fact (a printed line, an exit), never for a while; what was awaited and what was
//! seen instead is in the panic.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest wait for anything a test awaits. Interpreters start slowly on a loaded two-core machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of this test alone, removed when it goes out of scope.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("agent-vault-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of `name` in this folder.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and returns its path.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        fs::write(&path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }

    /// Creates a folder below this one and returns its path.
    pub(crate) fn dir(&self, name: &str) -> PathBuf {
        let path = self.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("create {}: {error}", path.display()));
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // A folder that cannot be removed is no reason to lose the test's own verdict.
        fs::remove_dir_all(&self.0).unwrap_or(());
    }
}

/// How a program ended and what it wrote, as text.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// Panics with everything the program wrote unless it ended with 0.
    #[track_caller]
    pub(crate) fn expect_success(self) -> Self {
        assert!(
            self.status.success(),
            "ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            self.status,
            self.stdout,
            self.stderr
        );
        self
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// Runs a program to its end, feeding it `stdin`.
#[track_caller]
pub(crate) fn run(command: &mut Command, stdin: &[u8]) -> Ended {
    let mut child = spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut pipe = child.stdin.take().expect("stdin is piped");
    // A program may end without reading its input; its status tells the story.
    pipe.write_all(stdin).unwrap_or(());
    drop(pipe);
    let what = format!("{:?}", command.get_program());
    let output = end_of(child, &what);
    Ended {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Collects a child's output on threads of its own, so that a full pipe cannot stall it.
#[track_caller]
fn end_of(mut child: Child, what: &str) -> Output {
    let stdout = collect(child.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.stderr.take().expect("stderr is piped"));
    let deadline = Instant::now() + PATIENCE;
    let text = |receiver: &Receiver<Vec<u8>>| {
        receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()))
    };
    let (Ok(out), Ok(err)) = (text(&stdout), text(&stderr)) else {
        child.kill().expect("a child of ours can be killed");
        child.wait().expect("a killed child ends");
        let (out, err) = (stdout.try_recv().unwrap_or_default(), stderr.try_recv().unwrap_or_default());
        panic!(
            "{what} did not end within {PATIENCE:?}\n--- stdout\n{}\n--- stderr\n{}",
            String::from_utf8_lossy(&out),
            String::from_utf8_lossy(&err)
        );
    };
    let status = child.wait().expect("a child of ours can be waited for");
    Output { status, stdout: out, stderr: err }
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    start_thread(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap_or_default();
        sender.send(bytes).unwrap_or(());
    });
    receiver
}

/// A program that stays: its lines can be awaited, and it is killed when it goes out of scope.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    /// Starts the program; its stdout and stderr are read as one stream of lines.
    #[track_caller]
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        let (sender, lines) = mpsc::channel();
        let stdout = child.stdout.take().expect("stdout is piped");
        let stderr = child.stderr.take().expect("stderr is piped");
        let from_stderr = sender.clone();
        start_thread(move || forward_lines(stdout, &sender));
        start_thread(move || forward_lines(stderr, &from_stderr));
        Self { child, lines, seen: Vec::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).expect("a process number");
        kill(Pid::from_raw(pid), signal).expect("a process of ours takes a signal");
    }

    /// Waits for a line that starts with `start` and returns the rest of it. Lines before it are kept in
    /// [`Running::output`] and are not looked at again.
    #[track_caller]
    pub(crate) fn line_after(&mut self, start: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.seen.push(line);
                    let line = self.seen.last().expect("just pushed");
                    if let Some(rest) = line.strip_prefix(start) {
                        return rest.trim().to_owned();
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("awaited a line starting with {start:?}, saw:\n{}", self.seen.join("\n"));
                }
            }
        }
    }

    /// Waits for a line that holds `what`, or finds it among those read already. A test that looks for a line
    /// takes this one: the two streams come on two threads, and neither is as soon as what it tells of.
    #[track_caller]
    pub(crate) fn line_with(&mut self, what: &str) -> String {
        if let Some(line) = self.seen.iter().find(|line| line.contains(what)) {
            return line.clone();
        }
        let deadline = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.seen.push(line.clone());
            if line.contains(what) {
                return line;
            }
        }
        panic!("awaited a line with {what:?}, saw:\n{}", self.seen.join("\n"));
    }

    /// Everything written so far.
    pub(crate) fn output(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    /// Waits until the program ends by itself and both its streams are closed.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.child.wait().expect("a child of ours"),
                Err(RecvTimeoutError::Timeout) => break,
            }
        }
        panic!("awaited the end of process {}, saw:\n{}", self.pid(), self.seen.join("\n"));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails only when the program has ended and been waited for already.
        if self.child.kill().is_ok() {
            self.child.wait().expect("a killed child ends");
        }
    }
}

fn forward_lines(pipe: impl Read, sender: &mpsc::Sender<String>) {
    for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        if sender.send(line).is_err() {
            return;
        }
    }
}

#[track_caller]
fn spawn(command: &mut Command) -> Child {
    command.spawn().unwrap_or_else(|error| panic!("start {:?}: {error}", command.get_program()))
}

fn start_thread(work: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().name("test-reader".to_owned()).spawn(work);
    drop(thread.expect("a thread"));
}
