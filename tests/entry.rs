//! Promise: `run` checks before it starts, says exactly what is wrong, and hides the token from the child.
//!
//! The broker is a stand-in, so that it can also say what no broker should. Numbers are those of the
//! contract's cases (proxy J).

mod support;

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use support::{BINARY, CA_PEM, Ended, StandIn, TOKEN, TempDir, Terminal, answer, bare, contains, need, run};

/// Writes `started` when it runs, so that a test sees that it did not.
const CHILD: [&str; 4] = ["--", "sh", "-c", "echo started"];

/// A failure before the start: its text, its code, nothing on stdout.
#[track_caller]
fn expect_failure(ended: &Ended, code: i32, message: &str) {
    assert_eq!(ended.code(), Some(code), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().next().unwrap_or_default(), message);
    assert_eq!(ended.stdout, "");
}

#[track_caller]
fn run_child(command: &mut Command, flags: &[&str]) -> Ended {
    run(command.arg("run").args(flags).args(CHILD), b"")
}

fn value<'o>(output: &'o str, name: &str) -> Option<&'o str> {
    output.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[test]
fn j1_run_and_vault_run_list_the_same_flags() {
    let home = TempDir::new();
    let help = |words: &[&str]| {
        let ended = run(bare(BINARY.as_ref(), home.path()).args(words).arg("--help"), b"").expect_success();
        let flags = ended.stdout.lines().filter(|line| line.trim_start().starts_with("--"));
        flags.map(|line| format!("{line}\n")).collect::<String>()
    };
    let flags = help(&["run"]);
    assert_eq!(help(&["vault", "run"]), flags);
    for flag in [
        "address",
        "ttl",
        "vault",
        "isolation",
        "image",
        "mount",
        "keep",
        "no-firewall",
        "home-volume-shared",
        "share-agent-dir",
    ] {
        assert!(flags.contains(&format!("--{flag}")), "no --{flag} in:\n{flags}");
    }
}

#[test]
fn j2_a_token_without_an_address_is_refused() {
    let stand_in = StandIn::start();
    let mut command = stand_in.agent();
    let ended = run_child(command.env_remove("AGENT_VAULT_ADDR"), &["--address", &stand_in.address()]);
    let text = "AGENT_VAULT_TOKEN is set but AGENT_VAULT_ADDR is empty — both are required for agent mode";
    expect_failure(&ended, 125, text);
    assert_eq!(stand_in.lines(), [""; 0]);
}

