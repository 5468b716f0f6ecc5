//! Cases 86 to 96: what a service may be, and the words that refuse the rest.

use agent_vault::vault::service::{InternalNames, Service, list};
use serde_json::{Value, json};

use super::api::Api;
use super::wire::{check, check_with};
use crate::support::{Broker, Origin, TempDir, run};

const CONVENTION: &str = "(recommended convention: __name__)";
const TYPES: &str = "supported: bearer, basic, api-key, custom, passthrough, query, aws-sigv4";

/// A service whose fields are right but for the ones given.
fn with(fields: &Value) -> Value {
    let mut service = json!({"name": "right", "host": "api.example.com", "auth": {"type": "passthrough"}});
    service.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    service
}

fn one(fields: &Value) -> Result<Service, String> {
    check(&json!([with(fields)])).map(|mut services| services.remove(0))
}

/// The refusal of a service with these fields, without its place.
#[track_caller]
fn refusal(fields: &Value) -> String {
    let refusal = one(fields).expect_err("a refusal");
    refusal.strip_prefix("service 0: ").expect("the place of the service").to_owned()
}

#[test]
fn case_086_names_are_slugs() {
    for name in ["abc", "a1-b2-c3", &"a".repeat(64)] {
        assert_eq!(one(&json!({"name": name})).map(|service| service.name).as_deref(), Ok(name));
    }
    let long = "a".repeat(65);
    for (name, problem) in [
        ("ab", "must be at least 3 characters"),
        (&long, "must be at most 64 characters"),
        ("Slack-Com", "must contain only lowercase letters, digits, and hyphens"),
        ("slack_com", "must contain only lowercase letters, digits, and hyphens"),
        ("slack.com", "must contain only lowercase letters, digits, and hyphens"),
        ("-foo", "must not start or end with a hyphen"),
        ("foo-", "must not start or end with a hyphen"),
        ("foo--bar", "must not contain consecutive hyphens"),
        ("---", "must not start or end with a hyphen"),
    ] {
        assert_eq!(refusal(&json!({"name": name})), format!("name {name:?} {problem}"));
    }
    assert_eq!(refusal(&json!({"name": ""})), "name is required");
}

/// The names that stored services for these hosts get.
fn derived(hosts: &[&str]) -> Vec<String> {
    let stored: Vec<Value> =
        hosts.iter().map(|host| json!({"host": host, "auth": {"type": "passthrough"}})).collect();
    let services = list::from_stored(&json!(stored).to_string()).unwrap();
    services.into_iter().map(|service| service.name).collect()
}

#[test]
fn case_087_a_nameless_service_is_called_after_its_matcher() {
    for (host, name) in [
        ("slack.com/api/*", "slack-com-api"),
        ("*.github.com", "github-com"),
        ("x.example.com/v1/foo_bar", "x-example-com-v1-foo-bar"),
        ("x.example.com:8443", "x-example-com8443"),
        ("x.example.com", "x-example-com"),
    ] {
        assert_eq!(derived(&[host]), [name]);
    }
    let long = &derived(&[&("a.".repeat(100) + "com")])[0];
    assert!(long.len() <= 64 && one(&json!({"name": long})).is_ok(), "{long}");
}

#[test]
fn case_088_derived_names_are_numbered_when_taken() {
    let twice = ["api.anthropic.com", "api.anthropic.com"];
    assert_eq!(derived(&twice), ["api-anthropic-com", "api-anthropic-com-2"]);
    let taken = json!([
        {"name": "foo-com", "host": "a.com", "auth": {"type": "passthrough"}},
        {"name": "foo-com-2", "host": "b.com", "auth": {"type": "passthrough"}},
        {"host": "foo.com", "auth": {"type": "passthrough"}}
    ]);
    let services = list::from_stored(&taken.to_string()).unwrap();
    assert_eq!(services[2].name, "foo-com-3");
}

