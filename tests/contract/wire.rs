//! How the cases speak: a request as bytes, an answer to look at, services as an operator writes them.

use std::io::{Read, Write};

use agent_vault::vault::service::{InternalNames, Service, list};
use serde_json::Value;

use crate::support::Origin;
use crate::support::rig::{AUTH, Rig, Rules, read_answer};

/// The host the services of these cases are for; it leads to the loopback.
pub(crate) const HOST: &str = "api.example.test";

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// The value of the only field of that name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let (_, value) = values.next()?;
        values.next().is_none().then_some(value)
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Status and body, for a comparison with both.
    pub(crate) fn said(&self) -> (u16, &str) {
        (self.status, &self.body)
    }

    pub(crate) fn reason(&self) -> Option<&str> {
        self.field("x-agent-vault-reason")
    }
}

/// Reads an answer whose length, if it has a body, is announced.
#[track_caller]
pub(crate) fn answer(stream: &mut impl Read) -> Answer {
    let (head, body) = read_answer(stream);
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Answer { status: status.unwrap_or_else(|| panic!("no status: {head:?}")), head, body }
}

/// Sends these bytes, then reads the answer.
#[track_caller]
pub(crate) fn ask(stream: &mut (impl Read + Write), request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    answer(stream)
}

/// An absolute-form request head with the rig's credential; `fields` are lines.
pub(crate) fn forward(method: &str, port: u16, path: &str, fields: &str) -> String {
    format!("{method} http://{HOST}:{port}{path} HTTP/1.1\r\nHost: h\r\n{AUTH}{fields}\r\n")
}

/// The same with a body and its length.
pub(crate) fn forward_body(port: u16, path: &str, fields: &str, body: &str) -> String {
    let length = format!("{fields}Content-Length: {}\r\n", body.len());
    forward("POST", port, path, &length) + body
}

/// Services as the control API takes them, or its refusal.
pub(crate) fn check(services: &Value) -> Result<Vec<Service>, String> {
    check_with(services, InternalNames::Refused)
}

pub(crate) fn check_with(services: &Value, internal: InternalNames) -> Result<Vec<Service>, String> {
    let values = services.as_array().expect("a list of services");
    list::read(values).and_then(|drafts| list::check(drafts, internal)).map_err(|refusal| refusal.to_string())
}

/// A proxy with these services.
#[track_caller]
pub(crate) fn rig(services: &Value) -> Rig {
    rig_with(services, Rules::default())
}

#[track_caller]
pub(crate) fn rig_with(services: &Value, rules: Rules) -> Rig {
    Rig::start(Rules { services: check(services).expect("good services"), ..rules })
}

/// An https origin for [`HOST`] and the roots that make it trusted.
pub(crate) fn secure_origin() -> (Origin, Vec<Vec<u8>>) {
    let origin = Origin::tls(&[HOST]);
    let roots = vec![origin.ca_pem().as_bytes().to_vec()];
    (origin, roots)
}
