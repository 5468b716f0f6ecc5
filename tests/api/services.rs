//! Services: cases 53 to 62.

use serde_json::{Value, json};

use crate::site::{Caller, Site, refused, text};

const PATH: &str = "/v1/vaults/default/services";

fn bearer(name: &str, host: &str) -> Value {
    json!({"name": name, "host": host, "auth": {"type": "bearer", "token": "KEY"}})
}

fn add(caller: &Caller, services: &[Value]) -> Value {
    caller.post(PATH, &json!({"services": services})).expect(200).json()
}

fn hosts(caller: &Caller) -> Vec<(String, String)> {
    let listed = caller.get(PATH).expect(200).json();
    let services = listed["services"].as_array().expect("a list").iter();
    services.map(|service| (text(service, "name").to_owned(), text(service, "host").to_owned())).collect()
}

#[test]
fn post_adds_and_replaces_by_name() {
    // 53, 54, 55
    let site = Site::start();
    let owner = site.owner();
    let answer = add(&owner, &[bearer("one", "a.com"), bearer("two", "slack.com/api/*")]);
    assert_eq!(answer, json!({"vault": "default", "upserted": ["one", "two"], "services_count": 2}));
    add(&owner, &[bearer("one", "b.com")]);
    let nameless = json!({"host": "b.com", "auth": {"type": "passthrough"}});
    assert_eq!(add(&owner, &[nameless])["upserted"], json!(["one"]));
    let listed = owner.get(PATH).expect(200).json();
    assert_eq!(
        listed["services"][0],
        json!({"name": "one", "host": "b.com", "auth": {"type": "passthrough"}})
    );
    assert_eq!(listed["services"][1], bearer("two", "slack.com/api/*"));
    let stranger = json!({"services": [{"host": "c.com", "auth": {"type": "passthrough"}}]});
    assert_eq!(
        owner.post(PATH, &stranger).refusal(),
        refused(400, "Invalid services: service 0: name is required")
    );
    let split =
        json!({"name": "split", "host": "d.com", "path": "/x", "port": 9, "auth": {"type": "passthrough"}});
    add(&owner, &[split]);
    assert_eq!(hosts(&owner)[2], ("split".to_owned(), "d.com/x".to_owned()));
}

/// Beyond the contract: an edit may ask that the list still be the one its caller read.
#[test]
fn two_operators_editing_at_once_undo_nothing_of_each_other() {
    let site = Site::start();
    let owner = site.owner();
    let tag = |caller: &Caller| caller.get(PATH).expect(200).field("etag").to_owned();
    let empty = tag(&owner);
    let send = |method: &str, path: &str, tag: &str, body: &Value| {
        owner.call(method, path, &[("If-Match", tag)], Some(body.to_string()))
    };
    let one = json!({"services": [bearer("one", "a.com")]});
    let added = send("POST", PATH, &empty, &one).expect(200);
    assert_eq!(added.field("etag"), tag(&owner));
    // Another operator still thinks the list is empty, whatever they want to do with it.
    let other = json!({"services": [bearer("two", "b.com")]});
    let stale =
        refused(412, "The services have changed since they were read; read them again and repeat the edit");
    let to_one = format!("{PATH}/one");
    for (method, path, body) in [
        ("PUT", PATH, &other),
        ("POST", PATH, &other),
        ("PATCH", &to_one, &json!({"enabled": false})),
        ("DELETE", &to_one, &json!({})),
        ("DELETE", PATH, &json!({})),
    ] {
        assert_eq!(send(method, path, &empty, body).refusal(), stale, "{method} {path}");
    }
    assert_eq!(hosts(&owner), [("one".to_owned(), "a.com".to_owned())]);
    // One of several tags, or any list at all, will do; without the field nothing is asked.
    send("PUT", PATH, &format!("{empty}, {}", tag(&owner)), &other).expect(200);
    send("POST", PATH, "*", &one).expect(200);
    owner.send("PUT", PATH, &one).expect(200);
    // The same content is the same list.
    assert_eq!(tag(&owner), added.field("etag"));
}

#[test]
fn a_host_that_several_share_names_none_of_them() {
    // 56, 57
    let site = Site::start();
    let owner = site.owner();
    add(&owner, &[bearer("one", "a.com"), bearer("two", "a.com"), bearer("three", "b.com/x")]);
    for (method, body) in [("DELETE", None), ("PATCH", Some("{\"enabled\":false}".to_owned()))] {
        let answer = owner.call(method, &format!("{PATH}/a.com"), &[], body).expect(409).json();
        let candidates = json!([{"name": "one", "host": "a.com"}, {"name": "two", "host": "a.com"}]);
        assert_eq!(answer["candidates"], candidates);
    }
    assert_eq!(hosts(&owner).len(), 3);
    let removed = owner.delete(&format!("{PATH}/two")).expect(200).json();
    assert_eq!(
        removed,
        json!({"vault": "default", "removed": "two", "removed_host": "a.com", "services_count": 2})
    );
    owner.delete(&format!("{PATH}/b.com%2Fx")).expect(200);
    let unknown = owner.delete(&format!("{PATH}/nope")).refusal();
    assert_eq!(unknown, refused(404, "Service not found for \"nope\""));
}

