//! Promise: the clients people use work unchanged under `agent-vault run`, and none of them sees a secret.
//!
//! Each client makes a GET and a POST with a body over https. The credential has to arrive at the origin,
//! the body has to arrive as it was sent, and neither the credential nor the broker's token may be in
//! anything the client, the broker's files or the broker's log show.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Broker, Ended, Origin, Received, SECRET, TempDir, bare, contains, need, run, skip, succeeds};

/// Not ASCII and not a form, so that a client or a proxy that touches it is caught.
const BODY: &str = "amount=1099&note=Größe {\"a\": [1, 2]}\n";

const API: &str = "api.example.test";
const GIT: &str = "git.example.test";

#[test]
fn curl() {
    let Some(curl) = need("curl", "curl", "install curl") else { return };
    let site = Site::open(Origin::tls(&[API]), API);
    let url = site.origin.url(API, "");
    let (get, post) = (format!("{url}/get"), format!("{url}/post"));
    // Apps keep sending the placeholder they were configured with; it must not arrive beside the real one.
    let placeholder = "Authorization: Bearer placeholder";
    let sending = ["--next", "-sSf", "-H", placeholder, "--data-binary", BODY, &post];
    site.client(&curl, &[&["-sSf", "-H", placeholder, &get], &sending[..]].concat());
    site.expect_get_and_post();
}

#[test]
fn absolute_form_https() {
    python("absolute_form_https", "socket", "with_absolute_form.py");
}

#[test]
fn git_ls_remote() {
    let Some(git) = need("git_ls_remote", "git", "install git") else { return };
    let repositories = TempDir::new();
    let revision = new_repository(&git, &repositories);
    let mut site = Site::open(Origin::tls(&[GIT]).serving_git(repositories.path()), GIT);
    let ended = site.client(&git, &["ls-remote", &site.origin.url(GIT, "/project.git")]);
    assert!(ended.stdout.contains(&revision), "no {revision} in:\n{}", ended.stdout);

    let requests = site.origin.requests();
    let post = requests.iter().find(|request| request.method == "POST").expect("git speaks protocol 2");
    assert!(contains(&post.body, "command=ls-refs"), "{post:?}");
    site.expect_credential_on(&requests);
    site.expect_no_traces();
}

#[test]
fn python_requests() {
    python("python_requests", "requests", "with_requests.py");
}

#[test]
fn python_httpx() {
    python("python_httpx", "httpx", "with_httpx.py");
}

#[test]
fn python_aiohttp() {
    python("python_aiohttp", "aiohttp", "with_aiohttp.py");
}

#[test]
fn node_fetch() {
    node("node_fetch", "with_fetch.mjs");
}

#[test]
fn node_https() {
    node("node_https", "with_https.mjs");
}

#[test]
fn go_net_http() {
    let Some(go) = need("go_net_http", "go", "install golang-go") else { return };
    let folder = TempDir::new();
    let client = folder.join("with_net_http");
    let mut build = bare(&go, folder.path());
    build.env("GO111MODULE", "off").env("GOCACHE", support::target_dir().join("test-tools/go-cache"));
    run(build.arg("build").arg("-o").arg(&client).arg(source("with_net_http.go")), b"").expect_success();
    let site = Site::open(Origin::tls(&[API]), API);
    site.client(&client, &[&site.origin.url(API, ""), BODY]);
    site.expect_get_and_post();
}

#[test]
fn openssl_raw() {
    let Some(_) = need("openssl_raw", "openssl", "install openssl") else { return };
    let site = Site::open(Origin::tls(&[API]), API);
    let target = format!("{API}:{}", site.origin.port());
    site.client(Path::new("sh"), &[&source("with_openssl.sh"), &target, BODY]);
    site.expect_get_and_post();
}

fn python(test: &str, module: &str, script: &str) {
    let Some(python) = need(test, "python3", "install python3") else { return };
    if !succeeds("python3", &["-c", &format!("import {module}")]) {
        return skip(test, &format!("python3 has no module {module}; pip install {module}"));
    }
    with_script(&python, script);
}

