//! How proposals are decided, and what becomes of them: cases 74 to 83.

use std::thread;

use serde_json::{Value, json};

use super::{Office, SERVICES, approve_as, as_agent, bearer, delete, link, set, stripe};
use crate::site::{Answer, refused, text};

#[test]
fn case_74_a_member_decides_and_a_proxy_does_not() {
    let office = Office::open();
    let minted = office.owner.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let scoped = office.site.with_token(text(&minted, "token"));
    let id = office.pending(&stripe());
    let body = json!({"vault": "default", "credentials": {"STRIPE_KEY": "sk_1"}});
    for verb in ["approve", "reject"] {
        let path = format!("/v1/admin/proposals/{id}/{verb}");
        assert_eq!(office.agent.post(&path, &body).refusal(), refused(403, "Member role required"));
        assert_eq!(scoped.post(&path, &body).refusal(), refused(403, "Admin role required"));
    }
    assert_eq!(office.status(id), "pending");
    let member = office.site.agent(&office.owner, "reviewer", "member");
    let applied = member.post(&format!("/v1/admin/proposals/{id}/approve"), &body).expect(200).json();
    assert_eq!(applied, json!({"id": id, "status": "applied"}));
    assert_eq!(office.services(), json!([bearer("stripe", "api.stripe.com", "STRIPE_KEY")]));
    assert_eq!(office.value("STRIPE_KEY"), "sk_1");
    let reviewed = as_agent(&office.agent, &format!("/v1/proposals/{id}")).json();
    let at = text(&reviewed, "reviewed_at");
    assert!(at.len() == 20 && at.ends_with('Z') && at.as_bytes()[10] == b'T', "{at}");

    let id = office.pending(&stripe());
    let reason = json!({"vault": "default", "reason": "not now"});
    let rejected = member.post(&format!("/v1/admin/proposals/{id}/reject"), &reason).expect(200).json();
    assert_eq!(rejected, json!({"id": id, "status": "rejected"}));
    let seen = as_agent(&office.agent, &format!("/v1/proposals/{id}")).json();
    assert_eq!((text(&seen, "status"), text(&seen, "review_note")), ("rejected", "not now"));
}

#[test]
fn case_75_an_approval_needs_every_value() {
    let office = Office::open();
    let id = office.pending(&stripe());
    for (given, why) in [
        (json!({}), "Missing value for credential \"STRIPE_KEY\""),
        (json!({"STRIPE_KEY": ""}), "Credential \"STRIPE_KEY\" cannot be empty"),
        (
            json!({"STRIPE_KEY": "v\n"}),
            "Credential \"STRIPE_KEY\" ends with a line break; remove it and set it again",
        ),
        (json!({"STRIPE_KEY": "v", "OTHER": "v"}), "Credential \"OTHER\" is not part of proposal 1"),
    ] {
        assert_eq!(office.approve(id, &given).refusal(), refused(400, why));
        assert_eq!(office.status(id), "pending");
        assert_eq!((office.services(), office.keys()), (json!([]), json!([])));
    }
    // The reviewer's value goes before the agent's.
    let mut brought = stripe();
    brought["credentials"][0]["value"] = "the agent's".into();
    let (first, second) = (office.pending(&brought), office.pending(&brought));
    office.approve(first, &json!({})).expect(200);
    assert_eq!(office.value("STRIPE_KEY"), "the agent's");
    office.approve(second, &json!({"STRIPE_KEY": "the reviewer's"})).expect(200);
    assert_eq!(office.value("STRIPE_KEY"), "the reviewer's");
}

#[test]
fn case_76_a_decision_is_final() {
    let office = Office::open();
    let (applied, rejected) = (office.pending(&stripe()), office.pending(&stripe()));
    office.approve(applied, &json!({"STRIPE_KEY": "v"})).expect(200);
    office.owner.post(&format!("/v1/admin/proposals/{rejected}/reject"), &json!({})).expect(200);
    for (id, status) in [(applied, "applied"), (rejected, "rejected")] {
        let already = refused(409, &format!("Proposal {id} is already {status}"));
        assert_eq!(office.approve(id, &json!({"STRIPE_KEY": "v"})).refusal(), already);
        let path = format!("/v1/admin/proposals/{id}/reject");
        assert_eq!(office.owner.post(&path, &json!({})).refusal(), already);
    }
    let unknown = refused(404, "Proposal #9 not found in vault \"default\"");
    assert_eq!(office.approve(9, &json!({})).refusal(), unknown);
    assert_eq!(office.owner.post("/v1/admin/proposals/9/reject", &json!({})).refusal(), unknown);
    assert_eq!(office.owner.get("/v1/admin/proposals/9").refusal(), unknown);
}