#[test]
fn case_089_paths_are_plain_globs() {
    for path in ["", "/", "/api/*", "/repos/*/issues"] {
        assert_eq!(one(&json!({"path": path})).map(|service| service.path).as_deref(), Ok(path));
    }
    for (path, problem) in [
        ("api/*", "path \"api/*\" must start with \"/\""),
        ("/api/**", "path \"/api/**\" must not contain \"**\" (segment-bounded globs are not supported)"),
        ("/api/?", "path \"/api/?\" must not contain '?'"),
        ("/a b", "path \"/a b\" must not contain ' '"),
        ("/a#b", "path \"/a#b\" must not contain '#'"),
        ("/[a-z]", "path \"/[a-z]\" must not contain '['"),
        ("/\\d", "path \"/\\\\d\" must not contain '\\'"),
        ("/a|b", "path \"/a|b\" must not contain '|'"),
        ("/a<b", "path \"/a<b\" must not contain '<'"),
        ("/a>b", "path \"/a>b\" must not contain '>'"),
        ("/a\"b", "path \"/a\\\"b\" must not contain '\"'"),
    ] {
        assert_eq!(refusal(&json!({"path": path})), problem);
    }
    for path in ["/a\0b", "/a\u{7f}b"] {
        assert!(refusal(&json!({"path": path})).ends_with(" must not contain control characters"));
    }
    let [long, longest] = [256, 255].map(|count| format!("/{}", "a".repeat(count)));
    assert_eq!(refusal(&json!({"path": long})), format!("path {long:?} is too long (max 256 characters)"));
    assert!(one(&json!({"path": longest})).is_ok());
}

#[test]
fn case_090_hosts_are_public_names() {
    let internal = |host: &str| {
        format!(
            "host {host:?} is a local/internal name and is not allowed \
             (set AGENT_VAULT_DEV_MODE=true to override)"
        )
    };
    for (host, problem) in [
        ("127.0.0.1", "host \"127.0.0.1\" must be a hostname, not an IP address".to_owned()),
        ("::1", "host \"::1\" must be a hostname, not an IP address".to_owned()),
        ("*", "host \"*\": bare wildcard is not allowed".to_owned()),
        (
            "*.com",
            "host \"*.com\": wildcard must have at least two domain levels (e.g. *.example.com)".to_owned(),
        ),
        ("*x.com", "host \"*x.com\": wildcard must be in the form *.example.com".to_owned()),
        ("", "host is required".to_owned()),
        ("localhost", internal("localhost")),
        ("kubernetes.default", internal("kubernetes.default")),
        ("metadata.google.internal", internal("metadata.google.internal")),
        ("localhost.localdomain", internal("localhost.localdomain")),
    ] {
        assert_eq!(refusal(&json!({"host": host})), problem);
    }
    let dev = |host: &str| check_with(&json!([with(&json!({"host": host}))]), InternalNames::Allowed);
    assert!(dev("localhost.localdomain").is_ok());
    assert_eq!(dev("localhost"), Err("service 0: host \"localhost\" is not a valid hostname".to_owned()));
}

#[test]
fn case_091_the_inline_form_splits_and_joins() {
    let inline = "internal.corp.com:3000/api/*";
    let service = one(&json!({"host": inline})).unwrap();
    assert_eq!((service.port, service.path.as_str()), (Some(3000), "/api/*"));
    assert_eq!(service.joined_host(), inline);
    let service = one(&json!({"host": "internal.corp.com:3000"})).unwrap();
    assert_eq!((service.port, service.path.as_str()), (Some(3000), ""));
    for port in [1, 80, 65_535] {
        let host = format!("x.example.com:{port}");
        assert_eq!(one(&json!({"host": host})).map(|service| service.joined_host()), Ok(host));
    }
    for port in [0, 65_536] {
        let refused = refusal(&json!({"host": format!("x.example.com:{port}")}));
        assert_eq!(refused, format!("port {port} is out of range (must be 1-65535)"));
    }
    // What follows the colon is no number, so it is part of a host that is none.
    let refused = refusal(&json!({"host": "x.example.com:-1"}));
    assert_eq!(refused, "host \"x.example.com:-1\" is not a valid hostname");
}

