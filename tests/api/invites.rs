//! Invites: case 96, and who may make, see and end them.

use serde_json::{Value, json};

use crate::site::{Caller, OWNER, PASSWORD, Site, refused, text, token_in};

const GUEST: &str = "guest@example.test";

fn invite(caller: &Caller, body: &Value) -> Value {
    caller.post("/v1/users/invites", body).expect(201).json()
}

fn path(token: &str, verb: &str) -> String {
    format!("/v1/users/invites/{token}{verb}")
}

fn accept(site: &Site, token: &str) -> crate::site::Answer {
    site.nobody().post(&path(token, "/accept"), &json!({"password": PASSWORD}))
}

#[test]
fn an_invite_is_taken_up_once() {
    // 96
    let site = Site::start();
    let owner = site.owner();
    owner.post("/v1/vaults", &json!({"name": "shop"})).expect(201);
    let vaults = json!([{"vault_name": "shop", "vault_role": "admin"}]);
    let made =
        invite(&owner, &json!({"email": " Guest@Example.test", "role": "no-access", "vaults": vaults}));
    assert_eq!((text(&made, "email"), text(&made, "role")), (GUEST, "no-access"));
    assert_eq!((&made["vaults"], &made["email_sent"]), (&vaults, &json!(false)));
    assert!(text(&made, "expires_at").ends_with('Z'));
    let token = token_in(&made);
    assert!(token.strip_prefix("av_uinv_").is_some_and(|hex| hex.len() == 64), "{token}");
    assert_eq!(text(&made, "invite_link"), format!("{}/invite/{token}", site.address));

    let details = || site.nobody().get(&path(token, "/details")).expect(200).json();
    assert_eq!(
        details(),
        json!({"email": GUEST, "role": "no-access", "vaults": vaults, "needs_account": true})
    );
    let short = site.nobody().post(&path(token, "/accept"), &json!({"password": "1234567"}));
    assert_eq!(short.refusal(), refused(400, "Password must be at least 8 characters"));
    site.nobody().call("POST", &path(token, "/accept"), &[], None).expect(400);
    let accepted = accept(&site, token).expect(200);
    assert_eq!(accepted.json(), json!({"email": GUEST, "message": "Account created. You can log in now."}));
    assert_eq!(accepted.field("set-cookie"), "", "accepting logs nobody in");
    assert_eq!(accept(&site, token).status, 410);
    let dead = details();
    assert_eq!((&dead["error"], text(&dead, "error_title")), (&json!(true), "Already Accepted"));

    let login = json!({"email": GUEST, "password": PASSWORD});
    let login = site.nobody().post("/v1/auth/login", &login).expect(200).json();
    let guest = site.with_token(text(&login, "token"));
    let own = guest.get("/v1/admin/users/me").expect(200).json();
    assert_eq!((text(&own, "role"), &own["vaults"]), ("no-access", &json!(["shop"])));
    let context = guest.get("/v1/vaults/shop/context").expect(200).json();
    assert_eq!(text(&context, "vault_role"), "admin");
    for verb in ["/details", "/accept"] {
        let method = if verb == "/accept" { "POST" } else { "GET" };
        let unknown = site.nobody().call(method, &path("av_uinv_0", verb), &[], None);
        assert_eq!(unknown.refusal(), refused(404, "Invite not found"), "{verb}");
    }
}

/// Somebody signs up with an address that is not theirs and waits for its owner to be given something.
#[test]
fn an_account_that_nobody_proved_goes_to_whoever_has_the_link() {
    let site = Site::start();
    let owner = site.owner();
    let login = |password: &str| {
        site.nobody().post("/v1/auth/login", &json!({"email": GUEST, "password": password})).status
    };
    let squat = json!({"email": GUEST, "password": "the stranger's"});
    site.nobody().post("/v1/auth/register", &squat).expect(201);
    let vaults = json!([{"vault_name": "default"}]);
    let made = invite(&owner, &json!({"email": GUEST, "role": "no-access", "vaults": vaults}));
    let token = token_in(&made);
    let details = site.nobody().get(&path(token, "/details")).expect(200).json();
    assert_eq!(details["needs_account"], json!(true));
    let without = site.nobody().post(&path(token, "/accept"), &json!({}));
    assert_eq!(without.refusal(), refused(400, "Password must be at least 8 characters"));
    accept(&site, token).expect(200);

    assert_eq!((login("the stranger's"), login(PASSWORD)), (401, 200));
    let verify = json!({"email": GUEST, "code": "000000"});
    assert_eq!(site.nobody().post("/v1/auth/verify", &verify).status, 409, "the stranger's code is void");
    let shown = owner.get("/v1/admin/users/guest%40example.test").expect(200).json();
    assert_eq!((text(&shown, "role"), &shown["vaults"]), ("no-access", &json!(["default"])));
    let again = owner.post("/v1/users/invites", &json!({"email": GUEST}));
    assert_eq!(again.status, 409, "a proved account stays as it is");
}

