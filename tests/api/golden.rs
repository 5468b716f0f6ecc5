//! The shape of every route's success, compared to the byte with a file in `tests/api/golden/`.
//!
//! What differs from run to run is replaced by what it is: `<uuid>`, `<time>`, `<av_agt>`. After a change that
//! is meant, `AGENT_VAULT_GOLDEN=write cargo test --test api golden` writes the files again; what the change
//! did is then read in their diff. A route without a file fails the test.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use agent_vault::api;
use serde_json::{Map, Value, json};

use crate::site::{Answer, Caller, OWNER, PASSWORD, Site, text, token_in};
use crate::support::eventually;

const SERVICE: &str = "/v1/vaults/default/services";

/// This build sends no mail, so there is no success to keep.
const NEVER_SUCCEEDS: &str = "POST /v1/admin/email/test";

/// Calls whose answers are kept, by the route they belong to.
struct Golden {
    site: Site,
    kept: BTreeMap<String, String>,
}

impl Golden {
    /// Calls as somebody and keeps the answer; gives it back for what comes next.
    #[track_caller]
    fn keep(&mut self, caller: &Caller, route: &str, path: &str, body: &Value) -> Answer {
        let (method, _) = route.split_once(' ').expect("a method and a pattern");
        let sent = (!body.is_null()).then(|| body.to_string());
        let answer = caller.call(method, path, &[], sent);
        assert!(answer.status < 400, "{method} {path}: {} {}", answer.status, answer.body);
        self.keep_answer(route, &answer);
        answer
    }

    fn keep_answer(&mut self, route: &str, answer: &Answer) {
        let fields = ["content-type", "content-disposition", "location", "set-cookie"];
        let fields = fields.into_iter().filter(|name| !answer.field(name).is_empty());
        let fields: Map<String, Value> =
            fields.map(|name| (name.to_owned(), self.normal(answer.field(name)).into())).collect();
        let body = match serde_json::from_str(&answer.body) {
            Ok(body) => self.normal_json(body),
            // A certificate, a page or a text is somebody else's to test word for word.
            Err(_) => answer.body.lines().next().unwrap_or_default().into(),
        };
        let shown = json!({"status": answer.status, "fields": fields, "body": body});
        let shown = serde_json::to_string_pretty(&shown).expect("JSON") + "\n";
        let first = self.kept.insert(route.to_owned(), shown);
        assert_eq!(first, None, "{route} is kept twice");
    }

    fn normal_json(&self, value: Value) -> Value {
        match value {
            Value::String(text) => self.normal(&text).into(),
            Value::Array(items) => items.into_iter().map(|item| self.normal_json(item)).collect(),
            Value::Object(fields) => fields
                .into_iter()
                .map(|(key, value)| match key.as_str() {
                    "latency_ms" => (key, "<milliseconds>".into()),
                    _ => (key, self.normal_json(value)),
                })
                .collect(),
            other => other,
        }
    }

    /// A text with everything replaced that is new in every run.
    fn normal(&self, text: &str) -> String {
        let mut normal = String::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (mark, length) = self.known(rest).unwrap_or_else(|| {
                let letter = rest.chars().next().expect("something is left");
                (letter.to_string(), letter.len_utf8())
            });
            normal.push_str(&mark);
            rest = &rest[length..];
        }
        normal
    }

    /// What a text starts with, if it is one of the things that are new in every run, and how long it is.
    fn known(&self, text: &str) -> Option<(String, usize)> {
        // In a query the address is encoded.
        for base in [self.site.address.clone(), self.site.address.replace(':', "%3A").replace('/', "%2F")] {
            if text.starts_with(&base) {
                return Some(("<base>".to_owned(), base.len()));
            }
        }
        if let Some(challenge) = text.strip_prefix("code_challenge=") {
            let end = challenge.find('&').unwrap_or(challenge.len());
            return Some(("code_challenge=<challenge>".to_owned(), "code_challenge=".len() + end));
        }
        for kind in ["av_sess", "av_agt", "av_uinv", "av_oast", "av_appr"] {
            let is_one = text
                .strip_prefix(kind)
                .and_then(|rest| rest.strip_prefix('_'))
                .is_some_and(|hex| hex.len() >= 64 && hex.bytes().take(64).all(|b| b.is_ascii_hexdigit()));
            if is_one {
                return Some((format!("<{kind}>"), kind.len() + 65));
            }
        }
        for (mark, shape) in [
            ("<uuid>", "hhhhhhhh-hhhh-4hhh-hhhh-hhhhhhhhhhhh"),
            ("<time>", "dddd-dd-ddTdd:dd:ddZ"),
            ("<id>", "hhhhhhhhhhhhhhhhhhhh"),
        ] {
            if has_shape(text, shape) {
                return Some((mark.to_owned(), shape.len()));
            }
        }
        None
    }
}

