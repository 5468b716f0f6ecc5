//! Promise: OAuth credentials are obtained, kept and renewed without anyone in between learning them
//! (contract, data plane G.2, G.3, D.9 and cases 115, 141 to 146; control plane A.15).

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::collections::VecDeque;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use support::rig::read_answer;
use support::{Broker, Origin, PATIENCE, Received, contains};

const API: &str = "api.example.test";
const PROVIDER: &str = "id.example.test";
const BULLETS: &str = "••••••••";
/// What a provider says about a failure; it must not reach anyone.
const PROVIDER_TEXT: &str = "provider-text-refresh-1";

/// What the provider and the API behind it answer.
#[derive(Default)]
struct Script {
    /// Status and body of the next answers of the token endpoint; after them it grants numbered tokens
    /// for an hour.
    answers: VecDeque<(u16, Value)>,
    granted: usize,
    /// The token endpoint waits while this holds.
    is_held: bool,
    /// Access tokens the API refuses.
    revoked: Vec<String>,
}

#[derive(Default)]
struct Provider {
    script: Mutex<Script>,
    changed: Condvar,
}

impl Provider {
    fn answer(&self, request: &Received) -> Vec<u8> {
        let mut script = self.script.lock().unwrap();
        if request.target == "/token" {
            script = self.changed.wait_while(script, |script| script.is_held).unwrap();
            let (status, body) = script.answers.pop_front().unwrap_or_else(|| {
                script.granted += 1;
                let number = script.granted;
                (200, json!({"access_token": format!("access-{number}"), "expires_in": 3600}))
            });
            return http(status, &body.to_string());
        }
        let token = request.field("authorization").unwrap_or_default().to_owned();
        let is_revoked = script.revoked.iter().any(|revoked| token.ends_with(revoked.as_str()));
        http(if is_revoked { 401 } else { 200 }, &format!("api saw {token}"))
    }
}

