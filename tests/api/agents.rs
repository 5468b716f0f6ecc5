//! Agents and their grants: cases 86 to 92.

use serde_json::json;

use crate::site::{Site, refused, text};

#[test]
fn an_agent_is_made_whole_or_not_at_all() {
    // 88
    let site = Site::start();
    let owner = site.owner();
    let create = |body| owner.post("/v1/agents", &body);
    let made = create(json!({"name": "bot", "vaults": [{"vault_name": "default"}]})).expect(201).json();
    assert!(text(&made, "av_agent_token").starts_with("av_agt_"));
    assert_eq!((text(&made, "name"), text(&made, "role")), ("bot", "no-access"));
    assert_eq!(made["vaults"], json!([{"vault_name": "default", "vault_role": "proxy"}]));
    assert_eq!(create(json!({"name": "bot"})).refusal(), refused(409, "Agent \"bot\" already exists"));
    let lost = create(json!({"name": "lost", "vaults": [{"vault_name": "default"}, {"vault_name": "nope"}]}));
    assert_eq!(lost.refusal(), refused(404, "Vault \"nope\" not found"));
    owner.get("/v1/agents/lost").expect(404);
    for body in [
        json!({"name": "a"}),
        json!({"name": "abc", "role": "king"}),
        json!({"name": "abc", "vaults": [{"vault_name": "default", "vault_role": "king"}]}),
    ] {
        create(body).expect(400);
    }
    let listed = owner.get("/v1/agents").expect(200).json();
    let [agent] = &listed["agents"].as_array().expect("a list")[..] else { panic!("{listed}") };
    assert_eq!((text(agent, "name"), text(agent, "status")), ("bot", "active"));
    let shown = owner.get("/v1/agents/bot").expect(200).json();
    assert_eq!(shown["active_tokens"], json!(1));
    assert!(shown.get("updated_at").is_some() && shown.get("created_by").is_some());
}

#[test]
fn no_access_keeps_an_agent_out_of_the_instance_only() {
    // 86
    let site = Site::start();
    let owner = site.owner();
    let agent = site.agent(&owner, "bot", "proxy");
    let denied = refused(403, "Instance member role required");
    assert_eq!(agent.get("/v1/agents").refusal(), denied);
    assert_eq!(agent.get("/v1/agents/bot").refusal(), denied);
    assert_eq!(agent.post("/v1/vaults", &json!({"name": "abc"})).refusal(), denied);
    agent.get("/v1/auth/me").expect(200);
    agent.get("/v1/credentials").expect(200);
}

#[test]
fn members_see_their_own_agents_and_manage_no_owners() {
    // 89, 90
    let site = Site::start();
    let owner = site.owner();
    let maker = owner.post("/v1/agents", &json!({"name": "maker", "role": "member"})).expect(201).json();
    let maker = site.with_token(text(&maker, "av_agent_token"));
    maker.post("/v1/agents", &json!({"name": "child"})).expect(201);
    owner.post("/v1/agents", &json!({"name": "hidden"})).expect(201);
    let listed = maker.get("/v1/agents").expect(200).json();
    let names: Vec<&str> =
        listed["agents"].as_array().expect("a list").iter().map(|a| text(a, "name")).collect();
    assert_eq!(names, ["child"]);
    maker.get("/v1/agents/child").expect(200);
    assert_eq!(maker.get("/v1/agents/hidden").refusal(), refused(404, "Agent \"hidden\" not found"));
    let owners_only = refused(403, "Only instance owners can manage owner-role agents");
    assert_eq!(maker.post("/v1/agents", &json!({"name": "king", "role": "owner"})).refusal(), owners_only);
    let foreign = json!({"name": "spy", "vaults": [{"vault_name": "default"}]});
    assert_eq!(maker.post("/v1/agents", &foreign).refusal(), refused(403, "No access to this vault"));
    let king = json!({"name": "king", "role": "owner", "vaults": [{"vault_name": "default"}]});
    owner.post("/v1/agents", &king).expect(201);
    owner.post("/v1/vaults/default/agents", &json!({"name": "maker"})).expect(201);
    for (method, path) in [
        ("DELETE", "/v1/agents/king"),
        ("POST", "/v1/agents/king/rotate"),
        ("POST", "/v1/agents/king/delete"),
    ] {
        assert_eq!(maker.call(method, path, &[], None).refusal(), owners_only, "{path}");
    }
}

#[test]
fn rotation_ends_the_old_token_and_revives() {
    // 90, 91
    let site = Site::start();
    let owner = site.owner();
    let old = site.agent(&owner, "bot", "proxy");
    let fields = [("X-Vault", "default")];
    let rotate = || {
        let rotated = owner.post("/v1/agents/bot/rotate", &json!({})).expect(200).json();
        assert_eq!(text(&rotated, "name"), "bot");
        site.with_token(text(&rotated, "av_agent_token"))
    };
    let new = rotate();
    old.get_with("/discover", &fields).expect(401);
    new.get_with("/discover", &fields).expect(200);
    owner.delete("/v1/agents/bot").expect(200);
    new.get_with("/discover", &fields).expect(401);
    let shown = owner.get("/v1/agents/bot").expect(200).json();
    assert_eq!((text(&shown, "status"), &shown["active_tokens"]), ("revoked", &json!(0)));
    assert!(text(&shown, "revoked_at").ends_with('Z'));
    assert_eq!(owner.delete("/v1/agents/bot").refusal(), refused(409, "Agent is already revoked"));
    rotate().get_with("/discover", &fields).expect(200);
    owner.post("/v1/agents/bot/delete", &json!({})).expect(200);
    owner.get("/v1/agents/bot").expect(404);
    owner.post("/v1/agents", &json!({"name": "bot"})).expect(201);
}

#[test]
fn grants_are_given_changed_and_taken() {
    let site = Site::start();
    let owner = site.owner();
    let made = owner.post("/v1/agents", &json!({"name": "bot"})).expect(201).json();
    let agent = site.with_token(text(&made, "av_agent_token"));
    let path = "/v1/vaults/default/agents";
    owner.post(path, &json!({"name": "nobody"})).expect(404);
    owner.post(path, &json!({"name": "bot", "role": "king"})).expect(400);
    owner.post(path, &json!({"name": "bot"})).expect(201);
    owner.post(path, &json!({"name": "bot"})).expect(409);
    let fields = [("X-Vault", "default")];
    agent.get_with("/discover", &fields).expect(200);
    agent.get("/v1/credentials?reveal=true").expect(403);
    let changed = owner.post(&format!("{path}/bot/role"), &json!({"role": "member"})).expect(200).json();
    assert_eq!((text(&changed, "old_role"), text(&changed, "new_role")), ("proxy", "member"));
    agent.get("/v1/credentials?reveal=true").expect(200);
    let listed = owner.get(path).expect(200).json();
    let [grant] = &listed["agents"].as_array().expect("a list")[..] else { panic!("{listed}") };
    assert_eq!((text(grant, "name"), text(grant, "vault_role")), ("bot", "member"));
    assert_eq!((text(grant, "status"), text(grant, "agent_id").len()), ("active", 36));
    assert_eq!(agent.delete(&format!("{path}/bot")).refusal(), refused(403, "Vault admin role required"));
    owner.delete(&format!("{path}/bot")).expect(200);
    agent.get_with("/discover", &fields).expect(403);
    owner.delete(&format!("{path}/bot")).expect(404);
}