#[test]
fn j3_j7_the_broker_is_asked_once_and_exactly() {
    let stand_in = StandIn::start();
    let mut command = stand_in.agent();
    command.env("AGENT_VAULT_ADDR", format!("{}///", stand_in.address()));
    run_child(&mut command, &[]).expect_success();
    assert_eq!(stand_in.lines(), ["GET /discover", "GET /v1/mitm/ca.pem"]);
    let requests = stand_in.requests();
    assert_eq!(requests[0].field("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(requests[0].field("x-vault"), Some("v"));
    assert_eq!(requests[1].field("authorization"), None);
}

#[test]
fn j4_j5_the_vault_comes_from_the_flag_then_the_variable_and_from_nowhere_else() {
    let stand_in = StandIn::start();
    stand_in.home().write("agent-vault.json", "{\"vault\":\"project\"}");
    let asked = |flags: &[&str], variable: Option<&str>| {
        let mut command = stand_in.agent();
        command.env_remove("AGENT_VAULT_VAULT");
        command.envs(variable.map(|vault| ("AGENT_VAULT_VAULT", vault)));
        let ended = run_child(&mut command, flags);
        let seen = stand_in.requests();
        let vault =
            seen.iter().rfind(|seen| seen.target == "/discover").and_then(|seen| seen.field("x-vault"));
        (ended, vault.unwrap_or_default().to_owned())
    };
    assert_eq!(asked(&["--vault", "flag-vault"], Some("env-vault")).1, "flag-vault");
    assert_eq!(asked(&[], Some("env-vault")).1, "env-vault");
    let (ended, _) = asked(&[], None);
    expect_failure(&ended, 125, "vault is required in agent mode: set AGENT_VAULT_VAULT or pass --vault");
}

#[test]
fn j6_ttl_makes_no_sense_with_a_token() {
    let stand_in = StandIn::start();
    for ttl in ["3600", "0"] {
        let ended = run_child(&mut stand_in.agent(), &["--ttl", ttl]);
        let text = "--ttl has no effect when AGENT_VAULT_TOKEN is supplied; the token's lifetime is fixed at mint time";
        expect_failure(&ended, 125, text);
    }
    assert_eq!(stand_in.lines(), [""; 0]);
}

#[test]
fn j8_to_j13_every_answer_to_discover() {
    let rejected = |code: u16| {
        format!(
            "agent token rejected by broker (HTTP {code}) — verify AGENT_VAULT_TOKEN is current and has access to vault \"v\""
        )
    };
    let long = "x".repeat(600);
    let cases = [
        (401, "{}", rejected(401)),
        (403, "{}", rejected(403)),
        (404, "{\"error\":\"Vault not found: v\"}\n",
            "validate token: server returned HTTP 404: {\"error\":\"Vault not found: v\"}".to_owned()),
        (500, long.as_str(), format!("validate token: server returned HTTP 500: {}", "x".repeat(512))),
        (200, "{\"vault\":\"actual-vault\"}",
            "vault mismatch: requested vault \"v\" does not match the supplied token's vault \"actual-vault\" — \
             set AGENT_VAULT_VAULT (or --vault) to \"actual-vault\", or use a token for \"v\"".to_owned()),
        (200, "[]", "validate token: parsing /discover response: not a JSON object".to_owned()),
    ];
    for (status, body, message) in cases {
        let stand_in = StandIn::start();
        stand_in.answers("GET /discover", answer(status, &[], body));
        expect_failure(&run_child(&mut stand_in.agent(), &[]), 125, &message);
    }
    let stand_in = StandIn::start();
    stand_in.answers("GET /discover", answer(200, &[], "not json"));
    let ended = run_child(&mut stand_in.agent(), &[]);
    assert!(ended.stderr.starts_with("validate token: parsing /discover response: "), "{}", ended.stderr);
    for accepted in ["{\"vault\":\"v\"}", "{\"vault\":\"\"}", "{}", "{\"vault\":\"v\",\"more\":[1]}"] {
        stand_in.answers("GET /discover", answer(200, &[], accepted));
        let ended = run_child(&mut stand_in.agent(), &[]).expect_success();
        assert_eq!(ended.stdout, "started\n");
    }
}

#[test]
fn j14_to_j20_admin_mode_mints_a_token() {
    let stand_in = StandIn::start();
    let admin = |flags: &[&str]| run_child(&mut stand_in.bare(), flags);
    expect_failure(&admin(&[]), 125, "not logged in, run 'agent-vault auth login' first");

    stand_in.home().dir(".agent-vault");
    stand_in.home().write(".agent-vault/session.json", "{");
    let ended = admin(&[]);
    assert!(ended.stderr.starts_with("loading session: "), "{}", ended.stderr);

    let session = format!("{{\"token\":\"av_sess_person\",\"address\":{:?}}}", stand_in.address());
    stand_in.home().write(".agent-vault/session.json", &session);
    stand_in.answers("GET /v1/vaults", answer(401, &[], ""));
    expect_failure(&admin(&[]), 125, "listing vaults: status 401");
    stand_in.answers("GET /v1/vaults", answer(403, &[], ""));
    admin(&[]).expect_success();
    stand_in.answers("GET /v1/vaults", answer(200, &[], "{\"vaults\":[{\"name\":\"only\"}]}"));
    admin(&["--ttl", "600"]).expect_success();
    let minted = |stand_in: &StandIn| {
        let seen = stand_in.requests();
        let mint = seen.iter().rfind(|seen| seen.method == "POST").expect("a mint").clone();
        assert_eq!(mint.field("authorization"), Some("Bearer av_sess_person"));
        String::from_utf8(mint.body).expect("JSON")
    };
    assert_eq!(minted(&stand_in), "{\"vault\":\"only\",\"ttl_seconds\":600}");
    stand_in.home().write(".agent-vault/context", "chosen\n");
    admin(&[]).expect_success();
    assert_eq!(minted(&stand_in), "{\"vault\":\"chosen\"}");

    let before = stand_in.lines().len();
    stand_in.answers("POST /v1/sessions", answer(401, &[], "{\"error\":\"Session expired\"}"));
    expect_failure(&admin(&["--vault", "v"]), 125, "failed to create scoped session: Session expired");
    assert_eq!(stand_in.lines()[before..], ["POST /v1/sessions"]);
    stand_in.answers("POST /v1/sessions", answer(403, &[], ""));
    expect_failure(&admin(&["--vault", "v"]), 125, "failed to create scoped session: status 403");
    stand_in.answers("POST /v1/sessions", answer(201, &[], "{\"token\":\"t\"}"));
    expect_failure(&admin(&["--vault", "v"]), 125, "failed to create scoped session: status 201");
}

#[test]
fn j17_to_j19_an_expired_login_is_renewed_once_at_a_terminal() {
    if need("j17_to_j19", "setsid", "install util-linux").is_none() {
        return;
    }
    let expired = answer(401, &[], "{\"error\":\"Session expired\"}");
    let stand_in = |address: Option<&str>| {
        let stand_in = StandIn::start();
        let address = address.map_or_else(|| stand_in.address(), str::to_owned);
        let session = format!("{{\"token\":\"av_sess_old\",\"address\":{address:?},\"email\":\"a@b.c\"}}");
        stand_in.home().dir(".agent-vault");
        stand_in.home().write(".agent-vault/session.json", &session);
        stand_in.answers("GET /v1/vaults", answer(200, &[], "{\"vaults\":[{\"name\":\"only\"}]}"));
        stand_in.answers("POST /v1/auth/login", answer(200, &[], "{\"token\":\"av_sess_new\"}"));
        stand_in.answers("POST /v1/sessions", expired.clone());
        stand_in
    };
    let refused = "failed to create scoped session: Session expired";
    let ask = ["GET /v1/vaults", "POST /v1/sessions"];
    let renew = ["POST /v1/auth/login", "POST /v1/sessions"];

    // 17 and 18: what failed is done once more, with the new token, and no more than once.
    let known = stand_in(None);
    let mut person = Terminal::start(known.bare().arg("run").args(CHILD));
    person.awaits("Password for a@b.c: ").types("whatever");
    let (code, shown) = person.end();
    assert!(code == Some(125) && shown.contains(refused) && !shown.contains("started"), "{shown}");
    assert_eq!(known.lines(), [ask, renew].concat());
    let requests = known.requests();
    let tokens: Vec<_> = requests.iter().map(|seen| seen.field("authorization")).collect();
    assert_eq!((tokens[1], tokens[3]), (Some("Bearer av_sess_old"), Some("Bearer av_sess_new")));
    assert_eq!(requests[2].body, b"{\"email\":\"a@b.c\",\"password\":\"whatever\"}");
    let saved = fs::read_to_string(known.home().join(".agent-vault/session.json")).expect("a session");
    assert!(saved.contains("av_sess_new"), "{saved}");
    known.answers("POST /v1/sessions", answer(200, &[], &format!("{{\"token\":{TOKEN:?}}}")));
    let (code, shown) = Terminal::start(known.bare().arg("run").args(CHILD)).end();
    assert!(code == Some(0) && shown.contains("started"), "{shown}");

    // 18: a broker at another address is not given the password of this one.
    let other = stand_in(Some("http://elsewhere:1"));
    let address = other.address();
    let (code, shown) = Terminal::start(other.bare().args(["run", "--address", &address]).args(CHILD)).end();
    assert!(code == Some(125) && shown.contains(refused) && !shown.contains("Password"), "{shown}");
    assert_eq!(other.lines(), ask);

    // 19: who may not is not who has expired.
    let forbidden = stand_in(None);
    forbidden.answers("POST /v1/sessions", answer(403, &[], "{\"error\":\"Member role required\"}"));
    let (code, shown) = Terminal::start(forbidden.bare().arg("run").args(CHILD)).end();
    assert!(code == Some(125) && shown.contains("Member role required"), "{shown}");
    assert_eq!(forbidden.lines(), ask);
}

#[test]
fn j26_a_broker_that_stops_answering_is_named() {
    let stand_in = StandIn::start();
    stand_in.answers("GET /v1/mitm/ca.pem", b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec());
    let ended = run_child(&mut stand_in.agent(), &[]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(125), ""));
    let start = format!("MITM setup failed: could not reach server at {}: ", stand_in.address());
    assert!(ended.stderr.starts_with(&start), "{}", ended.stderr);
}

#[test]
fn j22_to_j24_isolation_is_judged_before_anything_is_asked() {
    let stand_in = StandIn::start();
    let text = "invalid argument \"vm\" for \"--isolation\" flag: must be one of: host, container";
    expect_failure(&run_child(&mut stand_in.agent(), &["--isolation", "vm"]), 125, text);
    expect_failure(
        &run_child(&mut stand_in.agent(), &["--keep"]),
        125,
        "--keep requires --isolation=container",
    );
    let ended = run_child(&mut stand_in.agent(), &["--isolation=container"]);
    expect_failure(&ended, 125, "--isolation=container is not available in this build");
    let ended = run(stand_in.agent().arg("run"), b"");
    expect_failure(&ended, 125, "requires at least 1 arg(s), only received 0");
    expect_failure(&run_child(&mut stand_in.agent(), &["--foo"]), 125, "unknown flag: --foo");
    assert_eq!(stand_in.lines(), [""; 0]);
}

#[test]
fn j25_every_answer_to_the_ca_request() {
    let disabled = "MITM proxy is disabled on the Agent Vault server; restart the server without --mitm-port 0 to enable it";
    for (status, body, message) in [
        (404, "", disabled),
        (503, " busy \n", "MITM setup failed: server returned 503: busy"),
        (200, "<html>", "MITM setup failed: the server's answer to /v1/mitm/ca.pem is not a certificate"),
    ] {
        let stand_in = StandIn::start();
        stand_in.answers("GET /v1/mitm/ca.pem", answer(status, &[], body));
        let places = stand_in.home().dir("places");
        let place = places.to_str().expect("a UTF-8 path");
        expect_failure(&run_child(&mut stand_in.agent(), &["--ca-dir", place]), 125, message);
        assert_eq!(fs::read_dir(&places).expect("a folder").count(), 0);
    }
}

#[test]
fn j27_the_port_is_the_brokers_or_the_usual_one() {
    for (field, port) in [
        (Some("9001"), 9001),
        (None, 14322),
        (Some("0"), 14322),
        (Some("65536"), 14322),
        (Some("abc"), 14322),
    ] {
        let stand_in = StandIn::start();
        let fields: Vec<_> = field.iter().map(|port| ("X-MITM-Port", *port)).collect();
        stand_in.answers("GET /v1/mitm/ca.pem", answer(200, &fields, CA_PEM));
        let ended = run_child(&mut stand_in.agent(), &[]).expect_success();
        let line = format!("agent-vault: routing HTTP/HTTPS through MITM proxy (127.0.0.1:{port})");
        assert_eq!(
            ended.stderr.split('\n').collect::<Vec<_>>(),
            [line.as_str(), "agent-vault: agent-vault connected. Starting sh...", "", ""]
        );
    }
}

#[test]
fn j28_to_j32_the_child_of_direct_gets_the_contracts_environment() {
    let stand_in = StandIn::start();
    let mut command = stand_in.agent();
    for name in ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "SSL_CERT_FILE", "DENO_CERT", "AGENT_VAULT_ADDR_X"]
    {
        command.env(name, "stale");
    }
    command.env("FOO", "bar").env("AGENT_VAULT_TELEMETRY", "false");
    command.env("AGENT_VAULT_ADDR", format!("{}/", stand_in.address()));
    let places = stand_in.home().dir("places");
    command.args(["run", "--direct", "--vault", "v", "--ca-dir"]).arg(&places);
    let ended =
        run(command.args(["--", "sh", "-c", "env; cat $NODE_EXTRA_CA_CERTS >&2"]), b"").expect_success();
    let port = stand_in.port();
    let url = format!("http://{TOKEN}:v@127.0.0.1:{port}");
    for (name, expected) in [
        ("AGENT_VAULT_TOKEN", TOKEN),
        ("AGENT_VAULT_ADDR", stand_in.address().as_str()),
        ("AGENT_VAULT_VAULT", "v"),
        ("HTTPS_PROXY", &url),
        ("HTTP_PROXY", &url),
        ("https_proxy", &url),
        ("http_proxy", &url),
        ("OPENCLAW_PROXY_URL", &url),
        ("NODE_USE_ENV_PROXY", "1"),
        ("FOO", "bar"),
    ] {
        let lines = ended.stdout.lines().filter(|line| line.starts_with(&format!("{name}=")));
        assert_eq!(lines.collect::<Vec<_>>(), [format!("{name}={expected}")]);
    }
    assert!(value(&ended.stdout, "NO_PROXY").is_some_and(|list| list.starts_with("localhost,127.0.0.1")));
    // The CA alone where it is added, the CA in front of the public roots where it replaces.
    assert!(ended.stderr.ends_with(CA_PEM), "{}", ended.stderr);
    let bundle = fs::read_to_string(value(&ended.stdout, "SSL_CERT_FILE").expect("set")).expect("a bundle");
    assert!(bundle.starts_with(CA_PEM));
    assert!(bundle.matches("-----BEGIN CERTIFICATE-----").count() > 50);
    // A second run shares the files.
    run(stand_in.agent().args(["run", "--direct", "--ca-dir"]).arg(&places).args(["--", "true"]), b"")
        .expect_success();
    assert_eq!(fs::read_dir(&places).expect("a folder").count(), 1);
}

