//! People in vaults: cases 84, 85, 93 (renaming), 94, and the members of a vault.

use serde_json::json;

use crate::site::{Caller, OWNER, Site, refused, text};

const MEMBER: &str = "member@example.test";
const DENIED: &str = "No access to this vault";

/// A member of the instance without a vault.
fn member(site: &Site, owner: &Caller) -> Caller {
    site.person(owner, MEMBER, "member", &json!([]))
}

#[test]
fn an_owner_comes_in_by_joining() {
    // 84
    let site = Site::start();
    let owner = site.owner();
    let member = member(&site, &owner);
    member.post("/v1/vaults", &json!({"name": "theirs"})).expect(201);
    let membership = |name: &str| {
        let listed = owner.get("/v1/vaults").expect(200).json();
        let vaults = listed["vaults"].as_array().expect("a list").clone();
        let vault = vaults.iter().find(|vault| text(vault, "name") == name).expect("owners see all").clone();
        (text(&vault, "membership").to_owned(), vault.get("role").cloned())
    };
    assert_eq!(membership("theirs"), ("implicit".to_owned(), None));
    assert_eq!(owner.get("/v1/credentials?vault=theirs").refusal(), refused(403, DENIED));
    // The list for those who look after the instance opens nothing.
    let all = owner.get("/v1/admin/vaults").expect(200).json();
    let all: Vec<(&str, bool)> = all["vaults"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|vault| (text(vault, "name"), vault["is_default"] == json!(true)))
        .collect();
    assert_eq!(all, [("default", true), ("theirs", false)]);
    let owners_only = refused(403, "Instance owner role required");
    assert_eq!(member.get("/v1/admin/vaults").refusal(), owners_only);

    let joined = owner.post("/v1/vaults/theirs/join", &json!({})).expect(200).json();
    assert_eq!(joined, json!({"vault": "theirs", "role": "admin", "joined": true}));
    assert_eq!(membership("theirs"), ("explicit".to_owned(), Some(json!("admin"))));
    owner.get("/v1/credentials?vault=theirs").expect(200);
    assert_eq!(
        owner.post("/v1/vaults/theirs/join", &json!({})).refusal(),
        refused(409, "You are already a member of this vault")
    );
    assert_eq!(member.post("/v1/vaults/default/join", &json!({})).refusal(), owners_only);
    let unknown = refused(404, "Vault not found");
    assert_eq!(owner.post("/v1/vaults/nowhere/join", &json!({})).refusal(), unknown);
}

#[test]
fn a_member_sees_the_vaults_they_were_granted() {
    // 85
    let site = Site::start();
    let owner = site.owner();
    owner.post("/v1/vaults", &json!({"name": "other"})).expect(201);
    let member = member(&site, &owner);
    assert_eq!(member.get("/v1/vaults").expect(200).json()["vaults"], json!([]));
    owner.post("/v1/vaults/other/users", &json!({"email": MEMBER})).expect(201);
    let listed = member.get("/v1/vaults").expect(200).json();
    let [vault] = &listed["vaults"].as_array().expect("a list")[..] else { panic!("{listed}") };
    assert_eq!((text(vault, "name"), text(vault, "role")), ("other", "member"));
}

