//! Scoped tokens: cases 31 to 38.

use serde_json::json;

use crate::site::{Site, refused, text};

#[test]
fn minting_is_checked_in_the_contracts_words() {
    let site = Site::start_with(&[], &[]);
    let owner = site.owner();
    // 31
    let answer = owner.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    assert!(text(&answer, "token").starts_with("av_sess_"));
    assert_eq!(text(&answer, "av_addr"), site.address);
    let (long, limit) = ("é".repeat(101), "语".repeat(50));
    for (body, refusal) in [
        (json!({}), (400, "Vault is required")),
        (json!({"vault": ""}), (400, "Vault is required")),
        // 32
        (json!({"vault": "default", "ttl_seconds": 60}), (400, "ttl_seconds must be between 300 and 604800")),
        (
            json!({"vault": "default", "ttl_seconds": 691_200}),
            (400, "ttl_seconds must be between 300 and 604800"),
        ),
        // 33
        (json!({"vault": "default", "vault_role": "member"}), (400, "vault_role must be 'proxy'")),
        (json!({"vault": "default", "vault_role": "admin"}), (400, "vault_role must be 'proxy'")),
        (json!({"vault": "default", "vault_role": "x"}), (400, "vault_role must be 'proxy'")),
        // 35
        (json!({"vault": "default", "label": long}), (400, "label must be at most 100 characters")),
        (json!({"vault": "nope"}), (404, "Vault \"nope\" not found")),
    ] {
        assert_eq!(owner.post("/v1/sessions", &body).refusal(), refused(refusal.0, refusal.1), "{body}");
    }
    for body in [
        json!({"vault": "default", "ttl_seconds": 300}),
        json!({"vault": "default", "ttl_seconds": 604_800, "vault_role": "proxy"}),
        json!({"vault": "default", "vault_role": "", "label": limit}),
    ] {
        owner.post("/v1/sessions", &body).expect(200);
    }
}

#[test]
fn only_members_with_a_grant_may_mint() {
    // 34
    let site = Site::start();
    let owner = site.owner();
    let mint = json!({"vault": "default"});
    let proxy = site.agent(&owner, "proxy-bot", "proxy");
    assert_eq!(proxy.post("/v1/sessions", &mint).refusal(), refused(403, "Member role required"));
    let token = owner.post("/v1/sessions", &mint).expect(200).json();
    let scoped = site.with_token(text(&token, "token"));
    assert_eq!(scoped.post("/v1/sessions", &mint).refusal(), refused(403, "Member role required"));
    let outsider = owner.post("/v1/agents", &json!({"name": "outsider"})).expect(201).json();
    let outsider = site.with_token(text(&outsider, "av_agent_token"));
    assert_eq!(outsider.post("/v1/sessions", &mint).refusal(), refused(403, "No access to this vault"));
    owner.post("/v1/vaults", &json!({"name": "other"})).expect(201);
    let elsewhere = scoped.post("/v1/sessions", &json!({"vault": "other"})).refusal();
    assert_eq!(elsewhere, refused(403, "Session not authorized for this vault"));
}

#[test]
fn tokens_are_listed_without_their_value_and_revoked_at_once() {
    // 35, 36
    let site = Site::start();
    let owner = site.owner();
    let body = json!({"vault": "default", "label": " line1\nline2\ttab "});
    let token = owner.post("/v1/sessions", &body).expect(200).json();
    let scoped = site.with_token(text(&token, "token"));
    scoped.get("/discover").expect(200);
    let answer = owner.get("/v1/sessions?vault=default").expect(200);
    assert!(!answer.body.contains(text(&token, "token")));
    let listed = answer.json();
    let [session] = &listed["sessions"].as_array().expect("a list")[..] else { panic!("{listed}") };
    assert_eq!((text(session, "label"), text(session, "vault_role")), ("line1line2tab", "proxy"));
    assert_eq!(text(&session["created_by"], "display_name"), crate::site::OWNER);
    assert_eq!(text(&session["created_by"], "type"), "user");
    let id = text(session, "id");
    assert_eq!(id.len(), 20);

    owner.post("/v1/vaults", &json!({"name": "other"})).expect(201);
    for path in [format!("/v1/sessions/{id}?vault=other"), "/v1/sessions/0000?vault=default".to_owned()] {
        assert_eq!(owner.delete(&path).refusal(), refused(404, "Session not found"));
    }
    assert_eq!(owner.delete(&format!("/v1/sessions/{id}")).refusal(), refused(400, "vault is required"));
    let revoked = owner.delete(&format!("/v1/sessions/{id}?vault=default")).expect(200).json();
    assert_eq!(revoked, json!({"status": "revoked"}));
    assert_eq!(scoped.get("/discover").refusal(), refused(401, "Invalid or expired session"));
    assert_eq!(owner.get("/v1/sessions?vault=default").expect(200).json(), json!({"sessions": []}));
}

#[test]
fn what_an_agent_minted_ends_with_its_right_to_mint() {
    // 37, and design 7: rotation and a lost grant end minted tokens too.
    let site = Site::start();
    let owner = site.owner();
    for (name, method, path) in [
        ("revoked", "DELETE", "/v1/agents/revoked"),
        ("deleted", "POST", "/v1/agents/deleted/delete"),
        ("rotated", "POST", "/v1/agents/rotated/rotate"),
        ("removed", "DELETE", "/v1/vaults/default/agents/removed"),
    ] {
        let agent = site.agent(&owner, name, "member");
        let minted = agent.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
        let scoped = site.with_token(text(&minted, "token"));
        scoped.get("/discover").expect(200);
        owner.call(method, path, &[], None).expect(200);
        assert_eq!(scoped.get("/discover").status, 401, "{name}");
    }
}

#[test]
fn a_scoped_token_stays_in_its_vault() {
    // 38
    let site = Site::start();
    let owner = site.owner();
    owner.post("/v1/vaults", &json!({"name": "other"})).expect(201);
    let minted = owner.post("/v1/sessions", &json!({"vault": "other"})).expect(200).json();
    let scoped = site.with_token(text(&minted, "token"));
    let foreign = refused(403, "Session not authorized for this vault");
    assert_eq!(scoped.get("/v1/credentials?vault=default").refusal(), foreign);
    let set = json!({"vault": "default", "credentials": {"K": "v"}});
    assert_eq!(scoped.post("/v1/credentials", &set).refusal(), foreign);
    let delete = json!({"vault": "default", "keys": ["K"]});
    assert_eq!(scoped.send("DELETE", "/v1/credentials", &delete).refusal(), foreign);
    assert_eq!(scoped.get("/v1/vaults/default/services").refusal(), foreign);
    // Without a name it means its own vault and not `default`.
    scoped.get("/v1/credentials").expect(200);
}