#[test]
fn services_are_switched_off_and_on() {
    let site = Site::start();
    let owner = site.owner();
    add(&owner, &[bearer("one", "a.com")]);
    for enabled in [false, false, true] {
        let body = json!({"enabled": enabled});
        let answer = owner.send("PATCH", &format!("{PATH}/one"), &body).expect(200).json();
        assert_eq!(answer, json!({"vault": "default", "name": "one", "host": "a.com", "enabled": enabled}));
        assert_eq!(owner.get(PATH).expect(200).json()["services"][0]["enabled"], json!(enabled));
    }
    owner.send("PATCH", &format!("{PATH}/one"), &json!({})).expect(400);
}

#[test]
fn put_replaces_everything_and_delete_clears() {
    // 58, 60
    let site = Site::start();
    let owner = site.owner();
    add(&owner, &[bearer("one", "a.com"), bearer("two", "b.com")]);
    let listed = owner.get(PATH).expect(200).json();
    let same = json!({"services": listed["services"]});
    let answer = owner.send("PUT", PATH, &same).expect(200).json();
    assert_eq!(answer, json!({"vault": "default", "services_count": 2}));
    assert_eq!(owner.get(PATH).expect(200).json(), listed);
    let none = json!({"services": []});
    assert_eq!(owner.post(PATH, &none).refusal(), refused(400, "At least one service is required"));
    owner.send("PUT", PATH, &none).expect(200);
    assert!(hosts(&owner).is_empty());
    add(&owner, &[bearer("one", "a.com")]);
    assert_eq!(owner.delete(PATH).expect(200).json(), json!({"vault": "default", "cleared": true}));
    assert!(hosts(&owner).is_empty());
}

#[test]
fn what_is_wrong_is_named_and_nothing_is_stored() {
    // 59, 61, 62, 66
    let site = Site::start();
    let owner = site.owner();
    for (service, why) in [
        (bearer("abc", "10.0.0.1"), "service 0: host \"10.0.0.1\" must be a hostname, not an IP address"),
        (bearer("abc", "*"), "service 0: host \"*\": bare wildcard is not allowed"),
        (bearer("abc", "foo.com:abc"), "service 0: host \"foo.com:abc\" is not a valid hostname"),
        (
            bearer("abc", "metadata.google.internal"),
            "service 0: host \"metadata.google.internal\" is a local/internal name and is not allowed (set \
             AGENT_VAULT_DEV_MODE=true to override)",
        ),
        (bearer("ab", "a.com"), "service 0: name \"ab\" must be at least 3 characters"),
        (
            json!({"name": "abc", "host": "a.com", "auth": {"type": "bearer", "token": "A", "key": "B"}}),
            "service 0: auth: unexpected field \"key\" for bearer auth (only token)",
        ),
    ] {
        let body = json!({"services": [service]});
        let expected = refused(400, &format!("Invalid services: {why}"));
        assert_eq!(owner.post(PATH, &body).refusal(), expected);
        assert_eq!(owner.send("PUT", PATH, &body).refusal(), expected);
    }
    let mut described = bearer("abc", "a.com");
    described["description"] = json!("x");
    let expected = refused(
        400,
        "services[0]: description is no longer supported; rename via the service name field instead",
    );
    assert_eq!(owner.post(PATH, &json!({"services": [described]})).refusal(), expected);
    assert!(hosts(&owner).is_empty());

    let dev = Site::start_with(&[], &[("AGENT_VAULT_DEV_MODE", "true")]);
    add(&dev.owner(), &[bearer("abc", "metadata.google.internal")]);
}

#[test]
fn usage_is_found_in_auth_and_in_substitutions() {
    let site = Site::start();
    let owner = site.owner();
    let substituting = json!({
        "name": "two", "host": "b.com", "auth": {"type": "passthrough"},
        "substitutions": [{"key": "KEY", "placeholder": "__key__", "in": ["path"]}]
    });
    let other = json!({"name": "three", "host": "c.com", "auth": {"type": "bearer", "token": "OTHER"}});
    add(&owner, &[bearer("one", "a.com"), substituting, other]);
    let usage = owner.get(&format!("{PATH}/credential-usage?key=KEY")).expect(200).json();
    assert_eq!(
        usage,
        json!({"services": [{"name": "one", "host": "a.com"}, {"name": "two", "host": "b.com"}]})
    );
    owner.get(&format!("{PATH}/credential-usage")).expect(400);
}

#[test]
fn changing_services_takes_an_admin() {
    let site = Site::start();
    let owner = site.owner();
    let member = site.agent(&owner, "member-bot", "member");
    let body = json!({"services": [bearer("one", "a.com")]});
    assert_eq!(member.post(PATH, &body).refusal(), refused(403, "Vault admin role required"));
    assert_eq!(member.delete(PATH).refusal(), refused(403, "Vault admin role required"));
    member.get(PATH).expect(200);
    let admin = site.agent(&owner, "admin-bot", "admin");
    admin.post(PATH, &body).expect(200);
}

#[test]
fn parallel_edits_lose_nothing() {
    let site = Site::start();
    let owner = site.owner();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let owner = owner.clone();
            scope.spawn(move || {
                add(&owner, &[bearer(&format!("service-{number}"), &format!("h{number}.com"))])
            });
        }
    });
    assert_eq!(hosts(&owner).len(), 8);
}
