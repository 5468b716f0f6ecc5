//! Credentials: cases 39 to 45.

use std::fs;

use serde_json::json;

use crate::site::{Site, refused, text};
use crate::support::{SECRET, contains};

#[test]
fn values_are_set_overwritten_and_deleted() {
    // 39, 41
    let site = Site::start();
    let owner = site.owner();
    assert_eq!(
        owner.get("/v1/credentials?vault=default").expect(200).json(),
        json!({"keys": [], "credentials": []})
    );
    let both = json!({"vault": "default", "credentials": {"STRIPE_KEY": "1", "GITHUB": "2"}});
    let set = owner.post("/v1/credentials", &both).expect(200).json();
    let mut keys: Vec<&str> =
        set["set"].as_array().expect("a list").iter().filter_map(|k| k.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["GITHUB", "STRIPE_KEY"]);
    owner.post("/v1/credentials", &json!({"credentials": {"GITHUB": "3"}})).expect(200);
    let listed = owner.get("/v1/credentials?reveal=true").expect(200).json();
    assert_eq!(
        listed,
        json!({"keys": ["GITHUB", "STRIPE_KEY"], "credentials": [
            {"key": "GITHUB", "type": "static", "value": "3"},
            {"key": "STRIPE_KEY", "type": "static", "value": "1"}
        ]})
    );
    let unknown = json!({"vault": "nope", "credentials": {"A": "1"}});
    assert_eq!(owner.post("/v1/credentials", &unknown).refusal(), refused(404, "Vault \"nope\" not found"));
    site.nobody().post("/v1/credentials", &both).expect(401);

    let some = json!({"keys": ["GITHUB", "NOPE"]});
    assert_eq!(
        owner.send("DELETE", "/v1/credentials", &some).refusal(),
        refused(404, "Credential \"NOPE\" not found")
    );
    let one = json!({"keys": ["GITHUB"]});
    let deleted = owner.send("DELETE", "/v1/credentials", &one).expect(200).json();
    assert_eq!(deleted, json!({"deleted": ["GITHUB"]}));
    let none = json!({"keys": []});
    assert_eq!(
        owner.send("DELETE", "/v1/credentials", &none).refusal(),
        refused(400, "Keys list is required")
    );
}

#[test]
fn one_bad_entry_keeps_all_of_them_out() {
    // 40
    let site = Site::start();
    let owner = site.owner();
    for key in ["lower", "1A", "A-B", "_A", ""] {
        let body = json!({"credentials": {"GOOD": "1", key: "2"}});
        owner.post("/v1/credentials", &body).expect(400);
    }
    for value in ["secret\n", "secret\r\n"] {
        let refusal =
            owner.post("/v1/credentials", &json!({"credentials": {"A": "1", "B": value}})).refusal();
        assert_eq!(
            refusal,
            refused(400, "Credential \"B\" ends with a line break; remove it and set it again")
        );
    }
    let empty = owner.post("/v1/credentials", &json!({"credentials": {}})).refusal();
    assert_eq!(empty, refused(400, "Credentials map is required"));
    assert_eq!(owner.get("/v1/credentials").expect(200).json()["keys"], json!([]));
}

#[test]
fn values_are_shown_to_members_only() {
    // 42
    let site = Site::start();
    let owner = site.owner();
    owner.post("/v1/credentials", &json!({"credentials": {"A": "1", "B": "2"}})).expect(200);
    let proxy = site.agent(&owner, "proxy-bot", "proxy");
    let member = site.agent(&owner, "member-bot", "member");
    assert_eq!(proxy.get("/v1/credentials").expect(200).json(), json!({"keys": ["A", "B"]}));
    let reveal = proxy.get("/v1/credentials?reveal=true").refusal();
    assert_eq!(reveal, refused(403, "Member role required"));
    assert_eq!(
        member.get("/v1/credentials?key=A").expect(200).json()["credentials"],
        json!([{"key": "A", "type": "static"}, {"key": "B", "type": "static"}])
    );
    assert_eq!(
        member.get("/v1/credentials?reveal=true&key=A").expect(200).json(),
        json!({"keys": ["A"], "credentials": [{"key": "A", "type": "static", "value": "1"}]})
    );
    let unknown = member.get("/v1/credentials?reveal=true&key=NOPE").refusal();
    assert_eq!(unknown, refused(404, "Credential \"NOPE\" not found"));
}

#[test]
fn values_come_back_as_they_were_and_lie_nowhere_in_the_clear() {
    // 44, 45
    let site = Site::start_with(&[], &[("AGENT_VAULT_MASTER_PASSWORD", "a master password of tests")]);
    let owner = site.owner();
    let long = "ü".repeat(500_000);
    let values = ["", "line\nbreak", "Größe \u{1F511} \u{0}", SECRET, &long];
    for value in values {
        owner.post("/v1/credentials", &json!({"credentials": {"KEY": value}})).expect(200);
        let shown = owner.get("/v1/credentials?reveal=true&key=KEY").expect(200).json();
        assert_eq!(text(&shown["credentials"][0], "value"), value);
    }
    owner.post("/v1/credentials", &json!({"credentials": {"KEY": SECRET}})).expect(200);
    let mut heap = Vec::new();
    for entry in fs::read_dir(site.home.join(".agent-vault")).expect("the state").flatten() {
        heap.extend(fs::read(entry.path()).unwrap_or_default());
    }
    assert!(contains(&heap, "KEY"), "the database was read");
    assert!(!contains(&heap, SECRET));
}