#[test]
fn of_concurrent_acceptances_one_succeeds() {
    // 96
    let site = Site::start();
    let owner = site.owner();
    let made = invite(&owner, &json!({"email": GUEST}));
    let take_up = path(token_in(&made), "/accept");
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|_| {
                let (caller, take_up) = (site.nobody(), &take_up);
                scope.spawn(move || caller.post(take_up, &json!({"password": PASSWORD})).status)
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("a racer")).collect()
    });
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 410, 410, 410]);
    let users = owner.get("/v1/users").expect(200).json();
    assert_eq!(users["users"].as_array().map(Vec::len), Some(2));
}

#[test]
fn an_invite_is_checked_in_order() {
    let site = Site::start();
    let owner = site.owner();
    let member = site.person(&owner, "member@example.test", "member", &json!([]));
    let refusal = |caller: &Caller, body: Value| caller.post("/v1/users/invites", &body).refusal();
    // Each line has everything wrong that the lines after it have.
    let nowhere = json!([{"vault_name": "nowhere"}]);
    for (email, role, expected) in [
        ("nonsense", "king", refused(400, "Invalid email address")),
        (OWNER, "king", refused(400, "role must be one of: owner, member, no-access")),
        (OWNER, "owner", refused(403, "Only instance owners can invite owners")),
        (OWNER, "member", refused(409, "User \"owner@example.test\" already has an account")),
        (GUEST, "", refused(404, "Vault \"nowhere\" not found")),
    ] {
        let body = json!({"email": email, "role": role, "vaults": nowhere});
        assert_eq!(refusal(&member, body), expected, "{email} {role}");
    }
    let foreign = json!({"email": GUEST, "vaults": [{"vault_name": "default"}]});
    assert_eq!(refusal(&member, foreign), refused(403, "No access to this vault"));
    let proxy = json!({"email": GUEST, "vaults": [{"vault_name": "default", "vault_role": "proxy"}]});
    assert_eq!(refusal(&owner, proxy), refused(400, "role must be one of: member, admin"));
    let twice = json!({"email": GUEST, "vaults": [{"vault_name": "default"}, {"vault_name": "default"}]});
    assert_eq!(refusal(&owner, twice), refused(400, "vaults names \"default\" twice"));
    // Nothing of what was refused has been kept.
    assert_eq!(owner.get("/v1/users/invites?status=pending").expect(200).json()["invites"], json!([]));
    invite(&member, &json!({"email": GUEST}));
    assert_eq!(
        refusal(&member, json!({"email": GUEST, "vaults": nowhere})),
        refused(409, "A pending invite for \"guest@example.test\" exists already")
    );
}

#[test]
fn fifty_invites_may_wait_at_once() {
    let site = Site::start();
    let owner = site.owner();
    for number in 0..50 {
        invite(&owner, &json!({"email": format!("guest{number}@example.test")}));
    }
    let nowhere = json!({"email": GUEST, "vaults": [{"vault_name": "nowhere"}]});
    assert_eq!(owner.post("/v1/users/invites", &nowhere).refusal(), refused(429, "Too many pending invites"));
}

