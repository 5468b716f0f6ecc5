//! The record of one exchange: started with its request, written once, where it ends.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::Proxy;
use super::error::Error;
use super::route::Route;
use crate::http1::fields::Fields;
use crate::http1::head::RequestHead;
use crate::log::{self, Level};
use crate::vault::request_log::{ClientAuth, INGRESS, Row};
use crate::vault::service::Service;

/// Longest method and path that are kept: a head may be a mebibyte, and rows wait in a queue.
const MAX_METHOD_BYTES: usize = 32;
const MAX_PATH_BYTES: usize = 4096;

/// One exchange, from its request's head to its end.
pub(super) struct Record<'r> {
    head: &'r RequestHead,
    route: &'r Route<'r>,
    started: Instant,
    service: Option<Arc<Service>>,
    is_written: bool,
}

impl<'r> Record<'r> {
    /// Starts the clock.
    pub(super) fn start(head: &'r RequestHead, route: &'r Route<'r>) -> Self {
        Self { head, route, started: Instant::now(), service: None, is_written: false }
    }

    pub(super) fn matched(&mut self, service: &Arc<Service>) {
        self.service = Some(Arc::clone(service));
    }

    /// Whether a service said what to do.
    pub(super) fn is_matched(&self) -> bool {
        self.service.is_some()
    }

    /// Writes the record; only the first call counts. A WebSocket's, or a tunnel's, is written when it opens.
    pub(super) fn finish(&mut self, proxy: &Proxy, status: u16, error: Option<&Error>) {
        let is_debug = log::is_enabled(Level::Debug);
        if std::mem::replace(&mut self.is_written, true) || (proxy.log.is_none() && !is_debug) {
            return;
        }
        let row = self.row(status, error);
        if is_debug {
            print(&row);
        }
        if let Some(log) = &proxy.log {
            log.record(row);
        }
    }

    fn row(&self, status: u16, error: Option<&Error>) -> Row {
        Row {
            at: SystemTime::now(),
            vault_id: Arc::clone(&self.route.scope.vault_id),
            actor: self.route.scope.actor.clone(),
            method: cut(self.head.method(), MAX_METHOD_BYTES).to_owned(),
            target: self.route.target.clone(),
            path: readable(self.route.raw_path()),
            service: self.service.clone(),
            status,
            latency: self.started.elapsed(),
            error_code: error.map(Error::log_code).unwrap_or_default(),
            reason: error.map(Error::reason).unwrap_or_default(),
            client_auth: client_auth(self.head.fields()),
        }
    }
}

/// The line of contract F.2, in its order.
fn print(row: &Row) {
    let (matched_host, matched_path, matched_port) = row.matched();
    log::event(
        Level::Debug,
        "proxy_request",
        &[
            ("ingress", &INGRESS),
            ("method", &row.method),
            ("host", &row.target),
            ("path", &row.path),
            ("matched_service", &row.matched_service()),
            ("matched_host", &matched_host),
            ("matched_path", &matched_path),
            ("matched_port", &matched_port),
            ("credential_keys", &row.credential_keys().join(",")),
            ("status", &row.status),
            ("total_ms", &row.latency_ms()),
            ("err", &row.error_code),
            ("reason", &row.reason),
            ("passthrough", &row.service.is_none()),
        ],
    );
}

/// How the client meant to authenticate, read before its field is replaced (contract F.1). The value is
/// looked at and not kept.
fn client_auth(fields: &Fields) -> Option<ClientAuth> {
    if let Some(value) = fields.first("authorization") {
        let begins = |words: [&[u8]; 2]| words.iter().any(|word| value.starts_with(word));
        let scheme = if begins([b"Bearer ", b"bearer "]) {
            "bearer"
        } else if begins([b"Basic ", b"basic "]) {
            "basic"
        } else {
            "api-key"
        };
        return Some(ClientAuth { scheme, header: "Authorization" });
    }
    let header = ["X-Api-Key", "Api-Key"].into_iter().find(|name| fields.first(name).is_some())?;
    Some(ClientAuth { scheme: "api-key", header })
}

/// A raw path as a person reads it: decoded once, cut where it is too long. A broken escape stays as it is.
fn readable(raw: &str) -> String {
    let raw = cut(raw, MAX_PATH_BYTES);
    if !raw.contains('%') {
        return raw.to_owned();
    }
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, behind @ ..] = rest {
        let escaped = behind.get(..2).filter(|_| *first == b'%');
        match escaped.and_then(|digits| std::str::from_utf8(digits).ok()).and_then(from_hex) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    match String::from_utf8_lossy(&bytes) {
        Cow::Borrowed(text) => text.to_owned(),
        Cow::Owned(text) => text,
    }
}

fn from_hex(digits: &str) -> Option<u8> {
    // A sign would be taken for part of a number.
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The longest part that fits and ends between two characters.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_decoded_once_and_bounded() {
        for (raw, path) in [
            ("/a/b", "/a/b"),
            ("/a%20b/%C3%A9", "/a b/é"),
            ("/%2541", "/%41"),
            ("/%", "/%"),
            ("/%4", "/%4"),
            ("/%+f/%zz", "/%+f/%zz"),
            ("/%ff", "/\u{fffd}"),
        ] {
            assert_eq!(readable(raw), path, "{raw}");
        }
        let long = format!("/{}é", "x".repeat(MAX_PATH_BYTES - 2));
        assert_eq!(readable(&long).len(), MAX_PATH_BYTES - 1);
    }

    #[test]
    fn the_clients_own_way_to_authenticate_is_named() {
        let found = |fields: &str| {
            let mut head = RequestHead::default();
            head.parse(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes(), &mut 0)
                .unwrap()
                .unwrap();
            client_auth(head.fields()).map(|auth| (auth.scheme, auth.header))
        };
        for (fields, expected) in [
            ("Authorization: Bearer x\r\n", Some(("bearer", "Authorization"))),
            ("authorization: bearer x\r\n", Some(("bearer", "Authorization"))),
            ("Authorization: Basic eA==\r\n", Some(("basic", "Authorization"))),
            ("Authorization: BASIC eA==\r\n", Some(("api-key", "Authorization"))),
            ("Authorization: key\r\nX-Api-Key: k\r\n", Some(("api-key", "Authorization"))),
            ("api-key: k\r\nx-api-key: k\r\n", Some(("api-key", "X-Api-Key"))),
            ("API-KEY: k\r\n", Some(("api-key", "Api-Key"))),
            ("Proxy-Authorization: Bearer x\r\n", None),
        ] {
            assert_eq!(found(fields), expected, "{fields}");
        }
    }
}
