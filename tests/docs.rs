//! Promise: what the README and docs/ say is true. Their commands are run as they are printed, with only the
//! names of this machine exchanged; their messages are those in the source; their links lead somewhere.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use support::{
    BINARY, Background, Origin, Running, SECRET, TempDir, bare, blocks, need, readme_block, repository_file,
    run, search_path,
};

/// Where each block of the README is run. A new block needs a line here, and a test that runs it.
const RUN_BY: [(&str, &str, &str); 7] = [
    ("Try it", "sh", ".ci/run"),
    ("Start a broker", "sh", "tests/docs.rs"),
    ("Set it up", "sh", "tests/docs.rs"),
    ("Run an app", "sh", "tests/docs.rs"),
    ("In a container", "dockerfile", "tests/container/docker.rs"),
    ("In a container", "sh", "tests/container/images.rs"),
    ("Without a broker", "sh", "tests/docs.rs"),
];

/// The page for operators: a test runs each of its blocks, one after the other.
const OPERATIONS: &str = "docs/operations.md";

#[test]
fn every_block_is_run_somewhere() {
    let mut expected = RUN_BY.iter();
    for block in blocks(&repository_file("README.md")) {
        let Some((heading, language, runner)) = expected.next() else {
            panic!("no test runs the block under {:?}", block.heading);
        };
        assert_eq!((block.heading.as_str(), block.language.as_str()), (*heading, *language));
        let script = repository_file(runner);
        let call = format!("readme_block(\"{heading}\", \"{language}\")");
        assert!(*runner == ".ci/run" || script.contains(&call), "{runner} does not run {heading:?}");
    }
    assert_eq!(expected.next(), None, "a block is gone from the README");
    for page in pages().iter().filter(|page| *page != "README.md") {
        for block in blocks(&repository_file(page)) {
            match block.language.as_str() {
                "text" => {}
                "sh" if page == OPERATIONS => {}
                // A body that is shown to be sent has to be one.
                "json" => drop(serde_json::from_str::<serde_json::Value>(&block.text).expect(page)),
                other => panic!("no test runs the {other} block of {page}"),
            }
        }
    }
}

#[test]
fn the_two_scripts_are_what_ci_runs() {
    let reached = repository_file(".ci/run") + &repository_file("scripts/test.sh");
    for command in readme_block("Try it", "sh").lines() {
        assert!(reached.contains(command), "CI does not run {command}");
    }
}

/// docs/exit-codes.md and `help exit-codes` print the table that the program ends by.
#[test]
fn every_exit_code_is_explained() {
    use agent_vault::failure::{EXIT_OF_A_CHILD, EXITS};
    let page = repository_file("docs/exit-codes.md");
    let printed: Vec<&str> =
        page.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| code")).collect();
    let known: Vec<String> =
        EXITS.iter().map(|(exit, meaning)| format!("| {} | {meaning} |", exit.code())).collect();
    assert_eq!(printed, known, "docs/exit-codes.md should print:\n{}", known.join("\n"));
    assert!(page.ends_with(&format!("\n{EXIT_OF_A_CHILD}\n")), "{EXIT_OF_A_CHILD}");

    let home = TempDir::new();
    let told =
        |args: &[&str]| run(bare(Path::new(BINARY), home.path()).args(args), b"").expect_success().stdout;
    let help = told(&["help", "exit-codes"]);
    for (exit, meaning) in EXITS {
        let row = format!("{:<4}  {meaning}", exit.code());
        assert!(help.lines().any(|line| line == row), "{row:?} is not in {help}");
    }
    assert!(help.ends_with(&format!("\n{EXIT_OF_A_CHILD}\n")), "{help}");
    assert!(told(&["--help"]).contains("agent-vault help exit-codes"), "the list of commands names it");
    assert_eq!(told(&["help"]), told(&["--help"]));
}

/// The table of docs/reasons.md is the proxy's own, row by row.
#[test]
fn every_reason_is_explained() {
    let page = repository_file("docs/reasons.md");
    let printed: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let known: Vec<String> = agent_vault::proxy::reasons::TABLE
        .iter()
        .map(|reason| {
            let statuses: Vec<String> = reason.statuses.iter().map(ToString::to_string).collect();
            let status = if statuses.is_empty() { "closed".to_owned() } else { statuses.join(", ") };
            format!("| `{}` | {status} | {} | {} |", reason.name, reason.meaning, reason.remedy)
        })
        .collect();
    assert_eq!(printed, known, "docs/reasons.md should print:\n{}", known.join("\n"));
}

