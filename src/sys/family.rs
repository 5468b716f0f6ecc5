//! The processes below this one, and what they hold open.
//!
//! Read from /proc by the numbers it shows, which need not be those of our own PID namespace; a process
//! it does not show, or whose ancestors it does not show, is not of the family. /proc tells what a process
//! holds open to those who might trace it: a process of our own user with no more capabilities than ours,
//! or of the user we are for the file system. So a process of another user is looked at as that user,
//! where we may become it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use nix::libc;
use nix::sys::prctl;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};

/// Longest way from a process up to this one that is followed. Deeper trees are not built by accident.
const MAX_DEPTH: usize = 256;

/// A process as /proc numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Number(u32);

/// This process, if /proc is there and shows it.
fn ourselves() -> Option<Number> {
    let name = fs::read_link("/proc/self").ok()?;
    name.to_str()?.parse().ok().map(Number)
}

/// Every process below this one that /proc shows.
pub fn descendants() -> Vec<Number> {
    let Some(own) = ourselves() else { return Vec::new() };
    let listed = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = listed.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Number));
    let mut children: HashMap<Number, Vec<Number>> = HashMap::new();
    for number in numbers {
        if let Some(parent) = number.parent() {
            children.entry(parent).or_default().push(number);
        }
    }
    let mut found = children.remove(&own).unwrap_or_default();
    let mut next = 0;
    while let Some(number) = found.get(next) {
        found.extend(children.remove(number).unwrap_or_default());
        next += 1;
    }
    found
}

impl Number {
    fn path(self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.0))
    }

    /// Whether it is below this process now.
    pub fn is_descendant(self) -> bool {
        let Some(own) = ourselves() else { return false };
        let mut number = self;
        for _ in 0..MAX_DEPTH {
            match number.parent() {
                Some(parent) if parent == own => return true,
                Some(parent) => number = parent,
                None => return false,
            }
        }
        false
    }

    /// The fourth field; the second, the program's name, may hold anything, parentheses included.
    fn parent(self) -> Option<Self> {
        let stat = fs::read(self.path("stat")).ok()?;
        let behind = stat.iter().rposition(|&byte| byte == b')')? + 1;
        let fields = std::str::from_utf8(&stat[behind..]).ok()?;
        let parent = fields.split_ascii_whitespace().nth(1)?.parse().ok()?;
        (parent != 0).then_some(Self(parent))
    }

    /// Whether it holds the socket with this inode open.
    pub fn holds_socket(self, inode: u64) -> bool {
        self.sees_socket(inode).unwrap_or_else(|| {
            let Ok(owner) = fs::metadata(self.path("")) else { return false };
            let Some(_seen_as) = SeenAs::user(owner.uid(), owner.gid()) else { return false };
            self.sees_socket(inode).unwrap_or(false)
        })
    }

    /// The same, if we may see it.
    fn sees_socket(self, inode: u64) -> Option<bool> {
        let socket = PathBuf::from(format!("socket:[{inode}]"));
        let mut open = fs::read_dir(self.path("fd")).ok()?.flatten().peekable();
        let first = open.peek().map(|entry| fs::read_link(entry.path()));
        if let Some(Err(error)) = first
            && error.raw_os_error() == Some(libc::EACCES)
        {
            return None;
        }
        Some(open.any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == socket)))
    }
}

/// The calling thread, acting as another user towards the file system until dropped.
///
/// Its credentials otherwise stay, so nobody else gains anything over it meanwhile. The kernel makes a
/// process that changes this as dumpable as `fs.suid_dumpable` says, so that is put right at once, and
/// where it would open our memory for a moment (1, meant for debugging) nothing is changed at all.
struct SeenAs {
    before: (Uid, Gid),
}

impl SeenAs {
    fn user(user: u32, group: u32) -> Option<Self> {
        if fs::read("/proc/sys/fs/suid_dumpable").is_ok_and(|value| value.trim_ascii() == b"1") {
            return None;
        }
        // The group first: afterwards we might not be allowed to.
        let group = setfsgid(Gid::from_raw(group));
        let user = setfsuid(Uid::from_raw(user));
        stay_closed();
        Some(Self { before: (user, group) })
    }
}

impl Drop for SeenAs {
    fn drop(&mut self) {
        setfsuid(self.before.0);
        setfsgid(self.before.1);
        stay_closed();
    }
}

fn stay_closed() {
    // It cannot fail with this argument.
    prctl::set_dumpable(false).unwrap_or(());
}

#[cfg(test)]
mod tests {
    use std::io::BufRead as _;
    use std::net::{TcpListener, TcpStream};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::sys::sockets;

    #[test]
    fn children_and_their_children_are_of_the_family() {
        let script = "sleep 60 & echo $!; wait";
        let mut shell =
            Command::new("sh").args(["-c", script]).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut line = String::new();
        std::io::BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let child = Number(shell.id());
        let grandchild = Number(line.trim().parse().unwrap());
        let found = descendants();
        for number in [child, grandchild] {
            assert!(found.contains(&number) && number.is_descendant(), "{number:?}");
        }
        let own = ourselves().unwrap();
        for number in [own, own.parent().unwrap_or(Number(1)), Number(1)] {
            assert!(!found.contains(&number) && !number.is_descendant(), "{number:?}");
        }
        for number in [grandchild, child] {
            nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(number.0.cast_signed()),
                nix::sys::signal::SIGKILL,
            )
            .unwrap();
        }
        shell.wait().unwrap();
        assert!(!child.is_descendant());
    }

    #[test]
    fn a_socket_is_held_by_who_has_it_open() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let inode = sockets::inode(&client).unwrap();
        let own = ourselves().unwrap();
        assert!(own.holds_socket(inode));
        drop(client);
        assert!(!own.holds_socket(inode));
        assert!(!Number(u32::MAX).holds_socket(inode));
    }
}
