//! People in the instance: cases 86 and 87, and what ends with a person.

use serde_json::json;

use crate::site::{Caller, OWNER, PASSWORD, Site, refused, text, token_in};

const MEMBER: &str = "member@example.test";

fn member(site: &Site, owner: &Caller) -> Caller {
    site.person(owner, MEMBER, "member", &json!([{"vault_name": "default", "vault_role": "member"}]))
}

#[test]
fn people_are_listed_and_owners_see_their_vaults() {
    let site = Site::start();
    let owner = site.owner();
    let member = member(&site, &owner);
    let listed = owner.get("/v1/users").expect(200).json();
    let [first, second] = &listed["users"].as_array().expect("a list")[..] else { panic!("{listed}") };
    assert_eq!((text(first, "email"), text(first, "role")), (MEMBER, "member"));
    assert_eq!(first["vaults"], json!([{"vault_name": "default", "vault_role": "member"}]));
    assert_eq!((text(second, "email"), text(second, "role")), (OWNER, "owner"));
    assert!(text(second, "created_at").ends_with('Z'));
    let seen = member.get("/v1/users").expect(200).json();
    assert_eq!(seen["users"].as_array().map(Vec::len), Some(2));
    assert!(seen["users"].as_array().expect("a list").iter().all(|user| user.get("vaults").is_none()));
    let scoped = owner.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let scoped = site.with_token(text(&scoped, "token"));
    assert_eq!(scoped.get("/v1/users").refusal(), refused(403, "Authentication required"));
}

#[test]
fn a_profile_is_shown_to_its_owner_and_to_owners() {
    let site = Site::start();
    let owner = site.owner();
    let member = member(&site, &owner);
    let own = member.get("/v1/admin/users/me").expect(200).json();
    assert_eq!((text(&own, "email"), text(&own, "role")), (MEMBER, "member"));
    assert_eq!(own["vaults"], json!(["default"]));
    assert!(text(&own, "created_at").ends_with('Z'));
    assert_eq!(member.get("/v1/admin/users/Member%40example.test").expect(200).json(), own);
    assert_eq!(owner.get(&format!("/v1/admin/users/{MEMBER}")).expect(200).json(), own);
    let owners_only = refused(403, "Instance owner role required");
    assert_eq!(member.get(&format!("/v1/admin/users/{OWNER}")).refusal(), owners_only);
    // Whether an address has an account is for owners to know.
    assert_eq!(member.get("/v1/admin/users/no@example.test").refusal(), owners_only);
    let unknown = refused(404, "User \"no@example.test\" not found");
    assert_eq!(owner.get("/v1/admin/users/no@example.test").refusal(), unknown);
    let agent = site.agent(&owner, "bot", "proxy");
    assert_eq!(agent.get("/v1/admin/users/me").refusal(), refused(400, "An agent has no user profile"));
    assert_eq!(agent.get(&format!("/v1/admin/users/{OWNER}")).refusal(), owners_only);
}

#[test]
fn no_access_keeps_a_person_out_of_the_instance_only() {
    // 86
    let site = Site::start();
    let owner = site.owner();
    let vaults = json!([{"vault_name": "default", "vault_role": "member"}]);
    let guest = site.person(&owner, "guest@example.test", "no-access", &vaults);
    let denied = refused(403, "Instance member role required");
    assert_eq!(guest.post("/v1/vaults", &json!({"name": "mine"})).refusal(), denied);
    assert_eq!(guest.post("/v1/users/invites", &json!({"email": "a@b.cd"})).refusal(), denied);
    for path in ["/v1/users", "/v1/users/invites", "/v1/agents", "/v1/agents/bot"] {
        assert_eq!(guest.get(path).refusal(), denied, "{path}");
    }
    assert_eq!(text(&guest.get("/v1/admin/users/me").expect(200).json(), "role"), "no-access");
    owner.post("/v1/credentials", &json!({"vault": "default", "credentials": {"KEY": "v"}})).expect(200);
    let seen = guest.get("/v1/credentials?vault=default&reveal=true").expect(200).json();
    assert_eq!(seen["credentials"][0]["value"], json!("v"));
}

