//! Promise: an agent's tokens can be exchanged without one refused request, end when it was said, on tunnels
//! that are open too, and an operator sees which one is still in use.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::io::Write as _;
use std::net::TcpStream;

use serde_json::Value;
use support::rig::{read_answer, read_head};
use support::{Broker, Origin, PATIENCE, SECRET, eventually, run};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

const HOST: &str = "api.example.test";

fn broker() -> (Origin, Broker) {
    let origin = Origin::plain();
    let host = format!("{HOST}:{}", origin.port());
    let broker =
        Broker::start(&origin, &[HOST]).with_credential("KEY", SECRET).with_service("the-api", &host, "KEY");
    (origin, broker)
}

/// Asks the proxy for a tunnel; its status.
fn connect(broker: &Broker, token: &str, port: u16) -> (TcpStream, u16) {
    let mut stream = TcpStream::connect(broker.proxy()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let target = format!("{HOST}:{port}");
    write!(
        stream,
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let status = status_of(&read_head(&mut stream));
    (stream, status)
}

fn status_of(head: &str) -> u16 {
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A client inside one tunnel, under one token.
struct Tunnel(TcpStream);

impl Tunnel {
    #[track_caller]
    fn open(broker: &Broker, token: &str, port: u16) -> Self {
        let (stream, status) = connect(broker, token, port);
        assert_eq!(status, 200);
        Self(stream)
    }

    /// The status of one request.
    fn ask(&mut self) -> u16 {
        write!(self.0, "GET /v1/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n").unwrap();
        status_of(&read_answer(&mut self.0).0)
    }
}

fn info(broker: &Broker) -> Value {
    serde_json::from_str(&broker.cli(&["agent", "info", "bot", "--json"]).stdout).unwrap()
}

#[test]
fn a_revoked_agents_open_tunnel_is_refused_at_its_next_request() {
    // 52
    let (origin, broker) = broker();
    let token = broker.agent("bot");
    let mut tunnel = Tunnel::open(&broker, &token, origin.port());
    assert_eq!(tunnel.ask(), 200);
    broker.cli(&["agent", "revoke", "bot"]);
    assert_eq!(tunnel.ask(), 407);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_deployment_rolls_within_the_grace() {
    let (origin, broker) = broker();
    let ask = |token: &str| Tunnel::open(&broker, token, origin.port()).ask();
    let first = broker.agent("bot");
    let mut tunnel = Tunnel::open(&broker, &first, origin.port());
    assert_eq!(tunnel.ask(), 200);
    let second = broker.cli(&["agent", "rotate", "bot", "--grace", "10m"]).stdout;
    // Both are good, in an open tunnel and in new ones.
    assert_eq!((tunnel.ask(), ask(&first), ask(&second)), (200, 200, 200));
    let rotated = broker.cli(&["agent", "rotate", "bot", "--grace", "2s"]);
    let third = rotated.stdout;
    let told = rotated.stderr.lines().next().unwrap().to_owned();
    let (_, until) = told
        .split_once("✓ New token for agent \"bot\"; its old ones are valid until ")
        .unwrap_or_else(|| panic!("{told}"));
    // A token is good to the end of that second, and no longer.
    let until = OffsetDateTime::parse(until, &Rfc3339).unwrap().unix_timestamp();
    eventually("the grace is over", || {
        let before = OffsetDateTime::now_utc().unix_timestamp();
        let status = tunnel.ask();
        let after = OffsetDateTime::now_utc().unix_timestamp();
        match status {
            200 => assert!(before <= until, "used {before}, valid until {until}"),
            407 => assert!(after > until, "refused {after}, valid until {until}"),
            other => panic!("{other}"),
        }
        status == 407
    });
    assert_eq!((connect(&broker, &second, origin.port()).1, ask(&third)), (407, 200));
    let mut as_agent = broker.operator(&["vault", "discover"]);
    let refused = run(as_agent.env("AGENT_VAULT_TOKEN", &first).env("AGENT_VAULT_VAULT", "default"), b"");
    assert_eq!(refused.stderr.lines().next(), Some("Session expired"));
}

#[test]
fn the_use_of_a_token_at_the_proxy_is_seen_and_survives_a_restart() {
    let (origin, mut broker) = broker();
    let old = broker.agent("bot");
    assert!(info(&broker).get("last_used_at").is_none());
    assert_eq!(Tunnel::open(&broker, &old, origin.port()).ask(), 200);
    // Seen at once, although it is not written yet.
    let used = info(&broker);
    let seen = used["last_used_at"].as_str().unwrap().to_owned();
    assert_eq!(used["tokens"][0]["last_used_at"], used["last_used_at"]);
    broker.cli(&["agent", "rotate", "bot", "--grace", "10m"]);
    broker.restart_with(&[]);
    let after = info(&broker);
    assert_eq!(after["last_used_at"], seen.as_str());
    // The old token is the one that is used, and the new one is not.
    assert_eq!(
        (after["tokens"][1]["last_used_at"].as_str(), after["tokens"][0].get("last_used_at")),
        (Some(&*seen), None)
    );
    let table = broker.cli(&["agent", "info", "bot"]).stdout;
    let lines: Vec<&str> = table.lines().collect();
    let [.., header, new, old] = &lines[..] else { panic!("{table}") };
    assert!(header.starts_with("TOKEN ") && header.contains("LAST USED") && header.contains("VALID UNTIL"));
    assert!(new.contains("  -  ") && old.contains(&seen), "{table}");
    let listed = broker.cli(&["agent", "list"]).stdout;
    assert!(
        listed.starts_with("NAME  ROLE       STATUS  VAULTS         LAST USED             CREATED\n"),
        "{listed}"
    );
    assert!(listed.contains(&format!("default:proxy  {seen}  ")), "{listed}");
}