#[test]
fn case_77_a_deletion_that_fits_no_more_is_a_conflict() {
    let office = Office::open();
    let before = json!([bearer("one", "a.com", "K"), bearer("two", "b.com", "K")]);
    office.set_services(&before);
    let by_host = office.pending(&delete("a.com"));
    let by_name = office.pending(&json!({"services": [{"action": "delete", "name": "one"}]}));

    let twins = json!([bearer("one", "a.com", "K"), bearer("three", "a.com", "K")]);
    office.set_services(&twins);
    let several = office.approve(by_host, &json!({})).expect(409).json();
    let candidates = json!([{"name": "one", "host": "a.com"}, {"name": "three", "host": "a.com"}]);
    assert_eq!(several["candidates"], candidates);
    assert_eq!(office.services(), twins);

    let gone = json!([bearer("two", "b.com", "K")]);
    office.set_services(&gone);
    let conflict = refused(409, "Service \"one\" is not there any more; reject this proposal");
    for id in [by_host, by_name] {
        assert_eq!(office.approve(id, &json!({})).refusal(), conflict);
        assert_eq!((office.status(id), office.services()), ("pending".to_owned(), gone.clone()));
    }
    // One that was not there in the first place is gone as it should be.
    office.apply(&json!({"services": [{"action": "delete", "name": "ghost", "host": "ghost.com"}]}));
    assert_eq!(office.services(), gone);
}

#[test]
fn case_78_a_renamed_service_is_still_the_one_that_is_meant() {
    let office = Office::open();
    office.store_key("NEW", "v");
    office.set_services(&json!([bearer("one", "a.com", "OLD")]));
    let id = office.pending(&json!({"services": [set("one", "a.com", "NEW")]}));
    office.set_services(&json!([bearer("uno", "a.com", "OLD")]));
    office.approve(id, &json!({})).expect(200);
    assert_eq!(office.services(), json!([bearer("uno", "a.com", "NEW")]));
}

#[test]
fn case_79_what_a_set_does_not_mention_stays() {
    let office = Office::open();
    office.store_key("NEW", "v");
    let substitutions = json!([{"key": "OLD", "placeholder": "__old__", "in": ["path"]}]);
    let mut service = bearer("one", "a.com:8443/v1/*", "OLD");
    service["substitutions"] = substitutions.clone();
    office.set_services(&json!([service]));
    office.apply(
        &json!({"services": [{"action": "set", "name": "one", "host": "a.com:8443/v1/*", "enabled": false}]}),
    );
    let mut switched = json!({"name": "one", "host": "a.com:8443/v1/*", "enabled": false});
    switched["auth"] = service["auth"].clone();
    switched["substitutions"] = substitutions.clone();
    assert_eq!(office.services(), json!([switched]));

    office.apply(&json!({"services": [set("one", "a.com:8443/v1/*", "NEW")]}));
    let mut expected = bearer("one", "a.com:8443/v1/*", "NEW");
    expected["substitutions"] = substitutions;
    assert_eq!(office.services(), json!([expected]));

    let mut both = set("one", "a.com:8443/v1/*", "NEW");
    both["substitutions"] = json!([{"key": "NEW", "placeholder": "__new__", "in": ["query"]}]);
    office.apply(&json!({"services": [both]}));
    expected["substitutions"] = both["substitutions"].clone();
    assert_eq!(office.services(), json!([expected]));
}

#[test]
fn case_80_deletion_slots_remove_credentials() {
    let office = Office::open();
    office.store_key("OLD", "v");
    office.store_key("STAYS", "v");
    office.apply(&json!({"credentials": [
        {"action": "delete", "key": "OLD"},
        {"action": "delete", "key": "NEVER_THERE"},
        {"action": "set", "key": "NEW", "value": "v"},
    ]}));
    assert_eq!(office.keys(), json!(["NEW", "STAYS"]));
}

