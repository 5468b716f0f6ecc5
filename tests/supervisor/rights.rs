//! Who the child is, and what it can do to the process that holds the token.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::{BINARY, Ended, StandIn, TOKEN, contains, need_python, run};
use crate::{Started, is_root};

/// A user no image has.
const NOBODY: u32 = 65_532;

const IDENTITY: &str = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs)' /proc/self/status | tr '\\t' ' '; \
     head -c 10 $SSL_CERT_FILE > /dev/null && head -c 10 $NODE_EXTRA_CA_CERTS > /dev/null && echo readable";

fn identity(stand_in: &StandIn, flags: &[&str]) -> Ended {
    run(stand_in.agent().arg("run").args(flags).args(["--", "sh", "-c", IDENTITY]), b"")
}

#[test]
fn a_child_becomes_another_user_without_groups() {
    if !is_root("a_child_becomes_another_user_without_groups") {
        return;
    }
    let stand_in = StandIn::start();
    for (flags, group) in [
        (&["--user", "65532"][..], 65_532),
        (&["--user=65532:1234"], 1234),
        (&["--user=65532:1234", "--direct"], 1234),
    ] {
        let ended = identity(&stand_in, flags).expect_success();
        for line in [
            format!("Uid: {NOBODY} {NOBODY} {NOBODY} {NOBODY}"),
            format!("Gid: {group} {group} {group} {group}"),
            "Groups:".to_owned(),
            "CapEff: 0000000000000000".to_owned(),
            "CapPrm: 0000000000000000".to_owned(),
            "NoNewPrivs: 1".to_owned(),
            "readable".to_owned(),
        ] {
            assert!(
                ended.stdout.lines().any(|known| known.trim_end() == line),
                "no {line:?} in:\n{}",
                ended.stdout
            );
        }
    }
}

#[test]
fn a_child_without_capabilities_has_none_in_any_set() {
    if !is_root("a_child_without_capabilities_has_none_in_any_set") {
        return;
    }
    let stand_in = StandIn::start();
    for flags in [&["--drop-capabilities"][..], &["--drop-capabilities", "--user=65532"]] {
        let ended = identity(&stand_in, flags).expect_success();
        let sets: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with("Cap")).collect();
        assert_eq!(sets.len(), 5);
        assert!(sets.iter().all(|set| set.ends_with(": 0000000000000000")), "{sets:?}");
        assert!(ended.stdout.contains("NoNewPrivs: 1"), "{}", ended.stdout);
    }
    let plain = identity(&stand_in, &[]).expect_success();
    assert!(plain.stdout.contains("NoNewPrivs: 0"), "{}", plain.stdout);
    let gains_nothing = identity(&stand_in, &["--no-new-privs"]).expect_success();
    assert!(gains_nothing.stdout.contains("NoNewPrivs: 1"), "{}", gains_nothing.stdout);
}

#[test]
fn another_user_is_refused_to_who_may_not_become_one() {
    let stand_in = StandIn::start();
    let mut command = stand_in.agent();
    if nix::unistd::geteuid().is_root() {
        let bin = reachable_binary(&stand_in);
        command = with_program(&command, &bin);
        command.uid(NOBODY).gid(NOBODY);
    }
    let ended = run(command.args(["run", "--user=1000", "--", "true"]), b"");
    assert_eq!(ended.code(), Some(125), "{}", ended.stderr);
    let text = "--user 1000:1000 needs root with the capabilities SETUID, SETGID and KILL, which this process has not";
    assert_eq!(ended.stderr.lines().next(), Some(text));
    assert_eq!(stand_in.lines(), [""; 0], "nothing was asked before");
}

