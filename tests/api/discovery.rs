//! `/discover`: cases 47 to 52.

use serde_json::json;

use crate::site::{Site, refused, text};

#[test]
fn a_token_sees_services_and_keys_of_its_vault() {
    // 47, 51
    let site = Site::start();
    let owner = site.owner();
    let minted = owner.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let scoped = site.with_token(text(&minted, "token"));
    let empty = json!({"vault": "default", "services": [], "available_credentials": []});
    assert_eq!(scoped.get("/discover").expect(200).json(), empty);
    owner.post("/v1/credentials", &json!({"credentials": {"B": "value-of-b", "A": "1"}})).expect(200);
    let services = json!({"services": [
        {"name": "slack-bot", "host": "slack.com/api/*", "enabled": false,
         "auth": {"type": "bearer", "token": "A"}}
    ]});
    owner.post("/v1/vaults/default/services", &services).expect(200);
    let answer = scoped.get_with("/discover", &[("X-Vault", "elsewhere")]).expect(200);
    assert_eq!(
        answer.json(),
        json!({
            "vault": "default",
            "services": [{"name": "slack-bot", "host": "slack.com/api/*"}],
            "available_credentials": ["A", "B"]
        })
    );
    assert!(!answer.body.contains("value-of-b"));
}

#[test]
fn a_login_has_no_vault_and_an_agent_names_one() {
    // 49, 50
    let site = Site::start();
    let owner = site.owner();
    assert_eq!(owner.get("/discover").refusal(), refused(403, "Session requires vault scope"));
    assert_eq!(site.nobody().get("/discover").refusal(), refused(401, "Authorization required"));
    let agent = site.agent(&owner, "bot", "proxy");
    owner.post("/v1/vaults", &json!({"name": "other"})).expect(201);
    assert_eq!(
        agent.get("/discover").refusal(),
        refused(400, "Agent tokens require X-Vault header to specify which vault to use")
    );
    for (vault, status, error) in
        [("nope", 404, "Vault not found: nope"), ("other", 403, "Agent does not have access to vault: other")]
    {
        let answer = agent.get_with("/discover", &[("X-Vault", vault)]);
        assert_eq!(answer.refusal(), refused(status, error));
    }
    let body = agent.get_with("/discover", &[("X-Vault", "default")]).expect(200).json();
    assert_eq!(text(&body, "vault"), "default");
}

#[test]
fn a_revoked_agent_is_unknown_at_its_next_call() {
    // 52
    let site = Site::start();
    let owner = site.owner();
    let agent = site.agent(&owner, "bot", "proxy");
    let fields = [("X-Vault", "default")];
    agent.get_with("/discover", &fields).expect(200);
    owner.delete("/v1/agents/bot").expect(200);
    let answer = agent.get_with("/discover", &fields);
    assert_eq!(answer.refusal(), refused(401, "Invalid or expired session"));
    // The proxied request of 52 is in tests/agents.rs.
}