#[test]
fn an_invite_is_seen_and_ended_by_those_it_concerns() {
    let site = Site::start();
    let owner = site.owner();
    let member = site.person(&owner, "member@example.test", "member", &json!([]));
    let other = site.person(&owner, "other@example.test", "member", &json!([]));
    member.post("/v1/vaults", &json!({"name": "theirs"})).expect(201);
    let own = invite(&member, &json!({"email": "one@example.test"}));
    let for_theirs = json!({"email": "two@example.test", "vaults": [{"vault_name": "theirs"}]});
    let for_theirs = invite(&owner, &for_theirs);
    let foreign = invite(&owner, &json!({"email": "three@example.test"}));

    let seen = |caller: &Caller, query: &str| {
        let listed = caller.get(&format!("/v1/users/invites{query}")).expect(200).json();
        let mut emails: Vec<String> = listed["invites"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|i| text(i, "email").to_owned())
            .collect();
        emails.sort_unstable();
        emails
    };
    assert_eq!(seen(&member, "?status=pending"), ["one@example.test", "two@example.test"]);
    assert_eq!(seen(&other, ""), [""; 0]);
    assert_eq!(seen(&owner, "?status=pending").len(), 3);
    assert_eq!(seen(&owner, "?status=accepted"), ["member@example.test", "other@example.test"]);
    owner.get("/v1/users/invites?status=lost").expect(400);
    let listed = member.get("/v1/users/invites").expect(200).json();
    let row =
        listed["invites"].as_array().expect("a list").iter().find(|i| text(i, "email") == "two@example.test");
    let row = row.expect("the invite to the member's vault");
    assert_eq!((text(row, "token"), text(row, "status")), ("", "pending"));
    assert_eq!(row["vaults"], json!([{"vault_name": "theirs", "vault_role": "member"}]));
    assert_eq!((text(row, "created_by").len(), text(row, "role")), (36, "member"));

    let denied = 403;
    for (token, verb) in [(token_in(&own), ""), (token_in(&foreign), ""), (token_in(&foreign), "/reinvite")] {
        let method = if verb.is_empty() { "DELETE" } else { "POST" };
        assert_eq!(other.call(method, &path(token, verb), &[], None).status, denied, "{verb}");
    }
    let revoked = member.delete(&path(token_in(&for_theirs), "")).expect(200);
    assert_eq!(revoked.json(), json!({"message": "Invite revoked"}));
    member.delete(&path(token_in(&for_theirs), "")).expect(404);
    member.delete(&path("av_uinv_0", "")).expect(404);
    accept(&site, token_in(&for_theirs)).expect(410);
    let dead = site.nobody().get(&path(token_in(&for_theirs), "/details")).expect(200).json();
    assert_eq!(text(&dead, "error_title"), "Invite Revoked");
    let members = member.get("/v1/vaults/theirs/users").expect(200).json();
    assert_eq!(members["users"].as_array().map(Vec::len), Some(1), "a revoked invite is not pending");

    let again = member.post(&path(token_in(&own), "/reinvite"), &json!({})).expect(201).json();
    assert_eq!((text(&again, "email"), &again["email_sent"]), ("one@example.test", &json!(false)));
    assert_ne!(token_in(&again), token_in(&own));
    assert_eq!(
        member.post(&path(token_in(&own), "/reinvite"), &json!({})).refusal(),
        refused(409, "The invite is revoked")
    );
    accept(&site, token_in(&own)).expect(410);
    accept(&site, token_in(&again)).expect(200);
    let late = owner.post(&path(token_in(&again), "/reinvite"), &json!({}));
    assert_eq!(late.refusal(), refused(409, "The invite is accepted"));
}

/// Beyond the contract: the link is shown once, and the invite must not be out of reach when it is lost.
#[test]
fn an_invite_whose_link_is_lost_is_named_by_its_address() {
    let site = Site::start();
    let owner = site.owner();
    let other = site.person(&owner, "other@example.test", "member", &json!([]));
    let lost = invite(&owner, &json!({"email": GUEST}));
    let unknown = refused(404, "Invite not found");
    assert_eq!(other.delete(&path(GUEST, "")).refusal(), unknown);
    assert_eq!(other.post(&path(GUEST, "/reinvite"), &json!({})).refusal(), unknown);
    let again = owner.post(&path("Guest%40example.test", "/reinvite"), &json!({})).expect(201).json();
    accept(&site, token_in(&lost)).expect(410);
    owner.delete(&path(GUEST, "")).expect(200);
    accept(&site, token_in(&again)).expect(410);
    assert_eq!(owner.delete(&path(GUEST, "")).refusal(), unknown);
    // An address is no key to an invite: who takes it up has the link.
    let made = invite(&owner, &json!({"email": GUEST}));
    assert_eq!(site.nobody().get(&path(GUEST, "/details")).refusal(), unknown);
    assert_eq!(accept(&site, GUEST).refusal(), unknown);
    accept(&site, token_in(&made)).expect(200);
}

