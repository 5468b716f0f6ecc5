//! Who gets in without the credential: the processes of the run, wherever they stand, and nobody else.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::status;
use crate::support::rig::read_answer;
use crate::support::{
    BINARY, Origin, Run, Running, Site, StandIn, answer, bare, find, need, need_python, run, skip, source,
    succeeds,
};

/// Asks the relay for something, in whatever process it is run, and prints the status.
const ASK: &str = "
import os, socket, sys, time
run, port = os.getppid(), int(os.environ['HTTPS_PROXY'].rsplit(':', 1)[1])
def ask(who, address='127.0.0.1', family=socket.AF_INET, field='', times=1):
    s = socket.socket(family, socket.SOCK_STREAM)
    s.connect((address, port))
    codes = []
    for _ in range(times):
        s.sendall(('GET http://a.example/x HTTP/1.1\\r\\nHost: a.example\\r\\n%s\\r\\n' % field).encode())
        answer = b''
        while b'\\r\\n\\r\\n' not in answer:
            answer += s.recv(4096)
        head, body = answer.split(b'\\r\\n\\r\\n', 1)
        length = [l.split(b':')[1] for l in head.lower().split(b'\\r\\n') if l.startswith(b'content-length')]
        while len(body) < int(length[0]):
            body += s.recv(4096)
        codes.append(head.split()[1].decode())
    print(who, *codes, flush=True)
";

/// A child that asks once with nothing but curl, which any user may execute.
const CURL: &str =
    "curl -sS -o /dev/null -w 'curl %{http_code}' -x http://127.0.0.1:${HTTPS_PROXY##*:} http://a.example/x";

fn stand_in() -> StandIn {
    let stand_in = StandIn::start();
    stand_in.answers("GET http://a.example/x", answer(200, &[], "hello"));
    stand_in
}