#[test]
fn j36_an_agent_gets_its_skill_file_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let stand_in = StandIn::start();
    let claude = stand_in.home().write("claude", "#!/bin/sh\nexit 0\n");
    fs::set_permissions(&claude, fs::Permissions::from_mode(0o755)).expect("a mode");
    let file = stand_in.home().join(".claude/skills/agent-vault-cli/SKILL.md");
    let text = include_str!("../docs/agent-skill.md");
    let said =
        |ended: &Ended| ended.stderr.contains("agent-vault: Installed Agent Vault skills for Claude Code.\n");
    let start = || run(stand_in.agent().args(["run", "--"]).arg(&claude), b"").expect_success();

    assert!(said(&start()), "the first run installs it");
    assert_eq!(fs::read_to_string(&file).expect("the skill file"), text);
    assert_eq!(fs::metadata(&file).expect("the skill file").permissions().mode() & 0o777, 0o600);
    assert!(!said(&start()), "an equal file is left alone");
    fs::write(&file, "changed").expect("the skill file");
    assert!(said(&start()), "a changed file is written again");
    assert_eq!(fs::read_to_string(&file).expect("the skill file"), text);
}

#[test]
fn j34_j35_every_end_has_its_code() {
    let stand_in = StandIn::start();
    let plain = stand_in.home().write("plain", "no program");
    let plain = plain.to_str().expect("a UTF-8 path");
    let cases: [(&[&str], i32, &str); 6] = [
        (&["nope"], 127, "command not found: nope"),
        (&["/no/such/file"], 127, "command not found: /no/such/file"),
        (&[plain], 126, &format!("cannot execute {plain}: permission denied")),
        (&["/"], 126, "cannot execute /: it is a directory"),
        (&["./nope"], 127, "command not found: ./nope"),
        (&[""], 127, "command not found: "),
    ];
    for (command, code, message) in cases {
        let ended = run(stand_in.agent().args(["run", "--"]).args(command), b"");
        expect_failure(&ended, code, message);
    }
    assert_eq!(stand_in.lines(), [""; 0], "the command is looked up before the broker is asked");
    for way in [&["run"][..], &["run", "--direct"]] {
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255)] {
            let ended = run(stand_in.agent().args(way).args(["--", "sh", "-c", script]), b"");
            assert_eq!(ended.code(), Some(code), "{script}");
        }
    }
    for (script, code) in [("kill -9 $$", 137), ("kill -15 $$", 143), ("kill -40 $$", 168)] {
        assert_eq!(stand_in.run_script(script).code(), Some(code), "{script}");
    }
}