#[test]
fn a_demoted_owner_makes_no_owners_of_what_waits() {
    let site = Site::start();
    let owner = site.owner();
    let second = site.person(&owner, "second@example.test", "owner", &json!([]));
    let made = invite(&second, &json!({"email": GUEST, "role": "owner"}));
    owner.post("/v1/admin/users/second@example.test/role", &json!({"role": "member"})).expect(200);
    let again = second.post(&path(token_in(&made), "/reinvite"), &json!({}));
    assert_eq!(again.refusal(), refused(403, "Only instance owners can invite owners"));
}

#[test]
fn an_account_that_is_there_gets_the_vaults_and_nothing_else() {
    let mut site = Site::start();
    let owner = site.owner();
    let vaults = json!([{"vault_name": "default", "vault_role": "admin"}]);
    let made = invite(&owner, &json!({"email": GUEST, "role": "owner", "vaults": vaults}));
    // The address signs up by itself, and proves that it is theirs, before it takes the invite up.
    let form = json!({"email": GUEST, "password": PASSWORD});
    site.nobody().post("/v1/auth/register", &form).expect(201);
    let code = site.process.line_after(&format!("Verification code for {GUEST}: "));
    site.nobody().post("/v1/auth/verify", &json!({"email": GUEST, "code": code})).expect(200);
    let details = site.nobody().get(&path(token_in(&made), "/details")).expect(200).json();
    assert_eq!(details["needs_account"], json!(false));
    let other = json!({"password": "not the account's"});
    let accepted = site.nobody().post(&path(token_in(&made), "/accept"), &other).expect(200).json();
    assert_eq!(text(&accepted, "message"), "Invite accepted.");

    // The account has the role and the password it had.
    let login = site.nobody().post("/v1/auth/login", &form).expect(200).json();
    let guest = site.with_token(text(&login, "token"));
    let own = guest.get("/v1/admin/users/me").expect(200).json();
    assert_eq!((text(&own, "role"), &own["vaults"]), ("member", &json!(["default"])));
    let context = guest.get("/v1/vaults/default/context").expect(200).json();
    assert_eq!(text(&context, "vault_role"), "admin");
    assert_eq!(
        owner.post("/v1/users/invites", &json!({"email": GUEST})).refusal(),
        refused(409, "User \"guest@example.test\" already has an account")
    );
}

#[test]
fn a_domain_that_is_not_allowed_neither_gets_an_invite_nor_takes_one_up() {
    // 96
    let site = Site::start();
    let owner = site.owner();
    let early = invite(&owner, &json!({"email": "early@other.test"}));
    admit(&owner, &["example.test"]);
    let closed = refused(403, "Only addresses of these domains may join: example.test");
    assert_eq!(accept(&site, token_in(&early)).refusal(), closed);
    assert_eq!(owner.post("/v1/users/invites", &json!({"email": "late@other.test"})).refusal(), closed);
    // Invites are how people join an instance that is closed to everybody else.
    let made = invite(&owner, &json!({"email": GUEST}));
    accept(&site, token_in(&made)).expect(200);
    admit(&owner, &[]);
    accept(&site, token_in(&early)).expect(200);
}

/// Closes the instance to all who are not invited and of these domains.
fn admit(owner: &Caller, domains: &[&str]) {
    let form = json!({"allowed_email_domains": domains, "invite_only": true});
    owner.send("PUT", "/v1/admin/settings", &form).expect(200);
}

#[test]
fn links_are_not_kept_and_guessing_them_is_limited() {
    let site = Site::start();
    let owner = site.owner();
    let made = invite(&owner, &json!({"email": GUEST}));
    let token = token_in(&made).to_owned();
    // The registration was the first of the window's fifty.
    for _ in 1..50 {
        site.nobody().get(&path("av_uinv_0", "/details")).expect(404);
    }
    let refused = site.nobody().get(&path(&token, "/details")).expect(429);
    assert_eq!(text(&refused.json(), "error"), "too_many_requests");
    let Site { mut process, home, .. } = site;
    let output = process.output();
    drop(process);
    let stored = std::fs::read(home.join(".agent-vault/agent-vault.db")).expect("the store");
    assert!(!crate::support::contains(&stored, &token) && !output.contains(&token));
}
