//! What owners set for the instance, and the limits that follow: cases 97 and 100 to 102.

use agent_vault::rate::tiers::Profile;
use agent_vault::store::settings::Instance;
use agent_vault::store::{Locked, Timestamp};
use serde_json::{Value, json};

use crate::site::{Caller, Site, refused, text};
use crate::support::eventually;

const SETTINGS: &str = "/v1/admin/settings";
const PREVIEW: &str = "/v1/admin/settings/rate-limit/preview";

/// Logs in as somebody who does not exist.
fn guess(caller: &Caller, email: &str) -> crate::site::Answer {
    caller.post("/v1/auth/login", &json!({"email": email, "password": "wrong password"}))
}

/// Another replica's, or a command's that works on the state.
#[test]
fn what_another_process_set_is_in_force_soon() {
    let site = Site::start();
    let owner = site.owner();
    let limit = || owner.get("/v1/auth/me").field("x-ratelimit-limit").to_owned();
    assert_eq!(limit(), "240");
    let other = Locked::open(&site.home.path().join(".agent-vault")).expect("the store").unlock(None);
    let other = other.expect("the store opens");
    let strict = |instance: &mut Instance| instance.rates.profile = Some(Profile::Strict);
    other.edit_instance(Timestamp::now(), strict).expect("a change");
    eventually("the other's limits", || limit() == "120");
}

#[test]
fn settings_make_a_round_trip_and_are_for_owners() {
    // 97
    let site = Site::start();
    let owner = site.owner();
    let before = owner.get(SETTINGS).expect(200).json();
    assert_eq!(
        before,
        json!({
            "allowed_email_domains": [], "invite_only": false, "smtp_configured": false,
            "rate_limit": {
                "profile": "default", "locked": false, "off": false,
                "tiers": {
                    "AUTH": {"max": 50, "window": "5m0s", "source": "default"},
                    "AUTHED": {"rate": 10, "burst": 240, "source": "default"},
                    "GLOBAL": {"rate": 2000, "burst": 4000, "concurrency": 512, "source": "default"},
                    "PROXY": {"rate": 20, "burst": 200, "concurrency": 64, "source": "default"},
                    "VERIFY_FAIL": {"max": 10, "source": "default"},
                },
            },
            "logs_retention": {
                "max_age_hours": 168.0, "max_rows_per_vault": 10_000, "source": "default", "locked": false,
            },
        })
    );
    let form = json!({"allowed_email_domains": [" Example.COM", "example.com", "b.test"], "unknown": 1});
    let answer = owner.send("PUT", SETTINGS, &form).expect(200).json();
    assert_eq!(answer["allowed_email_domains"], json!(["example.com", "b.test"]));
    let answer = owner.send("PUT", SETTINGS, &json!({"invite_only": true})).expect(200).json();
    assert_eq!(
        (&answer["invite_only"], &answer["allowed_email_domains"][0]),
        (&json!(true), &json!("example.com"))
    );
    assert_eq!(owner.get(SETTINGS).expect(200).json(), answer);
    owner.send("PUT", SETTINGS, &json!({"allowed_email_domains": [], "invite_only": false})).expect(200);
    assert_eq!(owner.get(SETTINGS).json(), before);

    for (body, error) in [
        (
            json!({"allowed_email_domains": ["localhost"]}),
            "allowed_email_domains: a domain has a dot, no space and no @",
        ),
        (
            json!({"allowed_email_domains": "b.test"}),
            "Invalid request body: \"allowed_email_domains\" must be a list",
        ),
        (json!({"invite_only": "yes"}), "Invalid request body: \"invite_only\" must be true or false"),
        (
            json!({"logs_retention": {"max_age_hours": -1}}),
            "logs_retention.max_age_hours must be between 0 and 8766000",
        ),
        (
            json!({"rate_limit": {"profile": "hot"}}),
            "rate_limit.profile must be default, strict, loose or off",
        ),
        (
            json!({"invite_only": true, "rate_limit": {"overrides": {"AUTH": {"max": 4}}}}),
            "rate_limit.overrides: AUTH.max must be at least 5, so that nobody is locked out",
        ),
        (
            json!({"rate_limit": {"overrides": {"PROXY": {"rate": "fast"}}}}),
            "Invalid request body: \"rate_limit.overrides.PROXY.rate\" must be a number",
        ),
    ] {
        assert_eq!(owner.send("PUT", SETTINGS, &body).refusal(), refused(400, error));
    }
    assert_eq!(owner.get(SETTINGS).json(), before, "what is refused changes nothing");

    let agent = site.agent(&owner, "bot", "admin");
    for answer in
        [agent.get(SETTINGS), agent.send("PUT", SETTINGS, &json!({})), agent.post(PREVIEW, &json!({}))]
    {
        answer.expect(403);
    }
    site.nobody().get(SETTINGS).expect(401);
}

