//! Promise: what `/metrics` says is what happened, in a form every scraper reads, for those it is meant for.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::TcpStream;

use support::rig::read_answer;
use support::{Broker, Origin, PATIENCE, SECRET, eventually};

const HOST: &str = "api.example.test";

fn get(broker: &Broker, path: &str, token: Option<&str>) -> (u16, String, String) {
    let agent = ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build().new_agent();
    let mut request = agent.get(format!("{}{path}", broker.address()));
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let mut answer = request.call().unwrap();
    let kind = answer.headers().get("content-type").unwrap().to_str().unwrap().to_owned();
    (answer.status().as_u16(), kind, answer.body_mut().read_to_string().unwrap())
}

/// The owner's login, as the command line saved it.
fn login(broker: &Broker) -> String {
    let saved = std::fs::read_to_string(broker.operator_home().join(".agent-vault/session.json")).unwrap();
    let saved: serde_json::Value = serde_json::from_str(&saved).unwrap();
    saved["token"].as_str().unwrap().to_owned()
}

/// A page by the rules of the exposition format: every family has its help and its type before its samples, no
/// family and no sample comes twice, and every value is a number. Samples by name and labels.
fn parse(page: &str) -> BTreeMap<String, f64> {
    assert!(page.ends_with('\n'), "the last line has an end");
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')
    };
    let (mut families, mut samples) = (BTreeSet::new(), BTreeMap::new());
    let (mut helped, mut family, mut kind) = ("", "", "");
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(is_name(name) && !help.is_empty() && families.insert(name), "{line}");
            helped = name;
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').unwrap();
            assert!(family == helped && ["counter", "gauge"].contains(&kind), "{line}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            assert_eq!(name, family, "{line}");
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            if !labels.is_empty() {
                let (label, value) = labels.strip_suffix("\"}").unwrap().split_once("=\"").unwrap();
                assert!(is_name(label) && !value.contains(['"', '\\', '\n']), "{line}");
            }
            let value: f64 = value.parse().unwrap();
            assert!(value >= 0.0 && samples.insert(series.to_owned(), value).is_none(), "{line}");
        }
    }
    samples
}

fn scrape(broker: &Broker, token: &str) -> BTreeMap<String, f64> {
    let (status, kind, page) = get(broker, "/metrics", Some(token));
    assert_eq!((status, kind.as_str()), (200, "text/plain; version=0.0.4; charset=utf-8"), "{page}");
    parse(&page)
}

fn ask(stream: &mut TcpStream, token: &str, port: u16, path: &str) -> String {
    write!(
        stream,
        "GET http://{HOST}:{port}{path} HTTP/1.1\r\nHost: {HOST}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    read_answer(stream).0
}

#[test]
fn the_numbers_are_those_of_the_traffic() {
    let origin = Origin::plain();
    let port = origin.port();
    let broker = Broker::start(&origin, &[HOST]).with_credential("API_KEY", SECRET);
    let host = format!("{HOST}:{port}");
    let broker = broker.with_services(&serde_json::json!([
        {"name": "the-api", "host": host, "path": "/v1/*", "auth": {"type": "bearer", "token": "API_KEY"}},
        {"name": "broken", "host": host, "path": "/v2/*", "auth": {"type": "bearer", "token": "GONE"}},
    ]));
    let (agent, owner) = (broker.agent("lone-agent"), login(&broker));
    let mut client = TcpStream::connect(broker.proxy()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    for path in ["/v1/a", "/v1/b", "/other"] {
        assert!(ask(&mut client, &agent, port, path).starts_with("HTTP/1.1 200 "));
    }
    assert!(ask(&mut client, &agent, port, "/v2/a").starts_with("HTTP/1.1 502 "));
    let mut guesser = TcpStream::connect(broker.proxy()).unwrap();
    guesser.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(ask(&mut guesser, "av_agt_guess", port, "/v1/a").starts_with("HTTP/1.1 407 "));
    drop(guesser);
    // An exchange is counted when it is over, which its client does not see.
    let expected = [
        ("agent_vault_proxy_requests_total{verdict=\"attached\"}", 2.0),
        ("agent_vault_proxy_requests_total{verdict=\"passed\"}", 1.0),
        ("agent_vault_proxy_requests_total{verdict=\"refused\"}", 1.0),
        ("agent_vault_proxy_errors_total{reason=\"credential_not_found\"}", 1.0),
        ("agent_vault_proxy_errors_total{reason=\"invalid_token\"}", 1.0),
        ("agent_vault_proxy_errors_total{reason=\"forbidden\"}", 0.0),
        ("agent_vault_proxy_requests_in_flight", 0.0),
        ("agent_vault_proxy_permits", 1.0),
        ("agent_vault_proxy_tunnels_total{kind=\"terminated\"}", 0.0),
        ("agent_vault_upstream_connections_total{from=\"dial\"}", 1.0),
        ("agent_vault_upstream_connections_total{from=\"pool\"}", 2.0),
        ("agent_vault_upstream_connections_idle", 1.0),
        ("agent_vault_connections_panicked_total", 0.0),
        ("agent_vault_request_log_rows_dropped_total", 0.0),
        ("agent_vault_cached_tokens", 1.0),
        ("agent_vault_store_errors_total", 0.0),
        ("agent_vault_build_info{version=\"0.1.0\"}", 1.0),
    ];
    let mut seen = Vec::new();
    eventually("the numbers of the traffic", || {
        let samples = scrape(&broker, &owner);
        seen = expected.iter().map(|(name, _)| (*name, samples[*name])).collect();
        seen == expected
    });
    // Control requests are counted as they are answered; each scrape is one of them.
    let class = |samples: &BTreeMap<String, f64>, class: &str| {
        samples[&format!("agent_vault_control_requests_total{{class=\"{class}\"}}")]
    };
    let before = scrape(&broker, &owner);
    for path in ["/health", "/v1/status", "/nowhere"] {
        get(&broker, path, None);
    }
    let after = scrape(&broker, &owner);
    assert_eq!(class(&after, "2xx") - class(&before, "2xx"), 3.0);
    assert_eq!(class(&after, "4xx") - class(&before, "4xx"), 1.0);
    assert!(
        after["process_resident_memory_bytes"] > 1_000_000.0 && after["process_start_time_seconds"] > 1e9
    );
    // Nothing on the page comes from a vault or a client.
    let (_, _, page) = get(&broker, "/metrics", Some(&owner));
    for private in [SECRET, HOST, "/v1/a", "the-api", "API_KEY", "default", "lone-agent", agent.as_str()] {
        assert!(!page.contains(private), "{private} is on the page:\n{page}");
    }
}

#[test]
fn the_operator_says_who_may_look() {
    let origin = Origin::plain();
    let mut broker = Broker::start(&origin, &[HOST]);
    let agent = broker.agent("bot");
    for (token, expected) in [(None, 401), (Some(agent.as_str()), 403), (Some(login(&broker).as_str()), 200)]
    {
        assert_eq!(get(&broker, "/metrics", token).0, expected);
    }
    broker.restart_with(&[("AGENT_VAULT_METRICS", "open")]);
    let (status, _, page) = get(&broker, "/metrics", None);
    assert_eq!(status, 200);
    parse(&page);
    broker.restart_with(&[("AGENT_VAULT_METRICS", "off")]);
    assert_eq!(get(&broker, "/metrics", Some(&login(&broker))).0, 404);
}