#[test]
fn a_place_the_other_user_cannot_enter_is_named() {
    if !is_root("a_place_the_other_user_cannot_enter_is_named") {
        return;
    }
    let stand_in = StandIn::start();
    let closed = stand_in.home().dir("closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("permissions");
    let place = closed.join("ca");
    let place = place.to_str().expect("a UTF-8 path");
    let ended = identity(&stand_in, &["--user=65532", "--ca-dir", place]);
    assert_eq!(ended.code(), Some(125));
    let reason = format!("user 65532 may not enter {}", closed.display());
    assert!(ended.stderr.contains(&reason), "{}", ended.stderr);
    assert_eq!(crate::names_in(&closed.join("ca")), [""; 0], "nothing stays behind");
}

/// Tries every way from a child to its parent's memory and descriptors, and says what came of each.
const BREAK_IN: &str = "
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
parent = os.getppid()
def tell(way, failed):
    print(way, 'closed' if failed else 'OPEN', flush=True)
for name in ['environ', 'mem', 'maps', 'auxv', 'stack', 'io', 'fd', 'cwd', 'exe', 'root', 'map_files']:
    path = f'/proc/{parent}/{name}'
    try:
        if name in ('fd', 'map_files'): os.listdir(path)
        elif name in ('cwd', 'exe', 'root'): os.readlink(path)
        else: open(path, 'rb').read(1)
        tell(name, False)
    except OSError as error:
        tell(name, True)
tell('ptrace attach', libc.ptrace(16, parent, None, None) == -1)
tell('ptrace seize', libc.ptrace(0x4206, parent, None, None) == -1)
pidfd = libc.syscall(434, parent, 0)
tell('pidfd_getfd', libc.syscall(438, pidfd, 0, 0) == -1)
class Part(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]
here = ctypes.create_string_buffer(8)
local, remote = Part(ctypes.addressof(here), 8), Part(0x400000, 8)
failed = libc.process_vm_readv(parent, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0) == -1
tell('process_vm_readv', failed and ctypes.get_errno() == 1)
tell('prlimit', libc.prlimit(parent, 4, None, None) == -1)
";

#[test]
fn a_child_of_the_same_user_cannot_look_into_us() {
    let test = "a_child_of_the_same_user_cannot_look_into_us";
    if need_python(test, "ctypes").is_none() {
        return;
    }
    let stand_in = StandIn::start();
    let mut command = stand_in.agent();
    // Root may look anywhere, so the run and its child are somebody else.
    if nix::unistd::geteuid().is_root() {
        let bin = reachable_binary(&stand_in);
        command = with_program(&command, &bin);
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
    let ended = run(command.args(["run", "--", "python3", "-c", BREAK_IN]), b"").expect_success();
    let ways: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(ways.len(), 16, "{}", ended.stdout);
    let open: Vec<&&str> = ways.iter().filter(|way| !way.ends_with("closed")).collect();
    // What limits a process has is no secret, and the kernel shows it to whoever has its user.
    assert!(open.iter().all(|way| way.starts_with("prlimit")), "{open:?}");
}

#[test]
fn nobody_reads_the_token_from_our_environment() {
    let stand_in = StandIn::start();
    let mut command = stand_in.agent();
    command.args(["run", "--", "sh", "-c", "echo ready; exec sleep 60"]);
    let mut run = Started::at(crate::Place::Plain, &mut command);
    run.running.line_after("ready");
    // Root reads it, and finds everything but the token.
    if let Ok(environment) = fs::read(format!("/proc/{}/environ", run.pid())) {
        assert!(contains(&environment, "AGENT_VAULT_ADDR="));
        assert!(!contains(&environment, TOKEN));
    }
    run.signal(15);
    assert_eq!(run.code(), Some(143));
}

/// The binary where any user can execute it.
fn reachable_binary(stand_in: &StandIn) -> std::path::PathBuf {
    let copy = stand_in.home().join("agent-vault");
    fs::copy(BINARY, &copy).expect("a copy of the binary");
    copy
}

fn with_program(command: &Command, program: &Path) -> Command {
    let mut other = Command::new(program);
    other.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    other
}
