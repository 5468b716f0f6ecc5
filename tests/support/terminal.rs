//! A person at a terminal: a program that has one, what it shows, and what is typed.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Instant;

use nix::pty::openpty;

use super::process::PATIENCE;

/// A running program with a terminal of its own.
pub(crate) struct Terminal {
    child: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

impl Terminal {
    /// Starts the program through `setsid`, which makes the terminal its controlling one.
    #[track_caller]
    pub(crate) fn start(command: &Command) -> Self {
        let pty = openpty(None, None).expect("a pseudo-terminal");
        let keyboard = File::from(pty.master);
        let mut on_terminal = Command::new("setsid");
        on_terminal
            .args(["--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        on_terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        if let Some(folder) = command.get_current_dir() {
            on_terminal.current_dir(folder);
        }
        let stream = |fd: &OwnedFd| fd.try_clone().expect("another handle");
        on_terminal.stdin(stream(&pty.slave)).stdout(stream(&pty.slave)).stderr(pty.slave);
        let child = on_terminal.spawn().unwrap_or_else(|error| panic!("start setsid: {error}"));
        let (sender, screen) = mpsc::channel();
        let mut output = keyboard.try_clone().expect("another handle");
        let reader = thread::Builder::new().name("test-screen".to_owned()).spawn(move || {
            let mut bytes = [0; 4096];
            // The read fails when nobody holds the other side any more.
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        drop(reader.expect("a thread"));
        Self { child, keyboard, screen, shown: String::new() }
    }

    /// Waits until the text is shown.
    #[track_caller]
    pub(crate) fn awaits(&mut self, text: &str) -> &mut Self {
        let deadline = Instant::now() + PATIENCE;
        while !self.shown.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.screen.recv_timeout(left) else {
                panic!("awaited {text:?}, saw:\n{}", self.shown);
            };
            self.shown.push_str(&String::from_utf8_lossy(&bytes));
        }
        self
    }

    /// What has been shown and awaited so far.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Types a line.
    #[track_caller]
    pub(crate) fn types(&mut self, line: &str) -> &mut Self {
        self.keyboard.write_all(format!("{line}\n").as_bytes()).expect("somebody reads the terminal");
        self
    }

    /// Waits for the end: the exit code and everything that was shown.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it did not end, saw:\n{}", self.shown),
            }
        }
        let status = self.child.wait().expect("a child of ours");
        (status.code(), std::mem::take(&mut self.shown))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails only when the program has ended and been waited for already.
        if self.child.kill().is_ok() {
            self.child.wait().expect("a killed child ends");
        }
    }
}
