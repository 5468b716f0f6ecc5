//! Registration, login, logout and the cookie: cases 7 to 11, 17 to 20, 30.

use serde_json::json;

use crate::site::{OWNER, PASSWORD, Site, refused, text};

#[test]
fn the_first_registration_makes_a_logged_in_owner() {
    // 19
    let site = Site::start();
    let form = json!({"email": " Owner@Example.TEST ", "password": PASSWORD, "device_label": "laptop"});
    let answer = site.nobody().post("/v1/auth/register", &form).expect(201);
    let body = answer.json();
    assert_eq!((text(&body, "email"), text(&body, "role")), (OWNER, "owner"));
    assert_eq!(text(&body, "message"), "Owner account created.");
    assert_eq!((&body["authenticated"], &body["requires_verification"]), (&json!(true), &json!(false)));
    let token = text(&body, "token");
    assert!(token.starts_with("av_sess_") && token.len() == 8 + 64);
    let cookie = answer.field("set-cookie");
    assert!(cookie.starts_with(&format!("av_session={token}; Path=/; Max-Age=31536000; ")), "{cookie}");
    assert!(cookie.ends_with("HttpOnly; SameSite=Strict"), "{cookie}");
    let owner = site.with_token(token);
    let me = owner.get("/v1/auth/me").expect(200).json();
    assert_eq!(me, json!({"type": "user", "email": OWNER, "role": "owner", "is_owner": true}));
    let context = owner.get("/v1/vaults/default/context").expect(200).json();
    assert_eq!(context, json!({"vault_name": "default", "vault_role": "admin"}));
    let again = site.nobody().post("/v1/auth/register", &json!({"email": "b@c.de", "password": PASSWORD}));
    again.expect(403);
}

#[test]
fn racing_first_registrations_make_one_owner() {
    // 20
    let site = Site::start();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|number| {
                let caller = site.nobody();
                scope.spawn(move || {
                    let form = json!({"email": format!("o{number}@x.test"), "password": PASSWORD});
                    caller.post("/v1/auth/register", &form).status
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("a racer")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
}

#[test]
fn a_registration_is_checked() {
    let site = Site::start();
    let register = |email: &str, password: &str| {
        site.nobody().post("/v1/auth/register", &json!({"email": email, "password": password})).refusal()
    };
    assert_eq!(register("nonsense", PASSWORD), refused(400, "Invalid email address"));
    assert_eq!(register(OWNER, "1234567"), refused(400, "Password must be at least 8 characters"));
}

#[test]
fn login_tells_nothing_about_accounts() {
    // 9
    let site = Site::start();
    site.owner();
    let login = |email: &str, password: &str| {
        site.nobody().post("/v1/auth/login", &json!({"email": email, "password": password}))
    };
    for (email, password) in [(OWNER, "wrong password"), ("other@example.test", PASSWORD), ("x", PASSWORD)] {
        assert_eq!(login(email, password).refusal(), refused(401, "Invalid email or password"));
    }
    for (email, password) in [("", PASSWORD), (OWNER, "")] {
        assert_eq!(login(email, password).refusal(), refused(400, "Email and password are required"));
    }
    // 7
    let answer = login("OWNER@example.test", PASSWORD).expect(200);
    assert!(answer.field("set-cookie").contains("; HttpOnly; SameSite=Strict"));
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
fn too_many_attempts_are_refused_with_a_time() {
    let site = Site::start();
    site.owner();
    let attempt =
        |caller: &crate::site::Caller| caller.post("/v1/auth/login", &json!({"email": "", "password": ""}));
    let nobody = site.nobody();
    // The registration was the first of the window's fifty.
    for _ in 1..50 {
        attempt(&nobody).expect(400);
    }
    let refused = attempt(&nobody).expect(429);
    assert_eq!(
        refused.json(),
        json!({"error": "too_many_requests", "message": "Too many login attempts, try again later"})
    );
    assert!(refused.field("retry-after").parse::<u64>().is_ok_and(|seconds| (1..=300).contains(&seconds)));
    assert_eq!((refused.field("x-ratelimit-limit"), refused.field("x-ratelimit-remaining")), ("50", "0"));
}

#[test]
fn the_limit_of_attempts_can_be_switched_off() {
    // 102
    let site = Site::start_with(&[], &[("AGENT_VAULT_RATELIMIT_PROFILE", "off")]);
    site.owner();
    for _ in 0..60 {
        site.nobody().post("/v1/auth/login", &json!({"email": "", "password": ""})).expect(400);
    }
}

#[test]
fn a_forwarded_address_counts_only_from_a_trusted_proxy() {
    // 18
    let attempt = |site: &Site, from: &str| {
        let body = Some("{}".to_owned());
        site.nobody().call("POST", "/v1/auth/login", &[("X-Forwarded-For", from)], body).status
    };
    let distrusting = Site::start();
    distrusting.owner();
    for number in 1..50 {
        assert_eq!(attempt(&distrusting, &format!("10.0.0.{number}")), 400);
    }
    assert_eq!(attempt(&distrusting, "10.0.1.1"), 429);

    let trusting = Site::start_with(&[], &[("AGENT_VAULT_TRUSTED_PROXIES", "127.0.0.0/8")]);
    trusting.owner();
    for _ in 0..50 {
        assert_eq!(attempt(&trusting, "1.1.1.1, 10.0.0.1, "), 400);
    }
    assert_eq!(attempt(&trusting, "10.0.0.1"), 429);
    assert_eq!(attempt(&trusting, "10.0.0.1, 10.0.0.2"), 400);
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
fn the_owner_may_come_from_the_environment_once() {
    let vars = [("AGENT_VAULT_OWNER_EMAIL", OWNER), ("AGENT_VAULT_OWNER_PASSWORD", PASSWORD)];
    let site = Site::start_with(&[], &vars);
    let form = json!({"email": OWNER, "password": PASSWORD});
    site.nobody().post("/v1/auth/login", &form).expect(200);
    let Site { process, home, .. } = site;
    drop(process);
    let vars = [("AGENT_VAULT_OWNER_EMAIL", "second@x.test"), ("AGENT_VAULT_OWNER_PASSWORD", PASSWORD)];
    let site = Site::start_in(home, &[], &vars);
    site.nobody().post("/v1/auth/login", &form).expect(200);
    let second = json!({"email": "second@x.test", "password": PASSWORD});
    site.nobody().post("/v1/auth/login", &second).expect(401);
}