fn http(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// A broker whose service for the API uses the credential TOKEN, and a provider.
struct Scene {
    origin: Origin,
    provider: Arc<Provider>,
    broker: Broker,
    /// May look after the vault.
    member: String,
    /// May only use it.
    bot: String,
}

impl Scene {
    fn open(more: &[(&str, &str)]) -> Self {
        let provider = Arc::<Provider>::default();
        let answering = Arc::clone(&provider);
        let origin = Origin::tls(&[API, PROVIDER]).answering(move |request| answering.answer(request));
        let broker =
            Broker::start_with(&origin, &[API, PROVIDER], more).with_service("the-api", API, "TOKEN");
        let create = ["agent", "create", "keeper", "--vault", "default:member", "--token-only"];
        let member = broker.cli(&create).stdout;
        let bot = broker.agent("bot");
        Self { origin, provider, broker, member, bot }
    }

    fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.provider.script.lock().unwrap());
        self.provider.changed.notify_all();
    }

    fn token_url(&self) -> String {
        self.origin.url(PROVIDER, "/token")
    }

    /// Calls the control API as the vault's member; status and document.
    fn api(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (head, text) = self.raw_api(method, path, body);
        (head[9..12].parse().unwrap(), serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn raw_api(&self, method: &str, path: &str, body: &Value) -> (String, String) {
        let place = self.broker.address().strip_prefix("http://").unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        exchange(
            place,
            &format!(
                "{method} {path} HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n{body}",
                self.member,
                body.len()
            ),
        )
    }

    /// Stores a refresh token that is tried at once; the access token it gives has so many seconds to live.
    fn connect_for(&self, key: &str, access_token: &str, lifetime: u64) {
        let grant =
            json!({"access_token": access_token, "refresh_token": "refresh-1", "expires_in": lifetime});
        self.script(|script| script.answers.push_back((200, grant)));
        let form = json!({"key": key, "refresh_token": "refresh-0", "token_url": self.token_url(),
            "client_id": "the-client", "client_secret": "client-s3cret"});
        let (status, answer) = self.api("POST", "/v1/credentials/oauth/tokens", &form);
        assert_eq!((status, &answer["connected"]), (200, &json!(true)), "{answer}");
    }

    /// The forms the token endpoint was sent.
    fn forms(&self) -> Vec<String> {
        let calls = self.origin.requests().into_iter().filter(|request| request.target == "/token");
        calls.map(|request| String::from_utf8(request.body).unwrap()).collect()
    }

    fn entry(&self, key: &str) -> Value {
        let (_, list) = self.api("GET", "/v1/credentials?vault=default", &Value::Null);
        let mut entries = list["credentials"].as_array().unwrap().iter();
        entries.find(|entry| entry["key"] == key).unwrap().clone()
    }
}

/// One request on a connection of its own.
fn exchange(place: &str, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(place).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    read_answer(&mut stream)
}

#[test]
fn tokens_are_tried_stored_sealed_and_shown_as_bullets() {
    let scene = Scene::open(&[]);
    let form = |more: Value| {
        let mut form = json!({"key": "TOKEN"});
        form.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        scene.api("POST", "/v1/credentials/oauth/tokens", &form)
    };
    for (more, why) in [
        (json!({}), "access_token or refresh_token is required"),
        (json!({"access_token": BULLETS}), "access_token or refresh_token is required"),
        (json!({"refresh_token": "r"}), "token_url is required to use a refresh_token"),
        (json!({"access_token": "a", "token_url": "ftp://x/"}), "token_url must be an http or https URL"),
        (
            json!({"access_token": "a", "token_auth_method": "none"}),
            "token_auth_method must be client_secret_post or client_secret_basic",
        ),
        (
            json!({"access_token": "a\n"}),
            "Credential \"TOKEN\" ends with a line break; remove it and set it again",
        ),
    ] {
        assert_eq!(form(more), (400, json!({"error": why})));
    }
    let missing = scene.api("GET", "/v1/credentials/oauth/status?key=TOKEN", &Value::Null);
    assert_eq!(missing, (404, json!({"error": "Credential \"TOKEN\" not found"})));

    // A refresh token that is refused leaves nothing behind.
    scene.script(|script| {
        script.answers.push_back((400, json!({"error": "invalid_grant", "x": PROVIDER_TEXT})));
    });
    let refused =
        form(json!({"refresh_token": "refresh-0", "token_url": scene.token_url(), "client_id": "c"}));
    let why = "The refresh token was not accepted: oauth: token endpoint returned 400: invalid_grant";
    assert_eq!(refused, (400, json!({"error": why})));
    assert_eq!(scene.api("GET", "/v1/credentials", &Value::Null).1["keys"], json!([]));

    scene.connect_for("TOKEN", "access-0", 3600);
    let (status, answer) = scene.api("GET", "/v1/credentials/oauth/status?key=TOKEN", &Value::Null);
    assert_eq!((status, &answer["connected"]), (200, &json!(true)));
    assert!(answer["connected_at"].as_str().unwrap().ends_with('Z') && answer.get("last_error").is_none());
    let entry = scene.entry("TOKEN");
    for (name, value) in [
        ("type", "oauth"),
        ("token_url", scene.token_url().as_str()),
        ("client_id", "the-client"),
        ("token_auth_method", "client_secret_post"),
        ("client_secret", BULLETS),
        ("access_token", BULLETS),
        ("refresh_token", BULLETS),
    ] {
        assert_eq!(entry[name], value, "{name} in {entry}");
    }
    assert!(entry.get("value").is_none() && entry.get("authorization_url").is_none(), "{entry}");
    let stored = scene.broker.stored_bytes();
    for secret in ["access-0", "refresh-1", "client-s3cret", PROVIDER_TEXT] {
        assert!(!contains(&stored, secret), "{secret} is in a file of the broker");
    }

    // A value set by hand leaves the type.
    let set = json!({"credentials": {"TOKEN": "by-hand"}});
    assert_eq!(scene.api("POST", "/v1/credentials", &set).0, 200);
    let (_, shown) = scene.api("GET", "/v1/credentials?reveal=true&key=TOKEN", &Value::Null);
    assert_eq!(
        (&shown["credentials"][0]["type"], &shown["credentials"][0]["value"]),
        (&json!("oauth"), &json!("by-hand"))
    );

    // Someone who may only use the vault neither sees nor changes any of it.
    let as_bot = Scene { member: scene.bot.clone(), ..scene };
    for (method, path) in [
        ("POST", "/v1/credentials/oauth/tokens"),
        ("GET", "/v1/credentials/oauth/status?key=TOKEN"),
        ("POST", "/v1/credentials/oauth/connect"),
    ] {
        let form = json!({"key": "TOKEN", "access_token": "a"});
        assert_eq!(as_bot.api(method, path, &form).0, 403, "{path}");
    }
}

/// The parameter of a URL, still encoded.
fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').unwrap().1;
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} in {url}")).1.to_owned()
}

