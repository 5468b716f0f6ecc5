//! Asking a person at a terminal, with or without an echo.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};

use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use zeroize::Zeroize as _;

/// Whether what is typed is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    Hidden,
    Shown,
}

/// Asks on the controlling terminal, whatever stdin and stdout are, and returns the line that is typed.
pub fn ask(question: &str, echo: Echo) -> io::Result<Vec<u8>> {
    let mut terminal = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    // Before the question: whoever answers it at once is not shown either, and nothing of it is lost.
    let hidden = match echo {
        Echo::Hidden => Some(Hidden::start(&terminal)?),
        Echo::Shown => None,
    };
    terminal.write_all(question.as_bytes())?;
    let mut line = Vec::new();
    let read = BufReader::new(&terminal).read_until(b'\n', &mut line);
    if hidden.is_some() {
        // The newline that was typed was not shown either.
        drop(terminal.write_all(b"\n"));
    }
    drop(hidden);
    if read? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    // One exact allocation for the caller; the one that grew is wiped.
    let exact = line.as_slice().to_vec();
    line.zeroize();
    Ok(exact)
}

/// Asks which of several is meant, by number or name. A choice may be named like a number: names come first.
pub fn pick(question: &str, choices: &[String]) -> Result<String, String> {
    let list =
        (1..).zip(choices).map(|(number, choice)| format!("  {number}) {}\n", choice.escape_default()));
    let question = format!("{}{question} [1-{}] ", list.collect::<String>(), choices.len());
    let typed =
        ask(&question, Echo::Shown).map_err(|error| format!("cannot ask at the terminal: {error}"))?;
    let typed = String::from_utf8_lossy(&typed).trim().to_owned();
    let by_number = || typed.parse::<usize>().ok().and_then(|number| choices.get(number.checked_sub(1)?));
    let picked = choices.iter().find(|choice| **choice == typed).or_else(by_number);
    picked.cloned().ok_or_else(|| format!("{typed:?} is none of them"))
}

/// Echo is off as long as this lives.
struct Hidden {
    terminal: File,
    before: Termios,
}

impl Hidden {
    fn start(terminal: &File) -> io::Result<Self> {
        let before = termios::tcgetattr(terminal)?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        termios::tcsetattr(terminal, SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { terminal: terminal.try_clone()?, before })
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that went away has no echo to restore.
        let _gone = termios::tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
    }
}
