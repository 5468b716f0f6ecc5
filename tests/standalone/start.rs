//! Where credentials come from, and what stops a start.

use std::fs;

use serde_json::{Value, json};

use super::support::{Ended, SECRET, need, run};
use super::{API, Alone, bearer};

/// Each place a value can be in; the child finds a placeholder and no value.
#[test]
fn credentials_come_from_variables_files_and_sealed_values() {
    let test = "credentials_come_from_variables_files_and_sealed_values";
    if need(test, "curl", "install curl").is_none() {
        return;
    }
    let alone = Alone::tls();
    alone.home.write("key", &run(alone.bare().arg("keygen"), b"").expect_success().stdout);
    let seal = |command: &mut std::process::Command| {
        let ended = run(command.args(["seal", "SEALED_KEY"]), format!("{SECRET}\n").as_bytes());
        ended.expect_success().stdout.trim().to_owned()
    };
    let sealed = seal(alone.bare().env("AGENT_VAULT_KEY_FILE", alone.home.join("key")));
    alone.home.write("stripe", &format!("{SECRET}\r\n"));
    for (key, origin, variable) in [
        ("PLAIN_KEY", Value::Null, Some("PLAIN_KEY")),
        ("ENV_KEY", json!({"env": "ITS_VARIABLE"}), Some("ITS_VARIABLE")),
        ("FILE_KEY", json!({"file": "stripe"}), None),
        ("SEALED_KEY", json!({"sealed": sealed}), None),
    ] {
        let mut document = alone.document(&json!([bearer("the-api", API, key)]));
        if !origin.is_null() {
            document["credentials"] = json!({ key: origin });
        }
        let url = alone.origin.url(API, &format!("/{key}"));
        let mut command = alone.inline(&document);
        command.env("AGENT_VAULT_KEY_FILE", alone.home.join("key"));
        command.envs(variable.map(|name| (name, SECRET)));
        let script =
            "curl -sSf \"$0\"; tr '\\0' '\\n' < /proc/$$/environ; tr '\\0' '\\n' < /proc/$PPID/environ";
        let ended = run(command.args(["sh", "-c", script, &url]), b"");
        assert_eq!(alone.origin.last().target, format!("/{key}"), "{ended:?}");
        assert_eq!(alone.origin.last().field("authorization"), Some(format!("Bearer {SECRET}").as_str()));
        assert!(!ended.stdout.contains(SECRET), "{}", ended.stdout);
        let placeholder = format!("__{}__", key.to_lowercase());
        for name in [Some(key), variable].into_iter().flatten() {
            let line = format!("{name}={placeholder}");
            assert!(ended.stdout.lines().any(|found| found == line), "no {line} in:\n{}", ended.stdout);
        }
    }
}

/// A document, variables, flags, and how the refusal begins.
type Case<'c> = (&'c str, &'c [(&'c str, &'c str)], &'c [&'c str], &'c str);

/// Nothing is started, and every reason is told at once.
#[test]
fn what_is_wrong_stops_the_start() {
    let alone = Alone::tls();
    let refused = |document: &str, vars: &[(&str, &str)], args: &[&str]| -> Ended {
        let mut command = alone.bare();
        command.env("AGENT_VAULT_CONFIG", document).envs(vars.iter().copied());
        run(command.args(["run"]).args(args).args(["--", "sh", "-c", "echo started"]), b"")
    };
    let missing = alone.document(&json!([bearer("one", API, "FIRST_KEY"), bearer("two", API, "SECOND_KEY")]));
    let good = alone.one_service().to_string();
    let key = ("API_KEY", SECRET);
    let cases: [Case<'_>; 9] = [
        (
            &missing.to_string(),
            &[],
            &[],
            "AGENT_VAULT_CONFIG: 2 problems\n  \
             credentials.FIRST_KEY: the variable FIRST_KEY was not set at the start, and \
             /run/secrets/FIRST_KEY: No such file or directory (os error 2)\n  \
             credentials.SECOND_KEY: the variable SECOND_KEY was not set at the start, and \
             /run/secrets/SECOND_KEY: No such file or directory (os error 2)\n",
        ),
        (
            "{\"services\": [], \"vualt\": \"x\", \"upstream_ca\": 1}",
            &[],
            &[],
            "AGENT_VAULT_CONFIG: 2 problems\n  unknown key \"vualt\"; the nearest known one is \"vault\"\n  \
             upstream_ca: must be the path of a PEM file\n",
        ),
        ("/nowhere.json", &[], &[], "/nowhere.json: No such file or directory (os error 2)\n"),
        (
            &good,
            &[key, ("AGENT_VAULT_TOKEN", "t")],
            &[],
            "AGENT_VAULT_TOKEN and AGENT_VAULT_CONFIG are both set; ",
        ),
        (
            &good,
            &[key, ("AGENT_VAULT_TOKEN_FILE", "/t")],
            &[],
            "AGENT_VAULT_TOKEN_FILE and AGENT_VAULT_CONFIG are both set; ",
        ),
        (
            &good,
            &[key],
            &["--direct"],
            "--direct has no effect without a broker; AGENT_VAULT_CONFIG is set\n",
        ),
        (&good, &[key, ("AGENT_VAULT_KEY", "x")], &[], "AGENT_VAULT_KEY is not a key\n"),
        (&good, &[key, ("AGENT_VAULT_UPSTREAM_PROXY", "gopher://x")], &[], "AGENT_VAULT_UPSTREAM_PROXY: "),
        (
            "{\"services\": [], \"upstream_ca\": \"gone.pem\"}",
            &[],
            &[],
            "AGENT_VAULT_CONFIG: upstream_ca: cannot read gone.pem: No such file or directory (os error 2)\n",
        ),
    ];
    for (document, vars, args, told) in cases {
        let ended = refused(document, vars, args);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(125), ""), "{ended:?}");
        assert!(ended.stderr.starts_with(told), "{told:?} is not how this begins:\n{}", ended.stderr);
        assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
    }
}

/// What the run needed of the system is gone with it.
#[test]
fn the_ca_files_are_removed_at_the_end() {
    let alone = Alone::tls();
    let dir = alone.home.dir("ca");
    let mut command = alone.inline(&alone.one_service());
    command.env("API_KEY", SECRET).env("AGENT_VAULT_CA_DIR", &dir);
    let ended = run(command.args(["sh", "-c", "cat $SSL_CERT_FILE"]), b"").expect_success();
    assert!(ended.stdout.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(fs::read_dir(dir).unwrap().count(), 0);
}
