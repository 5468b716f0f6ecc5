//! How proposals are made and read: cases 68 to 73.

use serde_json::{Value, json};

use super::{Office, as_agent, bearer, delete, link, propose_in, set, slot, stripe};
use crate::site::{Caller, refused, text};
use crate::support::{SECRET, contains};

#[test]
fn case_68_numbers_count_up_within_a_vault_and_no_read_shows_a_value() {
    let office = Office::open();
    let mut with_value = stripe();
    with_value["credentials"][0]["value"] = SECRET.into();
    let created = office.propose(&with_value).expect(201).json();
    let token = link(&created);
    let digits = token.strip_prefix("av_appr_").expect("a token of its kind");
    assert!(digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{token}");
    let url = format!("{}/approve/1?token={token}", office.site.address);
    assert_eq!(
        created,
        json!({"id": 1, "status": "pending", "vault": "default", "approval_url": url,
            "message": format!("Proposal created. Approve here: {url}")})
    );
    assert_eq!((office.pending(&stripe()), office.pending(&stripe())), (2, 3));
    office.owner.post("/v1/vaults", &json!({"name": "other"})).expect(201);
    let grant = json!({"name": "proposer", "role": "proxy"});
    office.owner.post("/v1/vaults/other/agents", &grant).expect(201);
    assert_eq!(propose_in("other", &office.agent, &stripe()).expect(201).json()["id"], 1);

    let reads = [
        as_agent(&office.agent, "/v1/proposals/1"),
        as_agent(&office.agent, "/v1/proposals"),
        office.owner.get("/v1/admin/proposals"),
        office.owner.get("/v1/admin/proposals/1"),
        office.site.nobody().get(&format!("/v1/proposals/approve-details?id=1&token={token}")),
    ];
    for read in reads {
        let body = read.expect(200).body;
        assert!(!body.contains(SECRET) && !body.contains("\"value\""), "{body}");
    }
    let shown = as_agent(&office.agent, "/v1/proposals/1").json();
    let slots = json!([{"action": "set", "key": "STRIPE_KEY", "type": "static", "has_value": true}]);
    assert_eq!(shown["credentials"], slots);
    assert_eq!(shown["services"], with_value["services"]);
    assert_eq!((&shown["reviewed_at"], &shown["review_note"]), (&Value::Null, &json!("")));
    let reviewed = office.owner.get("/v1/admin/proposals/1").json();
    assert_eq!(text(&reviewed, "credentials_json"), slots.to_string());
    assert_eq!(text(&reviewed, "services_json"), with_value["services"].to_string());
    assert_eq!(text(&reviewed, "user_message"), "I need to read balances");
    assert_eq!(text(&reviewed, "agent_name"), "proposer");

    // Neither the value nor a token that opens anything lies in the files.
    let folder = std::fs::read_dir(office.site.home.join(".agent-vault")).expect("a folder");
    let stored: Vec<u8> =
        folder.flatten().flat_map(|entry| std::fs::read(entry.path()).unwrap_or_default()).collect();
    assert!(contains(&stored, "I need to read balances"));
    for secret in [SECRET, &token, "av_agt_"] {
        assert!(!contains(&stored, secret), "{secret} is in a file");
    }
    let listed = office.owner.get("/v1/vaults").expect(200).json();
    let counts: Vec<(&str, u64)> = listed["vaults"]
        .as_array()
        .expect("vaults")
        .iter()
        .map(|vault| (text(vault, "name"), vault["pending_proposals"].as_u64().expect("a count")))
        .collect();
    assert_eq!(counts, [("default", 3), ("other", 1)]);
}

#[test]
fn who_may_propose_is_decided_by_x_vault() {
    let office = Office::open();
    let ask = |caller: &Caller, fields: &[(&str, &str)]| {
        caller.call("POST", "/v1/proposals", fields, Some(stripe().to_string()))
    };
    let refusals = [
        (&office.agent, "", 400, "Agent tokens require X-Vault header to specify which vault to use"),
        (&office.agent, "nope", 404, "Vault not found: nope"),
        (&office.owner, "default", 403, "Session requires vault scope"),
    ];
    for (caller, vault, status, why) in refusals {
        assert_eq!(ask(caller, &[("X-Vault", vault)]).refusal(), refused(status, why));
    }
    office.owner.post("/v1/vaults", &json!({"name": "other"})).expect(201);
    let closed = refused(403, "Agent does not have access to vault: other");
    assert_eq!(ask(&office.agent, &[("X-Vault", "other")]).refusal(), closed);
    // A scoped token speaks for its own vault, whatever the field says.
    let minted = office.owner.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let scoped = office.site.with_token(text(&minted, "token"));
    assert_eq!(ask(&scoped, &[("X-Vault", "other")]).expect(201).json()["vault"], "default");

    assert_eq!(as_agent(&office.agent, "/v1/proposals/x").refusal(), refused(400, "Invalid proposal id"));
    assert_eq!(as_agent(&office.agent, "/v1/proposals/7").refusal(), refused(404, "Proposal 7 not found"));
    let strange = refused(400, "Invalid status \"done\" (known are pending, applied, rejected, expired)");
    assert_eq!(as_agent(&office.agent, "/v1/proposals?status=done").refusal(), strange);
}

#[test]
fn case_69_a_proposal_has_one_to_ten_of_each() {
    let office = Office::open();
    office.store_key("K", "v");
    let services = |count: usize| -> Vec<Value> {
        (0..count).map(|number| set(&format!("svc-{number}"), "a.com", "K")).collect()
    };
    let slots = |count: usize| -> Vec<Value> { (0..count).map(|n| slot(&format!("K{n}"))).collect() };
    for (proposal, why) in [
        (json!({}), "a proposal needs at least one service or credential"),
        (json!({"services": services(11)}), "services: 11 are too many (max 10)"),
        (json!({"credentials": slots(11)}), "credentials: 11 are too many (max 10)"),
        (
            json!({"services": services(1), "credentials": slots(1)}),
            "credential \"K0\" is not used by any service of the proposal",
        ),
    ] {
        assert_eq!(office.propose(&proposal).refusal(), refused(400, why));
    }
    for proposal in [
        json!({"services": services(10)}),
        json!({"credentials": slots(10)}),
        json!({"credentials": slots(1)}),
        json!({"credentials": slots(1), "message": "é".repeat(2000), "user_message": "é".repeat(5000)}),
    ] {
        office.propose(&proposal).expect(201);
    }
    for (field, limit) in [("message", 2000), ("user_message", 5000)] {
        let proposal = json!({"credentials": slots(1), field: "é".repeat(limit + 1)});
        let why = format!("{field} is {} characters long (max {limit})", limit + 1);
        assert_eq!(office.propose(&proposal).refusal(), refused(400, &why));
    }
    let broken = json!({"credentials": [{"action": "set", "key": "K", "value": "v\n"}]});
    let why = "Credential \"K\" ends with a line break; remove it and set it again";
    assert_eq!(office.propose(&broken).refusal(), refused(400, why));
}

#[test]
fn case_70_a_service_needs_its_keys_stored_or_proposed() {
    let office = Office::open();
    let alone = json!({"services": [set("stripe", "api.stripe.com", "STRIPE_KEY")]});
    let why = "credential \"STRIPE_KEY\" of service \"stripe\" is neither stored in the vault nor proposed";
    assert_eq!(office.propose(&alone).refusal(), refused(400, why));
    office.store_key("STRIPE_KEY", "v");
    office.propose(&alone).expect(201);
    let mut deleting = alone;
    deleting["credentials"] = json!([{"action": "delete", "key": "STRIPE_KEY"}]);
    assert_eq!(office.propose(&deleting).refusal(), refused(400, why));
}

#[test]
fn case_71_twenty_are_pending_at_most() {
    let office = Office::open();
    for _ in 0..20 {
        office.pending(&stripe());
    }
    let full = refused(429, "Too many pending proposals (max 20)");
    assert_eq!(office.propose(&stripe()).refusal(), full);
    office.owner.post("/v1/admin/proposals/3/reject", &json!({})).expect(200);
    assert_eq!(office.pending(&stripe()), 21);
}

#[test]
fn case_72_a_deletion_by_host_picks_one_service() {
    let office = Office::open();
    office.store_key("K", "v");
    office.set_services(&json!([
        bearer("api", "slack.com/api/*", "K"),
        bearer("hooks", "slack.com/hooks/*", "K")
    ]));
    let unknown = refused(404, "Service not found for \"nope.com\"");
    assert_eq!(office.propose(&delete("nope.com")).refusal(), unknown);
    let several = office.propose(&delete("slack.com")).expect(409).json();
    let candidates =
        json!([{"name": "api", "host": "slack.com/api/*"}, {"name": "hooks", "host": "slack.com/hooks/*"}]);
    assert_eq!(several["candidates"], candidates);
    office.apply(&delete("slack.com/api/*"));
    assert_eq!(office.services(), json!([bearer("hooks", "slack.com/hooks/*", "K")]));
}

#[test]
fn case_73_a_nameless_set_takes_the_name_of_its_one_twin() {
    let office = Office::open();
    office.store_key("K", "v");
    office.set_services(&json!([bearer("api", "slack.com/api/*", "OLD")]));
    let mut nameless = set("", "slack.com/api/*", "K");
    nameless.as_object_mut().expect("an object").remove("name");
    office.apply(&json!({"services": [nameless]}));
    assert_eq!(office.services(), json!([bearer("api", "slack.com/api/*", "K")]));
    nameless["host"] = "slack.com".into();
    let why = "service 0: name is required: no service is the only one for host \"slack.com\"";
    assert_eq!(office.propose(&json!({"services": [nameless]})).refusal(), refused(400, why));
}

#[test]
fn what_does_not_fit_is_named_and_not_quoted() {
    let office = Office::open();
    for (proposal, why) in [
        (json!({"services": {}}), "services"),
        (json!({"services": [5]}), "service 0"),
        (json!({"message": ["sk_1"]}), "message"),
        (json!({"credentials": ["sk_1"]}), "credentials[0]"),
        (
            json!({"credentials": [{"action": "set", "key": "K", "value": {"k": "sk_1"}}]}),
            "credentials[0].value",
        ),
        (
            json!({"credentials": [{"action": "set", "key": "K", "type": "oauth", "oauth": "sk_1"}]}),
            "credentials[0].oauth",
        ),
    ] {
        let (status, error) = office.propose(&proposal).refusal();
        assert!(status == 400 && error.contains(why) && !error.contains("sk_1"), "{status} {error}");
    }
}
