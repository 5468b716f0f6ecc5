//! Cases 118 to 123: where a placeholder is looked for, and in which form its value is written there.

use serde_json::{Value, json};

use super::wire::{Answer, HOST, ask, forward, forward_body, rig_with};
use crate::support::rig::{Rules, Script};
use crate::support::{Origin, Received};

/// A service that puts the credential `VALUE` where `placeholder` stands on these surfaces.
fn services(port: u16, placeholder: &str, surfaces: &Value) -> Value {
    json!([{
        "name": "api", "host": format!("{HOST}:{port}"), "auth": {"type": "bearer", "token": "TOKEN"},
        "substitutions": [{"key": "VALUE", "placeholder": placeholder, "in": surfaces}]
    }])
}

fn rules(value: &'static str) -> Rules {
    Rules { credentials: vec![("TOKEN", "s3cret-value"), ("VALUE", value)], ..Rules::default() }
}

/// What the origin sees of a GET of `path` with these fields.
#[track_caller]
fn got(surfaces: &Value, value: &'static str, path: &str, fields: &str) -> Received {
    let origin = Origin::plain();
    let rig = rig_with(&services(origin.port(), "__sid__", surfaces), rules(value));
    assert_eq!(ask(&mut rig.connect(), &forward("GET", origin.port(), path, fields)).status, 200);
    let seen = origin.last();
    assert_eq!(seen.field("authorization"), Some("Bearer s3cret-value"));
    seen
}

#[test]
fn case_117_only_the_listed_surface_is_looked_at() {
    let path = "/Accounts/__sid__/Messages.json?id=__sid__";
    assert_eq!(got(&json!(["path"]), "AC42", path, "").target, "/Accounts/AC42/Messages.json?id=__sid__");
    assert_eq!(got(&json!(["query"]), "AC42", path, "").target, "/Accounts/__sid__/Messages.json?id=AC42");
    let seen = got(&json!(["body"]), "AC42", path, "X-Sid: __sid__\r\n");
    assert_eq!((seen.target.as_str(), seen.field("x-sid")), (path, Some("__sid__")));
}

#[test]
fn case_118_a_value_cannot_leave_its_segment_or_parameter() {
    assert_eq!(got(&json!(["path"]), "abc/def", "/a/__sid__/b", "").target, "/a/abc%2Fdef/b");
    assert_eq!(got(&json!(["path"]), "../..?x#y", "/a/__sid__", "").target, "/a/..%2F..%3Fx%23y");
    let seen = got(&json!(["query"]), "secret&value=oops", "/x?a=1&id=__sid__&b=%20", "");
    assert_eq!(seen.target, "/x?a=1&id=secret%26value%3Doops&b=%20");
    assert_eq!(got(&json!(["query"]), "a b+c", "/x?id=__sid__", "").target, "/x?id=a+b%2Bc");
}

#[test]
fn case_119_placeholders_are_case_sensitive() {
    assert_eq!(got(&json!(["path", "query"]), "v", "/__SID__?a=__Sid__", "").target, "/__SID__?a=__Sid__");
}

#[test]
fn case_120_all_are_replaced_and_nothing_else_moves() {
    let origin = Origin::plain();
    let mut list = services(origin.port(), "__sid__", &json!(["path"]));
    list[0]["substitutions"]
        .as_array_mut()
        .unwrap()
        .push(json!({"key": "TOKEN", "placeholder": "__tok__", "in": ["path"]}));
    let rig = rig_with(&list, rules("AC42"));
    for (sent, seen) in [
        ("/__sid__/__tok__/__sid__", "/AC42/s3cret-value/AC42"),
        ("/a//b/./%7e/%2F;c=d?q=%41&&r", "/a//b/./%7e/%2F;c=d?q=%41&&r"),
    ] {
        assert_eq!(ask(&mut rig.connect(), &forward("GET", origin.port(), sent, "")).status, 200);
        assert_eq!(origin.last().target, seen);
    }
}

#[test]
fn case_121_a_field_takes_a_value_that_is_a_field_value() {
    let seen = got(&json!(["header"]), "acme", "/", "X-Tenant: tenant=__sid__\r\n");
    assert_eq!(seen.field("x-tenant"), Some("tenant=acme"));

    // Whether the placeholder occurs or not.
    for fields in ["X-Tenant: __sid__\r\n", ""] {
        let untouched = Script::start(|_, _| panic!("the origin was reached"));
        let list = services(untouched.port, "__sid__", &json!(["header"]));
        let rig = rig_with(&list, rules("acme\r\nX-Evil: 1"));
        let refused: Answer = ask(&mut rig.connect(), &forward("GET", untouched.port, "/", fields));
        assert_eq!((refused.status, refused.reason()), (502, Some("credential_unsafe")));
        assert_eq!(refused.field("x-agent-vault-proxy-error"), Some("true"));
        assert!(!format!("{refused:?}").contains("acme"), "{refused:?}");
    }
}

/// What arrives of a body of this type.
#[track_caller]
fn posted(surfaces: &Value, value: &'static str, fields: &str, body: &str) -> String {
    let origin = Origin::plain();
    let rig = rig_with(&services(origin.port(), "__sid__", surfaces), rules(value));
    assert_eq!(ask(&mut rig.connect(), &forward_body(origin.port(), "/", fields, body)).status, 200);
    let seen = origin.last();
    assert_eq!(seen.field("content-length"), Some(seen.body.len().to_string().as_str()));
    String::from_utf8(seen.body).unwrap()
}

#[test]
fn case_122_a_form_takes_it_as_a_form_value() {
    let media_type = "Content-Type: application/x-www-form-urlencoded";
    for fields in [format!("{media_type}\r\n"), format!("{media_type}; charset=utf-8\r\n")] {
        let seen = posted(&json!(["body"]), "s3cr&t=val+ue", &fields, "a=1&b=__sid__&c=__sid__");
        assert_eq!(seen, "a=1&b=s3cr%26t%3Dval%2Bue&c=s3cr%26t%3Dval%2Bue");
    }
}

#[test]
fn case_123_other_bodies_take_it_as_their_type_says() {
    let value = "val\"with\\slash";
    let json_type = "Content-Type: application/json\r\n";
    let text_type = "Content-Type: text/plain\r\n";
    let body = json!(["body"]);
    let document = "{\"a\":\"__sid__\"}";
    let escaped = "{\"a\":\"val\\\"with\\\\slash\"}";
    assert_eq!(posted(&body, value, json_type, document), escaped);
    assert_eq!(posted(&body, value, "Content-Type: application/vnd.api+json\r\n", document), escaped);
    assert_eq!(posted(&body, value, text_type, "a __sid__ b"), "a val\"with\\slash b");
    assert_eq!(posted(&body, value, "", "a __sid__ b"), "a val\"with\\slash b");
    let multipart = "Content-Type: multipart/form-data; boundary=x\r\n";
    assert_eq!(posted(&body, value, multipart, document), document);
    let compressed = "Content-Type: application/json\r\nContent-Encoding: gzip\r\n";
    assert_eq!(posted(&body, value, compressed, document), document);
    assert_eq!(posted(&body, value, json_type, ""), "");
    assert_eq!(posted(&body, value, json_type, "{\"a\":\"b\"}"), "{\"a\":\"b\"}");
    assert_eq!(posted(&json!(["path", "header"]), value, json_type, document), document);
    let absent = got(&body, "v", "/", "");
    assert_eq!((absent.body.len(), absent.field("content-length")), (0, None));
}