/// `d` is a digit, `h` a hexadecimal one; any other letter is itself.
fn has_shape(text: &str, shape: &str) -> bool {
    text.len() >= shape.len()
        && text.bytes().zip(shape.bytes()).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            b'h' => byte.is_ascii_hexdigit(),
            other => byte == other,
        })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/golden")
}

/// `GET /v1/agents/{}` is kept in `get-v1-agents-x.json`.
fn file_of(route: &str) -> String {
    let words: Vec<&str> = route.split([' ', '/']).filter(|word| !word.is_empty()).collect();
    format!("{}.json", words.join("-").replace("{}", "x").to_lowercase())
}

#[test]
fn every_success_has_its_golden_shape() {
    let site = Site::start_with(&[], &[("AGENT_VAULT_RATELIMIT_PROFILE", "off")]);
    let mut golden = Golden { site, kept: BTreeMap::new() };
    let owner = public(&mut golden);
    credentials(&mut golden, &owner);
    services(&mut golden, &owner);
    agents(&mut golden, &owner);
    people(&mut golden, &owner);
    proposals(&mut golden, &owner);
    vaults(&mut golden, &owner);
    instance(&mut golden, &owner);

    let routes = api::routes().map(|(method, path)| format!("{method} {path}"));
    let routes: Vec<String> = routes.filter(|route| route != NEVER_SUCCEEDS).collect();
    let missing: Vec<&String> = routes.iter().filter(|route| !golden.kept.contains_key(*route)).collect();
    assert!(missing.is_empty(), "routes without a call in tests/api/golden.rs: {missing:?}");
    let strange: Vec<&String> = golden.kept.keys().filter(|kept| !routes.contains(kept)).collect();
    assert!(strange.is_empty(), "no such routes: {strange:?}");
    compare(&golden.kept);
}