#[test]
fn a_program_the_system_cannot_load_is_told_from_a_missing_one() {
    use std::os::unix::fs::PermissionsExt as _;
    let stand_in = StandIn::start();
    for (name, content, hint) in
        [("garbage", "\x7fELF nonsense", ""), ("lost", "#!/no/such/interpreter\n", "hint: the file is there")]
    {
        let file = stand_in.home().write(name, content);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("permissions");
        for way in [&["run", "--"][..], &["run", "--direct", "--"]] {
            let ended = run(stand_in.agent().args(way).arg(&file), b"");
            assert_eq!(ended.code(), Some(126), "{}", ended.stderr);
            assert!(
                ended.stderr.contains(&format!("cannot execute {}: ", file.display())),
                "{}",
                ended.stderr
            );
            assert!(ended.stderr.contains(hint), "{}", ended.stderr);
        }
    }
}

#[test]
fn a_broker_that_is_not_there_or_not_trusted_is_named() {
    let stand_in = StandIn::start();
    let unused = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let mut command = stand_in.agent();
    let ended = run_child(command.env("AGENT_VAULT_ADDR", format!("http://{unused}")), &[]);
    expect_failure(&ended, 125, &format!("validate token: contacting http://{unused}: connection refused"));
    assert!(ended.stderr.contains("\nhint: check AGENT_VAULT_ADDR"), "{}", ended.stderr);

    let mut command = stand_in.agent();
    let ended = run_child(command.env("AGENT_VAULT_ADDR", "broker:14321"), &[]);
    assert_eq!(ended.code(), Some(125));
    assert!(ended.stderr.starts_with("validate token: contacting broker:14321: "), "{}", ended.stderr);

    let secured = StandIn::tls();
    let address = format!("https://localhost:{}", secured.port());
    let text = format!(
        "validate token: contacting {address}: the broker's certificate is not signed by a trusted root"
    );
    let ended = run_child(secured.agent().env("AGENT_VAULT_ADDR", &address), &[]);
    expect_failure(&ended, 125, &text);
    assert!(ended.stderr.contains("--broker-ca FILE"), "{}", ended.stderr);
    let roots = secured.home().write("roots.pem", secured.ca_pem());
    let roots = roots.to_str().expect("a UTF-8 path");
    let ended = run_child(secured.agent().env("AGENT_VAULT_ADDR", &address), &["--broker-ca", roots]);
    assert_eq!(ended.expect_success().stdout, "started\n");
}

