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
use support::{Broker, Origin, PATIENCE, Received, contains, eventually, run};

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
fn a_secret_stays_with_the_endpoint_it_was_stored_for() {
    // control plane, 46
    let scene = Scene::open(&[]);
    scene.connect_for("TOKEN", "access", 3600);
    let (here, there) = (scene.token_url(), scene.origin.url(PROVIDER, "/other"));
    let connect = |token_url: &str| {
        let form = json!({"key": "TOKEN", "authorization_url": "https://id.example.test/consent",
            "token_url": token_url, "client_id": "the-client", "client_secret": BULLETS});
        assert_eq!(scene.api("POST", "/v1/credentials/oauth/connect", &form).0, 200);
        scene.entry("TOKEN")
    };
    let paste = |token_url: &str| {
        let form = json!({"key": "TOKEN", "refresh_token": "pasted", "token_url": token_url,
            "client_secret": BULLETS});
        scene.api("POST", "/v1/credentials/oauth/tokens", &form).0
    };
    let last_sent = |path: &str| {
        let requests = scene.origin.requests();
        let last = requests.into_iter().rfind(|request| request.target == path).expect("a token call");
        String::from_utf8(last.body).unwrap()
    };

    assert_eq!(connect(&here)["client_secret"], BULLETS);
    assert_eq!(paste(&here), 200);
    assert!(last_sent("/token").contains("client_secret=client-s3cret"));
    // Another endpoint does not see it, not even in a try that fails and changes nothing …
    assert_eq!(paste(&there), 400);
    let tried = last_sent("/other");
    assert!(tried.contains("refresh_token=pasted") && !tried.contains("client-s3cret"), "{tried}");
    assert_eq!(scene.entry("TOKEN")["client_secret"], BULLETS);
    // … and once it is the credential's own, nothing is left to come back to.
    for token_url in [&there, &here] {
        let entry = connect(token_url);
        assert!(entry["client_secret"].is_null() && entry["refresh_token"].is_null(), "{entry}");
    }
    assert_eq!(paste(&here), 200);
    let sent = last_sent("/token");
    assert!(sent.contains("refresh_token=pasted") && !sent.contains("client-s3cret"), "{sent}");
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

impl Scene {
    /// Sends a request for the API through the proxy as the bot.
    fn send(&self, method: &str, path: &str) -> (String, String) {
        exchange(self.broker.proxy(), &self.request(method, path))
    }

    fn request(&self, method: &str, path: &str) -> String {
        format!(
            "{method} {} HTTP/1.1\r\nHost: {API}\r\nProxy-Authorization: Bearer {}\r\nContent-Length: 0\r\n\r\n",
            self.origin.url(API, path),
            self.bot
        )
    }

    /// The access tokens that reached the API, in order.
    fn arrived(&self) -> Vec<String> {
        let requests = self.origin.requests().into_iter().filter(|request| request.target != "/token");
        let tokens = requests.map(|request| request.field("authorization").unwrap_or_default().to_owned());
        tokens.map(|token| token.strip_prefix("Bearer ").unwrap_or(&token).to_owned()).collect()
    }

    #[track_caller]
    fn expect_sent(&self, method: &str, access_token: &str) {
        let (head, body) = self.send(method, "/v1/things");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}{body}");
        assert_eq!(body, format!("api saw Bearer {access_token}"));
    }

    fn will_grant(&self, grant: Value) {
        self.script(|script| script.answers.push_back((200, grant)));
    }
}

