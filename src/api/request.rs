//! A request as the routes see it, with everything they may ask of it.

use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::form::{self, Flaw};
use super::refusal::Refusal;

/// Longest body (contract A.1).
pub(super) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// A whole request.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    /// As sent, without the query.
    pub path: String,
    pub query: String,
    pub fields: Vec<(String, String)>,
    /// `None` when it was longer than the limit.
    pub body: Option<Zeroizing<Vec<u8>>>,
    pub peer: IpAddr,
}

impl Request {
    /// The first field of this name, in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields_named(name).next()
    }

    /// All fields of this name, in their order.
    pub(super) fn fields_named(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> {
        let named = self.fields.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// The first value of a query parameter, decoded; one that cannot be decoded is absent.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs
            .filter_map(|(key, value)| Some((form_decode(key)?, form_decode(value)?)))
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }

    /// The body as JSON. Unknown keys do not matter; a value that does not fit is named by its field and
    /// never quoted. A body that is too long is as bad as one that is not JSON (contract A.1).
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        self.json_or(|| invalid(""))
    }

    /// The same with words of the route's own for a body that is no JSON object.
    pub(super) fn json_or<T: DeserializeOwned>(
        &self,
        no_object: impl FnOnce() -> Refusal,
    ) -> Result<T, Refusal> {
        let Some(body) = &self.body else {
            return Err(invalid(&format!(": longer than {MAX_BODY_BYTES} bytes")));
        };
        form::read(body).map_err(|flaw| match flaw {
            Flaw::NotAnObject => no_object(),
            Flaw::Field(wrong) => invalid(&format!(": {wrong}")),
        })
    }

    /// The same for the routes that do without a body (contract A.1).
    pub(super) fn json_if_any<T: DeserializeOwned + Default>(&self) -> Result<T, Refusal> {
        let is_empty = self.body.as_ref().is_some_and(|body| body.trim_ascii().is_empty());
        if is_empty { Ok(T::default()) } else { self.json() }
    }

    /// The body's `services` array.
    pub(super) fn services(&self) -> Result<Vec<Value>, Refusal> {
        #[derive(serde::Deserialize)]
        struct Body {
            services: Option<Vec<Value>>,
        }
        Ok(self.json::<Body>()?.services.unwrap_or_default())
    }
}

fn invalid(detail: &str) -> Refusal {
    Refusal::error(400, &format!("Invalid request body{detail}"))
}

/// Decodes `%XX`; `None` when an escape is cut short or the result is not UTF-8.
pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let high = char::from(rest.next()?).to_digit(16)?;
        let low = char::from(rest.next()?).to_digit(16)?;
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}

fn form_decode(text: &str) -> Option<String> {
    percent_decode(&text.replace('+', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(query: &str) -> Request {
        Request {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: query.to_owned(),
            fields: Vec::new(),
            body: None,
            peer: IpAddr::from([127, 0, 0, 1]),
        }
    }

    #[test]
    fn query_parameters_are_decoded() {
        let request = request("vault=a%2Db&reveal=true&x=1+2&bad=%zz&empty");
        assert_eq!(request.query("vault").as_deref(), Some("a-b"));
        assert_eq!(request.query("x").as_deref(), Some("1 2"));
        assert_eq!(request.query("empty").as_deref(), Some(""));
        assert_eq!(request.query("bad"), None);
        assert_eq!(request.query("none"), None);
    }
}
