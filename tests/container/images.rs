//! The images are those of the repository and the recipe is the README's, run as it is printed.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::docker::{Docker, Static};
use crate::support::{
    Broker, Ended, Origin, Running, SECRET, StandIn, TempDir, bare, find, readme_block, run, skip, succeeds,
};

const API: &str = "api.example.test";
const BODY: &str = "amount=1099";

#[test]
fn a_scratch_image_attaches_the_credential() {
    let Some(docker) = Docker::new("a_scratch_image_attaches_the_credential") else { return };
    let site = Site::open();
    // The recipe, with the app's own arguments behind the image's name.
    let recipe = readme_block("In a container", "sh");
    let url = site.origin.url(API, "/v1/charges");
    let script = format!("{} {url} {BODY}\n", recipe.trim_end());
    let ended = run(site.variables(&mut docker.shell(&script)), b"");
    let ended = site.expect_attached(ended);
    for file in ["environ", "maps", "mem"] {
        let closed = format!("pid 1 {file}: closed (permission denied)");
        assert!(ended.stdout.contains(&closed), "no {closed:?} in:\n{}", ended.stdout);
    }
}

/// As a task definition has it: the rules in one variable, the secret in another, and nothing else. The root is
/// read-only, the user is nobody, there is no home and no /tmp.
#[test]
fn a_scratch_image_needs_no_broker() {
    let Some(docker) = Docker::new("a_scratch_image_needs_no_broker") else { return };
    docker.run(&["build", "-t", "agent-vault", "-f", "Dockerfile.scratch", "."]);
    docker.run(&["build", "-t", "checkout", "checkout"]);
    let origin = Origin::tls(&[API]);
    let ca = docker.context.write("origin-ca.pem", origin.ca_pem());
    let auth = serde_json::json!({"type": "bearer", "token": "API_KEY"});
    let document = serde_json::json!({
        "services": [{"name": "the-api", "host": API, "auth": auth}],
        "upstream_ca": "/origin-ca.pem",
        "network_allowlist": ["127.0.0.0/8"],
    });
    let mut command = docker.command();
    command.args(["run", "--rm", "--read-only", "--cap-drop", "all"]);
    command.args(["-v", &format!("{}:/origin-ca.pem:ro", ca.display())]);
    command.args(["-e", &format!("AGENT_VAULT_CONFIG={document}"), "-e", &format!("API_KEY={SECRET}")]);
    command.args(["-e", &format!("AGENT_VAULT_HOST_OVERRIDES={API}=127.0.0.1"), "checkout"]);
    let ended = run(command.args([&origin.url(API, "/v1/charges"), BODY]), b"").expect_success();
    let request = origin.last();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/charges"));
    assert_eq!(request.field("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    assert!(ended.stdout.contains("\nown environ: API_KEY=__api_key__\n"), "{}", ended.stdout);
    for hidden in [SECRET, "own environ: AGENT_VAULT_CONFIG"] {
        assert!(!ended.stdout.contains(hidden), "{hidden} is visible:\n{}", ended.stdout);
    }
    for file in ["environ", "maps", "mem"] {
        let closed = format!("pid 1 {file}: closed (permission denied)");
        assert!(ended.stdout.contains(&closed), "no {closed:?} in:\n{}", ended.stdout);
    }
}

/// The same filesystem and the same place as process 1, for machines with no container tool.
#[test]
fn a_chroot_with_its_own_process_ids_attaches_the_credential() {
    let test = "a_chroot_with_its_own_process_ids_attaches_the_credential";
    let Some(built) = Static::find(test) else { return };
    if !succeeds("unshare", &["-pf", "--mount-proc", "true"]) {
        return skip(test, "unshare cannot make namespaces here; run as root, with util-linux");
    }
    let root = TempDir::new();
    let bin = root.dir("usr/local/bin").join("agent-vault");
    fs::copy(&built.binary, bin).expect("a copy of the binary");
    fs::copy(&built.probe, root.join("app")).expect("a copy of the app");
    let (tmp, proc) = (root.dir("tmp"), root.dir("proc"));
    assert!(tmp.is_dir());

    let site = Site::open();
    let mut command = bare(&find("unshare").expect("it was there just now"), root.path());
    command.arg("-pf").arg(format!("--mount-proc={}", proc.display()));
    command.arg("chroot").arg(root.path()).args(["/usr/local/bin/agent-vault", "run", "--", "/app"]);
    command.args([&site.origin.url(API, "/v1/charges"), BODY]);
    site.expect_attached(run(site.variables(&mut command), b""));
}

/// Its C library keeps three signals to itself and lets them through; glibc's programs use one of them.
#[test]
fn the_static_binary_passes_on_what_its_libc_keeps() {
    let Some(built) = Static::find("the_static_binary_passes_on_what_its_libc_keeps") else { return };
    let stand_in = StandIn::start();
    let given = stand_in.agent();
    let mut command = Command::new(&built.binary);
    command.env_clear().envs(given.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let script = "echo ready; exec sleep 60";
    let mut running = Running::start(command.args(["run", "--", "sh", "-c", script]));
    running.line_after("ready");
    let pid = running.pid().to_string();
    let sent = run(bare(Path::new("kill"), stand_in.home().path()).args(["-s", "34", "--", &pid]), b"");
    sent.expect_success();
    assert_eq!(running.wait().code(), Some(128 + 34));
}

#[test]
fn the_scratch_image_holds_the_binary_and_nothing_else() {
    let Some(docker) = Docker::new("the_scratch_image_holds_the_binary_and_nothing_else") else { return };
    docker.run(&["build", "-t", "agent-vault", "-f", "Dockerfile.scratch", "."]);
    assert_eq!(docker.files_of("agent-vault"), ["usr/local/bin/agent-vault"]);
    docker.expect_broker_defaults("agent-vault");
}

#[test]
fn the_distroless_image_adds_the_binary_to_its_base() {
    let Some(docker) = Docker::new("the_distroless_image_adds_the_binary_to_its_base") else { return };
    docker.context.write("passwd", "nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n");
    docker.context.write("Dockerfile.base", "FROM scratch\nCOPY passwd /etc/passwd\n");
    docker.run(&["build", "-t", "base", "-f", "Dockerfile.base", "."]);
    docker.run(&["build", "-t", "on-base", "--build-arg", "BASE=base", "-f", "Dockerfile.distroless", "."]);
    assert_eq!(docker.files_of("on-base"), ["etc/passwd", "usr/local/bin/agent-vault"]);
    docker.expect_broker_defaults("on-base");
}

/// With a read-only root, no capability and a new volume: it serves, says that it is well, and stops when told.
#[test]
fn the_scratch_image_serves_as_a_broker() {
    let Some(docker) = Docker::new("the_scratch_image_serves_as_a_broker") else { return };
    docker.run(&["build", "-t", "agent-vault", "-f", "Dockerfile.scratch", "."]);
    let mut command = docker.command();
    command.args(["run", "--rm", "--name", "broker", "--read-only", "--cap-drop", "all"]);
    command.args(["-e", "AGENT_VAULT_MASTER_PASSWORD=a password", "agent-vault"]);
    // The image's own words but for the ports, which are the host's here.
    command.args(["server", "--host", "127.0.0.1", "--port", "0", "--mitm-port", "auto"]);
    let mut broker = Running::start(&mut command);
    broker.line_after("Agent Vault server listening on ");
    broker.line_after("Agent Vault transparent proxy listening on ");
    docker.run(&["exec", "broker", "/usr/local/bin/agent-vault", "health"]);
    docker.run(&["stop", "--time", "20", "broker"]);
    let status = broker.wait();
    assert!(status.success(), "{status}, after:\n{}", broker.output());
}

/// A broker with one service, on the host's loopback, in front of an origin.
struct Site {
    origin: Origin,
    broker: Broker,
    token: String,
}

impl Site {
    fn open() -> Self {
        let origin = Origin::tls(&[API]);
        let broker = Broker::start(&origin, &[API])
            .with_credential("API_KEY", SECRET)
            .with_service("the-api", API, "API_KEY");
        let token = broker.agent("test-agent");
        Self { origin, broker, token }
    }

    /// Adds the three variables an app's container is given.
    fn variables<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("AGENT_VAULT_ADDR", self.broker.address())
            .env("AGENT_VAULT_TOKEN", &self.token)
            .env("AGENT_VAULT_VAULT", "default")
    }

    /// The app is not process 1, saw no secret, and its request arrived with the credential.
    #[track_caller]
    fn expect_attached(&self, ended: Ended) -> Ended {
        let ended = ended.expect_success();
        for expected in ["HTTP/1.1 200 OK", "origin saw POST /v1/charges"] {
            assert!(ended.stdout.contains(expected), "no {expected:?} in:\n{}", ended.stdout);
        }
        let first = "\npid 1: /usr/local/bin/agent-vault run -- /app ";
        assert!(ended.stdout.contains(first), "process 1 is not agent-vault:\n{}", ended.stdout);
        assert!(!ended.stdout.contains("\nown pid: 1\n"), "the app is process 1:\n{}", ended.stdout);
        for secret in [SECRET, &self.token] {
            let seen = ended.stdout.contains(secret) || ended.stderr.contains(secret);
            assert!(!seen, "{secret} is visible:\n{}\n{}", ended.stdout, ended.stderr);
        }
        let request = self.origin.last();
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/v1/charges"));
        assert_eq!(String::from_utf8_lossy(&request.body), BODY);
        assert_eq!(request.field("authorization"), Some(format!("Bearer {SECRET}").as_str()));
        ended
    }
}
