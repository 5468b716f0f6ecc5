//! New passwords, and the end of an account: cases 27 to 29.

use serde_json::json;

use super::{MEMBER, logins, shape};
use crate::site::{OWNER, PASSWORD, Site, refused, text};

const NEW: &str = "another horse battery";

#[test]
fn a_reset_ends_every_login_and_its_token_is_in_the_cookie_alone() {
    // 27
    let mut site = Site::start();
    let owner = site.owner();
    let elsewhere = site.log_in(OWNER, PASSWORD, "phone");
    let minted = owner.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let forgot = |site: &Site| site.nobody().post("/v1/auth/forgot-password", &json!({"email": OWNER}));
    forgot(&site).expect(200);
    let code = site.code("Password reset", OWNER);
    let reset = |site: &Site, code: &str, password: &str| {
        let form = json!({"email": OWNER, "code": code, "new_password": password, "device_label": "desk"});
        site.nobody().post("/v1/auth/reset-password", &form)
    };
    let missing = refused(400, "Email, code and new password are required");
    assert_eq!(site.nobody().post("/v1/auth/reset-password", &json!({"email": OWNER})).refusal(), missing);
    assert_eq!(reset(&site, &code, "").refusal(), missing);
    let short = refused(400, "Password must be at least 8 characters");
    assert_eq!(reset(&site, &code, "1234567").refusal(), short);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let invalid = refused(400, "Invalid or expired reset code");
    assert_eq!(reset(&site, wrong, NEW).refusal(), invalid);
    owner.get("/v1/auth/me").expect(200);

    let answer = reset(&site, &code, NEW).expect(200);
    assert_eq!(
        shape(&answer, &["expires_at"]),
        json!([200, {"message": "Password reset successfully.", "authenticated": true, "expires_at": "…"}])
    );
    let cookie = answer.field("set-cookie");
    assert!(cookie.ends_with("; Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().expect("a pair");
    site.nobody().get_with("/v1/auth/me", &[("Cookie", pair)]).expect(200);
    for login in [&owner, &elsewhere] {
        assert_eq!(login.get("/v1/auth/me").refusal(), refused(401, "Invalid or expired session"));
    }
    // What was minted lives on (contract B.3).
    site.with_token(text(&minted, "token")).get("/discover").expect(200);
    assert_eq!(reset(&site, &code, NEW).refusal(), invalid);
    site.nobody().post("/v1/auth/login", &json!({"email": OWNER, "password": PASSWORD})).expect(401);
    let member = site.log_in(OWNER, NEW, "desk");
    assert_eq!(logins(&member).len(), 2);

    forgot(&site).expect(200);
    let late = site.code("Password reset", OWNER);
    site.meddle("UPDATE password_resets SET expires_at = '2020-01-01 00:00:00'");
    assert_eq!(reset(&site, &late, NEW).refusal(), invalid);
    let unknown = json!({"email": "nobody@example.test", "code": code, "new_password": NEW});
    assert_eq!(site.nobody().post("/v1/auth/reset-password", &unknown).refusal(), invalid);
}

#[test]
fn wrong_reset_codes_lock_known_and_unknown_addresses_alike() {
    // 26, 27
    let site = Site::start_with(&[], &[("AGENT_VAULT_RATELIMIT_AUTH_MAX", "500")]);
    site.owner();
    let guess = |email: &str| {
        let form = json!({"email": email, "code": "not a code", "new_password": NEW});
        site.nobody().post("/v1/auth/reset-password", &form).status
    };
    let forgot = |email: &str| {
        site.nobody().post("/v1/auth/forgot-password", &json!({"email": email})).expect(200);
    };
    for email in [OWNER, "nobody@example.test"] {
        // Three codes at most, so three times ten guesses and no more.
        for _ in 0..3 {
            forgot(email);
            assert_eq!(
                (0..11).map(|_| guess(email)).collect::<Vec<_>>(),
                [[400; 10].as_slice(), &[429]].concat()
            );
        }
        forgot(email);
        assert_eq!(guess(email), 429, "{email}");
    }
}

/// New codes may be asked for all day, and so much guessing would find one in the end.
#[test]
fn wrong_codes_are_limited_over_a_day_whatever_is_asked_for() {
    let mut site = Site::start_with(&[], &[("AGENT_VAULT_RATELIMIT_AUTH_MAX", "500")]);
    site.owner();
    let forgot = |site: &Site| {
        site.nobody().post("/v1/auth/forgot-password", &json!({"email": OWNER})).expect(200);
    };
    let reset = |site: &Site, code: &str| {
        let form = json!({"email": OWNER, "code": code, "new_password": NEW});
        site.nobody().post("/v1/auth/reset-password", &form)
    };
    for _ in 0..3 {
        forgot(&site);
        site.code("Password reset", OWNER);
        for _ in 0..10 {
            reset(&site, "not a code").expect(400);
        }
        // Behind the running broker's back: waiting for it takes a quarter of an hour.
        let database = site.home.path().join(".agent-vault/agent-vault.db");
        let database = rusqlite::Connection::open(database).expect("the store");
        let past = "UPDATE password_resets SET expires_at = '2020-01-01 00:00:00'";
        assert!(database.execute(past, []).expect("an update") >= 1);
    }
    forgot(&site);
    let code = site.code("Password reset", OWNER);
    let refused = reset(&site, &code).expect(429);
    assert_eq!(
        refused.json(),
        json!({
            "error": "too_many_requests",
            "message": "Too many wrong codes for this address today, try again later"
        })
    );
    let wait: u64 = refused.field("retry-after").parse().expect("seconds");
    assert!((86_000..=86_400).contains(&wait) && refused.field("x-ratelimit-limit") == "30", "{wait}");
    // The password is still good: nobody is locked out of what they know.
    let login = json!({"email": OWNER, "password": PASSWORD});
    site.nobody().post("/v1/auth/login", &login).expect(200);
}

#[test]
fn a_changed_password_ends_every_login_but_a_new_one_of_the_same_name() {
    // 28
    let site = Site::start();
    site.owner();
    let (desk, phone) = (site.log_in(OWNER, PASSWORD, "desk"), site.log_in(OWNER, PASSWORD, "phone"));
    let change = |current: &str, new: &str| {
        desk.post("/v1/auth/change-password", &json!({"current_password": current, "new_password": new}))
    };
    assert_eq!(change("", NEW).refusal(), refused(400, "Current password is required"));
    assert_eq!(change(PASSWORD, "").refusal(), refused(400, "New password is required"));
    assert_eq!(change(PASSWORD, "1234567").refusal(), refused(400, "Password must be at least 8 characters"));
    assert_eq!(change("wrong password", NEW).refusal(), refused(401, "Current password is incorrect"));
    let form = json!({"current_password": PASSWORD, "new_password": NEW});
    let nobody = site.nobody().post("/v1/auth/change-password", &form).refusal();
    assert_eq!(nobody, refused(401, "Authorization required"));
    phone.get("/v1/auth/me").expect(200);

    let answer = change(PASSWORD, NEW).expect(200);
    let token = answer.json();
    assert_eq!(shape(&answer, &["token", "expires_at"]), json!([200, {"token": "…", "expires_at": "…"}]));
    assert!(answer.field("set-cookie").starts_with(&format!("av_session={}; ", text(&token, "token"))));
    for old in [&desk, &phone] {
        assert_eq!(old.get("/v1/auth/me").refusal(), refused(401, "Invalid or expired session"));
    }
    let listed = logins(&site.with_token(text(&token, "token")));
    let [only] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!((text(only, "device_label"), &only["current"]), ("desk", &json!(true)));
    site.nobody().post("/v1/auth/login", &json!({"email": OWNER, "password": PASSWORD})).expect(401);
    site.log_in(OWNER, NEW, "phone");
}

#[test]
fn of_two_changes_at_once_one_is_made() {
    // 28
    let site = Site::start();
    let owner = site.owner();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let changes: Vec<_> = (0..4)
            .map(|number| {
                let owner = &owner;
                scope.spawn(move || {
                    let new = format!("new password {number}");
                    let form = json!({"current_password": PASSWORD, "new_password": new});
                    owner.post("/v1/auth/change-password", &form).status
                })
            })
            .collect();
        changes.into_iter().map(|change| change.join().expect("a change")).collect()
    });
    let mut sorted = statuses.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [200, 401, 401, 401], "{statuses:?}");
    assert_eq!(site.count("SELECT COUNT(*) FROM sessions"), 1);
}