#[test]
fn an_oauth_slot_brings_a_configuration_and_a_person_the_tokens() {
    let office = Office::open();
    let oauth = json!({"authorization_url": "https://id.example.com/authorize",
        "token_url": "https://id.example.com/token", "client_id": "crm", "scopes": "read"});
    let slot = json!({"action": "set", "key": "CRM", "type": "oauth", "oauth": oauth});
    let proposal = json!({"services": [set("crm", "crm.example.com", "CRM")], "credentials": [slot]});
    let id = office.pending(&proposal);
    assert_eq!(as_agent(&office.agent, "/v1/proposals/1").json()["credentials"][0], slot);
    office.approve(id, &json!({})).expect(200);
    let status = office.owner.get("/v1/credentials/oauth/status?key=CRM").expect(200).json();
    assert_eq!(status, json!({"connected": false}));
    let listed = office.owner.get("/v1/credentials").expect(200).json()["credentials"][0].clone();
    for (field, value) in oauth.as_object().expect("an object") {
        assert_eq!(listed[field], *value);
    }
}

#[test]
fn case_81_a_reviewers_look_ends_what_is_a_week_old() {
    let office = Office::open();
    office.owner.post("/v1/vaults", &json!({"name": "other"})).expect(201);
    let (old, young, unseen) =
        (office.pending(&stripe()), office.pending(&stripe()), office.pending(&stripe()));
    let applied = office.pending(&stripe());
    office.approve(applied, &json!({"STRIPE_KEY": "v"})).expect(200);
    office
        .sql("UPDATE proposals SET created_at = datetime('now', '-7 days', '-1 minute') WHERE id IN (1, 3)");
    office.sql("UPDATE proposals SET created_at = datetime('now', '-7 days', '+5 minutes') WHERE id = 2");
    // Nobody has looked yet, so even an old one can be approved.
    office.approve(unseen, &json!({"STRIPE_KEY": "v"})).expect(200);
    assert_eq!(office.status(old), "pending");
    // A look at another vault is enough.
    office.owner.get("/v1/admin/proposals?vault=other").expect(200);
    assert_eq!((office.status(old), office.status(young)), ("expired".to_owned(), "pending".to_owned()));
    let already = refused(409, "Proposal 1 is already expired");
    assert_eq!(office.approve(old, &json!({})).refusal(), already);

    let ids = |answer: Answer| -> Vec<u64> {
        let listed = answer.expect(200).json();
        let listed = listed["proposals"].as_array().expect("a list").clone();
        listed.iter().map(|one| one["id"].as_u64().expect("a number")).collect()
    };
    assert_eq!(ids(office.owner.get("/v1/admin/proposals?status=applied")), [applied, unseen]);
    assert_eq!(ids(office.owner.get("/v1/admin/proposals")), [applied, unseen, young, old]);
    assert_eq!(ids(office.agent.get("/v1/admin/proposals?status=applied")), [young]);
    assert_eq!(ids(as_agent(&office.agent, "/v1/proposals?status=pending")), [young]);
    let path = format!("/v1/admin/proposals/{applied}");
    assert_eq!(office.agent.get(&path).refusal(), refused(403, "Member role required"));
    office.agent.get(&format!("/v1/admin/proposals/{young}")).expect(200);
}