#[test]
fn a_renamed_vault_is_the_same_vault() {
    // 93
    let site = Site::start();
    let owner = site.owner();
    let member = member(&site, &owner);
    for name in ["shop", "taken"] {
        owner.post("/v1/vaults", &json!({"name": name})).expect(201);
    }
    owner.post("/v1/credentials", &json!({"vault": "shop", "credentials": {"KEY": "v"}})).expect(200);
    let minted = owner.post("/v1/sessions", &json!({"vault": "shop"})).expect(200).json();
    let scoped = site.with_token(text(&minted, "token"));
    let rename = |caller: &Caller, vault: &str, name: &str| {
        caller.post(&format!("/v1/vaults/{vault}/rename"), &json!({"name": name}))
    };
    assert_eq!(rename(&owner, "shop", "taken").refusal(), refused(409, "Vault \"taken\" already exists"));
    for name in ["users", "My Shop", ""] {
        assert_eq!(rename(&owner, "shop", name).status, 400, "{name:?}");
    }
    let fixed = refused(400, "The default vault cannot be renamed");
    assert_eq!(rename(&owner, "default", "first").refusal(), fixed);
    rename(&owner, "nowhere", "first").expect(404);
    assert_eq!(rename(&member, "shop", "mine").refusal(), refused(403, DENIED));
    let renamed = rename(&owner, "shop", "store").expect(200).json();
    assert_eq!((text(&renamed, "old_name"), text(&renamed, "new_name")), ("shop", "store"));
    assert_eq!(text(&renamed, "message"), "Vault \"shop\" is now \"store\"");
    assert_eq!(owner.get("/v1/credentials?vault=store").expect(200).json()["keys"], json!(["KEY"]));
    owner.get("/v1/credentials?vault=shop").expect(404);
    assert_eq!(text(&scoped.get("/discover").expect(200).json(), "vault"), "store");

    // An owner may without being a member, an admin without being an owner.
    member.post("/v1/vaults", &json!({"name": "theirs"})).expect(201);
    rename(&owner, "theirs", "theirs-too").expect(200);
    rename(&member, "theirs-too", "theirs").expect(200);
}

#[test]
fn anyone_may_leave_but_the_last_admin() {
    // 94
    let site = Site::start();
    let owner = site.owner();
    let member = member(&site, &owner);
    let leave = |caller: &Caller| caller.post("/v1/vaults/default/leave", &json!({}));
    let path = "/v1/vaults/default/users";
    assert_eq!(leave(&member).refusal(), refused(403, DENIED));
    assert_eq!(leave(&owner).refusal(), refused(409, "The last admin cannot leave the vault"));
    owner.post(path, &json!({"email": MEMBER})).expect(201);
    let minted = member.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let scoped = site.with_token(text(&minted, "token"));
    assert_eq!(leave(&member).expect(200).json(), json!({"message": "You have left vault \"default\""}));
    member.get("/v1/credentials?vault=default").expect(403);
    // What was minted from the grant ends with it (design 7).
    scoped.get("/discover").expect(401);

    owner.post(path, &json!({"email": MEMBER, "role": "admin"})).expect(201);
    leave(&owner).expect(200);
    let text = "You are not an explicit member of this vault";
    assert_eq!(leave(&owner).refusal(), refused(409, text));
    member.post("/v1/vaults/nowhere/leave", &json!({})).expect(404);
    let minted = member.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let scoped = site.with_token(crate::site::text(&minted, "token"));
    assert_eq!(leave(&scoped).refusal(), refused(403, "Authentication required"));

    // An agent that is admin looks after the vault as well as a person; a revoked one does not.
    let agent = member.post("/v1/agents", &json!({"name": "warden"})).expect(201).json();
    let warden = site.with_token(crate::site::text(&agent, "av_agent_token"));
    let grant = json!({"name": "warden", "role": "admin"});
    member.post("/v1/vaults/default/agents", &grant).expect(201);
    member.delete("/v1/agents/warden").expect(200);
    assert_eq!(leave(&member).refusal(), refused(409, "The last admin cannot leave the vault"));
    warden.get("/v1/vaults").expect(401);
    let rotated = member.post("/v1/agents/warden/rotate", &json!({})).expect(200).json();
    leave(&member).expect(200);
    // Now it is the agent that cannot go.
    let warden = site.with_token(crate::site::text(&rotated, "av_agent_token"));
    let own = "/v1/vaults/default/agents/warden";
    assert_eq!(leave(&warden).refusal(), refused(409, "The last admin cannot leave the vault"));
    assert_eq!(warden.delete(own).refusal(), refused(409, "Cannot remove the last vault admin"));
    assert_eq!(
        warden.post(&format!("{own}/role"), &json!({"role": "proxy"})).refusal(),
        refused(409, "Cannot demote the last vault admin")
    );
    warden.post("/v1/vaults/default/users", &json!({"email": MEMBER, "role": "admin"})).expect(201);
    warden.delete(own).expect(200);
}