fn node(test: &str, script: &str) {
    let Some(node) = need(test, "node", "install Node.js 24.5 or later") else { return };
    // Earlier versions know no proxy variables at all, so there is nothing an environment could do.
    let new_enough = "const [major, minor] = process.versions.node.split('.').map(Number);\
                      process.exit(major > 24 || (major === 24 && minor >= 5) ? 0 : 1)";
    if !succeeds("node", &["-e", new_enough]) {
        return skip(test, "this Node.js ignores proxy variables; install 24.5 or later");
    }
    with_script(&node, script);
}

fn with_script(interpreter: &Path, script: &str) {
    let site = Site::open(Origin::tls(&[API]), API);
    site.client(interpreter, &[&source(script), &site.origin.url(API, ""), BODY]);
    site.expect_get_and_post();
}

/// A broker with one service and one agent, in front of an origin.
struct Site {
    origin: Origin,
    broker: Broker,
    token: String,
}

impl Site {
    #[track_caller]
    fn open(origin: Origin, host: &str) -> Self {
        let broker = Broker::start(&origin, &[host])
            .with_credential("API_KEY", SECRET)
            .with_service("the-api", host, "API_KEY");
        let token = broker.agent("test-agent");
        Self { origin, broker, token }
    }

    /// Runs a client under `agent-vault run`; it has to succeed and must have seen no secret.
    #[track_caller]
    fn client(&self, program: &Path, args: &[&str]) -> Ended {
        let mut command = self.broker.run_command(&self.token);
        command.arg("sh").arg(source("observed.sh")).arg(program).args(args);
        let ended = run(&mut command, b"").expect_success();
        let seen = format!("{}\n{}", ended.stdout, ended.stderr);
        assert!(seen.contains("--- environment\n"), "the client was not observed:\n{seen}");
        assert!(seen.contains("-----BEGIN CERTIFICATE-----"), "no CA was given:\n{seen}");
        for secret in [SECRET, &self.token] {
            assert!(!seen.contains(secret), "{secret} is visible to the client:\n{seen}");
        }
        ended
    }

    #[track_caller]
    fn expect_get_and_post(mut self) {
        let requests = self.origin.requests();
        let lines: Vec<String> = requests.iter().map(|r| format!("{} {}", r.method, r.target)).collect();
        assert_eq!(lines, ["GET /get", "POST /post"]);
        assert_eq!(String::from_utf8_lossy(&requests[1].body), BODY);
        self.expect_credential_on(&requests);
        self.expect_no_traces();
    }

    #[track_caller]
    fn expect_credential_on(&self, requests: &[Received]) {
        assert!(!requests.is_empty());
        for request in requests {
            let expected = format!("Bearer {SECRET}");
            assert_eq!(request.field("authorization"), Some(expected.as_str()), "{request:?}");
            assert!(request.field("proxy-authorization").is_none(), "{request:?}");
        }
    }

    /// The broker keeps the credential sealed and the token hashed, and logs neither.
    #[track_caller]
    fn expect_no_traces(&mut self) {
        let log = self.broker.log();
        let stored = self.broker.stored_bytes();
        assert!(!stored.is_empty(), "the broker keeps its state in its home");
        for secret in [SECRET, &self.token] {
            assert!(!contains(&stored, secret), "{secret} is in a file of the broker");
            assert!(!log.contains(secret), "{secret} is in the broker's log:\n{log}");
        }
    }
}

/// Path of a client's source.
fn source(name: &str) -> String {
    format!("{}/tests/clients/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Creates `project.git` with one commit and returns the commit.
fn new_repository(git: &Path, root: &TempDir) -> String {
    let project: PathBuf = root.join("project.git");
    let in_project = |args: &[&str]| {
        let mut command: Command = bare(git, root.path());
        command.args(["-c", "user.name=Test", "-c", "user.email=test@example.test", "--git-dir"]);
        run(command.arg(&project).args(args), b"").expect_success().stdout
    };
    in_project(&["init", "-q", "--bare"]);
    let tree = in_project(&["hash-object", "-t", "tree", "-w", "--stdin"]);
    let commit = in_project(&["commit-tree", tree.trim(), "-m", "first"]);
    in_project(&["update-ref", "refs/heads/main", commit.trim()]);
    commit.trim().to_owned()
}
