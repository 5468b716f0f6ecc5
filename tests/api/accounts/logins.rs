//! Logging in and out, and the list of logins: cases 7 to 17 and 30.

use serde_json::{Value, json};

use super::{MEMBER, logins};
use crate::site::{OWNER, PASSWORD, Site, refused, text};

#[test]
fn login_tells_nothing_about_accounts() {
    // 9
    let site = Site::start();
    site.owner();
    let login = |email: &str, password: &str| {
        site.nobody().post("/v1/auth/login", &json!({"email": email, "password": password}))
    };
    site.sign_up(MEMBER).expect(201);
    for (email, password) in [
        (OWNER, "wrong password"),
        ("other@example.test", PASSWORD),
        ("x", PASSWORD),
        // Waits for its code.
        (MEMBER, PASSWORD),
    ] {
        assert_eq!(login(email, password).refusal(), refused(401, "Invalid email or password"));
    }
    for (email, password) in [("", PASSWORD), (OWNER, "")] {
        assert_eq!(login(email, password).refusal(), refused(400, "Email and password are required"));
    }
    let answer = login("OWNER@example.test", PASSWORD).expect(200);
    site.with_token(text(&answer.json(), "token")).get("/v1/auth/me").expect(200);
}

#[test]
fn a_bearer_wins_over_the_cookie_and_either_may_be_wrong() {
    // 10, 11
    let site = Site::start();
    let form = json!({"email": OWNER, "password": PASSWORD});
    let registered = site.nobody().post("/v1/auth/register", &form).expect(201).json();
    let cookie = format!("other=1; av_session={}", text(&registered, "token"));
    let me = |fields: &[(&str, &str)]| site.nobody().get_with("/v1/auth/me", fields);
    me(&[("Cookie", &cookie)]).expect(200);
    me(&[("Cookie", &cookie), ("Authorization", "Basic eDp5")]).expect(200);
    let wrong = me(&[("Cookie", &cookie), ("Authorization", "Bearer av_sess_0")]);
    assert_eq!(wrong.refusal(), refused(401, "Invalid or expired session"));
    assert_eq!(me(&[]).refusal(), refused(401, "Authorization required"));
    let lower = me(&[("Authorization", "bearer x")]);
    assert_eq!(lower.refusal(), refused(401, "Authorization required"));
}

#[test]
fn logout_ends_the_login_and_never_fails() {
    // 17
    let site = Site::start();
    let owner = site.owner();
    let answer = owner.post("/v1/auth/logout", &json!({})).expect(200);
    assert_eq!(answer.json(), json!({"status": "ok"}));
    assert!(answer.field("set-cookie").starts_with("av_session=; Path=/; Max-Age=-1; "));
    owner.get("/v1/auth/me").expect(401);
    site.nobody().call("POST", "/v1/auth/logout", &[], None).expect(200);
}

#[test]
fn a_scoped_token_is_nobody_and_an_agent_is_itself() {
    // 30
    let site = Site::start();
    let owner = site.owner();
    let agent = site.agent(&owner, "bot", "member");
    let me = agent.get("/v1/auth/me").expect(200).json();
    assert_eq!(me, json!({"type": "agent", "agent_name": "bot", "role": "no-access", "is_owner": false}));
    let minted = agent.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let scoped = site.with_token(text(&minted, "token"));
    assert_eq!(scoped.get("/v1/auth/me").refusal(), refused(401, "Not authenticated"));
    assert_eq!(scoped.get("/v1/vaults").refusal(), refused(403, "Authentication required"));
}

#[test]
fn a_login_is_recorded_with_its_limits_and_where_it_comes_from() {
    // 7
    let site = Site::start();
    site.owner();
    let form = json!({"email": OWNER, "password": PASSWORD, "device_label": " my\ndesk "});
    let fields = [("User-Agent", "tests/1.0")];
    let answer = site.nobody().call("POST", "/v1/auth/login", &fields, Some(form.to_string())).expect(200);
    let token = text(&answer.json(), "token").to_owned();
    let cookie = answer.field("set-cookie");
    assert_eq!(cookie, format!("av_session={token}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict"));
    let columns = "SELECT device_label || '|' || last_ip || '|' || last_user_agent || '|' || idle_ttl_seconds
            || '|' || (julianday(expires_at) - julianday(created_at))
            || '|' || (last_used_at = created_at)
        FROM sessions WHERE device_label IS NOT NULL";
    let row: String = site.database().query_row(columns, [], |row| row.get(0)).expect("a login");
    assert_eq!(row, "mydesk|127.0.0.1|tests/1.0|2592000|365.0|1");
    // The token itself is nowhere.
    let stored = std::fs::read(site.home.join(".agent-vault/agent-vault.db")).expect("a file");
    assert!(!crate::support::contains(&stored, &token));
    let listed = logins(&site.with_token(&token));
    assert_eq!(listed.len(), 2);
    let listed = listed.iter().find(|login| login["current"] == json!(true)).expect("a current login");
    assert_eq!(text(listed, "id").len(), 20);
    assert_eq!(
        [text(listed, "device_label"), text(listed, "last_ip"), text(listed, "last_user_agent")],
        ["mydesk", "127.0.0.1", "tests/1.0"]
    );
    for key in ["created_at", "last_used_at", "expires_at"] {
        assert!(text(listed, key).ends_with('Z'), "{listed}");
    }
}