fn compare(kept: &BTreeMap<String, String>) {
    let is_writing = std::env::var_os("AGENT_VAULT_GOLDEN").is_some_and(|value| value == "write");
    let mut wrong = Vec::new();
    let mut files: Vec<String> = Vec::new();
    for (route, shown) in kept {
        let file = file_of(route);
        let path = folder().join(&file);
        files.push(file);
        if is_writing {
            fs::create_dir_all(folder()).expect("a folder");
            fs::write(&path, shown).expect("a golden file");
        }
        let golden = fs::read_to_string(&path).unwrap_or_default();
        if golden != *shown {
            wrong.push(format!("{route}: expected\n{golden}\nsaw\n{shown}"));
        }
    }
    for entry in fs::read_dir(folder()).expect("the golden files").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !files.contains(&name) {
            wrong.push(format!("{name} is of no route"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn public(golden: &mut Golden) -> Caller {
    let nobody = golden.site.nobody();
    for path in ["/health", "/v1/status", "/v1/mitm/ca.pem"] {
        golden.keep(&nobody, &format!("GET {path}"), path, &Value::Null);
    }
    let account = json!({"email": OWNER, "password": PASSWORD, "device_label": "desk"});
    golden.keep(&nobody, "POST /v1/auth/register", "/v1/auth/register", &account);
    let login = golden.keep(&nobody, "POST /v1/auth/login", "/v1/auth/login", &account);
    let owner = golden.site.with_token(text(&login.json(), "token"));
    golden.keep(&owner, "GET /v1/auth/me", "/v1/auth/me", &Value::Null);
    golden.keep(&nobody, "POST /v1/auth/logout", "/v1/auth/logout", &json!({}));
    for path in ["/v1/service-catalog", "/v1/skills/cli"] {
        golden.keep(&nobody, &format!("GET {path}"), path, &Value::Null);
    }
    golden.keep(&nobody, "GET /v1/oauth/callback", "/v1/oauth/callback?state=none", &Value::Null);
    golden.keep(&nobody, "GET /oauth/complete", "/oauth/complete?status=error", &Value::Null);
    owner
}

fn credentials(golden: &mut Golden, owner: &Caller) {
    let set = json!({"vault": "default", "credentials": {"KEY": "value", "OTHER": ""}});
    golden.keep(owner, "POST /v1/credentials", "/v1/credentials", &set);
    let client = json!({
        "key": "OAUTH", "authorization_url": "https://id.example.com/authorize",
        "token_url": "https://id.example.com/token", "client_id": "app", "scopes": "read",
    });
    golden.keep(owner, "POST /v1/credentials/oauth/connect", "/v1/credentials/oauth/connect", &client);
    let tokens = json!({"key": "OAUTH", "access_token": "opaque"});
    golden.keep(owner, "POST /v1/credentials/oauth/tokens", "/v1/credentials/oauth/tokens", &tokens);
    let status = "/v1/credentials/oauth/status";
    golden.keep(owner, &format!("GET {status}"), &format!("{status}?key=OAUTH"), &Value::Null);
    golden.keep(owner, "GET /v1/credentials", "/v1/credentials?reveal=true", &Value::Null);
    let one = json!({"keys": ["OTHER"]});
    golden.keep(owner, "DELETE /v1/credentials", "/v1/credentials", &one);
}

fn services(golden: &mut Golden, owner: &Caller) {
    let one = json!({"services": [
        {"name": "api", "host": "api.example.com:8443/v1/*", "auth": {"type": "bearer", "token": "KEY"},
         "substitutions": [{"key": "KEY", "placeholder": "__key__", "in": ["path"]}]},
        {"name": "plain", "host": "plain.example.com", "enabled": false, "auth": {"type": "passthrough"}},
    ]});
    let list = "/v1/vaults/{}/services";
    golden.keep(owner, &format!("PUT {list}"), SERVICE, &one);
    golden.keep(owner, &format!("GET {list}"), SERVICE, &Value::Null);
    let usage = format!("{SERVICE}/credential-usage?key=KEY");
    golden.keep(owner, &format!("GET {list}/credential-usage"), &usage, &Value::Null);
    golden.keep(owner, &format!("PATCH {list}/{{}}"), &format!("{SERVICE}/plain"), &json!({"enabled": true}));
    golden.keep(owner, &format!("POST {list}"), SERVICE, &one);
    golden.keep(owner, &format!("DELETE {list}/{{}}"), &format!("{SERVICE}/plain"), &Value::Null);
    let explain = "/v1/vaults/default/explain?method=GET&url=https%3A%2F%2F127.0.0.1%2F";
    golden.keep(owner, "GET /v1/vaults/{}/explain", explain, &Value::Null);
    let minted =
        golden.keep(owner, "POST /v1/sessions", "/v1/sessions", &json!({"vault": "default", "label": "ci"}));
    let scoped = golden.site.with_token(text(&minted.json(), "token"));
    golden.keep(&scoped, "GET /discover", "/discover", &Value::Null);
    let listed = golden.keep(owner, "GET /v1/sessions", "/v1/sessions?vault=default", &Value::Null).json();
    let id = text(&listed["sessions"][0], "id");
    golden.keep(owner, "DELETE /v1/sessions/{}", &format!("/v1/sessions/{id}?vault=default"), &Value::Null);
}

fn agents(golden: &mut Golden, owner: &Caller) {
    let vaults = json!([{"vault_name": "default", "vault_role": "proxy"}]);
    let made = golden.keep(owner, "POST /v1/agents", "/v1/agents", &json!({"name": "bot", "vaults": vaults}));
    one_request_through_the_proxy(&golden.site, text(&made.json(), "av_agent_token"));
    eventually("the request's row", || owner.get("/v1/vaults/default/logs").body.contains("\"id\":"));
    for path in ["logs", "discovered-hosts"] {
        let (route, path) = (format!("GET /v1/vaults/{{}}/{path}"), format!("/v1/vaults/default/{path}"));
        golden.keep(owner, &route, &path, &Value::Null);
    }
    golden.keep(owner, "GET /v1/agents", "/v1/agents", &Value::Null);
    golden.keep(owner, "GET /v1/agents/{}", "/v1/agents/bot", &Value::Null);
    let list = "/v1/vaults/{}/agents";
    golden.keep(owner, &format!("GET {list}"), "/v1/vaults/default/agents", &Value::Null);
    let role = "/v1/vaults/default/agents/bot/role";
    golden.keep(owner, &format!("POST {list}/{{}}/role"), role, &json!({"role": "member"}));
    golden.keep(owner, &format!("DELETE {list}/{{}}"), "/v1/vaults/default/agents/bot", &Value::Null);
    golden.keep(owner, &format!("POST {list}"), "/v1/vaults/default/agents", &json!({"name": "bot"}));
    golden.keep(owner, "DELETE /v1/agents/{}", "/v1/agents/bot", &Value::Null);
    owner.post("/v1/agents/bot/rotate", &json!({})).expect(200);
    let grace = json!({"grace_seconds": 600});
    golden.keep(owner, "POST /v1/agents/{}/rotate", "/v1/agents/bot/rotate", &grace);
    golden.keep(owner, "POST /v1/agents/{}/role", "/v1/agents/bot/role", &json!({"role": "member"}));
    golden.keep(owner, "POST /v1/agents/{}/rename", "/v1/agents/bot/rename", &json!({"name": "robot"}));
    golden.keep(owner, "POST /v1/agents/{}/delete", "/v1/agents/robot/delete", &json!({}));
}

/// Refused by the proxy itself, so that nothing leaves this machine; the refusal has a row like any request.
fn one_request_through_the_proxy(site: &Site, token: &str) {
    let ca = site.nobody().get("/v1/mitm/ca.pem");
    let mut stream = TcpStream::connect(format!("127.0.0.1:{}", ca.field("x-mitm-port"))).expect("the proxy");
    let request = format!(
        "GET http://127.0.0.1:9/path?query HTTP/1.1\r\nHost: 127.0.0.1:9\r\nProxy-Authorization: Bearer {token}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
}

fn people(golden: &mut Golden, owner: &Caller) {
    let invites = "/v1/users/invites";
    let vaults = json!([{"vault_name": "default", "vault_role": "member"}]);
    let guest = json!({"email": "guest@example.test", "vaults": vaults});
    golden.keep(owner, &format!("POST {invites}"), invites, &guest);
    golden.keep(owner, &format!("GET {invites}"), invites, &Value::Null);
    let first = owner.post(invites, &json!({"email": "other@example.test"})).expect(201).json();
    let again = format!("{invites}/{}/reinvite", token_in(&first));
    let again = golden.keep(owner, &format!("POST {invites}/{{}}/reinvite"), &again, &json!({})).json();
    let revoked = format!("{invites}/{}", token_in(&again));
    golden.keep(owner, &format!("DELETE {invites}/{{}}"), &revoked, &Value::Null);
    let taken =
        owner.post(invites, &json!({"email": "member@example.test", "vaults": vaults})).expect(201).json();
    let (nobody, taken) = (golden.site.nobody(), format!("{invites}/{}", token_in(&taken)));
    golden.keep(&nobody, &format!("GET {invites}/{{}}/details"), &format!("{taken}/details"), &Value::Null);
    let password = json!({"password": PASSWORD});
    golden.keep(&nobody, &format!("POST {invites}/{{}}/accept"), &format!("{taken}/accept"), &password);

    accounts(golden);
    golden.keep(owner, "GET /v1/users", "/v1/users", &Value::Null);
    golden.keep(owner, "GET /v1/admin/users/{}", "/v1/admin/users/me", &Value::Null);
    let (list, member) = ("/v1/vaults/{}/users", "/v1/vaults/default/users/member@example.test");
    golden.keep(owner, &format!("GET {list}"), "/v1/vaults/default/users", &Value::Null);
    golden.keep(
        owner,
        &format!("POST {list}/{{}}/role"),
        &format!("{member}/role"),
        &json!({"role": "admin"}),
    );
    golden.keep(owner, &format!("DELETE {list}/{{}}"), member, &Value::Null);
    let add = json!({"email": "member@example.test"});
    golden.keep(owner, &format!("POST {list}"), "/v1/vaults/default/users", &add);
    let user = "/v1/admin/users/member@example.test";
    golden.keep(
        owner,
        "POST /v1/admin/users/{}/role",
        &format!("{user}/role"),
        &json!({"role": "no-access"}),
    );
    golden.keep(owner, "DELETE /v1/admin/users/{}", user, &Value::Null);
}

fn proposals(golden: &mut Golden, owner: &Caller) {
    let minted = owner.post("/v1/sessions", &json!({"vault": "default"})).expect(200).json();
    let scoped = golden.site.with_token(text(&minted, "token"));
    let proposal = json!({
        "services": [{"action": "set", "name": "crm", "host": "crm.example.com",
            "auth": {"type": "bearer", "token": "CRM"}}],
        "credentials": [{"action": "set", "key": "CRM", "description": "CRM key", "value": "brought"}],
        "message": "contacts", "user_message": "I need to read contacts",
    });
    let (own, reviewed) = ("/v1/proposals", "/v1/admin/proposals");
    let made = golden.keep(&scoped, &format!("POST {own}"), own, &proposal).json();
    golden.keep(&scoped, &format!("GET {own}"), own, &Value::Null);
    golden.keep(&scoped, &format!("GET {own}/{{}}"), "/v1/proposals/1", &Value::Null);
    let nobody = golden.site.nobody();
    let (_, token) = text(&made, "approval_url").split_once("?token=").expect("a token");
    let details = format!("{own}/approve-details?id=1&token={token}");
    golden.keep(&nobody, &format!("GET {own}/approve-details"), &details, &Value::Null);
    golden.keep(&nobody, "GET /approve/{}", "/approve/1", &Value::Null);
    scoped.post(own, &proposal).expect(201);
    let reject = (format!("POST {reviewed}/{{}}/reject"), "/v1/admin/proposals/2/reject");
    golden.keep(owner, &reject.0, reject.1, &json!({"reason": "one is enough"}));
    golden.keep(owner, &format!("GET {reviewed}"), reviewed, &Value::Null);
    golden.keep(owner, &format!("GET {reviewed}/{{}}"), "/v1/admin/proposals/2", &Value::Null);
    let approve = (format!("POST {reviewed}/{{}}/approve"), "/v1/admin/proposals/1/approve");
    golden.keep(owner, &approve.0, approve.1, &json!({"credentials": {}}));
}

/// A person signs up, forgets the password, changes the new one and leaves.
fn accounts(golden: &mut Golden) {
    const PERSON: &str = "person@example.test";
    let nobody = golden.site.nobody();
    let post = |golden: &mut Golden, caller: &Caller, path: &str, body: &Value| {
        golden.keep(caller, &format!("POST {path}"), path, body)
    };
    nobody.post("/v1/auth/register", &json!({"email": PERSON, "password": PASSWORD})).expect(201);
    let email = json!({"email": PERSON});
    post(golden, &nobody, "/v1/auth/resend-verification", &email);
    let code = golden.site.code("Verification", PERSON);
    post(golden, &nobody, "/v1/auth/verify", &json!({"email": PERSON, "code": code}));
    post(golden, &nobody, "/v1/auth/forgot-password", &email);
    let code = golden.site.code("Password reset", PERSON);
    let reset = json!({"email": PERSON, "code": code, "new_password": "another password"});
    post(golden, &nobody, "/v1/auth/reset-password", &reset);
    let login = json!({"email": PERSON, "password": "another password", "device_label": "desk"});
    let login = nobody.post("/v1/auth/login", &login).expect(200).json();
    let person = golden.site.with_token(text(&login, "token"));
    let change = json!({"current_password": "another password", "new_password": PASSWORD});
    let changed = post(golden, &person, "/v1/auth/change-password", &change).json();
    let person = golden.site.with_token(text(&changed, "token"));
    let list = "/v1/auth/sessions";
    let listed = golden.keep(&person, &format!("GET {list}"), list, &Value::Null).json();
    let own = format!("{list}/{}", text(&listed["sessions"][0], "id"));
    golden.keep(&person, &format!("DELETE {list}/{{}}"), &own, &Value::Null);
    let login =
        nobody.post("/v1/auth/login", &json!({"email": PERSON, "password": PASSWORD})).expect(200).json();
    let person = golden.site.with_token(text(&login, "token"));
    golden.keep(&person, "DELETE /v1/auth/account", "/v1/auth/account", &Value::Null);
}

fn vaults(golden: &mut Golden, owner: &Caller) {
    golden.keep(owner, "POST /v1/vaults", "/v1/vaults", &json!({"name": "shop"}));
    let maker = golden.site.agent(owner, "maker", "proxy");
    owner.post("/v1/vaults/default/agents/maker/role", &json!({"role": "admin"})).expect(200);
    golden.keep(&maker, "POST /v1/vaults/{}/leave", "/v1/vaults/default/leave", &json!({}));
    golden.keep(owner, "GET /v1/vaults", "/v1/vaults", &Value::Null);
    golden.keep(owner, "GET /v1/admin/vaults", "/v1/admin/vaults", &Value::Null);
    golden.keep(owner, "GET /v1/vaults/{}/context", "/v1/vaults/default/context", &Value::Null);
    golden.keep(owner, "GET /v1/vaults/{}/settings", "/v1/vaults/default/settings", &Value::Null);
    let deny = json!({"unmatched_host_policy": "deny"});
    golden.keep(owner, "PATCH /v1/vaults/{}/settings", "/v1/vaults/default/settings", &deny);
    golden.keep(owner, "DELETE /v1/vaults/{}/services", SERVICE, &Value::Null);
    golden.keep(owner, "POST /v1/vaults/{}/rename", "/v1/vaults/shop/rename", &json!({"name": "store"}));
    let other = json!({"name": "second", "role": "owner"});
    let second = owner.post("/v1/agents", &other).expect(201).json();
    let second = golden.site.with_token(text(&second, "av_agent_token"));
    golden.keep(&second, "POST /v1/vaults/{}/join", "/v1/vaults/store/join", &json!({}));
    golden.keep(owner, "DELETE /v1/vaults/{}", "/v1/vaults/store", &Value::Null);
}

fn instance(golden: &mut Golden, owner: &Caller) {
    let form = json!({
        "allowed_email_domains": ["example.test"],
        "rate_limit": {"overrides": {"PROXY": {"rate": 2.5}}},
        "logs_retention": {"max_rows_per_vault": 0},
    });
    for (route, body) in [
        ("POST /v1/admin/settings/rate-limit/preview", &form),
        ("PUT /v1/admin/settings", &form),
        ("GET /v1/admin/settings", &Value::Null),
        ("GET /metrics", &Value::Null),
    ] {
        let (_, path) = route.split_once(' ').expect("a method and a path");
        golden.keep(owner, route, path, body);
    }
}