#[test]
fn the_instance_keeps_an_owner_of_either_kind() {
    // 87
    let site = Site::start();
    let owner = site.owner();
    let me = format!("/v1/admin/users/{OWNER}");
    let demote = |caller: &Caller, role: &str| caller.post(&format!("{me}/role"), &json!({"role": role}));
    for role in ["member", "no-access"] {
        assert_eq!(demote(&owner, role).refusal(), refused(409, "Cannot demote the last owner"), "{role}");
    }
    assert_eq!(owner.delete(&me).refusal(), refused(409, "Cannot remove the last owner"));
    assert_eq!(demote(&owner, "owner").expect(200).json(), json!({"email": OWNER, "role": "owner"}));
    assert_eq!(
        demote(&owner, "king").refusal(),
        refused(400, "role must be one of: owner, member, no-access")
    );

    // An owner agent is a second owner: the person can go, and then it is the last.
    let king = owner.post("/v1/agents", &json!({"name": "king", "role": "owner"})).expect(201).json();
    let king = site.with_token(text(&king, "av_agent_token"));
    assert_eq!(demote(&owner, "member").expect(200).json(), json!({"email": OWNER, "role": "member"}));
    assert_eq!(owner.delete(&me).refusal(), refused(403, "Instance owner role required"));
    assert_eq!(king.delete("/v1/agents/king").refusal(), refused(409, "Cannot revoke the last owner"));
    assert_eq!(
        king.post("/v1/agents/king/delete", &json!({})).refusal(),
        refused(409, "Cannot remove the last owner")
    );
    // An inactive agent is no owner, a second person is.
    demote(&king, "owner").expect(200);
    king.delete("/v1/agents/king").expect(200);
    assert_eq!(demote(&owner, "member").refusal(), refused(409, "Cannot demote the last owner"));
    site.person(&owner, "second@example.test", "owner", &json!([]));
    assert_eq!(owner.delete(&me).expect(200).json(), json!({"status": "removed", "email": OWNER}));
    owner.get("/v1/auth/me").expect(401);
}

#[test]
fn roles_are_given_by_owners_and_act_at_once() {
    let site = Site::start();
    let owner = site.owner();
    let member = member(&site, &owner);
    let path = format!("/v1/admin/users/{MEMBER}/role");
    let owners_only = refused(403, "Instance owner role required");
    assert_eq!(member.post(&path, &json!({"role": "owner"})).refusal(), owners_only);
    assert_eq!(member.delete(&format!("/v1/admin/users/{OWNER}")).refusal(), owners_only);
    owner.post(&path, &json!({"role": "no-access"})).expect(200);
    member.get("/v1/users").expect(403);
    owner.post(&path, &json!({"role": "member"})).expect(200);
    member.get("/v1/users").expect(200);
    owner.post("/v1/admin/users/no@example.test/role", &json!({"role": "member"})).expect(404);
    owner.post(&path, &json!({})).expect(400);
}

#[test]
fn what_a_person_had_ends_with_the_person() {
    let site = Site::start();
    let owner = site.owner();
    let member = member(&site, &owner);
    let minted = member.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let scoped = site.with_token(text(&minted, "token"));
    scoped.get("/discover").expect(200);
    let sent = member.post("/v1/users/invites", &json!({"email": "friend@example.test"})).expect(201).json();

    let path = format!("/v1/admin/users/{MEMBER}");
    assert_eq!(owner.delete(&path).expect(200).json(), json!({"status": "removed", "email": MEMBER}));
    member.get("/v1/auth/me").expect(401);
    scoped.get("/discover").expect(401);
    let login = json!({"email": MEMBER, "password": PASSWORD});
    site.nobody().post("/v1/auth/login", &login).expect(401);
    let members = owner.get("/v1/vaults/default/users").expect(200).json();
    assert_eq!(members["users"].as_array().map(Vec::len), Some(1), "{members}");
    let accept = format!("/v1/users/invites/{}/accept", token_in(&sent));
    site.nobody().post(&accept, &json!({"password": PASSWORD})).expect(410);
    owner.delete(&path).expect(404);

    // The same when somebody goes by themselves.
    let gone = site.person(&owner, "gone@example.test", "member", &json!([]));
    let sent = gone.post("/v1/users/invites", &json!({"email": "last@example.test"})).expect(201).json();
    gone.delete("/v1/auth/account").expect(200);
    let accept = format!("/v1/users/invites/{}/accept", token_in(&sent));
    site.nobody().post(&accept, &json!({"password": PASSWORD})).expect(410);

    // The same address comes back as somebody else.
    let again = site.person(&owner, MEMBER, "member", &json!([]));
    assert_eq!(again.get("/v1/vaults").expect(200).json()["vaults"], json!([]));
}
