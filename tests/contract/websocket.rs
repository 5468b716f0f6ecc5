//! Cases 125 to 129: the handshake, and the text frames of the client.

use std::io::{Read, Write};
use std::time::Duration;

use agent_vault::proxy::Limits;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest;
use serde_json::{Value, json};

use super::wire::{Answer, HOST, ask, forward, rig_with};
use crate::support::rig::{Rules, Script, read_head};
use crate::support::{Origin, Received};

/// The key of RFC 6455 §1.3 and its answer.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const UPGRADE: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nOrigin: https://a.example\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Extensions: permessage-deflate\r\n";

/// A frame of a client: masked.
fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ ..126 => frame.push(0x80 | u8::try_from(short).unwrap()),
        medium @ ..65_536 => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// Reads one masked frame: its head up to the mask, and its payload unmasked.
fn read_frame(stream: &mut (impl Read + ?Sized)) -> (Vec<u8>, Vec<u8>) {
    let mut head = vec![0; 2];
    stream.read_exact(&mut head).unwrap();
    let extended = match head[1] & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mut more = vec![0; extended];
    stream.read_exact(&mut more).unwrap();
    let length = if extended == 0 {
        u64::from(head[1] & 0x7f)
    } else {
        more.iter().fold(0, |length, &byte| length << 8 | u64::from(byte))
    };
    head.extend(more);
    let mut mask = [0; 4];
    stream.read_exact(&mut mask).unwrap();
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).unwrap();
    let payload = payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    (head, payload)
}

/// The answer to a handshake as RFC 6455 §4.2.2 has it.
fn switching(request: &Received) -> String {
    let key = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", request.field("sec-websocket-key").unwrap());
    let accept = STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes()));
    let protocol = request.field("sec-websocket-protocol").unwrap_or_default();
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade, X-Hop\r\nX-Hop: 1\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {protocol}\r\nSec-Secret: s\r\n\
         Set-Cookie: a=b\r\n\r\n"
    )
}

/// An origin that switches, greets with an unmasked text frame, and sends back each payload it gets.
fn echoing(origin: Origin) -> Origin {
    origin.talking(|request, wire| {
        wire.write_all(switching(request).as_bytes())?;
        wire.write_all(b"\x81\x05hello")?;
        wire.flush()?;
        for _ in 0..2 {
            let (_, payload) = read_frame(wire);
            wire.write_all(&[0x81, u8::try_from(payload.len()).unwrap()])?;
            wire.write_all(&payload)?;
            wire.flush()?;
        }
        Ok(())
    })
}

fn bearer(host: &str) -> Value {
    json!([{"name": "api", "host": host, "auth": {"type": "bearer", "token": "TOKEN"}}])
}

/// Speaks to [`echoing`] through the proxy.
fn converse(stream: &mut (impl Read + Write), request: &str) -> Answer {
    let opened = ask(stream, request);
    let mut expected = b"\x81\x05hello".to_vec();
    for text in ["one", "two"] {
        stream.write_all(&masked(0x81, text.as_bytes(), [9, 8, 7, 6])).unwrap();
        expected.extend([0x81, 3]);
        expected.extend(text.as_bytes());
    }
    let mut seen = vec![0; expected.len()];
    stream.read_exact(&mut seen).unwrap();
    assert_eq!(seen, expected);
    opened
}