#[test]
fn a_member_may_go_and_an_owner_may_not() {
    // 29
    let mut site = Site::start();
    let owner = site.owner();
    let refusal = owner.delete("/v1/auth/account").refusal();
    let words = "Owners cannot delete their own account; hand over ownership of the instance first";
    assert_eq!(refusal, refused(409, words));
    owner.get("/v1/auth/me").expect(200);

    let member = site.member(MEMBER);
    member.post("/v1/vaults", &json!({"name": "theirs"})).expect(201);
    let minted = member.post("/v1/sessions", &json!({"vault": "theirs"})).expect(200).json();
    let scoped = site.with_token(text(&minted, "token"));
    scoped.get("/discover").expect(200);
    let answer = member.delete("/v1/auth/account").expect(200);
    assert_eq!(answer.json(), json!({"status": "deleted", "email": MEMBER}));
    assert!(answer.field("set-cookie").starts_with("av_session=; Path=/; Max-Age=-1; "));
    assert_eq!(member.get("/v1/auth/me").refusal(), refused(401, "Invalid or expired session"));
    assert_eq!(scoped.get("/discover").status, 401);
    site.nobody().post("/v1/auth/login", &json!({"email": MEMBER, "password": PASSWORD})).expect(401);
    assert_eq!(site.count("SELECT COUNT(*) FROM users"), 1);
    assert_eq!(
        site.count("SELECT COUNT(*) FROM vault_grants WHERE actor_id NOT IN (SELECT id FROM users)"),
        0
    );
    // The address is free again.
    site.member(MEMBER).get("/v1/auth/me").expect(200);
}