/// A newcomer's way, block by block: a broker, its set-up, an app whose call arrives with the key.
#[test]
fn a_newcomer_can_follow_the_readme() {
    if need("a_newcomer_can_follow_the_readme", "curl", "install curl").is_none() {
        return;
    }
    let origin = Origin::tls(&["api.stripe.com"]);
    let home = TempDir::new();
    symlink(BINARY, home.dir("bin").join("agent-vault")).expect("a link to the binary");
    home.write("master-password", "a master password\n");
    home.write("owner-password", "correct horse battery\n");
    home.write("stripe-key", &format!("{SECRET}\n"));

    let server = readme_block("Start a broker", "sh");
    let free_ports = "exec agent-vault server --port 0 --mitm-port auto";
    let mut server = shell(&home, &exchange(&server, "agent-vault server", free_ports));
    server
        .env("AGENT_VAULT_ALLOW_PRIVATE_RANGES", "true")
        .env("AGENT_VAULT_HOST_OVERRIDES", "api.stripe.com=127.0.0.1")
        .env("AGENT_VAULT_UPSTREAM_CA", home.write("origin-ca.pem", origin.ca_pem()));
    let mut server = Running::start(&mut server);
    let address = server.line_after("Agent Vault server listening on ");
    server.line_after("Agent Vault transparent proxy listening on ");

    let set_up = readme_block("Set it up", "sh");
    run(shell(&home, &set_up).env("AGENT_VAULT_ADDR", &address), b"").expect_success();

    let app = exchange(&readme_block("Run an app", "sh"), "http://127.0.0.1:14321", &address);
    let host = format!("https://api.stripe.com:{}/", origin.port());
    let app = exchange(&app, "https://api.stripe.com/", &host);
    let ended = run(&mut shell(&home, &app), b"").expect_success();
    assert_eq!(ended.stdout, "origin saw GET /v1/balance\n");
    assert_eq!(origin.last().field("authorization"), Some(format!("Bearer {SECRET}").as_str()));
}

#[test]
fn a_run_without_a_broker_is_as_printed() {
    if need("a_run_without_a_broker_is_as_printed", "curl", "install curl").is_none() {
        return;
    }
    let origin = Origin::tls(&["api.stripe.com"]);
    let home = TempDir::new();
    symlink(BINARY, home.dir("bin").join("agent-vault")).expect("a link to the binary");
    home.write("stripe-key", &format!("{SECRET}\n"));
    let script = readme_block("Without a broker", "sh");
    let host = format!("https://api.stripe.com:{}/", origin.port());
    let mut command = shell(&home, &exchange(&script, "https://api.stripe.com/", &host));
    command
        .env("AGENT_VAULT_ALLOW_PRIVATE_RANGES", "true")
        .env("AGENT_VAULT_HOST_OVERRIDES", "api.stripe.com=127.0.0.1")
        .env("AGENT_VAULT_UPSTREAM_CA", home.write("origin-ca.pem", origin.ca_pem()));
    let ended = run(&mut command, b"").expect_success();
    assert!(ended.stdout.ends_with("origin saw GET /v1/balance\n"), "{}", ended.stdout);
    assert_eq!(origin.last().field("authorization"), Some(format!("Bearer {SECRET}").as_str()));
}