/// `command` as process 1 of a PID namespace whose /proc is mounted with these options.
fn as_process_1(command: &Command, options: &str) -> Command {
    let mut outer = Command::new(find("unshare").expect("checked before"));
    let mount = format!("mount -t proc -o {options} proc /proc && exec \"$@\"");
    outer.args(["-pfm", "--kill-child", "--", "sh", "-c", &mount, "sh"]);
    outer.arg(command.get_program()).args(command.get_args()).env_clear();
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

/// `command` as root in a container: what other users' processes hold open is not for it to see.
fn narrowed(command: &Command) -> Command {
    let mut outer = Command::new("setpriv");
    outer.args(["--bounding-set", "-sys_ptrace,-dac_override,-dac_read_search", "--inh-caps", "-all"]);
    outer.arg(command.get_program()).args(command.get_args()).env_clear();
    outer.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    outer
}

fn may_make_namespaces(test: &str) -> bool {
    let may = succeeds("unshare", &["-pfm", "true"]);
    if !may {
        skip(test, "unshare cannot make namespaces here; run as root, with util-linux");
    }
    may
}

#[test]
fn every_process_of_the_run_is_let_in() {
    let test = "every_process_of_the_run_is_let_in";
    let Some(python) = need_python(test, "socket") else { return };
    let script = format!(
        "{ASK}
ask('child')
ask('mapped', '::ffff:127.0.0.1', socket.AF_INET6)
ask('kept', times=3)
ask('wrong', field='Proxy-Authorization: Basic d3Jvbmc6dg==\\r\\n')
ask('unknown', field='Proxy-Authorization: Digest x\\r\\n')
if os.fork() == 0:
    ask('grandchild')
    os.setsid()
    if os.fork() == 0:
        while os.getppid() != run:
            time.sleep(0.001)
        ask('orphan')
    os._exit(0)
os.wait()
while True:
    time.sleep(1)
"
    );
    let stand_in = stand_in();
    let mut command = stand_in.agent();
    command.args(["run", "--"]).arg(python).args(["-c", &script]);
    let mut commands = Vec::new();
    if may_make_namespaces(test) {
        commands.push(as_process_1(&command, "rw"));
        commands.push(as_process_1(&command, "hidepid=2"));
    }
    commands.push(command);
    for mut command in commands {
        let mut running = Running::start(&mut command);
        for (who, codes) in [
            ("child", "200"),
            ("mapped", "200"),
            ("kept", "200 200 200"),
            ("wrong", "407"),
            ("unknown", "407"),
            ("grandchild", "200"),
            ("orphan", "200"),
        ] {
            assert_eq!(running.line_after(who), codes, "{who}");
        }
    }
}

/// A sibling of the run with the same user, in the same network namespace; its socket is seen, its process
/// is seen, and it is not one of ours.
#[test]
fn a_stranger_is_refused() {
    let stand_in = stand_in();
    let stay = stand_in.stay();
    let before = stand_in.requests().len();
    let mut stream = stay.connect();
    for _ in 0..3 {
        stream.write_all(b"GET http://a.example/x HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap();
        assert_eq!(status(&read_answer(&mut stream).0), 407);
    }
    if let Some(curl) = need("a_stranger_is_refused", "curl", "install curl") {
        let proxy = format!("http://127.0.0.1:{}", stay.port());
        let mut command = bare(&curl, stand_in.home().path());
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-x", &proxy, "http://a.example/x"]);
        assert_eq!(run(&mut command, b"").expect_success().stdout, "407");
        // With the credential anybody is as good as the child.
        let user = format!("{}:v", stay.credential());
        assert_eq!(run(command.args(["-U", &user]), b"").expect_success().stdout, "200");
    }
    assert_eq!(stand_in.requests().len() - before, usize::from(find("curl").is_some()));
    stay.stop();
}

/// As in a pod whose containers share loopback: each has its own processes.
#[test]
fn a_process_of_another_container_is_refused() {
    let test = "a_process_of_another_container_is_refused";
    if !may_make_namespaces(test) {
        return;
    }
    let Some(curl) = need(test, "curl", "install curl") else { return };
    let stand_in = stand_in();
    let mut command = stand_in.agent();
    let script = format!("echo port ${{HTTPS_PROXY##*:}}; {CURL}; echo; exec sleep 60");
    command.args(["run", "--", "sh", "-c", &script]);
    let mut inside = Running::start(&mut as_process_1(&command, "rw"));
    let port = inside.line_after("port ");
    assert_eq!(inside.line_after("curl "), "200");
    let mut ask = bare(&curl, stand_in.home().path());
    ask.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-x"]);
    ask.args([&format!("http://127.0.0.1:{port}"), "http://a.example/x"]);
    for mut stranger in [as_process_1(&ask, "rw"), ask] {
        assert_eq!(run(&mut stranger, b"").expect_success().stdout, "407");
    }
}

/// What another user's process holds open is hidden from root without `CAP_SYS_PTRACE`, as in containers.
#[test]
fn a_child_of_another_user_is_let_in() {
    let test = "a_child_of_another_user_is_let_in";
    if !nix::unistd::geteuid().is_root() {
        return skip(test, "it takes root to become another user");
    }
    if need(test, "curl", "install curl").is_none() || need(test, "setpriv", "install util-linux").is_none() {
        return;
    }
    let stand_in = stand_in();
    for proc in ["rw", "hidepid=1", "hidepid=2"] {
        for user in [&[][..], &["--user", "65532"], &["--user", "65532:1234", "--drop-capabilities"]] {
            let mut command = stand_in.agent();
            command.arg("run").args(user).args(["--", "sh", "-c", CURL]);
            let narrowed = narrowed(&command);
            let ended = run(&mut as_process_1(&narrowed, proc), b"").expect_success();
            assert_eq!(ended.stdout, "curl 200", "{proc} {user:?}\n{}", ended.stderr);
        }
    }
}

/// Looking at it as its user must not open our own memory to that user.
#[test]
fn the_run_stays_closed_to_a_child_it_has_looked_at() {
    let test = "the_run_stays_closed_to_a_child_it_has_looked_at";
    if !nix::unistd::geteuid().is_root() || need(test, "curl", "install curl").is_none() {
        return skip(test, "it takes root to become another user, and curl");
    }
    let stand_in = stand_in();
    let script = format!(
        "{CURL}; echo; for f in environ maps mem; do head -c 1 /proc/$PPID/$f || echo closed $f; done"
    );
    let mut command = stand_in.agent();
    command.args(["run", "--user", "65532", "--", "sh", "-c", &script]);
    let ended = run(&mut narrowed(&command), b"");
    assert_eq!(ended.stdout, "curl 200\nclosed environ\nclosed maps\nclosed mem\n", "{}", ended.stderr);
}

/// The whole run as a user who is nobody, without capabilities.
#[test]
fn it_takes_no_privilege() {
    let test = "it_takes_no_privilege";
    if !nix::unistd::geteuid().is_root() || need(test, "curl", "install curl").is_none() {
        return skip(test, "it takes root to become another user, and curl");
    }
    let stand_in = stand_in();
    // Where the binary is, that user may not look.
    let binary = stand_in.home().join("agent-vault");
    std::fs::copy(BINARY, &binary).unwrap();
    let command = stand_in.agent();
    let mut unprivileged = Command::new(&binary);
    unprivileged.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    unprivileged.uid(65_532).gid(65_532).args(["run", "--", "sh", "-c", CURL]);
    assert_eq!(run(&mut unprivileged, b"").expect_success().stdout, "curl 200");
}

/// Basic authentication for tunnels is off in a JVM, so it never sends a credential to a proxy.
#[test]
fn a_jvm_reaches_the_api_through_a_tunnel() {
    const API: &str = "api.example.test";
    let Some(java) = need("a_jvm_reaches_the_api_through_a_tunnel", "java", "install a JDK") else { return };
    let site = Site::open(Origin::tls(&[API]), API);
    let url = site.origin.url(API, "/jvm");
    let client = source("Jvm.java");
    let args = ["-XX:TieredStopAtLevel=1", "-Djava.net.useSystemProxies=false", &client, &url];
    let ended = run(site.broker.run_command(&site.token).arg(java).args(args), b"").expect_success();
    assert_eq!(ended.stdout, "HttpsURLConnection 200\nHttpClient 200\n", "{}", ended.stderr);
    let requests = site.origin.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    site.expect_credential_on(&requests);
    // The same client outside the run does not get through.
    let stay = Run::start(&mut site.broker.run_command(&site.token));
    let mut stranger = bare(Path::new(&find("java").unwrap()), site.broker.operator_home().as_path());
    stranger.env("HTTPS_PROXY", format!("http://127.0.0.1:{}", stay.port()));
    stranger.env("NODE_EXTRA_CA_CERTS", stay.bundle());
    let ended = run(stranger.args(args), b"").expect_success();
    assert_eq!(ended.stdout, "HttpsURLConnection 407\nHttpClient 407\n", "{}", ended.stderr);
    assert_eq!(site.origin.requests().len(), 2);
    stay.stop();
}