#[test]
fn case_115_a_refused_token_is_renewed_once_and_the_request_sent_once_more() {
    let scene = Scene::open(&[]);
    scene.connect_for("TOKEN", "access-0", 3600);
    scene.script(|script| script.revoked.push("access-0".to_owned()));
    scene.expect_sent("GET", "access-1");
    assert_eq!(scene.arrived(), ["access-0", "access-1"]);
    assert_eq!(scene.forms().len(), 2, "the trial and one renewal");

    // A second refusal is the answer, whatever it is.
    scene.script(|script| script.revoked.extend(["access-1".to_owned(), "access-2".to_owned()]));
    let (head, body) = scene.send("GET", "/v1/things");
    assert!(head.starts_with("HTTP/1.1 401 ") && body == "api saw Bearer access-2", "{head}{body}");
    assert_eq!((scene.arrived().len(), scene.forms().len()), (4, 3));

    // What changes something is never sent twice.
    let (head, body) = scene.send("POST", "/v1/things");
    assert!(head.starts_with("HTTP/1.1 401 ") && body == "api saw Bearer access-2", "{head}{body}");
    assert_eq!((scene.arrived().len(), scene.forms().len()), (5, 3));

    // A failed renewal, or one that gives the same token, leaves the first answer, body and all.
    scene.script(|script| script.answers.push_back((503, json!(PROVIDER_TEXT))));
    scene.will_grant(json!({"access_token": "access-2"}));
    for calls in [4, 5] {
        let (head, body) = scene.send("GET", "/v1/things");
        assert!(head.starts_with("HTTP/1.1 401 ") && body == "api saw Bearer access-2", "{head}{body}");
        assert_eq!(scene.forms().len(), calls);
    }
    assert_eq!(scene.arrived().len(), 7);
}

/// The renewal before the request failed, so the one after the refusal is the only one that gives a token.
#[test]
fn case_115_a_token_near_its_end_is_renewed_when_it_is_refused() {
    let scene = Scene::open(&[]);
    scene.connect_for("TOKEN", "access-0", 60);
    scene.script(|script| {
        script.revoked.push("access-0".to_owned());
        script.answers.push_back((503, json!(PROVIDER_TEXT)));
    });
    scene.expect_sent("GET", "access-1");
    assert_eq!(scene.arrived(), ["access-0", "access-1"]);
    assert_eq!(scene.forms().len(), 3);
}

/// A static credential, and a service that attaches nothing, get the 401 as it is.
#[test]
fn case_115_only_oauth_credentials_are_renewed() {
    let scene = Scene::open(&[]);
    scene.script(|script| script.revoked.extend(["fixed".to_owned(), String::new()]));
    let set = json!({"credentials": {"TOKEN": "fixed"}});
    assert_eq!(scene.api("POST", "/v1/credentials", &set).0, 200);
    let expect = |body: &str, requests: usize| {
        let (head, found) = scene.send("GET", "/v1/things");
        assert!(head.starts_with("HTTP/1.1 401 ") && found == body, "{head}{found}");
        assert_eq!((scene.arrived().len(), scene.forms().len()), (requests, 0));
    };
    expect("api saw Bearer fixed", 1);
    let service = json!({"services": [{"name": "the-api", "host": API, "auth": {"type": "passthrough"}}]});
    let services = ["vault", "service", "set", "-f", "-", "--vault", "default"];
    scene.broker.cli_with_stdin(&services, &service.to_string());
    expect("api saw ", 2);
}

#[test]
fn case_141_requests_share_one_renewal_of_a_key() {
    let scene = Scene::open(&[]);
    let other = json!({"services": [
        {"name": "the-api", "host": format!("{API}/one/*"), "auth": {"type": "bearer", "token": "TOKEN"}},
        {"name": "the-other", "host": format!("{API}/two/*"), "auth": {"type": "bearer", "token": "OTHER"}},
    ]});
    scene
        .broker
        .cli_with_stdin(&["vault", "service", "set", "-f", "-", "--vault", "default"], &other.to_string());
    // Both are inside the five minutes before their end.
    scene.connect_for("TOKEN", "access-a", 60);
    scene.connect_for("OTHER", "access-b", 60);
    scene.script(|script| script.is_held = true);
    let mut streams: Vec<TcpStream> = (0..20)
        .map(|number| {
            let mut stream = TcpStream::connect(scene.broker.proxy()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let path = if number % 2 == 0 { "/one/x" } else { "/two/x" };
            stream.write_all(scene.request("GET", path).as_bytes()).unwrap();
            stream
        })
        .collect();
    // The client that came first may well be the one whose request made the call: it leaves.
    drop(streams.remove(0));
    scene.script(|script| script.is_held = false);
    let mut tokens: [Vec<String>; 2] = Default::default();
    for (number, stream) in (1..).zip(&mut streams) {
        let (head, body) = read_answer(stream);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}{body}");
        tokens[number % 2].push(body);
    }
    assert_eq!(scene.forms().len(), 4, "two trials and a renewal of each key");
    let [mut one, mut two] = tokens;
    one.dedup();
    two.dedup();
    assert!(one.len() == 1 && two.len() == 1 && one != two, "{one:?} {two:?}");
}

