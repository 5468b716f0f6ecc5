//! Cases 130 to 136: which addresses are dialled.

use std::net::IpAddr;

use agent_vault::authority::Authority;
use agent_vault::config::server::{Flags, read};
use agent_vault::net::guard::{Guard, Refusal};
use serde_json::json;

use super::wire::{HOST, ask, forward, rig_with};
use crate::support::rig::{Rules, Script};

/// The guard of a server with these variables, or why it does not start.
fn guard(vars: &[(&str, &str)]) -> Result<Guard, String> {
    let home = [("HOME", "/home/x")];
    let var = |name: &str| {
        let mut all = vars.iter().chain(&home);
        all.find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    read(&Flags::default(), &var)
        .map(|settings| settings.guard)
        .map_err(|failure| failure.message().to_owned())
}

fn allows(vars: &[(&str, &str)], ip: &str) -> bool {
    guard(vars).unwrap().allows(ip.parse().unwrap())
}

const ALLOW_PRIVATE: &str = "AGENT_VAULT_ALLOW_PRIVATE_RANGES";
const ALLOWLIST: &str = "AGENT_VAULT_NETWORK_ALLOWLIST";
const PRIVATE: [&str; 7] =
    ["10.0.0.1", "172.16.0.1", "192.168.0.1", "127.0.0.1", "100.64.0.1", "::1", "fc00::1"];

#[test]
fn case_130_metadata_endpoints_are_never_dialled() {
    for ip in ["169.254.169.254", "fd00:ec2::254"] {
        for vars in [
            vec![],
            vec![(ALLOW_PRIVATE, "true")],
            vec![(ALLOWLIST, "169.254.169.254,fd00:ec2::254,0.0.0.0/0,::/0")],
            vec![(ALLOW_PRIVATE, "true"), (ALLOWLIST, "169.254.0.0/16,fd00::/8")],
        ] {
            assert!(!allows(&vars, ip), "{ip} {vars:?}");
        }
    }
}

#[test]
fn case_131_private_ranges_wait_for_the_operator() {
    for ip in PRIVATE {
        assert!(!allows(&[], ip), "{ip}");
        assert!(allows(&[(ALLOW_PRIVATE, "true")], ip), "{ip}");
    }
    for ip in ["8.8.8.8", "1.1.1.1", "104.18.0.1"] {
        assert!(allows(&[], ip), "{ip}");
    }
    // All of link-local is refused, whatever the settings: it holds more than one credential endpoint.
    for ip in ["169.254.0.1", "169.254.170.2", "fe80::1"] {
        assert!(!allows(&[], ip) && !allows(&[(ALLOW_PRIVATE, "true")], ip), "{ip}");
    }
}

#[test]
fn case_132_the_allowlist_opens_what_it_names() {
    let vars = [(ALLOWLIST, "10.163.0.0/16,192.168.1.1")];
    for (ip, is_open) in [
        ("10.163.255.254", true),
        ("192.168.1.1", true),
        ("10.0.0.1", false),
        ("10.164.0.1", false),
        ("192.168.1.2", false),
    ] {
        assert_eq!(allows(&vars, ip), is_open, "{ip}");
    }
}

#[test]
fn case_133_a_switch_has_its_words() {
    for on in ["true", "TRUE", "True", "1", "t", "T"] {
        assert!(allows(&[(ALLOW_PRIVATE, on)], "10.0.0.1"), "{on}");
    }
    for off in ["", "false", "FALSE", "False", "0", "f", "F"] {
        assert!(!allows(&[(ALLOW_PRIVATE, off)], "10.0.0.1"), "{off}");
    }
    // Anything else is not guessed at: nothing is dialled, since nothing starts.
    let refused = guard(&[(ALLOW_PRIVATE, "garbage")]).expect_err("a refusal");
    assert_eq!(refused, "AGENT_VAULT_ALLOW_PRIVATE_RANGES: \"garbage\" is neither true nor false");
}

#[test]
fn case_134_networks_are_read_strictly() {
    let vars = [(ALLOWLIST, " fd00::1 , 10.0.0.1 ")];
    for (ip, is_open) in [("fd00::1", true), ("fd00::2", false), ("10.0.0.1", true), ("10.0.0.2", false)] {
        assert_eq!(allows(&vars, ip), is_open, "{ip}");
    }
    assert!(allows(&[(ALLOWLIST, "0.0.0.0/0")], "10.0.0.1"));
    assert!(!allows(&[(ALLOWLIST, "0.0.0.0/0")], "fd12::1"));
    let refused = guard(&[(ALLOWLIST, "invalid,10.0.0.0/8,bad/x")]).expect_err("a refusal");
    assert_eq!(
        refused,
        "AGENT_VAULT_NETWORK_ALLOWLIST: \"invalid\" is not a network like 10.0.0.0/8\n\
         AGENT_VAULT_NETWORK_ALLOWLIST: \"bad/x\" is not a network like 10.0.0.0/8"
    );
}

#[test]
fn case_135_one_bad_address_and_every_disguise_are_refused() {
    let resolved = |ips: &[&str]| {
        let names = ips.iter().map(|ip| ("api.example.test".to_owned(), ip.parse().unwrap())).collect();
        let target = Authority::parse("api.example.test:443").unwrap();
        Guard::default().with_overrides(names).resolve(&target)
    };
    assert_eq!(resolved(&["8.8.8.8", "1.1.1.1"]).unwrap().len(), 2);
    let refused = resolved(&["8.8.8.8", "10.0.0.1"]);
    let private: IpAddr = "10.0.0.1".parse().unwrap();
    assert!(matches!(refused, Err(Refusal::Forbidden(ip)) if ip == private), "{refused:?}");
    for ip in ["::ffff:127.0.0.1", "::", "0.0.0.0", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1"] {
        assert!(!allows(&[], ip), "{ip}");
    }
}

#[test]
fn case_136_a_loopback_origin_sees_nothing_by_default() {
    let untouched = Script::start(|_, _| panic!("the origin was reached"));
    for (host, services) in [
        (
            HOST,
            json!([{"name": "api", "host": format!("{HOST}:{}", untouched.port),
                       "auth": {"type": "bearer", "token": "TOKEN"}}]),
        ),
        ("127.0.0.1", json!([])),
        ("[::ffff:127.0.0.1]", json!([])),
    ] {
        let rig = rig_with(&services, Rules { allow_private: false, ..Rules::default() });
        let request = forward("GET", untouched.port, "/", "").replace(HOST, host);
        let refused = ask(&mut rig.connect(), &request);
        assert_eq!((refused.status, refused.reason()), (403, Some("network_blocked")), "{host}");
        assert_eq!(refused.field("x-agent-vault-proxy-error"), Some("true"));
        assert_eq!(refused.json()["error"], "network_blocked");
        assert!(!refused.body.contains("s3cret-value"));
    }
}
