//! Vaults: made, listed, configured, deleted; cases 63, 84, 85, 93, 95.

use serde_json::json;

use crate::site::{Site, refused, text};

#[test]
fn names_are_slugs() {
    // 63
    let site = Site::start();
    let owner = site.owner();
    let create = |name: &str| owner.post("/v1/vaults", &json!({"name": name}));
    let long = "a".repeat(65);
    for name in ["", "ab", "My-Vault", "my vault", "my_vault", "-a-b", "a--b", &long] {
        assert_eq!(create(name).status, 400, "{name}");
    }
    assert_eq!(create("users").refusal(), refused(400, "This vault name is reserved"));
    let made = create("my-vault").expect(201).json();
    assert_eq!(text(&made, "name"), "my-vault");
    assert_eq!(text(&made, "id").len(), 36);
    assert!(text(&made, "created_at").ends_with('Z'));
    assert_eq!(create("my-vault").refusal(), refused(409, "Vault \"my-vault\" already exists"));
    create("vault-123").expect(201);
}

#[test]
fn a_list_shows_what_the_caller_may_know() {
    // 84, 85
    let site = Site::start();
    let owner = site.owner();
    owner.post("/v1/vaults", &json!({"name": "mine"})).expect(201);
    let agent = site.agent(&owner, "bot", "proxy");
    let listed = agent.get("/v1/vaults").expect(200).json();
    let [vault] = &listed["vaults"].as_array().expect("a list")[..] else { panic!("{listed}") };
    assert_eq!((text(vault, "name"), text(vault, "role")), ("default", "proxy"));
    assert_eq!((text(vault, "membership"), &vault["pending_proposals"]), ("explicit", &json!(0)));

    let maker = json!({"name": "maker", "role": "member"});
    let maker = owner.post("/v1/agents", &maker).expect(201).json();
    let maker = site.with_token(text(&maker, "av_agent_token"));
    maker.post("/v1/vaults", &json!({"name": "makers"})).expect(201);
    let listed = owner.get("/v1/vaults").expect(200).json();
    let vaults = listed["vaults"].as_array().expect("a list");
    let implicit = vaults.iter().find(|vault| text(vault, "name") == "makers").expect("owners see all");
    assert_eq!((text(implicit, "membership"), implicit.get("role")), ("implicit", None));
    let denied = refused(403, "No access to this vault");
    assert_eq!(owner.get("/v1/credentials?vault=makers").refusal(), denied);
    assert_eq!(owner.get("/v1/vaults/makers/services").refusal(), denied);
    assert_eq!(owner.get("/v1/vaults/makers/context").refusal(), refused(403, "No vault access"));
    assert_eq!(owner.get("/v1/vaults/nope/context").refusal(), refused(404, "Vault not found"));
}

#[test]
fn the_policy_for_unmatched_hosts_is_set_and_reset() {
    // 95
    let site = Site::start();
    let owner = site.owner();
    let path = "/v1/vaults/default/settings";
    let read = || owner.get(path).expect(200).json();
    let policy = |text: &str| json!({"unmatched_host_policy": text});
    assert_eq!(read(), json!({"unmatched_host_policy": "passthrough", "infisical_available": false}));
    assert_eq!(owner.send("PATCH", path, &policy("deny")).expect(200).json(), policy("deny"));
    assert_eq!(owner.send("PATCH", path, &json!({})).expect(200).json(), policy("deny"));
    assert_eq!(
        owner.send("PATCH", path, &policy("drop")).refusal(),
        refused(400, "Invalid unmatched_host_policy \"drop\" (expected \"passthrough\" or \"deny\")")
    );
    assert_eq!(text(&read(), "unmatched_host_policy"), "deny");
    assert_eq!(owner.send("PATCH", path, &policy("")).expect(200).json(), policy("passthrough"));
    let member = site.agent(&owner, "bot", "member");
    member.get(path).expect(200);
    assert_eq!(
        member.send("PATCH", path, &policy("deny")).refusal(),
        refused(403, "Vault admin role required")
    );
}

#[test]
fn deleting_a_vault_takes_everything_in_it() {
    // 93
    let site = Site::start();
    let owner = site.owner();
    owner.post("/v1/vaults", &json!({"name": "other"})).expect(201);
    let set = json!({"vault": "other", "credentials": {"A": "1"}});
    owner.post("/v1/credentials", &set).expect(200);
    let minted = owner.post("/v1/sessions", &json!({"vault": "other"})).expect(200).json();
    let scoped = site.with_token(text(&minted, "token"));
    scoped.get("/discover").expect(200);
    assert_eq!(
        owner.delete("/v1/vaults/other").expect(200).json(),
        json!({"name": "other", "deleted": true})
    );
    scoped.get("/discover").expect(401);
    owner.post("/v1/vaults", &json!({"name": "other"})).expect(201);
    assert_eq!(owner.get("/v1/credentials?vault=other").expect(200).json()["keys"], json!([]));
    owner.delete("/v1/vaults/default").expect(400);
    owner.delete("/v1/vaults/nope").expect(404);
}