#[test]
fn a_test_mail_needs_a_way_to_send_it() {
    let site = Site::start();
    let owner = site.owner();
    let no_smtp = refused(400, "SMTP is not configured");
    for body in [None, Some(String::new()), Some(r#"{"to":"a@b.test"}"#.to_owned())] {
        assert_eq!(owner.call("POST", "/v1/admin/email/test", &[], body).refusal(), no_smtp);
    }
    let made = owner.post("/v1/agents", &json!({"name": "chief", "role": "owner"})).expect(201);
    let chief = site.with_token(text(&made.json(), "av_agent_token"));
    let asked = chief.call("POST", "/v1/admin/email/test", &[], None);
    assert_eq!(asked.refusal(), refused(400, "\"to\" is required: an agent has no address of its own"));
    assert_eq!(chief.post("/v1/admin/email/test", &json!({"to": "a@b.test"})).refusal(), no_smtp);
}

#[test]
fn limits_change_at_once_and_counts_stay() {
    // 100, 102
    let site = Site::start();
    let owner = site.owner();
    let nobody = site.nobody();
    // Registration was one attempt of this address.
    let limit = |max: u32| json!({"rate_limit": {"overrides": {"AUTH": {"max": max, "window": "1h"}}}});
    let previewed = owner.post(PREVIEW, &limit(5)).expect(200).json();
    assert_eq!(previewed["tiers"]["AUTH"], json!({"max": 5, "window": "1h0m0s", "source": "override"}));
    assert_eq!(
        owner.get(SETTINGS).json()["rate_limit"]["tiers"]["AUTH"]["max"],
        50,
        "a preview stores nothing"
    );
    for n in 0..5 {
        guess(&nobody, &format!("nobody{n}@example.test")).expect(401);
    }
    let answer = owner.send("PUT", SETTINGS, &limit(5)).expect(200).json();
    assert_eq!(answer["rate_limit"], previewed);
    let refusal = guess(&nobody, "nobody9@example.test").expect(429);
    assert_eq!(text(&refusal.json(), "error"), "too_many_requests");
    assert_eq!(text(&refusal.json(), "message"), "Too many login attempts, try again later");
    assert!(
        refusal.field("retry-after").parse::<u64>().is_ok_and(|seconds| (3500..=3600).contains(&seconds))
    );
    assert_eq!((refusal.field("x-ratelimit-limit"), refusal.field("x-ratelimit-remaining")), ("5", "0"));
    // The profile alone leaves the overrides alone, and off is off.
    owner.send("PUT", SETTINGS, &json!({"rate_limit": {"profile": "strict"}})).expect(200);
    guess(&nobody, "nobody9@example.test").expect(429);
    let off = owner.send("PUT", SETTINGS, &json!({"rate_limit": {"profile": "off"}})).expect(200).json();
    assert_eq!(off["rate_limit"], json!({"profile": "off", "locked": false, "off": true, "tiers": {}}));
    let free = guess(&nobody, "nobody9@example.test").expect(401);
    assert_eq!(free.field("x-ratelimit-limit"), "");
    owner.send("PUT", SETTINGS, &json!({"rate_limit": {"profile": "", "overrides": {}}})).expect(200);
    guess(&nobody, "nobody9@example.test").expect(401);
    // What was set survives a restart.
    owner.send("PUT", SETTINGS, &limit(7)).expect(200);
    let Site { mut process, home, .. } = site;
    process.signal(nix::sys::signal::Signal::SIGTERM);
    process.wait();
    let site = Site::start_in(home, &[], &[]);
    for n in 0..7 {
        guess(&site.nobody(), &format!("nobody{n}@example.test")).expect(401);
    }
    guess(&site.nobody(), "nobody9@example.test").expect(429);
}

#[test]
fn each_actor_has_a_bucket_of_its_own() {
    // 101
    let site = Site::start_with(
        &[],
        &[("AGENT_VAULT_RATELIMIT_AUTHED_RATE", "0.001"), ("AGENT_VAULT_RATELIMIT_AUTHED_BURST", "8")],
    );
    let owner = site.owner();
    let agent = site.agent(&owner, "bot", "member");
    let mint = |by: &Caller| {
        let made = by.post("/v1/sessions", &json!({"vault": "default"})).expect(200);
        site.with_token(text(&made.json(), "token"))
    };
    let (of_owner, of_agent) = (mint(&owner), mint(&agent));
    let left = owner.get("/v1/auth/me").expect(200);
    assert_eq!((left.field("x-ratelimit-limit"), left.field("x-ratelimit-remaining")), ("8", "5"));
    // What a person minted counts as theirs, and nobody else's.
    for _ in 0..5 {
        of_owner.get("/discover").expect(200);
    }
    for caller in [&owner, &of_owner] {
        let refusal = caller.get("/v1/vaults/default/services").expect(429);
        assert_eq!(text(&refusal.json(), "message"), "Too many requests, try again later");
        assert_eq!((refusal.field("x-ratelimit-limit"), refusal.field("x-ratelimit-remaining")), ("8", "0"));
        assert!(
            refusal.field("retry-after").parse::<u64>().is_ok_and(|seconds| (900..=1000).contains(&seconds))
        );
    }
    let left = of_agent.get("/discover").expect(200);
    assert_eq!(left.field("x-ratelimit-remaining"), "6");
    // A call that is not authenticated is nobody's.
    site.nobody().get("/discover").expect(401);
    site.nobody().get("/v1/status").expect(200);
}

#[test]
fn all_requests_together_are_bounded_and_health_is_not_counted() {
    let site = Site::start_with(
        &[],
        &[("AGENT_VAULT_RATELIMIT_GLOBAL_RATE", "0.001"), ("AGENT_VAULT_RATELIMIT_GLOBAL_BURST", "2")],
    );
    let nobody = site.nobody();
    nobody.get("/v1/status").expect(200);
    nobody.get("/nowhere").expect(404);
    for path in ["/v1/status", "/nowhere"] {
        let refusal = nobody.get(path).expect(429);
        assert_eq!(
            refusal.json(),
            json!({"error": "too_many_requests", "message": "Server busy, try again shortly"})
        );
        assert_eq!(refusal.field("x-ratelimit-limit"), "2");
        assert_eq!(refusal.field("x-frame-options"), "DENY");
    }
    for _ in 0..10 {
        nobody.get("/health").expect(200);
    }
}

#[test]
fn the_environment_beats_what_is_stored_and_a_lock_ends_the_discussion() {
    // 102
    let site = Site::start_with(&[], &[("AGENT_VAULT_RATELIMIT_PROXY_RATE", "3")]);
    let owner = site.owner();
    let form = json!({
        "rate_limit": {"profile": "loose", "overrides": {"PROXY": {"rate": 9, "burst": 11}}},
        "logs_retention": {"max_rows_per_vault": 3},
    });
    let answer = owner.send("PUT", SETTINGS, &form).expect(200).json();
    let tier = |answer: &Value, name: &str| answer["rate_limit"]["tiers"][name].clone();
    assert_eq!(tier(&answer, "PROXY"), json!({"rate": 3, "burst": 11, "concurrency": 128, "source": "env"}));
    assert_eq!(tier(&answer, "AUTH"), json!({"max": 100, "window": "5m0s", "source": "default"}));
    assert_eq!(answer["logs_retention"]["max_rows_per_vault"], 3);

    let Site { mut process, home, .. } = site;
    process.signal(nix::sys::signal::Signal::SIGTERM);
    process.wait();
    let locks = [("AGENT_VAULT_RATELIMIT_LOCK", "true"), ("AGENT_VAULT_LOGS_RETENTION_LOCK", "1")];
    let site = Site::start_in(home, &[], &locks);
    let login = json!({"email": crate::site::OWNER, "password": crate::site::PASSWORD});
    let owner =
        site.with_token(text(&site.nobody().post("/v1/auth/login", &login).expect(200).json(), "token"));
    let answer = owner.get(SETTINGS).expect(200).json();
    assert_eq!(
        tier(&answer, "PROXY"),
        json!({"rate": 20, "burst": 200, "concurrency": 64, "source": "default"})
    );
    assert_eq!(
        (&answer["rate_limit"]["locked"], &answer["rate_limit"]["profile"]),
        (&json!(true), &json!("default"))
    );
    assert_eq!(answer["logs_retention"]["max_rows_per_vault"], 10_000);
    let locked = refused(409, "Rate limits are locked by AGENT_VAULT_RATELIMIT_LOCK");
    let both = json!({"invite_only": true, "rate_limit": {"profile": "off"}});
    assert_eq!(owner.send("PUT", SETTINGS, &both).refusal(), locked);
    assert_eq!(owner.post(PREVIEW, &both).refusal(), locked);
    assert_eq!(
        owner.send("PUT", SETTINGS, &json!({"logs_retention": {}})).refusal(),
        refused(409, "Log retention is locked by AGENT_VAULT_LOGS_RETENTION_LOCK")
    );
    let answer =
        owner.send("PUT", SETTINGS, &json!({"allowed_email_domains": ["b.test"]})).expect(200).json();
    assert_eq!(
        (&answer["invite_only"], &answer["allowed_email_domains"]),
        (&json!(false), &json!(["b.test"]))
    );
}

#[test]
fn two_owners_who_change_different_things_undo_nothing() {
    let site = Site::start();
    let owner = site.owner();
    std::thread::scope(|scope| {
        for form in [
            json!({"invite_only": true}),
            json!({"allowed_email_domains": ["b.test"]}),
            json!({"rate_limit": {"profile": "loose"}}),
            json!({"rate_limit": {"overrides": {"AUTHED": {"burst": 77}}}}),
            json!({"logs_retention": {"max_age_hours": 1.5}}),
        ] {
            let owner = owner.clone();
            let spawned = std::thread::Builder::new()
                .spawn_scoped(scope, move || drop(owner.send("PUT", SETTINGS, &form).expect(200)));
            drop(spawned.expect("a thread"));
        }
    });
    let answer = owner.get(SETTINGS).json();
    assert_eq!(
        (&answer["invite_only"], &answer["allowed_email_domains"]),
        (&json!(true), &json!(["b.test"]))
    );
    assert_eq!(answer["rate_limit"]["profile"], "loose");
    assert_eq!(
        answer["rate_limit"]["tiers"]["AUTHED"],
        json!({"rate": 20, "burst": 77, "source": "override"})
    );
    assert_eq!(answer["logs_retention"]["max_age_hours"], 1.5);
}
