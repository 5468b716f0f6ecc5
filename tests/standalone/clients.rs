//! Clients work unchanged, with a root that can vouch for the services' hosts alone.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::support::{
    Ended, Origin, SECRET, TempDir, bare, need, need_python, run, search_path, source, target_dir,
};
use super::{API, Alone, bearer};

const BODY: &str = "amount=1099&note=Größe\n";

/// The whole configuration in a variable and the secret in another, as a task definition has them.
#[test]
fn the_origin_sees_the_secret_and_the_child_does_not() {
    let test = "the_origin_sees_the_secret_and_the_child_does_not";
    let Some(curl) = need(test, "curl", "install curl") else { return };
    let alone = Alone::tls();
    let url = alone.origin.url(API, "/get");
    let ended = observe(&alone, &curl, &["-sSf", &url]);
    let (_, environment) = ended.stdout.split_once("--- environment\n").expect("an observer's report");
    let (environment, _) = environment.split_once("--- open files").expect("an observer's report");
    let lines: Vec<&str> = environment.lines().collect();
    for expected in ["API_KEY=__api_key__", "AGENT_VAULT_VAULT=default"] {
        assert!(lines.contains(&expected), "no {expected} in:\n{}", ended.stdout);
    }
    for ours in ["AGENT_VAULT_CONFIG=", "AGENT_VAULT_KEY=", "AGENT_VAULT_KEY_FILE="] {
        assert!(!lines.iter().any(|line| line.starts_with(ours)), "{ours} in:\n{}", ended.stdout);
    }
    expect(&alone, &["GET /get"]);
}

#[test]
fn curl_takes_the_root() {
    let Some(curl) = need("curl_takes_the_root", "curl", "install curl") else { return };
    let alone = Alone::tls();
    let (get, post) = (alone.origin.url(API, "/get"), alone.origin.url(API, "/post"));
    observe(&alone, &curl, &["-sSf", &get, "--next", "-sSf", "--data-binary", BODY, &post]);
    expect(&alone, &["GET /get", "POST /post"]);
}

#[test]
fn python_takes_the_root() {
    let Some(python) = need_python("python_takes_the_root", "requests") else { return };
    with_script(&python, "with_requests.py");
}

/// With a tunnel of its own making, since a Node.js before 24.5 knows no proxy variables.
#[test]
fn node_takes_the_root() {
    let Some(node) = need("node_takes_the_root", "node", "install Node.js") else { return };
    with_script(&node, "with_tunnel.mjs");
}

#[test]
fn openssl_takes_the_root() {
    if need("openssl_takes_the_root", "openssl", "install openssl").is_none() {
        return;
    }
    let alone = Alone::tls();
    let target = format!("{API}:{}", alone.origin.port());
    observe(&alone, Path::new("sh"), &[&source("with_openssl.sh"), &target, BODY]);
    expect(&alone, &["GET /get", "POST /post"]);
}

#[test]
fn go_takes_the_root() {
    let Some(go) = need("go_takes_the_root", "go", "install golang-go") else { return };
    let folder = TempDir::new();
    let client = folder.join("with_net_http");
    let mut build = bare(&go, folder.path());
    build.env("GO111MODULE", "off").env("GOCACHE", target_dir().join("test-tools/go-cache"));
    run(build.arg("build").arg("-o").arg(&client).arg(source("with_net_http.go")), b"").expect_success();
    let alone = Alone::tls();
    observe(&alone, &client, &[&alone.origin.url(API, ""), BODY]);
    expect(&alone, &["GET /get", "POST /post"]);
}

/// A wildcard's root is good for what the wildcard covers.
#[test]
fn a_wildcard_is_covered() {
    let Some(curl) = need("a_wildcard_is_covered", "curl", "install curl") else { return };
    let alone = Alone::tls();
    let document = alone.document(&json!([bearer("wild", "*.wild.example.test", "API_KEY")]));
    let mut command = alone.inline(&document);
    let url = alone.origin.url("deep.wild.example.test", "/get");
    run(command.env("API_KEY", SECRET).arg(curl).args(["-sSf", &url]), b"").expect_success();
    expect(&alone, &["GET /get"]);
}

/// Whoever got hold of the run's key could be the services' hosts to this child, and nobody else.
#[test]
fn the_root_vouches_for_no_other_host() {
    if need("the_root_vouches_for_no_other_host", "openssl", "install openssl").is_none() {
        return;
    }
    let alone = Alone::tls();
    let script = r#"
        proxy=${HTTPS_PROXY#http://}; user=${proxy%@*}
        for name in api.example.test other.example.test; do
            openssl s_client -verify_return_error -CAfile "$NODE_EXTRA_CA_CERTS" -proxy "${proxy##*@}" \
                -proxy_user "${user%%:*}" -proxy_pass "pass:${user#*:}" -connect "$1" -servername "$name" \
                < /dev/null 2>&1 | grep '^Verification'
        done
    "#;
    let target = format!("{API}:{}", alone.origin.port());
    let mut command = alone.inline(&alone.one_service());
    let ended = run(command.env("API_KEY", SECRET).args(["sh", "-c", script, "sh", &target]), b"");
    let told = "Verification: OK\nVerification error: permitted subtree violation\n";
    assert_eq!(ended.stdout, told, "{ended:?}");
}

fn with_script(interpreter: &Path, script: &str) {
    let alone = Alone::tls();
    observe(&alone, interpreter, &[&source(script), &alone.origin.url(API, ""), BODY]);
    expect(&alone, &["GET /get", "POST /post"]);
}

/// Runs a client; it has to succeed and must have seen no secret.
#[track_caller]
fn observe(alone: &Alone, program: &Path, args: &[&str]) -> Ended {
    let mut command: Command = alone.inline(&alone.one_service());
    command.env("API_KEY", SECRET).env("PATH", search_path());
    let command = command.arg("sh").arg(source("observed.sh")).arg(program).args(args);
    let ended = run(command, b"").expect_success();
    let seen = format!("{}\n{}", ended.stdout, ended.stderr);
    assert!(seen.contains("--- environment\n") && seen.contains("-----BEGIN CERTIFICATE-----"), "{seen}");
    assert!(!seen.contains(SECRET), "{SECRET} is visible to the client:\n{seen}");
    ended
}

#[track_caller]
fn expect(alone: &Alone, lines: &[&str]) {
    let origin: &Origin = &alone.origin;
    let requests = origin.requests();
    let seen: Vec<String> = requests.iter().map(|r| format!("{} {}", r.method, r.target)).collect();
    assert_eq!(seen, lines);
    for request in &requests {
        assert_eq!(request.field("authorization"), Some(format!("Bearer {SECRET}").as_str()), "{request:?}");
        assert_eq!(request.field("proxy-authorization"), None);
        if request.method == "POST" {
            assert_eq!(String::from_utf8_lossy(&request.body), BODY);
        }
    }
}