#[test]
fn case_092_a_file_may_not_name_two_ports() {
    let broker = Broker::start(&Origin::plain(), &[]);
    let home = TempDir::new();
    let set = |port: u16| {
        let text = format!(
            "services:\n  - name: ported\n    host: x.example.com:3000\n    port: {port}\n    auth: {{type: passthrough}}\n"
        );
        let file = home.write("services.yaml", &text);
        let args = ["vault", "service", "set", "--vault", "default", "-f", file.to_str().unwrap()];
        run(&mut broker.operator(&args), b"")
    };
    let ended = set(4000);
    assert_eq!(ended.code(), Some(1), "{ended:?}");
    let text = "host \"x.example.com:3000\" embeds port 3000 but port field is 4000";
    assert!(ended.stderr.contains(text), "{}", ended.stderr);
    set(3000).expect_success();
    let listed = Api::owner(&broker).get("/v1/vaults/default/services").expect(200);
    assert_eq!(listed["services"][0]["host"], "x.example.com:3000");
}

#[test]
fn case_093_each_auth_type_has_its_fields() {
    let printed = |auth: &Value| {
        one(&json!({"auth": auth})).map(|service| list::to_json(&[service])[0]["auth"].clone())
    };
    for good in [
        json!({"type": "bearer", "token": "A"}),
        json!({"type": "basic", "username": "A"}),
        json!({"type": "basic", "username": "A", "password": "B"}),
        json!({"type": "api-key", "key": "A"}),
        json!({"type": "api-key", "key": "A", "header": "X-Key", "prefix": "k_"}),
        json!({"type": "custom", "headers": {"X-Key": "{{ A }}"}}),
        json!({"type": "passthrough"}),
    ] {
        assert_eq!(printed(&good), Ok(good));
    }
    let refused = |auth: Value| refusal(&json!({"auth": auth}));
    for (bad, problem) in [
        (json!({}), format!("auth: type is required ({TYPES})")),
        (json!({"type": ""}), format!("auth: type is required ({TYPES})")),
        (json!({"type": "oauth2"}), format!("auth: unsupported type \"oauth2\" ({TYPES})")),
        (json!({"type": "bearer"}), "auth: \"token\" is required for bearer auth".to_owned()),
        (json!({"type": "basic"}), "auth: \"username\" is required for basic auth".to_owned()),
        (json!({"type": "api-key"}), "auth: \"key\" is required for api-key auth".to_owned()),
        (json!({"type": "custom"}), "auth: \"headers\" is required for custom auth".to_owned()),
        (
            json!({"type": "bearer", "token": "A", "username": "B"}),
            "auth: unexpected field \"username\" for bearer auth (only token)".to_owned(),
        ),
        (
            json!({"type": "basic", "username": "A", "token": "B"}),
            "auth: unexpected field \"token\" for basic auth (only username, password)".to_owned(),
        ),
        (
            json!({"type": "api-key", "key": "A", "token": "B"}),
            "auth: unexpected field \"token\" for api-key auth (only key, header, prefix)".to_owned(),
        ),
        (
            json!({"type": "custom", "headers": {"X": "a"}, "key": "B"}),
            "auth: unexpected field \"key\" for custom auth (only headers)".to_owned(),
        ),
        (
            json!({"type": "bearer", "token": "stripe_key"}),
            "auth: token \"stripe_key\" must be UPPER_SNAKE_CASE (e.g. STRIPE_KEY)".to_owned(),
        ),
    ] {
        assert_eq!(refused(bad), problem);
    }
    for field in ["token", "username", "password", "key", "header", "prefix", "headers"] {
        let value = if field == "headers" { json!({"X": "a"}) } else { json!("A") };
        assert_eq!(
            refused(json!({"type": "passthrough", field: value})),
            format!(
                "auth: unexpected field {field:?} for passthrough auth (no credential fields are permitted)"
            )
        );
    }
}

