//! `check`, `keygen` and `seal`: what an operator does before anything is started.

use serde_json::{Value, json};

use super::support::{Ended, SECRET, run};
use super::{API, Alone, bearer};

fn check(alone: &Alone, document: &Value, args: &[&str]) -> Ended {
    alone.home.write("c.json", &document.to_string());
    run(alone.bare().env("API_KEY", SECRET).args(["check", "--config", "c.json"]).args(args), b"")
}

#[test]
fn a_good_document_is_told_with_where_its_credentials_are() {
    let alone = Alone::tls();
    let mut document =
        alone.document(&json!([bearer("the-api", API, "API_KEY"), bearer("two", API, "OTHER")]));
    document["credentials"] = json!({"OLD": {"sealed": "av1.x"}});
    let ended = check(&alone, &document, &[]);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(
        ended.stdout,
        "c.json: good; vault default, 2 services, other hosts: deny\n\
         CREDENTIAL  FROM                                       HERE\n\
         API_KEY     variable API_KEY                           yes\n\
         OLD         sealed, with AGENT_VAULT_KEY               no\n\
         OTHER       variable OTHER or file /run/secrets/OTHER  no\n"
    );
    let strict = check(&alone, &document, &["--credentials"]);
    assert_eq!(strict.code(), Some(1));
    assert!(strict.stderr.starts_with("credentials that are not here: OLD ("), "{strict:?}");
    let told: Value = serde_json::from_str(&check(&alone, &document, &["--json"]).stdout).unwrap();
    assert_eq!((&told["valid"], &told["credentials"][0]["is_here"]), (&json!(true), &json!(true)));
}

#[test]
fn a_bad_document_is_told_with_every_problem() {
    let alone = Alone::tls();
    let document = json!({"services": [{"name": "a-b", "hots": "x.com"}], "extra": 1});
    let ended = check(&alone, &document, &[]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""));
    assert_eq!(
        ended.stderr,
        "c.json: 2 problems\n  unknown key \"extra\"; the nearest known one is \"vault\"\n  \
         services[0]: unknown key \"hots\"; the nearest known one is \"host\"\n"
    );
    let ended = check(&alone, &document, &["--json"]);
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(1), ""));
    let told: Value = serde_json::from_str(&ended.stdout).unwrap();
    let second =
        json!({"place": "services[0]", "problem": "unknown key \"hots\"; the nearest known one is \"host\""});
    assert_eq!((&told["valid"], &told["problems"][1]), (&json!(false), &second));
    assert_eq!(run(alone.bare().arg("check"), b"").code(), Some(2));
}

/// Neither names nor secrets are needed to say what would happen.
#[test]
fn a_request_is_explained_offline() {
    let alone = Alone::tls();
    let basic = json!({"name": "basic", "host": "b.example.test/v1/*", "auth": {"type": "basic", "username": "NOT_HERE"}});
    let document = json!({ "services": [bearer("the-api", API, "API_KEY"), basic] });
    let ended = check(&alone, &document, &["https://b.example.test/v1/x"]);
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    assert_eq!(
        ended.stdout,
        "ABOUT        GET https://b.example.test/v1/x\n\
         target       b.example.test:443\n\
         service      basic (b.example.test/v1/*), basic\n\
         sets         header Authorization\n\
         credentials  NOT_HERE\n\
         outcome      goes out with what the service sets\n"
    );
    let refused = check(&alone, &document, &["POST", "https://b.example.test/v2", "--json"]);
    assert_eq!(refused.code(), Some(3));
    let told: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!(told["request"]["refusal"]["reason"], "forbidden");
    assert_eq!(told["request"]["services_of_host"], json!(["basic"]));
    assert_eq!(check(&alone, &document, &["nonsense"]).code(), Some(2));
}

#[test]
fn keys_and_sealed_values_are_printed_alone() {
    let alone = Alone::tls();
    let key = run(alone.bare().arg("keygen"), b"").expect_success().stdout;
    assert!(key.starts_with("av_key_") && key.len() == 72, "{key:?}");
    assert_ne!(run(alone.bare().arg("keygen"), b"").expect_success().stdout, key);
    let seal = |args: &[&str], key: &str, value: &str| {
        run(alone.bare().env("AGENT_VAULT_KEY", key).arg("seal").args(args), value.as_bytes())
    };
    let sealed = seal(&["API_KEY"], &key, SECRET).expect_success();
    assert!(sealed.stdout.starts_with("av1.") && sealed.stdout.lines().count() == 1, "{sealed:?}");
    assert_eq!(sealed.stderr, "");
    for (args, key, value, code, told) in [
        (&["api_key"][..], key.as_str(), SECRET, 2, "NAME is the name of a credential"),
        (&[], &key, SECRET, 2, "missing argument: NAME"),
        (&["API_KEY"], "", SECRET, 2, "neither AGENT_VAULT_KEY nor AGENT_VAULT_KEY_FILE is set"),
        (&["API_KEY"], "av_key_1", SECRET, 1, "AGENT_VAULT_KEY is not a key"),
        (&["API_KEY"], &key, "\n", 1, "there is no value on stdin"),
    ] {
        let ended = seal(args, key, value);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(code), ""), "{ended:?}");
        assert!(ended.stderr.starts_with(told), "{ended:?}");
    }
}
