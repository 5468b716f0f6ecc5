//! Promise: the clients people use work unchanged under `agent-vault run`, and none of them sees a secret.
//!
//! Each client makes a GET and a POST with a body over https. The credential has to arrive at the origin,
//! the body has to arrive as it was sent, and neither the credential nor the broker's token may be in
//! anything the client, the broker's files or the broker's log show.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Origin, Site, TempDir, answer, bare, contains, need, need_node, need_python, run, source};

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
    expect_get_and_post(site);
}

#[test]
fn absolute_form_https() {
    python("absolute_form_https", "socket", "with_absolute_form.py");
}

/// curl reads only the lower-case variable for plain http; a credential goes over it only to a service that
/// names its port.
#[test]
fn curl_over_plain_http() {
    let Some(curl) = need("curl_over_plain_http", "curl", "install curl") else { return };
    let origin = Origin::plain();
    let host = format!("{API}:{}", origin.port());
    let site = Site::open(origin, &host);
    let url = site.origin.url(API, "");
    let (get, post) = (format!("{url}/get"), format!("{url}/post"));
    site.client(&curl, &["-sSf", &get, "--next", "-sSf", "--data-binary", BODY, &post]);
    expect_get_and_post(site);
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
fn git_push() {
    let Some(git) = need("git_push", "git", "install git") else { return };
    let repositories = TempDir::new();
    let main = new_repository(&git, &repositories);
    let in_project = |args: &[&str]| {
        let mut command = bare(&git, repositories.path());
        run(command.arg("--git-dir").arg(repositories.join("project.git")).args(args), b"").expect_success()
    };
    in_project(&["config", "http.receivepack", "true"]);
    let mut site = Site::open(Origin::tls(&[GIT]).serving_git(repositories.path()), GIT);
    let url = site.origin.url(GIT, "/project.git");
    let ended = site.client(Path::new("sh"), &[&source("with_git.sh"), &url]);
    let topic = in_project(&["rev-parse", "topic"]).stdout;
    assert!(ended.stdout.starts_with(&format!("{main}\n{topic}")), "{main}, {topic}: {}", ended.stdout);

    let requests = site.origin.requests();
    let fetched = requests.iter().any(|request| request.field("content-encoding") == Some("gzip"));
    assert!(fetched, "no request was compressed");
    let pushed = requests.iter().find(|request| request.body.len() > 1024 * 1024).expect("a large request");
    assert_eq!(pushed.target, "/project.git/git-receive-pack");
    assert_eq!(pushed.field("transfer-encoding"), Some("chunked"));
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
    expect_get_and_post(site);
}

#[test]
fn ruby_net_http() {
    let Some(ruby) = need("ruby_net_http", "ruby", "install ruby") else { return };
    with_script(&ruby, "with_net_http.rb");
}

#[test]
fn deno_fetch() {
    let Some(deno) = need("deno_fetch", "deno", "pip install deno") else { return };
    let site = Site::open(Origin::tls(&[API]), API);
    let url = site.origin.url(API, "");
    let mut command = site.command();
    let cache = TempDir::new();
    command.env("DENO_DIR", cache.path()).arg(deno);
    site.observe(command.args(["run", "--allow-net", &source("with_deno.js"), &url, BODY]));
    expect_get_and_post(site);
}

/// What runs under it finds proxy and roots as under Node.js.
#[test]
fn bun_fetch() {
    let Some(bun) = need("bun_fetch", "bun", "npm install --global bun") else { return };
    with_script(&bun, "with_fetch.mjs");
}

/// `HttpsURLConnection`: proxy, exceptions and roots come from `JAVA_TOOL_OPTIONS` alone.
#[test]
fn java_url_connection() {
    java("java_url_connection", "WithUrlConnection.java");
}

#[test]
fn java_http_client() {
    java("java_http_client", "WithHttpClient.java");
}

/// The JVM's own tool reads the trust store: the vault's CA is its first entry, the public roots follow.
#[test]
fn java_keytool() {
    let Some(keytool) = need("java_keytool", "keytool", "install default-jdk-headless") else { return };
    let site = Site::open(Origin::tls(&[API]), API);
    let script = "keytool -list -storetype PKCS12 -storepass any-at-all \
                  -keystore \"${JAVA_TOOL_OPTIONS##*trustStore=}\"";
    assert!(keytool.is_file());
    let listed = site.client(Path::new("sh"), &["-c", script]).stdout;
    assert!(listed.contains("root-0, ") && listed.contains("root-100, "), "{listed}");
    assert_eq!(listed.matches(" trustedCertEntry").count(), listed.matches("\nroot-").count(), "{listed}");
}

#[test]
fn wget() {
    let Some(_) = need("wget", "wget", "install wget") else { return };
    let site = Site::open(Origin::tls(&[API]), API);
    site.client(Path::new("sh"), &[&source("with_wget.sh"), &site.origin.url(API, ""), BODY]);
    expect_get_and_post(site);
}

#[test]
fn pip() {
    let Some(python) = need_python("pip", "pip") else { return };
    let page = "<a href=\"thing-1.2.3-py3-none-any.whl\">thing-1.2.3-py3-none-any.whl</a>";
    let mut site = Site::open(
        Origin::tls(&[API]).answering(move |_| answer(200, &[("Content-Type", "text/html")], page)),
        API,
    );
    let index = site.origin.url(API, "/simple");
    let args = ["-m", "pip", "--disable-pip-version-check", "--isolated", "index", "versions"];
    let ended = site.client(&python, &[&args[..], &["--index-url", &index, "thing"]].concat());
    assert!(ended.stdout.contains("1.2.3"), "{}", ended.stdout);
    site.expect_credential_on(&site.origin.requests());
    site.expect_no_traces();
}

#[test]
fn cargo() {
    // Not the one on the path, which may be a front that wants settings of its own.
    let cargo = env!("CARGO");
    let origin = Origin::tls(&[API]);
    let at = origin.url(API, "");
    let origin = origin.answering(move |request| match request.target.split('?').next() {
        Some("/index/config.json") => answer(200, &[], &format!("{{\"dl\":\"{at}/dl\",\"api\":\"{at}\"}}")),
        _ => answer(
            200,
            &[],
            "{\"crates\":[{\"name\":\"something\",\"max_version\":\"1.2.3\",\"description\":\"found\"}],\
             \"meta\":{\"total\":1}}",
        ),
    });
    let mut site = Site::open(origin, API);
    let ended = site.client(Path::new("sh"), &[&source("with_cargo.sh"), cargo, &site.origin.url(API, "")]);
    assert!(ended.stdout.contains("something = \"1.2.3\""), "{}", ended.stdout);
    let requests = site.origin.requests();
    assert!(requests.iter().any(|seen| seen.target.starts_with("/api/v1/crates?")), "{requests:?}");
    site.expect_credential_on(&requests);
    site.expect_no_traces();
}

/// An SDK that insists on a key finds a placeholder, and what it sends is replaced.
#[test]
fn an_sdk_that_insists_on_a_key_starts() {
    python("an_sdk_that_insists_on_a_key_starts", "requests", "with_sdk_key.py");
}

#[test]
fn openssl_raw() {
    let Some(_) = need("openssl_raw", "openssl", "install openssl") else { return };
    let site = Site::open(Origin::tls(&[API]), API);
    let target = format!("{API}:{}", site.origin.port());
    site.client(Path::new("sh"), &[&source("with_openssl.sh"), &target, BODY]);
    expect_get_and_post(site);
}

fn python(test: &str, module: &str, script: &str) {
    let Some(python) = need_python(test, module) else { return };
    with_script(&python, script);
}

fn java(test: &str, program: &str) {
    let Some(java) = need(test, "java", "install default-jdk-headless") else { return };
    let site = Site::open(Origin::tls(&[API]), API);
    let url = site.origin.url(API, "");
    // The JVM reads its arguments as the locale says; without one they are ASCII.
    let mut command = site.command();
    site.observe(command.env("LC_ALL", "C.UTF-8").arg(java).args([&source(program), &url, BODY]));
    expect_get_and_post(site);
}

fn node(test: &str, script: &str) {
    let Some(node) = need_node(test, &[]) else { return };
    with_script(&node, script);
}

fn with_script(interpreter: &Path, script: &str) {
    let site = Site::open(Origin::tls(&[API]), API);
    site.client(interpreter, &[&source(script), &site.origin.url(API, ""), BODY]);
    expect_get_and_post(site);
}

#[track_caller]
fn expect_get_and_post(mut site: Site) {
    let requests = site.origin.requests();
    let lines: Vec<String> = requests.iter().map(|r| format!("{} {}", r.method, r.target)).collect();
    assert_eq!(lines, ["GET /get", "POST /post"]);
    assert_eq!(String::from_utf8_lossy(&requests[1].body), BODY);
    site.expect_credential_on(&requests);
    site.expect_no_traces();
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