#[test]
fn case_142_a_refresh_token_is_kept_until_another_is_granted() {
    let scene = Scene::open(&[]);
    scene.connect_for("TOKEN", "access-a", 60);
    for (grant, token) in [
        (json!({"access_token": "access-b", "expires_in": 60}), "access-b"),
        (json!({"access_token": "access-c", "refresh_token": "refresh-2", "expires_in": 60}), "access-c"),
        (json!({"access_token": "access-d", "expires_in": 3600}), "access-d"),
    ] {
        scene.will_grant(grant);
        scene.expect_sent("POST", token);
    }
    scene.expect_sent("GET", "access-d");
    let sent: Vec<String> =
        scene.forms().iter().map(|form| field(form, "refresh_token").to_owned()).collect();
    assert_eq!(sent, ["refresh-0", "refresh-1", "refresh-1", "refresh-2"]);
    let entry = scene.entry("TOKEN");
    assert!(entry["last_refreshed_at"].as_str().unwrap().ends_with('Z'), "{entry}");
}

/// A field of a form, still encoded.
fn field<'f>(form: &'f str, name: &str) -> &'f str {
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} in {form}")).1
}

#[test]
fn case_143_a_failed_renewal_is_recorded_and_the_old_token_used_to_its_end() {
    // It asks until the token is at its end.
    let mut scene = Scene::open(&[("AGENT_VAULT_RATELIMIT_PROFILE", "off")]);
    for (key, status) in [("GONE", 400), ("BUSY", 429), ("DOWN", 500)] {
        let services = json!({"services": [
            {"name": "the-api", "host": API, "auth": {"type": "bearer", "token": key}},
        ]});
        let set = ["vault", "service", "set", "-f", "-", "--vault", "default"];
        scene.broker.cli_with_stdin(&set, &services.to_string());
        scene.connect_for(key, "access-0", 2);
        let refusal = json!({"error": "invalid_grant", "error_description": PROVIDER_TEXT});
        // However often it is asked.
        scene.script(|script| script.answers.extend(std::iter::repeat_n((status, refusal), 1000)));
        let mut answer = (String::new(), String::new());
        eventually("the old token is at its end", || {
            answer = scene.send("GET", "/v1/things");
            let is_good = answer.0.starts_with("HTTP/1.1 200 ") && answer.1 == "api saw Bearer access-0";
            assert!(is_good || answer.0.starts_with("HTTP/1.1 502 "), "{answer:?}");
            !is_good
        });
        let (head, body) = answer;
        let document: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(document["error"], "oauth_refresh_failed", "{head}");
        assert_eq!(
            document["message"],
            "OAuth token expired and refresh failed — reconnect in the Agent Vault dashboard"
        );
        assert!(
            document["help"].is_string() && head.contains("X-Agent-Vault-Proxy-Error: true"),
            "{head}{body}"
        );
        let error = format!("oauth: token endpoint returned {status}: invalid_grant");
        let status = format!("/v1/credentials/oauth/status?key={key}");
        assert_eq!(scene.api("GET", &status, &Value::Null).1["last_error"], error);
        assert_eq!(scene.entry(key)["last_refresh_error"], error);
        scene.script(|script| script.answers.clear());
    }
    // While the old token was good, a failure was followed by a pause.
    for key in ["key=GONE", "key=BUSY", "key=DOWN"] {
        scene.broker.log_line(key);
    }
    let log = scene.broker.log();
    let permanent =
        log.lines().filter(|line| line.contains("oauth refresh failed") && line.contains("key=GONE"));
    assert!(
        permanent.clone().count() >= 1 && permanent.into_iter().all(|line| line.contains("permanent=true")),
        "{log}"
    );
    for key in ["key=BUSY", "key=DOWN"] {
        assert!(log.lines().any(|line| line.contains(key) && line.contains("permanent=false")), "{log}");
    }
    for secret in [PROVIDER_TEXT, "refresh-1", "access-0", "client-s3cret"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
    assert!(!contains(&scene.broker.stored_bytes(), PROVIDER_TEXT));
    eventually("the row is written", || {
        let rows =
            scene.broker.cli(&["vault", "logs", "--vault", "default", "--json", "--status", "err"]).stdout;
        let rows: Value = serde_json::from_str(&rows).unwrap();
        rows["logs"][0]["error_code"] == "oauth_refresh_failed"
            && rows["logs"][0]["matched_service"] == "the-api"
    });
}

#[test]
fn case_144_a_credential_that_was_never_connected_says_so() {
    let scene = Scene::open(&[]);
    let form = json!({"key": "TOKEN", "authorization_url": scene.origin.url(PROVIDER, "/authorize"),
        "token_url": scene.token_url(), "client_id": "c"});
    assert_eq!(scene.api("POST", "/v1/credentials/oauth/connect", &form).0, 200);
    let mut stream = TcpStream::connect(scene.broker.proxy()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut send = |scene: &Scene| {
        stream.write_all(scene.request("GET", "/v1/things").as_bytes()).unwrap();
        read_answer(&mut stream)
    };
    for _ in 0..2 {
        let (head, body) = send(&scene);
        assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
        let document: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            (&document["error"], &document["reason"]),
            (&json!("oauth_not_connected"), &json!("oauth_not_connected"))
        );
        assert_eq!(
            document["message"],
            "OAuth credential is approved but not yet connected — complete the connection in the Agent Vault dashboard"
        );
    }
    assert!(scene.origin.requests().is_empty());
    // The same connection serves once there is a token.
    let pasted = json!({"key": "TOKEN", "access_token": "pasted"});
    assert_eq!(scene.api("POST", "/v1/credentials/oauth/tokens", &pasted).0, 200);
    assert_eq!(send(&scene).1, "api saw Bearer pasted");
}

#[test]
fn case_145_what_cannot_or_need_not_be_renewed_is_sent_as_it_is() {
    let scene = Scene::open(&[]);
    // An expiry that is not known.
    scene.will_grant(json!({"access_token": "access-a"}));
    let form = json!({"key": "TOKEN", "refresh_token": "refresh-0", "token_url": scene.token_url(), "client_id": "c"});
    assert_eq!(scene.api("POST", "/v1/credentials/oauth/tokens", &form).0, 200);
    scene.expect_sent("GET", "access-a");
    assert_eq!(scene.forms().len(), 1, "the trial");

    // No refresh token.
    let pasted = json!({"key": "PASTED", "access_token": "pasted"});
    assert_eq!(scene.api("POST", "/v1/credentials/oauth/tokens", &pasted).0, 200);
    let entry = scene.entry("PASTED");
    assert_eq!((&entry["token_url"], &entry["client_id"]), (&json!("manual"), &json!("manual")));
    let services = json!({"services": [{"name": "the-api", "host": API, "auth": {"type": "bearer", "token": "PASTED"}}]});
    let set = ["vault", "service", "set", "-f", "-", "--vault", "default"];
    scene.broker.cli_with_stdin(&set, &services.to_string());
    scene.expect_sent("GET", "pasted");
    scene.script(|script| script.revoked.push("pasted".to_owned()));
    assert!(scene.send("GET", "/v1/things").0.starts_with("HTTP/1.1 401 "));
    assert_eq!((scene.forms().len(), scene.arrived().len()), (1, 3));
}

#[test]
fn case_146_the_client_proves_itself_the_way_it_was_configured() {
    let scene = Scene::open(&[]);
    let basic = "Basic dGhlLWNsaWVudDpjbGllbnQtczNjcmV0";
    for (key, secret, method, authorization, in_form) in [
        ("BASIC", Some("client-s3cret"), Some("client_secret_basic"), Some(basic), false),
        ("POST", Some("client-s3cret"), Some("client_secret_post"), None, true),
        ("DEFAULT", Some("client-s3cret"), None, None, true),
        ("PUBLIC", None, None, None, false),
        ("PUBLIC_BASIC", None, Some("client_secret_basic"), None, false),
    ] {
        let form = json!({"key": key, "refresh_token": "r", "token_url": scene.token_url(),
            "client_id": "the-client", "client_secret": secret, "token_auth_method": method});
        assert_eq!(scene.api("POST", "/v1/credentials/oauth/tokens", &form).0, 200, "{key}");
        let call = scene.origin.last();
        let sent = String::from_utf8(call.body.clone()).unwrap();
        assert_eq!(call.field("authorization"), authorization, "{key}");
        assert_eq!(sent.contains("client_secret=client-s3cret"), in_form, "{key}: {sent}");
        assert!(!sent.contains("client_secret=") || in_form, "{key}: {sent}");
        assert_eq!(field(&sent, "client_id"), "the-client");
        assert_eq!(call.field("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(call.field("accept"), Some("application/json"));
    }
}

#[test]
fn a_token_endpoint_is_reached_by_the_same_rules_as_an_upstream() {
    let scene =
        Scene::open(&[("AGENT_VAULT_ALLOW_PRIVATE_RANGES", "false"), ("HTTPS_PROXY", "http://127.0.0.1:1")]);
    let refused = |token_url: &str| {
        let form = json!({"key": "TOKEN", "refresh_token": "r", "token_url": token_url, "client_id": "c"});
        let (status, answer) = scene.api("POST", "/v1/credentials/oauth/tokens", &form);
        assert_eq!(status, 400, "{answer}");
        answer["error"]
            .as_str()
            .unwrap()
            .replace("The refresh token was not accepted: oauth: token endpoint: ", "")
    };
    let blocked = "its address is blocked by the network policy";
    assert_eq!(refused(&scene.token_url()), blocked);
    assert_eq!(refused("http://169.254.169.254/latest"), blocked);
    assert!(scene.origin.requests().is_empty());
}

#[test]
fn an_operator_connects_at_the_command_line() {
    let scene = Scene::open(&[]);
    let oauth = |verb: &str, more: &[&str], stdin: &str| {
        let words = ["vault", "credential", "oauth", verb, "TOKEN", "--vault", "default"];
        run(&mut scene.broker.operator(&[&words, more].concat()), stdin.as_bytes())
    };
    let token_url = scene.token_url();
    let client = ["--token-url", &token_url, "--client-id", "the-client"];
    let authorize = scene.origin.url(PROVIDER, "/authorize");
    let consent =
        ["--authorization-url", &authorize, "--scopes", "read", "--no-pkce", "--client-secret", "-"];
    let shown = oauth("connect", &[&client[..], &consent].concat(), "client-s3cret\n").expect_success();
    let url = shown.stdout.trim_end();
    assert_eq!(parameter(url, "scope"), "read");
    assert!(url.starts_with(&authorize) && !url.contains("code_challenge"), "{url}");
    assert_eq!(oauth("status", &[], "").expect_success().stdout, "not connected\n");

    let wrong = oauth("set-tokens", &["--access-token", "-", "--refresh-token", "-"], "x");
    assert_eq!(
        (wrong.code(), wrong.stderr.lines().next()),
        (Some(2), Some("only one value can be read from stdin"))
    );
    let set = oauth("set-tokens", &[&client[..], &["--refresh-token", "-"]].concat(), "refresh-0\n");
    assert!(set.expect_success().stdout.contains("Connected TOKEN"));
    let form = scene.forms().pop().unwrap();
    // The client secret was stored for this very endpoint.
    assert_eq!(
        (field(&form, "refresh_token"), field(&form, "client_secret")),
        ("refresh-0", "client-s3cret")
    );
    assert!(oauth("status", &[], "").expect_success().stdout.starts_with("connected since 20"));
    scene.expect_sent("GET", "access-1");
}
