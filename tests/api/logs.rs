//! The request log and the hosts it has discovered: cases 98 and 99.

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::{Value, json};

use crate::site::{Caller, Site, refused, text};
use crate::support::eventually;
use crate::support::rig::read_answer;

/// Names that lead to this machine: the broker knows them, refuses to call them, and logs that.
const NAMES: [(&str, &str); 1] =
    [("AGENT_VAULT_HOST_OVERRIDES", "api.x.com=127.0.0.1,files.y.com=127.0.0.1,z.com=127.0.0.1")];

/// A broker, its owner, and a client of its proxy.
struct Logged {
    site: Site,
    owner: Caller,
    client: TcpStream,
    token: String,
}

impl Logged {
    fn start() -> Self {
        let mut site = Site::start_with(&[], &NAMES);
        let proxy = site.process.line_after("Agent Vault transparent proxy listening on ");
        let owner = site.owner();
        let new = json!({"name": "bot", "vaults": [{"vault_name": "default"}]});
        let made = owner.post("/v1/agents", &new).expect(201).json();
        let client = TcpStream::connect(proxy).expect("the proxy");
        Self { site, owner, client, token: text(&made, "av_agent_token").to_owned() }
    }

    /// Sends so many requests, one after the other on one connection.
    fn send(&mut self, count: usize, url: &str, fields: &str) {
        let token = &self.token;
        for _ in 0..count {
            write!(
                self.client,
                "GET {url} HTTP/1.1\r\nHost: h\r\nProxy-Authorization: Bearer {token}\r\n{fields}\r\n"
            )
            .expect("a request");
            let (head, _) = read_answer(&mut self.client);
            assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
        }
    }

    fn logs(&self, query: &str) -> Value {
        self.owner.get(&format!("/v1/vaults/default/logs?{query}")).expect(200).json()
    }

    /// Waits until there are so many rows.
    fn await_rows(&self, count: usize) {
        let rows = || self.logs("limit=200")["logs"].as_array().expect("a list").len();
        eventually("the rows are written", || rows() == count);
    }

    fn hosts(&self, query: &str) -> Value {
        self.owner.get(&format!("/v1/vaults/default/discovered-hosts{query}")).expect(200).json()
    }
}

#[test]
fn a_tail_loses_no_row_of_a_burst() {
    // 98
    let mut logged = Logged::start();
    logged.send(1, "http://api.x.com/0", "");
    logged.await_rows(1);
    let mut latest = logged.logs("")["latest_id"].as_i64().expect("a number");
    let first = latest;
    for number in 1..=7 {
        logged.send(1, &format!("http://api.x.com/{number}"), "");
    }
    logged.await_rows(8);
    let mut pages = Vec::new();
    for _ in 0..4 {
        let page = logged.logs(&format!("limit=3&after={latest}"));
        let paths: Vec<String> =
            page["logs"].as_array().expect("a list").iter().map(|row| text(row, "path").to_owned()).collect();
        assert_eq!(page["next_cursor"], Value::Null);
        pages.push(paths.join(" "));
        latest = page["latest_id"].as_i64().expect("a number");
    }
    assert_eq!(pages, ["/3 /2 /1", "/6 /5 /4", "/7", ""]);
    assert_eq!(logged.logs(&format!("after={latest}"))["latest_id"], json!(latest), "echoed");
    let both = logged.owner.get(&format!("/v1/vaults/default/logs?before={latest}&after={first}"));
    assert_eq!(both.refusal(), refused(400, "before and after cannot be used together"));
}

#[test]
fn hosts_without_a_service_are_discovered() {
    // 99
    let mut logged = Logged::start();
    assert_eq!(logged.hosts(""), json!({"hosts": [], "total": 0}), "a vault with no services and no rows");
    logged.send(10, "http://api.x.com:443/a", "Authorization: Bearer own\r\n");
    logged.send(3, "http://api.x.com/b", "X-Api-Key: own\r\n");
    logged.await_rows(13);
    // Rows of old may name no port.
    let database = logged.site.home.join(".agent-vault/agent-vault.db");
    let database = rusqlite::Connection::open(database).expect("the broker's database");
    let renamed = database.execute("UPDATE request_logs SET host = 'api.x.com' WHERE path = '/b'", ());
    assert_eq!(renamed, Ok(3));
    let found = logged.hosts("");
    let host = &found["hosts"][0];
    assert_eq!(
        (text(host, "host"), &host["request_count"], &found["total"]),
        ("api.x.com", &json!(13), &json!(1))
    );
    assert_eq!((text(host, "auth_scheme"), text(host, "auth_header")), ("api-key", "X-Api-Key"));
    assert!(text(host, "last_seen").ends_with('Z'));

    logged.send(1, "http://z.com/", "");
    logged.send(1, "http://files.y.com/", "");
    logged.await_rows(15);
    // In the same second the names decide.
    let moved =
        database.execute("UPDATE request_logs SET created_at = '2099-01-01 00:00:00' WHERE path = '/'", ());
    assert_eq!(moved, Ok(2));
    let names = |query: &str| -> Vec<String> {
        let found = logged.hosts(query);
        let hosts = found["hosts"].as_array().expect("a list");
        hosts.iter().map(|host| text(host, "host").to_owned()).collect()
    };
    for query in ["", "?limit=-1", "?limit=x", "?limit=100", "?limit=5000"] {
        assert_eq!(names(query), ["files.y.com", "z.com", "api.x.com"], "{query}");
    }
    assert!(logged.hosts("?limit=1")["hosts"][0].get("auth_scheme").is_none());
    assert_eq!(logged.hosts("?limit=0"), json!({"hosts": [], "total": 3}));

    // A service covers its host whatever its path and port, enabled or not.
    let services = json!({"services": [
        {"name": "x-api", "host": "api.x.com:9999/never/*", "enabled": false, "auth": {"type": "passthrough"}},
        {"name": "all-y", "host": "*.y.com", "auth": {"type": "passthrough"}},
    ]});
    logged.owner.post("/v1/vaults/default/services", &services).expect(200);
    assert_eq!((names(""), logged.hosts("")["total"].clone()), (vec!["z.com".to_owned()], json!(1)));
    let tool = logged.site.with_token(&logged.token);
    let answer = tool.get("/v1/vaults/default/discovered-hosts");
    assert_eq!(answer.refusal(), refused(403, "Member role required"));
}

#[test]
fn the_catalog_is_public() {
    let site = Site::start();
    site.nobody().get("/v1/service-catalog").expect(503);
    site.owner();
    let answer = site.nobody().get("/v1/service-catalog").expect(200);
    assert_eq!(answer.field("content-type"), "application/json");
    let catalog = answer.json();
    let services = catalog["services"].as_array().expect("a list");
    assert_eq!((services.len(), text(&services[0], "id")), (34, "anthropic"));
    let slack = services.iter().find(|service| service["id"] == "slack").expect("slack");
    assert_eq!((text(slack, "host"), text(slack, "auth_type")), ("slack.com", "bearer"));
    assert_eq!(text(slack, "suggested_credential_key"), "SLACK_TOKEN");
}