#[test]
fn case_094_names_are_unique_and_an_upsert_names_something() {
    let [one, two] = ["a.example.com", "b.example.com"].map(|host| with(&json!({"host": host})));
    let twice = json!([one, two]);
    let text = "service 1: duplicate name \"right\" (also at service 0)";
    assert_eq!(check(&twice), Err(text.to_owned()));
    let broker = Broker::start(&Origin::plain(), &[]);
    let owner = Api::owner(&broker);
    let path = "/v1/vaults/default/services";
    let refused = owner.post(path, &json!({"services": []})).expect(400);
    assert_eq!(refused, json!({"error": "At least one service is required"}));
    let refused = owner.post(path, &json!({"services": twice})).expect(400);
    assert_eq!(refused, json!({"error": format!("Invalid services: {text}")}));
}

fn substitutions(list: &Value) -> Result<Service, String> {
    one(&json!({"substitutions": list}))
}

#[test]
fn case_095_placeholders_cannot_be_ordinary_words() {
    let list = |placeholder: &str| json!([{"key": "K", "placeholder": placeholder}]);
    for placeholder in ["__account_sid__", "sid.value", "sid-val", "~sid~val"] {
        assert!(substitutions(&list(placeholder)).is_ok(), "{placeholder}");
    }
    let foreign = |placeholder: &str, c: char| {
        format!(
            "placeholder {placeholder:?} contains disallowed character {c:?} — only RFC 3986 unreserved \
             characters [A-Za-z0-9_-.~] are permitted {CONVENTION}"
        )
    };
    for (placeholder, problem) in [
        ("", format!("\"placeholder\" is required {CONVENTION}")),
        ("__x", format!("placeholder \"__x\" is too short — must be at least 4 characters {CONVENTION}")),
        (
            "account_sid",
            format!(
                "placeholder \"account_sid\" must contain a delimiter — either \"__\" or a character outside \
                 [A-Za-z0-9_] — to avoid matching legitimate URL words {CONVENTION}"
            ),
        ),
        (
            "____",
            format!("placeholder \"____\" must contain at least one alphanumeric character {CONVENTION}"),
        ),
        (
            "~-.~",
            format!("placeholder \"~-.~\" must contain at least one alphanumeric character {CONVENTION}"),
        ),
        ("{sid}", foreign("{sid}", '{')),
        ("%%SID%%", foreign("%%SID%%", '%')),
        ("__a b__", foreign("__a b__", ' ')),
        ("__a/b__", foreign("__a/b__", '/')),
        ("__a\nb__", foreign("__a\nb__", '\n')),
    ] {
        let refused = substitutions(&list(placeholder)).expect_err(placeholder);
        assert_eq!(refused, format!("service 0: substitution 0: {problem}"));
    }
}

#[test]
fn case_096_surfaces_are_known_and_named_once() {
    let list = |surfaces: Value| json!([{"key": "K", "placeholder": "__k__", "in": surfaces}]);
    let refused = |list: &Value| substitutions(list).expect_err("a refusal");
    assert_eq!(
        refused(&list(json!(["cookie"]))),
        "service 0: substitution 0: invalid substitution surface \"cookie\" — must be one of path, query, \
         header, body, websocket"
    );
    assert_eq!(
        refused(&list(json!(["path", "path"]))),
        "service 0: substitution 0: substitution surface \"path\" listed more than once"
    );
    let twice = json!([{"key": "K", "placeholder": "__k__"}, {"key": "L", "placeholder": "__k__"}]);
    assert_eq!(
        refused(&twice),
        "service 0: substitution 1: placeholder \"__k__\" already declared by substitution 0"
    );
    let absent = substitutions(&json!([{"key": "K", "placeholder": "__k__"}])).unwrap();
    let printed = list::to_json(&[absent]);
    assert_eq!(printed[0]["substitutions"][0]["in"], json!(["path", "query"]));
    for surface in ["path", "query", "header", "body", "websocket"] {
        assert!(substitutions(&list(json!([surface]))).is_ok(), "{surface}");
    }
}