#[test]
fn a_device_label_is_cut_between_characters() {
    // 16
    let site = Site::start();
    site.owner();
    for (label, kept) in [("é", 33), ("🙂", 17), ("語", 22), ("a", 65), ("語", 65)] {
        let login = site.log_in(OWNER, PASSWORD, &label.repeat(kept));
        let current = logins(&login).into_iter().find(|login| login["current"] == json!(true));
        let current = current.expect("a current login");
        assert_eq!(text(&current, "device_label"), label.repeat(kept.min(64)));
    }
}

#[test]
fn an_expired_and_an_idle_login_are_told_apart_from_an_unknown_one() {
    // 11, 12
    let site = Site::start();
    let owner = site.owner();
    let expired = refused(401, "Session expired");
    for (end, begin) in [
        ("expires_at = '2020-01-01 00:00:00'", "expires_at = '2999-01-01 00:00:00'"),
        ("last_used_at = '2020-01-01 00:00:00'", "idle_ttl_seconds = NULL"),
    ] {
        site.meddle(&format!("UPDATE sessions SET {end}"));
        assert_eq!(owner.get("/v1/auth/me").refusal(), expired, "{end}");
        site.meddle(&format!("UPDATE sessions SET {begin}"));
        owner.get("/v1/auth/me").expect(200);
    }
}

#[test]
fn the_list_shows_live_logins_and_marks_ones_own() {
    // 13
    let site = Site::start();
    let owner = site.owner();
    for label in ["expired", "idle", "old", "older"] {
        site.log_in(OWNER, PASSWORD, label);
    }
    for (label, change) in [
        ("expired", "expires_at = '2020-01-01 00:00:00'"),
        ("idle", "last_used_at = '2020-01-01 00:00:00'"),
        // Older than the others and without an idle limit.
        ("older", "last_used_at = '2020-01-01 00:00:00', idle_ttl_seconds = NULL"),
        ("old", "last_used_at = '2020-01-02 00:00:00', idle_ttl_seconds = NULL"),
    ] {
        assert_eq!(site.meddle(&format!("UPDATE sessions SET {change} WHERE device_label = '{label}'")), 1);
    }
    let listed = logins(&owner);
    let shown: Vec<_> = listed
        .iter()
        .map(|login| (login.get("device_label").and_then(Value::as_str), &login["current"]))
        .collect();
    assert_eq!(shown, [(None, &json!(true)), (Some("old"), &json!(false)), (Some("older"), &json!(false))]);
}

#[test]
fn a_revoked_login_ends_and_only_ones_own_clears_the_cookie() {
    // 14
    let mut site = Site::start();
    let owner = site.owner();
    let phone = site.log_in(OWNER, PASSWORD, "phone");
    let member = site.member(MEMBER);
    let unknown = refused(404, "Session not found");
    let of = |caller, label: Option<&str>| {
        let listed = logins(caller);
        let found = listed.iter().find(|login| login.get("device_label").and_then(Value::as_str) == label);
        format!("/v1/auth/sessions/{}", text(found.expect("a login"), "id"))
    };
    assert_eq!(member.delete(&of(&owner, Some("phone"))).refusal(), unknown);
    assert_eq!(owner.delete("/v1/auth/sessions/0123").refusal(), unknown);
    phone.get("/v1/auth/me").expect(200);
    let minted = owner.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let id =
        text(&owner.get("/v1/sessions?vault=default").expect(200).json()["sessions"][0], "id").to_owned();
    assert_eq!(owner.delete(&format!("/v1/auth/sessions/{id}")).refusal(), unknown);
    site.with_token(text(&minted, "token")).get("/discover").expect(200);

    let other = owner.delete(&of(&owner, Some("phone"))).expect(200);
    assert_eq!(other.json(), json!({"status": "revoked", "current": false}));
    assert_eq!(other.field("set-cookie"), "");
    assert_eq!(phone.get("/v1/auth/me").refusal(), refused(401, "Invalid or expired session"));
    let own = owner.delete(&of(&owner, None)).expect(200);
    assert_eq!(own.json(), json!({"status": "revoked", "current": true}));
    assert!(own.field("set-cookie").starts_with("av_session=; Path=/; Max-Age=-1; "));
    owner.get("/v1/auth/me").expect(401);
    member.get("/v1/auth/me").expect(200);
}

#[test]
fn logins_belong_to_people() {
    let site = Site::start();
    let owner = site.owner();
    let agent = site.agent(&owner, "bot", "member");
    let minted = owner.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let scoped = site.with_token(text(&minted, "token"));
    for (method, path) in [
        ("GET", "/v1/auth/sessions"),
        ("DELETE", "/v1/auth/sessions/0123"),
        ("POST", "/v1/auth/change-password"),
        ("DELETE", "/v1/auth/account"),
    ] {
        for caller in [&agent, &scoped] {
            let refusal = caller.call(method, path, &[], None).refusal();
            assert_eq!(refusal, refused(403, "User session required"), "{method} {path}");
        }
        let refusal = site.nobody().call(method, path, &[], None).refusal();
        assert_eq!(refusal, refused(401, "Authorization required"), "{method} {path}");
    }
}

#[test]
fn a_use_is_noted_once_a_minute() {
    // 15
    let site = Site::start();
    let owner = site.owner();
    let visit = |agent: &str| owner.get_with("/v1/auth/me", &[("User-Agent", agent)]).expect(200);
    let noted = || text(&logins(&owner)[0], "last_user_agent").to_owned();
    let first = noted();
    visit("second/1.0");
    assert_eq!(noted(), first);
    site.meddle("UPDATE sessions SET last_used_at = datetime('now', '-62 seconds')");
    visit("third/1.0");
    visit("fourth/1.0");
    assert_eq!(noted(), "third/1.0");
}