#[test]
fn garbage_instead_of_a_broker_is_named() {
    let stand_in = StandIn::start();
    stand_in.answers("GET /discover", b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec());
    let ended = run_child(&mut stand_in.agent(), &[]);
    assert_eq!(ended.code(), Some(125));
    let start = format!("validate token: contacting {}: ", stand_in.address());
    assert!(ended.stderr.starts_with(&start), "{}", ended.stderr);
}

#[test]
fn wait_heals_what_waiting_can_heal() {
    let stand_in = StandIn::start();
    stand_in.answers("GET /discover", answer(503, &[], "starting"));
    let ended = run_child(&mut stand_in.agent(), &["--wait", "300ms"]);
    expect_failure(&ended, 125, "validate token: server returned HTTP 503: starting");
    assert!(stand_in.lines().len() > 1);
    let before = stand_in.lines().len();
    stand_in.answers("GET /discover", answer(401, &[], ""));
    assert_eq!(run_child(&mut stand_in.agent(), &["--wait", "30s"]).code(), Some(125));
    assert_eq!(stand_in.lines().len(), before + 1);
}

#[test]
fn the_token_is_nowhere_the_child_can_look() {
    let stand_in = StandIn::start();
    let script = "env; cat /proc/$$/environ /proc/$PPID/environ /proc/$PPID/cmdline; ls -l /proc/$PPID/fd; \
                  cat $SSL_CERT_FILE";
    let ended = stand_in.run_script(script);
    for text in [&ended.stdout, &ended.stderr] {
        assert!(!contains(text.as_bytes(), TOKEN), "{text}");
    }
    let credential = value(&ended.stdout, "AGENT_VAULT_TOKEN").expect("set");
    assert!(credential.starts_with("av_sess_") && credential.len() == 72, "{credential}");
    let address = value(&ended.stdout, "AGENT_VAULT_ADDR").expect("set");
    assert!(address.starts_with("http://127.0.0.1:") && address != stand_in.address());
    let authority = address.trim_start_matches("http://");
    assert_eq!(
        value(&ended.stdout, "https_proxy"),
        Some(format!("http://{credential}:v@{authority}").as_str())
    );
}

