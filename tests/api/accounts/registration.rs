//! Getting an account: cases 19 to 24.

use serde_json::{Value, json};

use super::{MEMBER, shape};
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
    assert_eq!(site.count("SELECT COUNT(*) FROM sessions"), 1);
    assert_eq!(site.count("SELECT COUNT(*) FROM vault_grants"), 1);
}

#[test]
fn racing_first_registrations_make_one_owner() {
    // 20
    let site = Site::start();
    let bodies: Vec<Value> = std::thread::scope(|scope| {
        let racers: Vec<_> = (0..4)
            .map(|number| {
                let caller = site.nobody();
                let form = json!({"email": format!("o{number}@x.test"), "password": PASSWORD});
                scope.spawn(move || caller.post("/v1/auth/register", &form).expect(201).json())
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().expect("a racer")).collect()
    });
    let owners = bodies.iter().filter(|body| body.get("role").is_some());
    assert_eq!(owners.count(), 1, "{bodies:?}");
    assert_eq!(bodies.iter().filter(|body| body.get("token").is_some()).count(), 1, "{bodies:?}");
    assert_eq!(site.count("SELECT COUNT(*) FROM users WHERE role = 'owner' OR is_active = 1"), 1);
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

#[test]
fn later_registrations_wait_for_a_code_and_tell_nothing_about_accounts() {
    // 22, 23
    let mut site = Site::start();
    site.owner();
    let new = site.sign_up(" Member@Example.TEST ");
    let body = new.json();
    assert_eq!((text(&body, "email"), new.status), (MEMBER, 201));
    assert_eq!((&body["requires_verification"], &body["email_sent"]), (&json!(true), &json!(false)));
    let mut keys: Vec<_> = body.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(keys, ["email", "email_sent", "message", "requires_verification"]);
    assert_eq!(new.field("set-cookie"), "");
    site.code("Verification", MEMBER);
    assert_eq!(site.count("SELECT COUNT(*) FROM users WHERE role = 'member' AND is_active = 0"), 1);

    let password = |site: &Site| -> Vec<u8> {
        let sql = "SELECT password_hash FROM users WHERE role = 'member'";
        site.database().query_row(sql, [], |row| row.get(0)).expect("a hash")
    };
    let before = password(&site);
    let other = json!({"email": MEMBER, "password": "somebody else's"});
    let again = site.nobody().post("/v1/auth/register", &other);
    assert_eq!(shape(&again, &[]), shape(&new, &[]));
    assert_eq!(password(&site), before);
    // It may not log in, and is told what everybody is told.
    let login = site.nobody().post("/v1/auth/login", &json!({"email": MEMBER, "password": PASSWORD}));
    assert_eq!(login.refusal(), refused(401, "Invalid email or password"));

    let code = site.code("Verification", MEMBER);
    site.verify(MEMBER, &code).expect(200);
    let everything = "SELECT (SELECT COUNT(*) FROM users) + (SELECT COUNT(*) FROM sessions)
        + (SELECT COUNT(*) FROM email_verifications)";
    let before = site.count(everything);
    let active = site.sign_up(MEMBER);
    assert_eq!(shape(&active, &[]), shape(&new, &[]));
    assert_eq!(site.count(everything), before);
}

#[test]
fn the_instance_says_who_may_register() {
    // 5, 21
    let site = Site::start();
    let set = |key: &str, value: &str| {
        let time = "2026-01-02 03:04:05";
        site.meddle(&format!(
            "INSERT INTO instance_settings (key, value, updated_at) VALUES ('{key}', '{value}', '{time}')
             ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        ));
    };
    let status = |key: &str| site.nobody().get("/v1/status").expect(200).json().get(key).cloned();
    assert_eq!((status("invite_only"), status("allowed_email_domains")), (None, None));
    set("invite_only", "true");
    set("allowed_email_domains", r#"["corp.test", "example.test"]"#);
    assert_eq!(status("invite_only"), Some(json!(true)));
    assert_eq!(status("allowed_email_domains"), Some(json!(["corp.test", "example.test"])));

    // The first one is let in whatever the instance says.
    let first = json!({"email": "owner@elsewhere.test", "password": PASSWORD});
    site.nobody().post("/v1/auth/register", &first).expect(201);
    let elsewhere = site.sign_up("a@elsewhere.test").refusal();
    assert_eq!(
        elsewhere,
        refused(403, "Registration is open to these domains only: corp.test, example.test")
    );
    assert_eq!(site.sign_up(MEMBER).refusal(), refused(403, "Registration is by invitation only"));
    assert_eq!(site.count("SELECT COUNT(*) FROM users"), 1);
    set("invite_only", "false");
    site.sign_up(MEMBER).expect(201);
    set("allowed_email_domains", "[]");
    site.sign_up("a@elsewhere.test").expect(201);
    assert_eq!((status("invite_only"), status("allowed_email_domains")), (None, None));
}
