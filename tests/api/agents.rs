//! Agents and their grants: cases 86 to 92. What happens on the proxy's path is in tests/agents.rs.

use serde_json::json;

use crate::site::{Site, refused, text};
use crate::support::eventually;

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
        ("POST", "/v1/agents/king/rename"),
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
fn an_agent_is_renamed_unless_the_name_is_taken() {
    let site = Site::start();
    let owner = site.owner();
    let agent = site.agent(&owner, "bot", "proxy");
    site.agent(&owner, "other", "proxy");
    let rename = |name: &str, body| owner.post(&format!("/v1/agents/{name}/rename"), &body);
    let renamed = rename("bot", json!({"name": "robot"})).expect(200).json();
    let expected =
        json!({"message": "Agent \"bot\" renamed to \"robot\"", "old_name": "bot", "new_name": "robot"});
    assert_eq!(renamed, expected);
    owner.get("/v1/agents/bot").expect(404);
    // The token and the grants are the agent's and not the name's.
    agent.get_with("/discover", &[("X-Vault", "default")]).expect(200);
    let taken = refused(409, "Agent \"other\" already exists");
    assert_eq!(rename("robot", json!({"name": "other"})).refusal(), taken);
    for body in [json!({}), json!({"name": "A b"}), json!({"name": "ab"})] {
        rename("robot", body).expect(400);
    }
    assert_eq!(rename("bot", json!({"name": "abc"})).refusal(), refused(404, "Agent \"bot\" not found"));
}

#[test]
fn an_agents_role_in_the_instance_is_the_owners_to_give() {
    // 87, for agents
    let site = Site::start();
    let owner = site.owner();
    let bot = site.agent(&owner, "bot", "proxy");
    let role =
        |name: &str, role: &str| owner.post(&format!("/v1/agents/{name}/role"), &json!({"role": role}));
    let changed = role("bot", "owner").expect(200).json();
    assert_eq!(changed, json!({"agent": "bot", "old_role": "no-access", "new_role": "owner"}));
    bot.get("/v1/agents").expect(200);
    for wrong in ["", "king"] {
        let refusal = role("bot", wrong).refusal();
        assert_eq!(refusal, refused(400, "role must be one of: owner, member, no-access"));
    }
    role("nobody", "member").expect(404);
    // One owner is left beside the person: the agent may go, and may say so itself.
    role("bot", "member").expect(200);
    let member = bot.post("/v1/agents/bot/role", &json!({"role": "owner"}));
    assert_eq!(member.refusal(), refused(403, "Instance owner role required"));
    owner.delete("/v1/agents/bot").expect(200);
    assert_eq!(role("bot", "owner").refusal(), refused(409, "Agent \"bot\" is revoked"));
}

#[test]
fn the_last_owner_stays_when_it_is_an_agent() {
    // 87
    let site = Site::start();
    let owner = site.owner();
    let king = site.agent(&owner, "king", "proxy");
    owner.post("/v1/agents/king/role", &json!({"role": "owner"})).expect(200);
    let database = site.home.join(".agent-vault/agent-vault.db");
    let database = rusqlite::Connection::open(database).expect("the broker's database");
    let demoted = database.execute("UPDATE users SET role = 'member'", ()).expect("a change");
    assert_eq!(demoted, 1);
    for role in ["member", "no-access"] {
        let answer = king.post("/v1/agents/king/role", &json!({"role": role}));
        assert_eq!(answer.refusal(), refused(409, "Cannot demote the last owner"));
    }
    king.post("/v1/agents/king/role", &json!({"role": "owner"})).expect(200);
    assert_eq!(king.delete("/v1/agents/king").refusal(), refused(409, "Cannot revoke the last owner"));
    let delete = king.post("/v1/agents/king/delete", &json!({}));
    assert_eq!(delete.refusal(), refused(409, "Cannot remove the last owner"));
    king.post("/v1/agents", &json!({"name": "second", "role": "owner"})).expect(201);
    king.post("/v1/agents/king/role", &json!({"role": "member"})).expect(200);
}

#[test]
fn a_rotation_with_a_grace_leaves_both_tokens_valid_and_says_until_when() {
    let site = Site::start();
    let owner = site.owner();
    let old = site.agent(&owner, "bot", "proxy");
    let fields = [("X-Vault", "default")];
    old.get_with("/discover", &fields).expect(200);
    let rotate = |body| owner.post("/v1/agents/bot/rotate", &body);
    let range = "grace_seconds must be a whole number from 0 to 86400";
    for wrong in [json!(86_401), json!(-1), json!(1.5), json!("10m"), json!(true), json!([1])] {
        assert_eq!(rotate(json!({"grace_seconds": wrong})).refusal(), refused(400, range), "{wrong}");
    }
    let rotated = rotate(json!({"grace_seconds": 86_400})).expect(200).json();
    let until = text(&rotated, "old_tokens_valid_until");
    assert!(text(&rotated, "rotated_at") < until);
    let new = site.with_token(text(&rotated, "av_agent_token"));
    for caller in [&old, &new] {
        caller.get_with("/discover", &fields).expect(200);
    }
    // 92: both count, since both are live; each shows when it was used and until when it may be.
    let shown = owner.get("/v1/agents/bot").expect(200).json();
    assert_eq!(shown["active_tokens"], json!(2));
    let [newer, older] = &shown["tokens"].as_array().expect("a list")[..] else { panic!("{shown}") };
    assert_eq!((newer.get("expires_at"), text(older, "expires_at")), (None, until));
    for token in [newer, older] {
        assert_eq!(text(token, "id").len(), 20);
        assert!(text(token, "last_used_at") >= text(token, "created_at"));
    }
    let listed = owner.get("/v1/agents").expect(200).json();
    assert_eq!(text(&listed["agents"][0], "token_expires_at"), until);
    assert!(text(&listed["agents"][0], "last_used_at").ends_with('Z'));
    // A body is optional, and without a grace all older tokens end.
    let last = owner.call("POST", "/v1/agents/bot/rotate", &[], None).expect(200).json();
    assert!(last.get("old_tokens_valid_until").is_none(), "{last}");
    for caller in [&old, &new] {
        caller.get_with("/discover", &fields).expect(401);
    }
    let shown = owner.get("/v1/agents/bot").expect(200).json();
    assert_eq!(shown["active_tokens"], json!(1));
    assert!(shown.get("last_used_at").is_none() && shown.get("token_expires_at").is_none(), "{shown}");
}

#[test]
fn expired_tokens_do_not_count() {
    // 92; asking until a second is over takes more requests than one actor has at once.
    let site = Site::start_with(&[], &[("AGENT_VAULT_RATELIMIT_PROFILE", "off")]);
    let owner = site.owner();
    let old = site.agent(&owner, "bot", "proxy");
    owner.post("/v1/agents/bot/rotate", &json!({"grace_seconds": 1})).expect(200);
    let mut shown = json!(null);
    eventually("the grace is over", || {
        shown = owner.get("/v1/agents/bot").expect(200).json();
        shown["active_tokens"] == json!(1)
    });
    assert_eq!(shown["tokens"].as_array().map(Vec::len), Some(1));
    let answer = old.get_with("/discover", &[("X-Vault", "default")]);
    assert_eq!(answer.refusal(), refused(401, "Session expired"));
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