#[test]
fn the_token_may_come_from_a_file_that_the_child_is_not_told_of() {
    let stand_in = StandIn::start();
    let file = stand_in.home().write("token", &format!("{TOKEN}\n"));
    let mut command = stand_in.agent();
    command.env_remove("AGENT_VAULT_TOKEN").env("AGENT_VAULT_TOKEN_FILE", &file);
    let ended = run(command.args(["run", "--", "env"]), b"").expect_success();
    assert_eq!(value(&ended.stdout, "AGENT_VAULT_TOKEN_FILE"), None);
    assert_eq!(stand_in.requests()[0].field("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    let mut command = stand_in.agent();
    let missing = stand_in.home().join("missing");
    command.env_remove("AGENT_VAULT_TOKEN").env("AGENT_VAULT_TOKEN_FILE", &missing);
    let ended = run_child(&mut command, &[]);
    assert_eq!(ended.code(), Some(125));
    assert!(ended.stderr.starts_with("AGENT_VAULT_TOKEN_FILE: "), "{}", ended.stderr);
}

#[test]
fn the_ca_goes_where_it_can_and_is_gone_afterwards() {
    let stand_in = StandIn::start();
    let places = stand_in.home().dir("places");
    let mut command = stand_in.agent();
    command.env("AGENT_VAULT_CA_DIR", &places);
    let script = "echo $SSL_CERT_FILE; ls -l $SSL_CERT_FILE | cut -c1-10";
    let ended = run(command.args(["run", "--", "sh", "-c", script]), b"").expect_success();
    let (file, mode) = ended.stdout.trim().split_once('\n').expect("two lines");
    assert!(file.starts_with(places.to_str().expect("a UTF-8 path")), "{file}");
    assert_eq!(mode, "-rw-r--r--");
    assert_eq!(fs::read_dir(&places).expect("a folder").count(), 0);

    let blocked = stand_in.home().write("blocked", "");
    let blocked = blocked.to_str().expect("a UTF-8 path");
    let ended = run_child(&mut stand_in.agent(), &["--ca-dir", blocked]);
    assert_eq!(ended.code(), Some(125));
    assert!(ended.stderr.starts_with("MITM setup failed: write CA: "), "{}", ended.stderr);
    assert!(ended.stderr.contains(blocked), "{}", ended.stderr);
}

#[test]
fn health_finds_the_run_of_its_name() {
    let stand_in = StandIn::start();
    let name = format!("entry-{}", std::process::id());
    let health = || run(stand_in.bare().arg("health").env("AGENT_VAULT_HEALTH_NAME", &name), b"");
    assert_eq!(health().code(), Some(1));
    let mut command = stand_in.agent();
    command.env("AGENT_VAULT_HEALTH_NAME", &name);
    let script = format!("{BINARY} health && echo well");
    let ended = run(command.args(["run", "--", "sh", "-c", &script]), b"").expect_success();
    assert_eq!(ended.stdout, "well\n");
    assert_eq!(health().code(), Some(1));
}