#[test]
fn case_125_a_websocket_opens_with_our_credential() {
    let plain = echoing(Origin::plain());
    let secure = echoing(Origin::tls(&[HOST]));
    let roots = vec![secure.ca_pem().as_bytes().to_vec()];
    let own = "Authorization: Bearer attacker\r\n";
    for origin in [&plain, &secure] {
        let services = bearer(&format!("{HOST}:{}", origin.port()));
        let rig = rig_with(&services, Rules { roots: roots.clone(), ..Rules::default() });
        let opened = if origin.ca_pem().is_empty() {
            let request = forward("GET", origin.port(), "/chat", &format!("{UPGRADE}{own}"));
            converse(&mut rig.connect(), &request)
        } else {
            let mut tunnel = rig.tunnel(HOST, origin.port());
            converse(&mut tunnel, &format!("GET /chat HTTP/1.1\r\nHost: h\r\n{UPGRADE}{own}\r\n"))
        };
        assert_eq!(
            opened.head,
            format!(
                "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {ACCEPT}\r\n\
                 Sec-WebSocket-Protocol: chat\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
        );
        let seen = origin.last();
        assert_eq!(seen.field("authorization"), Some("Bearer s3cret-value"));
        for (name, value) in [
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("origin", "https://a.example"),
            ("sec-websocket-key", KEY),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "chat"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ] {
            assert_eq!(seen.field(name), Some(value), "{name}");
        }
    }
}

#[test]
fn case_126_an_injected_handshake_field_wins() {
    let origin = echoing(Origin::plain());
    let headers = json!({"Sec-WebSocket-Protocol": "token.{{ TOKEN }}"});
    let services = json!([{
        "name": "api", "host": format!("{HOST}:{}", origin.port()),
        "auth": {"type": "custom", "headers": headers}
    }]);
    let rig = rig_with(&services, Rules::default());
    let opened = converse(&mut rig.connect(), &forward("GET", origin.port(), "/", UPGRADE));
    assert_eq!(origin.last().field("sec-websocket-protocol"), Some("token.s3cret-value"));
    // What the upstream picked is what it echoes.
    assert_eq!(opened.field("sec-websocket-protocol"), Some("token.s3cret-value"));
}

#[test]
fn case_127_a_handshake_that_is_never_answered_times_out() {
    let silent = Script::start(|mut stream, _| {
        read_head(&mut stream);
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let limits = Limits { response_time: Duration::from_millis(50), ..Limits::default() };
    let rules = Rules { limits, ..Rules::default() };
    let rig = rig_with(&bearer(&format!("{HOST}:{}", silent.port)), rules);
    let refused = ask(&mut rig.connect(), &forward("GET", silent.port, "/", UPGRADE));
    assert_eq!((refused.status, refused.reason()), (504, Some("upstream_timeout")));
    assert_eq!(refused.field("x-agent-vault-proxy-error"), Some("true"));
}

/// Sends frames through a service that replaces `__t__` on these surfaces; what the upstream gets.
fn relayed(substitutions: &Value, frames: &[Vec<u8>]) -> (Received, Vec<u8>) {
    let (arrived, seen) = std::sync::mpsc::channel();
    let origin = Origin::plain().talking(move |request, wire| {
        wire.write_all(switching(request).as_bytes())?;
        wire.flush()?;
        let mut all = Vec::new();
        wire.read_to_end(&mut all)?;
        arrived.send(all).unwrap();
        Ok(())
    });
    let mut services = bearer(&format!("{HOST}:{}", origin.port()));
    services[0]["substitutions"] = substitutions.clone();
    let credentials = vec![("TOKEN", "s3cret-value"), ("LONG", LONG)];
    let rig = rig_with(&services, Rules { credentials, ..Rules::default() });
    let mut client = rig.connect();
    assert_eq!(ask(&mut client, &forward("GET", origin.port(), "/", UPGRADE)).status, 101);
    client.write_all(&frames.concat()).unwrap();
    client.write_all(&masked(0x88, &1000u16.to_be_bytes(), [1, 2, 3, 4])).unwrap();
    let all = seen.recv().unwrap();
    // The end of one side is the end of both.
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    (origin.last(), all)
}

/// A hundred bytes: a frame of 121 with a placeholder of six becomes one of 215.
const LONG: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

#[test]
fn case_128_text_frames_are_looked_into_and_others_are_not() {
    let substitutions = json!([{"key": "LONG", "placeholder": "__lo__", "in": ["websocket"]}]);
    let mask = [7, 0, 255, 3];
    let close = masked(0x88, &1000u16.to_be_bytes(), [1, 2, 3, 4]);
    let text = format!("{}__lo__", "x".repeat(115));
    let replaced = |frame: Vec<u8>| {
        let (seen, all) = relayed(&substitutions, &[frame]);
        assert_eq!(seen.field("sec-websocket-extensions"), None);
        let mut rest = &all[..];
        let read = read_frame(&mut rest);
        assert_eq!(rest, close);
        (read, all)
    };
    let ((head, payload), all) = replaced(masked(0x81, text.as_bytes(), mask));
    assert_eq!(head, [0x81, 0x80 | 126, 0, 215]);
    assert_eq!(payload, text.replace("__lo__", LONG).into_bytes());
    assert_ne!(all[4..8], mask, "a fresh mask");

    for frame in [
        masked(0x81, b"nothing to replace", mask),
        masked(0x82, b"__lo__ in a binary frame", mask),
        masked(0x89, b"__lo__", mask),
        masked(0x8a, b"__lo__", mask),
        masked(0xc1, b"__lo__ compressed", mask),
        masked(0x81, format!("__lo__{}", "x".repeat(1024 * 1024)).as_bytes(), mask),
        [masked(0x01, b"__lo__ in", mask), masked(0x80, b" pieces __lo__", mask)].concat(),
    ] {
        let (_, all) = relayed(&substitutions, std::slice::from_ref(&frame));
        assert!(all == [frame, close.clone()].concat(), "a frame passes byte for byte");
    }
}

#[test]
fn case_129_only_substitutions_for_websocket_touch_frames() {
    let substitutions = json!([
        {"key": "TOKEN", "placeholder": "__one__", "in": ["header", "websocket"]},
        {"key": "TOKEN", "placeholder": "__two__", "in": ["body"]},
        {"key": "TOKEN", "placeholder": "__three__", "in": ["websocket"]}
    ]);
    let (_, all) = relayed(&substitutions, &[masked(0x81, b"__one__ __two__ __three__", [1, 2, 3, 4])]);
    let (head, payload) = read_frame(&mut &all[..]);
    assert_eq!(payload, b"s3cret-value __two__ s3cret-value");
    assert_eq!(head, [0x81, 0x80 | 33]);
}
