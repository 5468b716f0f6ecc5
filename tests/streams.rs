//! Promise: what is sent on a stream passes at once, in both directions, however long the stream lives.
//!
//! Clients are real ones under `agent-vault run`. An origin sends its next event only when the client has
//! shown that it has the one before, so an event that waits for more bytes to come is a test that fails.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod support;

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use serde_json::json;
use support::websocket::{self, BINARY, CLOSE, PING, PONG, TEXT};
use support::{
    Broker, Origin, PATIENCE, Received, SECRET, Site, Wire, contains, need, need_node, need_python, source,
};

const API: &str = "api.example.test";
const PLACEHOLDER: &str = "__api_key__";

#[test]
fn python_websockets() {
    let Some(python) = need_python("python_websockets", "websockets") else { return };
    websocket_client(&python, "with_websockets.py");
}

#[test]
fn node_ws() {
    let Some(node) = need_node("node_ws", &["ws", "https-proxy-agent"]) else { return };
    websocket_client(&node, "with_ws.cjs");
}

/// Lets a client talk to an echo twice: on a path whose frames are looked into, and on one whose are not.
fn websocket_client(interpreter: &Path, script: &str) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let origin = Origin::tls(&[API]).talking(move |request, wire| echo(request, wire, &hears));
    let auth = json!({"type": "bearer", "token": "API_KEY"});
    let substitution = json!({"key": "API_KEY", "placeholder": PLACEHOLDER, "in": ["websocket"]});
    let broker = Broker::start(&origin, &[API]).with_credential("API_KEY", SECRET).with_services(&json!([
        {"name": "looked-into", "host": API, "path": "/looked-into", "auth": auth, "substitutions": [substitution]},
        {"name": "passed-on", "host": API, "path": "/passed-on", "auth": auth},
    ]));
    let mut site = Site::over(origin, broker);
    for (path, token) in [("/looked-into", SECRET), ("/passed-on", PLACEHOLDER)] {
        let url = site.origin.url(API, path).replace("https:", "wss:");
        let ended = site.client(interpreter, &[&source(script), &url, PLACEHOLDER]);
        assert!(ended.stdout.starts_with("welcome\n"), "{}", ended.stdout);
        let login = heard.lock().unwrap().pop().expect("the origin heard a login");
        let login: serde_json::Value = serde_json::from_slice(&login).expect("JSON as it was sent");
        assert_eq!(login, json!({"token": token}), "{path}");
    }
    let handshakes = site.origin.requests();
    assert_eq!(handshakes.len(), 2);
    site.expect_credential_on(&handshakes);
    site.expect_no_traces();
}

/// Echoes all but a login, which it answers once the client has answered a ping.
fn echo(request: &Received, wire: &mut dyn Wire, heard: &Mutex<Vec<Vec<u8>>>) -> io::Result<()> {
    websocket::accept(request, wire)?;
    loop {
        let (opcode, payload) = websocket::read(wire)?;
        match opcode {
            TEXT if contains(&payload, "token") => {
                heard.lock().unwrap().push(payload);
                websocket::write(wire, PING, b"and you")?;
            }
            TEXT | BINARY => websocket::write(wire, opcode, &payload)?,
            PING => websocket::write(wire, PONG, &payload)?,
            PONG if payload == b"and you" => websocket::write(wire, TEXT, b"welcome")?,
            CLOSE => return websocket::write(wire, CLOSE, &payload),
            _ => return Err(io::Error::other(format!("unexpected message {opcode}"))),
        }
    }
}

#[test]
fn curl_events() {
    let Some(_) = need("curl_events", "curl", "install curl") else { return };
    events_client(Path::new("sh"), "events.sh");
}

#[test]
fn python_events() {
    let Some(python) = need_python("python_events", "httpx") else { return };
    events_client(&python, "events.py");
}

#[test]
fn node_events() {
    let Some(node) = need_node("node_events", &[]) else { return };
    events_client(&node, "events.mjs");
}

/// Lets a client read a stream of events that goes on only when it has told of each.
fn events_client(interpreter: &Path, script: &str) {
    for framing in [EventFraming::Chunked, EventFraming::UntilClose] {
        let (tell, told) = mpsc::channel();
        let told = Mutex::new(told);
        let origin =
            Origin::tls(&[API]).talking(move |request, wire| match request.target.strip_prefix("/seen/") {
                Some(event) => seen(event, &tell, wire),
                None => events(framing, &told.lock().unwrap(), wire),
            });
        let mut site = Site::open(origin, API);
        let ended = site.client(interpreter, &[&source(script), &site.origin.url(API, "")]);
        assert!(ended.stdout.starts_with("data: 1\ndata: 2\ndata: 3\n"), "{framing:?}: {}", ended.stdout);
        let requests = site.origin.requests();
        let targets: Vec<&str> = requests.iter().map(|request| request.target.as_str()).collect();
        assert_eq!(targets, ["/events", "/seen/1", "/seen/2", "/seen/3"]);
        site.expect_credential_on(&requests);
        site.expect_no_traces();
    }
}

/// How the origin says where its stream ends.
#[derive(Clone, Copy, Debug)]
enum EventFraming {
    Chunked,
    UntilClose,
}

impl EventFraming {
    fn head(self) -> &'static str {
        match self {
            Self::Chunked => {
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            }
            Self::UntilClose => "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n",
        }
    }

    fn piece(self, text: &str) -> String {
        match self {
            Self::Chunked => format!("{:x}\r\n{text}\r\n", text.len()),
            Self::UntilClose => text.to_owned(),
        }
    }

    fn end(self) -> &'static str {
        match self {
            Self::Chunked => "0\r\n\r\n",
            Self::UntilClose => "",
        }
    }
}

/// Sends three events, each when the client has told of the one before.
fn events(framing: EventFraming, told: &Receiver<String>, wire: &mut dyn Wire) -> io::Result<()> {
    wire.write_all(framing.head().as_bytes())?;
    for event in ["1", "2", "3"] {
        wire.write_all(framing.piece(&format!("data: {event}\n\n")).as_bytes())?;
        wire.flush()?;
        assert_eq!(told.recv_timeout(PATIENCE).as_deref(), Ok(event));
    }
    wire.write_all(framing.end().as_bytes())
}

/// The client has an event.
fn seen(event: &str, tell: &Sender<String>, wire: &mut dyn Wire) -> io::Result<()> {
    tell.send(event.to_owned()).map_err(io::Error::other)?;
    wire.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
}
