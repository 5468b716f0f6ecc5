//! Codes that prove an address: cases 24 to 26.

use serde_json::{Value, json};

use super::{MEMBER, logins, shape};
use crate::site::{OWNER, Site, refused, text};

#[test]
fn a_fourth_pending_code_is_refused_and_resend_does_not_tell() {
    // 24
    let mut site = Site::start();
    site.owner();
    let resend = |site: &Site, email: &str| {
        site.nobody().post("/v1/auth/resend-verification", &json!({"email": email}))
    };
    site.sign_up(MEMBER).expect(201);
    let uniform = shape(&resend(&site, MEMBER), &[]);
    assert_eq!(uniform[0], 200);
    site.sign_up(MEMBER).expect(201);
    let full = site.sign_up(MEMBER);
    assert_eq!(full.refusal(), refused(429, "Too many pending verification codes"));
    for email in [MEMBER, "nobody@example.test", OWNER, "no address"] {
        assert_eq!(shape(&resend(&site, email), &[]), uniform, "{email}");
    }
    assert_eq!(site.count_of_codes("Verification", MEMBER), 3);
    assert_eq!(site.count_of_codes("Verification", OWNER), 0);
    // Once they are past their time there is room again.
    site.meddle("UPDATE email_verifications SET expires_at = '2020-01-01 00:00:00'");
    resend(&site, MEMBER).expect(200);
    assert_eq!(site.count_of_codes("Verification", MEMBER), 4);
}

#[test]
fn a_code_opens_the_account_once() {
    // 25
    let mut site = Site::start();
    site.owner();
    site.sign_up(MEMBER).expect(201);
    let code = site.code("Verification", MEMBER);
    let verify = |site: &Site, body: &Value| site.nobody().post("/v1/auth/verify", body);
    for body in
        [json!({}), json!({"email": MEMBER}), json!({"code": code}), json!({"email": MEMBER, "code": " "})]
    {
        assert_eq!(verify(&site, &body).refusal(), refused(400, "Email and code are required"), "{body}");
    }
    let unknown = json!({"email": "nobody@example.test", "code": code});
    assert_eq!(verify(&site, &unknown).refusal(), refused(404, "Account not found"));
    let right =
        json!({"email": "MEMBER@example.test", "code": format!(" {code}\n"), "device_label": " desk\u{7} "});
    let answer = verify(&site, &right).expect(200);
    let body = answer.json();
    let cookie = answer.field("set-cookie");
    let start = format!("av_session={}; Path=/; Max-Age=31536000; ", text(&body, "token"));
    assert!(cookie.starts_with(&start) && cookie.ends_with("HttpOnly; SameSite=Strict"), "{cookie}");
    assert!(text(&body, "expires_at").ends_with('Z'));
    assert_eq!(
        shape(&answer, &["token", "expires_at"]),
        json!([200, {"email": MEMBER, "authenticated": true, "message": "Account verified.", "token": "…", "expires_at": "…"}])
    );
    let member = site.with_token(text(&body, "token"));
    let me = member.get("/v1/auth/me").expect(200).json();
    assert_eq!(me, json!({"type": "user", "email": MEMBER, "role": "member", "is_owner": false}));
    assert_eq!(text(&logins(&member)[0], "device_label"), "desk");
    for _ in 0..11 {
        // However often: it is no wrong code.
        assert_eq!(verify(&site, &right).refusal(), refused(409, "Account is already verified"));
    }
}

#[test]
fn ten_wrong_codes_lock_the_address_until_there_is_a_new_one() {
    // 25
    let mut site = Site::start();
    site.owner();
    site.sign_up(MEMBER).expect(201);
    let code = site.code("Verification", MEMBER);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for _ in 0..10 {
        let answer = site.verify(MEMBER, wrong);
        assert_eq!(answer.refusal(), refused(400, "Invalid or expired verification code"));
    }
    let locked = site.verify(MEMBER, &code).expect(429);
    assert_eq!(
        locked.json(),
        json!({"error": "too_many_requests", "message": "Too many wrong codes, ask for a new one"})
    );
    assert_eq!((locked.field("retry-after"), locked.field("x-ratelimit-limit")), ("1", "10"));
    // Others go on.
    site.sign_up("other@example.test").expect(201);
    let other = site.code("Verification", "other@example.test");
    site.verify("other@example.test", &other).expect(200);

    let again = site.nobody().post("/v1/auth/resend-verification", &json!({"email": MEMBER}));
    again.expect(200);
    let new = site.code("Verification", MEMBER);
    site.verify(MEMBER, wrong).expect(400);
    site.verify(MEMBER, &new).expect(200);
}

#[test]
fn guesses_at_the_same_time_are_counted_too() {
    // 25
    let mut site = Site::start();
    site.owner();
    site.sign_up(MEMBER).expect(201);
    let code = site.code("Verification", MEMBER);
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let guesses: Vec<_> = (0..20)
            .map(|_| {
                let caller = site.nobody();
                let form = json!({"email": MEMBER, "code": wrong});
                scope.spawn(move || caller.post("/v1/auth/verify", &form).status)
            })
            .collect();
        guesses.into_iter().map(|guess| guess.join().expect("a guess")).collect()
    });
    let count = |wanted: u16| statuses.iter().filter(|status| **status == wanted).count();
    assert_eq!((count(400), count(429)), (10, 10), "{statuses:?}");
}

#[test]
fn whoever_asks_for_a_code_is_told_the_same() {
    // 26
    let mut site = Site::start();
    site.owner();
    site.sign_up(MEMBER).expect(201);
    for path in ["/v1/auth/resend-verification", "/v1/auth/forgot-password"] {
        let ask = |email: &str| site.nobody().post(path, &json!({"email": email}));
        let uniform = shape(&ask("nobody@example.test"), &[]);
        assert_eq!((&uniform[0], &uniform[1]["email_sent"]), (&json!(200), &json!(false)), "{path}");
        for email in [MEMBER, OWNER, " Owner@Example.TEST ", "no address"] {
            assert_eq!(shape(&ask(email), &[]), uniform, "{path} {email}");
        }
        for body in [json!({"email": ""}), json!({"email": "  "}), json!({})] {
            let refusal = site.nobody().post(path, &body).refusal();
            assert_eq!(refusal, refused(400, "Email is required"), "{path} {body}");
        }
    }
    // Nobody but an active account gets a code for a new password.
    assert_eq!(site.count_of_codes("Password reset", MEMBER), 0);
    assert_eq!(site.count_of_codes("Password reset", "nobody@example.test"), 0);
    assert_eq!(site.count_of_codes("Password reset", OWNER), 2);
}
