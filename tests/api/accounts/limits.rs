//! How often somebody may try: cases 18 and 102.

use serde_json::json;

use crate::site::Site;

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

    // A proxy may add a field of its own after what the client made up.
    let fields = [("X-Forwarded-For", "9.9.9.9"), ("X-Forwarded-For", "10.0.0.1")];
    let forged = trusting.nobody().call("POST", "/v1/auth/login", &fields, Some("{}".to_owned()));
    assert_eq!(forged.status, 429);

    // Whoever has one IPv6 address has all of its network.
    for number in 0..50 {
        assert_eq!(attempt(&trusting, &format!("2001:db8:0:1::{number:x}")), 400);
    }
    assert_eq!(attempt(&trusting, "2001:db8:0:1:ffff::1"), 429);
    assert_eq!(attempt(&trusting, "2001:db8:0:2::1"), 400);
}