#[test]
fn case_82_an_approval_link_reads_one_pending_proposal_for_a_day() {
    let office = Office::open();
    let created = office.propose(&stripe()).expect(201).json();
    let token = link(&created);
    let path = |id: u64, token: &str| format!("/v1/proposals/approve-details?token={token}&id={id}");
    let nobody = office.site.nobody();
    for (path, status, why) in [
        ("/v1/proposals/approve-details?id=1".to_owned(), 400, "Missing token"),
        (path(1, "av_appr_0"), 404, "Invalid or expired approval link"),
        (path(2, &token), 400, "Proposal ID mismatch"),
    ] {
        assert_eq!(nobody.get(&path).refusal(), refused(status, why));
    }
    let answer = nobody.get(&path(1, &token)).expect(200);
    assert_eq!(answer.field("cache-control"), "no-store");
    let mut details = answer.json();
    assert_eq!(text(&details, "created_at").len(), 20);
    details["created_at"] = Value::Null;
    assert_eq!(
        details,
        json!({"proposal_id": 1, "vault": "default", "status": "pending",
            "user_message": "I need to read balances", "message": "balances", "services": stripe()["services"],
            "credentials": [{"action": "set", "key": "STRIPE_KEY", "type": "static", "has_value": false}],
            "created_at": null, "agent_name": "proposer", "authenticated": false, "can_approve": false,
            "user_email": ""})
    );
    let seen = office.owner.get(&path(1, &token)).expect(200).json();
    let standing = (&seen["authenticated"], &seen["can_approve"], text(&seen, "user_email"));
    assert_eq!(standing, (&json!(true), &json!(true), crate::site::OWNER));
    // A grant that only lets through the proxy approves nothing.
    let seen = office.agent.get(&path(1, &token)).expect(200).json();
    assert_eq!((&seen["authenticated"], &seen["can_approve"]), (&json!(true), &json!(false)));

    // In a browser the link says how to approve, and nothing of what.
    let page = nobody.get("/approve/1?token=x").expect(200);
    assert!(page.body.contains("agent-vault vault proposal approve 1\n"), "{}", page.body);
    assert!(!page.body.contains("stripe") && page.field("content-type").starts_with("text/plain"));
    assert_eq!(page.field("cache-control"), "no-store");
    nobody.get("/approve/x").expect(404);

    office.sql("UPDATE proposals SET approval_token_expires_at = datetime('now', '-1 minute')");
    assert_eq!(nobody.get(&path(1, &token)).refusal(), refused(410, "Approval link has expired"));
    // The proposal outlives its link.
    office.approve(1, &json!({"STRIPE_KEY": "v"})).expect(200);
    office.sql("UPDATE proposals SET approval_token_expires_at = datetime('now', '+1 hour')");
    let decided = nobody.get(&path(1, &token)).expect(200).json();
    assert_eq!((&decided["error"], text(&decided, "error_title")), (&json!(true), "Nothing to approve"));
}

#[test]
fn approval_links_cannot_be_guessed_for_long() {
    let office = Office::open_with(&[("AGENT_VAULT_RATELIMIT_AUTH_MAX", "6")]);
    let guess = |number: usize| {
        office.site.nobody().get(&format!("/v1/proposals/approve-details?id=1&token=av_appr_{number}"))
    };
    // Registering the owner was the first attempt of this address.
    for number in 0..5 {
        guess(number).expect(404);
    }
    let limited = guess(5).expect(429);
    assert_eq!(text(&limited.json(), "error"), "too_many_requests");
    assert!(!limited.field("retry-after").is_empty());
}

#[test]
fn case_83_an_approval_and_an_edit_at_once_lose_neither_change() {
    let office = Office::open();
    office.store_key("K", "v");
    let rounds = 12;
    let ids: Vec<u64> = (0..rounds)
        .map(|round| office.pending(&json!({"services": [set(&format!("proposed-{round}"), "p.com", "K")]})))
        .collect();
    thread::scope(|scope| {
        for (round, id) in ids.iter().enumerate() {
            let (reviewer, editor) = (office.owner.clone(), office.owner.clone());
            scope.spawn(move || approve_as(&reviewer, *id, &json!({})).expect(200));
            scope.spawn(move || {
                let body = json!({"services": [bearer(&format!("edited-{round}"), "e.com", "K")]});
                editor.post(SERVICES, &body).expect(200)
            });
        }
    });
    let services = office.services();
    let mut names: Vec<&str> =
        services.as_array().expect("a list").iter().map(|one| text(one, "name")).collect();
    names.sort_unstable();
    let mut expected: Vec<String> =
        (0..rounds).flat_map(|round| [format!("edited-{round}"), format!("proposed-{round}")]).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

#[test]
fn one_of_two_reviewers_decides() {
    let office = Office::open();
    let id = office.pending(&stripe());
    let outcomes: Vec<u16> = thread::scope(|scope| {
        let approve = || {
            let reviewer = office.owner.clone();
            scope.spawn(move || approve_as(&reviewer, id, &json!({"STRIPE_KEY": "v"})).status)
        };
        let approvals: Vec<_> = (0..4).map(|_| approve()).collect();
        approvals.into_iter().map(|approval| approval.join().expect("an answer")).collect()
    });
    assert_eq!(outcomes.iter().filter(|status| **status == 200).count(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|status| [200, 409].contains(status)), "{outcomes:?}");
}