#[test]
fn a_persons_consent_connects_once() {
    let scene = Scene::open(&[]);
    let authorize = scene.origin.url(PROVIDER, "/authorize?access_type=offline");
    let form = json!({"key": "TOKEN", "authorization_url": authorize, "token_url": scene.token_url(),
        "client_id": "the-client", "client_secret": "client-s3cret", "scopes": "read,write",
        "scope_separator": ","});
    let (status, answer) = scene.api("POST", "/v1/credentials/oauth/connect", &form);
    assert_eq!(status, 200, "{answer}");
    let url = answer["authorization_url"].as_str().unwrap();
    assert!(url.starts_with(&authorize), "{url}");
    let redirect_uri = format!("{}/v1/oauth/callback", scene.broker.address());
    let encoded = redirect_uri.replace(':', "%3A").replace('/', "%2F");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "the-client"),
        ("redirect_uri", &encoded),
        ("scope", "read%2Cwrite"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(parameter(url, name), value, "{url}");
    }
    assert_eq!(parameter(url, "code_challenge").len(), 43);
    let state = parameter(url, "state");
    assert!(state.starts_with("av_oast_") && state.len() == 8 + 64, "{state}");
    assert!(!contains(&scene.broker.stored_bytes(), &state));
    let (_, pending) = scene.api("GET", "/v1/credentials/oauth/status?key=TOKEN", &Value::Null);
    assert_eq!(pending, json!({"connected": false}));

    let callback = format!("/v1/oauth/callback?code=c%2F1&state={state}");
    let location = |path: &str| {
        let (head, _) = scene.raw_api("GET", path, &Value::Null);
        assert!(head.starts_with("HTTP/1.1 302 Found\r\n"), "{head}");
        let line = head.lines().find_map(|line| line.strip_prefix("Location: "));
        line.unwrap().strip_prefix(scene.broker.address()).unwrap().to_owned()
    };
    assert_eq!(location(&callback), "/oauth/complete?status=success&vault=default&key=TOKEN&message=");
    let forms = scene.forms();
    let fields = [
        "grant_type=authorization_code&code=c%2F1&redirect_uri=",
        "&code_verifier=",
        "&client_secret=client-s3cret",
    ];
    assert!(forms.len() == 1 && fields.iter().all(|field| forms[0].contains(field)), "{forms:?}");
    let (_, connected) = scene.api("GET", "/v1/credentials/oauth/status?key=TOKEN", &Value::Null);
    assert_eq!(connected["connected"], true);
    assert_eq!(scene.entry("TOKEN")["scopes"], "read,write");
    let page = scene.raw_api("GET", "/oauth/complete?status=success&vault=default", &Value::Null).1;
    assert_eq!(page, "Connected. You can close this window.\n");

    // The state was good for one time, and one that nobody was given never is.
    for state in [state.as_str(), "av_oast_0", ""] {
        let again = location(&format!("/v1/oauth/callback?code=c&state={state}"));
        assert!(
            again.starts_with("/oauth/complete?status=error&vault=&key=&message=This+link+is+unknown"),
            "{again}"
        );
    }
    assert_eq!(scene.forms().len(), 1);

    // What goes wrong is told in words that are not the provider's.
    for (query, answer, message) in [
        ("error=access_denied", None, "access_denied"),
        ("error=token+refresh-1", None, "The+provider+gave+no+authorization+code"),
        (
            "code=c",
            Some((401, json!({"error": "invalid_client", "error_description": PROVIDER_TEXT}))),
            "oauth%3A+token+endpoint+returned+401%3A+invalid_client",
        ),
        (
            "code=c",
            Some((200, json!({"token": PROVIDER_TEXT}))),
            "oauth%3A+token+endpoint+gave+no+access+token",
        ),
    ] {
        let url = scene.api("POST", "/v1/credentials/oauth/connect", &form).1;
        let state = parameter(url["authorization_url"].as_str().unwrap(), "state");
        scene.script(|script| script.answers.extend(answer));
        let end = location(&format!("/v1/oauth/callback?{query}&state={state}"));
        assert_eq!(end, format!("/oauth/complete?status=error&vault=default&key=TOKEN&message={message}"));
    }
}