#[test]
fn members_are_added_changed_and_removed() {
    let site = Site::start();
    let owner = site.owner();
    let member = member(&site, &owner);
    let path = "/v1/vaults/default/users";
    let of_member = format!("{path}/{MEMBER}");
    let add = |body| owner.post(path, &body);
    assert_eq!(add(json!({})).refusal(), refused(400, "email is required"));
    assert_eq!(
        add(json!({"email": MEMBER, "role": "proxy"})).refusal(),
        refused(400, "role must be one of: member, admin")
    );
    let unknown = refused(404, "User \"no@example.test\" not found");
    assert_eq!(add(json!({"email": "no@example.test"})).refusal(), unknown);
    let added = add(json!({"email": " Member@Example.test "})).expect(201).json();
    assert_eq!(added, json!({"email": MEMBER, "role": "member"}));
    let twice = refused(409, "User \"member@example.test\" is already in this vault");
    assert_eq!(add(json!({"email": MEMBER, "role": "admin"})).refusal(), twice);

    // Who is asked to join the vault is shown with those who are in it.
    let invite =
        json!({"email": "new@example.test", "vaults": [{"vault_name": "default", "vault_role": "admin"}]});
    owner.post("/v1/users/invites", &invite).expect(201);
    let listed = member.get(path).expect(200).json();
    assert_eq!(
        listed["users"],
        json!([
            {"email": MEMBER, "role": "member", "status": "active"},
            {"email": "new@example.test", "role": "admin", "status": "pending"},
            {"email": OWNER, "role": "admin", "status": "active"},
        ])
    );
    let admins_only = refused(403, "Vault admin role required");
    assert_eq!(member.post(path, &json!({"email": OWNER})).refusal(), admins_only);
    assert_eq!(member.delete(&of_member).refusal(), admins_only);

    let set_role =
        |email: &str, role: &str| owner.post(&format!("{path}/{email}/role"), &json!({"role": role}));
    assert_eq!(set_role(OWNER, "member").refusal(), refused(409, "Cannot demote the last vault admin"));
    assert_eq!(
        owner.delete(&format!("{path}/{OWNER}")).refusal(),
        refused(409, "Cannot remove the last vault admin")
    );
    assert_eq!(set_role(MEMBER, "proxy").refusal(), refused(400, "role must be one of: member, admin"));
    assert_eq!(set_role(MEMBER, "").refusal(), refused(400, "role is required"));
    assert_eq!(
        set_role(MEMBER, "admin").expect(200).json(),
        json!({"email": MEMBER, "role": "admin", "message": "User \"member@example.test\" is now admin"})
    );
    set_role(OWNER, "member").expect(200);
    assert_eq!(owner.delete(&of_member).refusal(), admins_only);
    member.post(&format!("{path}/{OWNER}/role"), &json!({"role": "admin"})).expect(200);
    let minted = member.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let scoped = site.with_token(text(&minted, "token"));
    owner.delete(&of_member).expect(200);
    scoped.get("/discover").expect(401);
    let absent = refused(404, "User \"member@example.test\" is not in this vault");
    assert_eq!(owner.delete(&of_member).refusal(), absent);
    assert_eq!(set_role(MEMBER, "member").refusal(), absent);

    // A vault nobody is a member of has an empty list, not null.
    let agent = owner.post("/v1/agents", &json!({"name": "maker", "role": "member"})).expect(201).json();
    let maker = site.with_token(text(&agent, "av_agent_token"));
    maker.post("/v1/vaults", &json!({"name": "machines"})).expect(201);
    assert_eq!(maker.get("/v1/vaults/machines/users").expect(200).json(), json!({"users": []}));
}