/// An operator's days, block by block: after each restart the broker has what it had.
#[test]
fn an_operator_can_follow_the_page() {
    let home = TempDir::new();
    symlink(BINARY, home.dir("bin").join("agent-vault")).expect("a link to the binary");
    home.write("master-password", "a master password\n");
    home.write("new-master-password", "another master password\n");
    home.write("new-password", "another password\n");
    let _background = Background(&home);
    let here = |script: &str| {
        let mut command = shell(&home, script);
        command
            .env("AGENT_VAULT_MASTER_PASSWORD_FILE", home.join("master-password"))
            .env("AGENT_VAULT_OWNER_EMAIL", "you@example.com")
            .env("AGENT_VAULT_OWNER_PASSWORD", "correct horse battery");
        command
    };
    let address = || {
        let log = fs::read_to_string(home.join(".agent-vault/server.log")).unwrap_or_default();
        let last = log.lines().rev().find_map(|line| line.strip_prefix("Agent Vault server listening on "));
        last.unwrap_or_default().to_owned()
    };
    let page = repository_file(OPERATIONS);
    for block in blocks(&page).iter().filter(|block| block.language == "sh") {
        // A port of its own at every start, which the commands after it have to be told.
        let start = "agent-vault server --detach --port 0 --mitm-port auto\n";
        let script = block.text.replace("agent-vault server --detach\n", start);
        for part in script.split_inclusive(start) {
            let mut command = here(part);
            // A server would take it for its public address.
            if !part.ends_with(start) {
                command.env("AGENT_VAULT_ADDR", address());
            }
            run(&mut command, b"").expect_success();
        }
    }
    let owner = "agent-vault auth login --email you@example.com --password-stdin < new-password\n\
                 agent-vault account whoami\nagent-vault server stop\n";
    let ended = run(here(owner).env("AGENT_VAULT_ADDR", address()), b"").expect_success();
    assert!(ended.stdout.contains("you@example.com"), "{}", ended.stdout);
    // Backups are what they are said to be.
    let restored = run(&mut here("agent-vault restore --force before-upgrade.db"), b"");
    assert!(restored.code() == Some(0), "{}", restored.stderr);
    let older = run(&mut here("agent-vault restore --force vault-backup.db"), b"");
    assert!(older.stderr.starts_with("wrong master password for this backup\n"), "{}", older.stderr);
}

/// The first column of the table under "When it does not work": its fixed words are in the source.
#[test]
fn every_message_is_one_the_binary_says() {
    let mut source = String::new();
    read_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut source);
    let readme = repository_file("README.md");
    let (_, section) = readme.split_once("## When it does not work").expect("a section of that name");
    let rows: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    assert!(rows.len() > 5, "the table is gone");
    let mut unknown = Vec::new();
    for row in rows {
        let message = row.split_once('`').expect("a message ends where its code ends").0;
        // `{name}` stands for what differs from case to case, quoted or not.
        let message = message.replace("\"{", "{").replace("}\"", "}");
        for fixed in message.split('{').map(|part| part.split_once('}').map_or(part, |(_, rest)| rest)) {
            if !source.contains(&fixed.replace('"', "\\\"")) && !source.contains(fixed) {
                unknown.push(format!("{fixed:?} of {message:?}"));
            }
        }
    }
    assert!(unknown.is_empty(), "not in the source:\n{}", unknown.join("\n"));
}

#[test]
fn every_relative_link_leads_to_a_file() {
    for page in pages() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(&page);
        let folder = folder.parent().expect("a page is in a folder");
        for link in repository_file(&page).split("](").skip(1).map(|rest| rest.split(')').next()) {
            let link = link.unwrap_or_default().split('#').next().unwrap_or_default();
            let outside = link.is_empty() || link.contains("://");
            assert!(outside || folder.join(link).exists(), "{page} links to {link:?}");
        }
    }
}

fn pages() -> BTreeSet<String> {
    let docs = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).expect("docs/ exists");
    let docs = docs.flatten().map(|entry| format!("docs/{}", entry.file_name().to_string_lossy()));
    docs.chain(["README.md".to_owned()]).collect()
}

/// A shell that runs `script` in `home` with `home/bin` first on its search path.
fn shell(home: &TempDir, script: &str) -> Command {
    let mut path = home.join("bin").into_os_string();
    path.push(":");
    path.push(search_path());
    let mut command = bare(Path::new("sh"), home.path());
    command.env("PATH", path).args(["-euc", script]);
    command
}

#[track_caller]
fn exchange(text: &str, printed: &str, here: &str) -> String {
    assert_eq!(text.matches(printed).count(), 1, "{printed:?} in:\n{text}");
    text.replace(printed, here)
}

/// All sources as one text, with string literals that go on in the next line joined.
fn read_sources(folder: &Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a source folder").flatten() {
        if entry.path().is_dir() {
            read_sources(&entry.path(), text);
        } else {
            let source = fs::read_to_string(entry.path()).expect("a source file is text");
            let mut parts = source.split("\\\n");
            text.push_str(parts.next().unwrap_or_default());
            parts.for_each(|part| text.push_str(part.trim_start()));
        }
    }
}
