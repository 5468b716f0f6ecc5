//! The `auth` object: read, checked, printed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::template::{self, Part};
use super::{Auth, Invalid, PER_CONNECTION, is_credential_key};

const SUPPORTED: &str = "bearer, basic, api-key, custom, passthrough, query, aws-sigv4";

/// The object as it was written; empty texts count as absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, expecting = "an auth object")]
pub(super) struct Draft {
    r#type: Option<String>,
    token: Option<String>,
    username: Option<String>,
    password: Option<String>,
    key: Option<String>,
    header: Option<String>,
    prefix: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    param: Option<String>,
    access_key: Option<String>,
    secret_key: Option<String>,
    session_token: Option<String>,
}

impl Draft {
    /// Checks type, required fields, foreign fields, then each value.
    pub(super) fn check(self) -> Result<Auth, Invalid> {
        let kind = self.r#type.clone().unwrap_or_default();
        // The fields of the type, and how many of the first it cannot do without.
        let (allowed, required): (&[&str], usize) = match kind.as_str() {
            "bearer" => (&["token"], 1),
            "basic" => (&["username", "password"], 1),
            "api-key" => (&["key", "header", "prefix"], 1),
            "custom" => (&["headers"], 1),
            "passthrough" => (&[], 0),
            "query" => (&["key", "param"], 2),
            "aws-sigv4" => (&["access_key", "secret_key", "session_token"], 2),
            "" => return Err(Invalid::new(format!("type is required (supported: {SUPPORTED})"))),
            other => {
                return Err(Invalid::new(format!("unsupported type {other:?} (supported: {SUPPORTED})")));
            }
        };
        let present = self.present();
        if let Some(missing) = allowed[..required].iter().find(|field| !present.contains(*field)) {
            return Err(Invalid::new(format!("{missing:?} is required for {kind} auth")));
        }
        if let Some(foreign) = present.iter().find(|field| !allowed.contains(field)) {
            let only = match allowed {
                [] => "no credential fields are permitted".to_owned(),
                _ => format!("only {}", allowed.join(", ")),
            };
            return Err(Invalid::new(format!("unexpected field {foreign:?} for {kind} auth ({only})")));
        }
        self.into_auth(&kind)
    }

    fn present(&self) -> Vec<&'static str> {
        let has = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
        [
            ("token", has(&self.token)),
            ("username", has(&self.username)),
            ("password", has(&self.password)),
            ("key", has(&self.key)),
            ("header", has(&self.header)),
            ("prefix", has(&self.prefix)),
            ("headers", self.headers.as_ref().is_some_and(|headers| !headers.is_empty())),
            ("param", has(&self.param)),
            ("access_key", has(&self.access_key)),
            ("secret_key", has(&self.secret_key)),
            ("session_token", has(&self.session_token)),
        ]
        .into_iter()
        .filter_map(|(name, is_present)| is_present.then_some(name))
        .collect()
    }

    /// Builds the checked form; required fields are known to be there.
    fn into_auth(self, kind: &str) -> Result<Auth, Invalid> {
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        match kind {
            "bearer" => Ok(Auth::Bearer { token: credential("token", self.token)? }),
            "basic" => Ok(Auth::Basic {
                username: credential("username", self.username)?,
                password: some(self.password).map(|key| credential("password", Some(key))).transpose()?,
            }),
            "api-key" => {
                let key = credential("key", self.key)?;
                let header = some(self.header);
                header.as_deref().map(check_field_name).transpose()?;
                let prefix = some(self.prefix);
                if prefix.as_deref().is_some_and(has_control) {
                    return Err(Invalid::new("prefix must not contain control characters"));
                }
                Ok(Auth::ApiKey { key, header, prefix })
            }
            "custom" => {
                let headers = self.headers.unwrap_or_default();
                check_custom(&headers)?;
                Ok(Auth::Custom { headers })
            }
            "query" => {
                let key = credential("key", self.key)?;
                let param = self.param.unwrap_or_default();
                check_parameter(&param)?;
                Ok(Auth::Query { key, param })
            }
            "aws-sigv4" => Ok(Auth::AwsSigv4 {
                access_key: credential("access_key", self.access_key)?,
                secret_key: credential("secret_key", self.secret_key)?,
                session_token: some(self.session_token)
                    .map(|key| credential("session_token", Some(key)))
                    .transpose()?,
            }),
            _ => Ok(Auth::Passthrough),
        }
    }
}

fn credential(field: &str, key: Option<String>) -> Result<String, Invalid> {
    let key = key.unwrap_or_default();
    if is_credential_key(&key) {
        Ok(key)
    } else {
        Err(Invalid::new(format!("{field} {key:?} must be UPPER_SNAKE_CASE (e.g. STRIPE_KEY)")))
    }
}

fn check_custom(headers: &BTreeMap<String, String>) -> Result<(), Invalid> {
    let mut seen: Vec<String> = Vec::new();
    for (name, value) in headers {
        check_field_name(name)?;
        let folded = name.to_ascii_lowercase();
        if seen.contains(&folded) {
            return Err(Invalid::new(format!("header name {name:?} listed more than once")));
        }
        seen.push(folded);
        if has_control(value) {
            return Err(Invalid::new(format!("header {name:?} must not contain control characters")));
        }
        for part in template::parts(value) {
            if let Part::Key(key) = part
                && !is_credential_key(key)
            {
                return Err(Invalid::new(format!(
                    "invalid credential key {key:?} in header {name:?} — must be UPPER_SNAKE_CASE"
                )));
            }
        }
    }
    Ok(())
}

/// A parameter's name is written as it is, so it must not need encoding (RFC 3986 §2.3).
fn check_parameter(name: &str) -> Result<(), Invalid> {
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b)) {
        return Ok(());
    }
    Err(Invalid::new(format!(
        "invalid query parameter name {name:?} — only letters, digits and -_.~ allowed"
    )))
}

fn check_field_name(name: &str) -> Result<(), Invalid> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err(Invalid::new(format!(
            "invalid header name {name:?} — only letters, digits, and hyphens allowed"
        )));
    }
    // A credential in place of framing or routing would make a request ambiguous.
    let folded = name.to_ascii_lowercase();
    if folded == "host" || PER_CONNECTION.contains(&folded.as_str()) {
        return Err(Invalid::new(format!(
            "header name {name:?} is written by the proxy itself and cannot carry a credential"
        )));
    }
    Ok(())
}

/// A control character would end the field and start another (RFC 9110 §5.5).
fn has_control(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && c != '\t')
}

impl Auth {
    /// The credential keys it refers to, in order, without repeats.
    pub fn credential_keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = Vec::new();
        match self {
            Self::Bearer { token } => keys.push(token),
            Self::Basic { username, password } => {
                keys.push(username);
                keys.extend(password.as_deref());
            }
            Self::ApiKey { key, .. } => keys.push(key),
            Self::Custom { headers } => {
                for part in headers.values().flat_map(|value| template::parts(value)) {
                    if let Part::Key(key) = part {
                        keys.push(key);
                    }
                }
            }
            Self::Passthrough => {}
            Self::Query { key, .. } => keys.push(key),
            Self::AwsSigv4 { access_key, secret_key, session_token } => {
                keys.extend([access_key.as_str(), secret_key.as_str()]);
                keys.extend(session_token.as_deref());
            }
        }
        super::without_repeats(keys)
    }

    /// The word for its kind.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Bearer { .. } => "bearer",
            Self::Basic { .. } => "basic",
            Self::ApiKey { .. } => "api-key",
            Self::Custom { .. } => "custom",
            Self::Passthrough => "passthrough",
            Self::Query { .. } => "query",
            Self::AwsSigv4 { .. } => "aws-sigv4",
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, text: &str| object.insert(name.to_owned(), text.into());
        put("type", self.type_name());
        match self {
            Self::Bearer { token } => {
                put("token", token);
            }
            Self::Basic { username, password } => {
                put("username", username);
                password.as_deref().map(|password| put("password", password));
            }
            Self::ApiKey { key, header, prefix } => {
                put("key", key);
                header.as_deref().map(|header| put("header", header));
                prefix.as_deref().map(|prefix| put("prefix", prefix));
            }
            Self::Custom { headers } => {
                let headers = headers.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
                object.insert("headers".to_owned(), Value::Object(headers.collect()));
            }
            Self::Passthrough => {}
            Self::Query { key, param } => {
                put("key", key);
                put("param", param);
            }
            Self::AwsSigv4 { access_key, secret_key, session_token } => {
                put("access_key", access_key);
                put("secret_key", secret_key);
                session_token.as_deref().map(|token| put("session_token", token));
            }
        }
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(value: Value) -> Result<Auth, String> {
        serde_json::from_value::<Draft>(value).unwrap().check().map_err(|e| e.to_string())
    }

    #[test]
    fn every_type_reads_and_prints_the_same() {
        for value in [
            json!({"type": "bearer", "token": "A"}),
            json!({"type": "basic", "username": "A", "password": "B_2"}),
            json!({"type": "basic", "username": "A"}),
            json!({"type": "api-key", "key": "K", "header": "x-api-key", "prefix": "Bot "}),
            json!({"type": "api-key", "key": "K"}),
            json!({"type": "custom", "headers": {"X-A": "{{ K }} and {{L}}", "X-B": "literal"}}),
            json!({"type": "passthrough"}),
        ] {
            assert_eq!(check(value.clone()).unwrap().to_json(), value);
        }
    }

    #[test]
    fn refusals_name_the_field() {
        for (value, why) in [
            (
                json!({}),
                "type is required (supported: bearer, basic, api-key, custom, passthrough, query, aws-sigv4)",
            ),
            (
                json!({"type": "oauth"}),
                "unsupported type \"oauth\" (supported: bearer, basic, api-key, custom, passthrough, query, aws-sigv4)",
            ),
            (json!({"type": "bearer"}), "\"token\" is required for bearer auth"),
            (json!({"type": "bearer", "token": ""}), "\"token\" is required for bearer auth"),
            (json!({"type": "basic", "password": "A"}), "\"username\" is required for basic auth"),
            (json!({"type": "api-key"}), "\"key\" is required for api-key auth"),
            (json!({"type": "custom"}), "\"headers\" is required for custom auth"),
            (json!({"type": "custom", "headers": {}}), "\"headers\" is required for custom auth"),
            (
                json!({"type": "bearer", "token": "A", "key": "B"}),
                "unexpected field \"key\" for bearer auth (only token)",
            ),
            (
                json!({"type": "basic", "username": "A", "header": "B"}),
                "unexpected field \"header\" for basic auth (only username, password)",
            ),
            (
                json!({"type": "passthrough", "token": "A"}),
                "unexpected field \"token\" for passthrough auth (no credential fields are permitted)",
            ),
            (
                json!({"type": "bearer", "token": "lower"}),
                "token \"lower\" must be UPPER_SNAKE_CASE (e.g. STRIPE_KEY)",
            ),
            (
                json!({"type": "custom", "headers": {"X Y": "a"}}),
                "invalid header name \"X Y\" — only letters, digits, and hyphens allowed",
            ),
            (
                json!({"type": "api-key", "key": "K", "header": "a:b"}),
                "invalid header name \"a:b\" — only letters, digits, and hyphens allowed",
            ),
            (
                json!({"type": "custom", "headers": {"X": "{{ k }}"}}),
                "invalid credential key \"k\" in header \"X\" — must be UPPER_SNAKE_CASE",
            ),
            (
                json!({"type": "custom", "headers": {"X": "a\r\nY: b"}}),
                "header \"X\" must not contain control characters",
            ),
            (
                json!({"type": "api-key", "key": "K", "prefix": "a\n"}),
                "prefix must not contain control characters",
            ),
            (
                json!({"type": "api-key", "key": "K", "header": "Content-Length"}),
                "header name \"Content-Length\" is written by the proxy itself and cannot carry a credential",
            ),
            (
                json!({"type": "custom", "headers": {"X-a": "1", "x-a": "2"}}),
                "header name \"x-a\" listed more than once",
            ),
        ] {
            assert_eq!(check(value), Err(why.to_owned()));
        }
    }

    #[test]
    fn keys_come_in_order_without_repeats() {
        let auth =
            check(json!({"type": "custom", "headers": {"A": "{{K}}{{L}}", "B": "{{K}}{{M}}"}})).unwrap();
        assert_eq!(auth.credential_keys(), ["K", "L", "M"]);
    }
}
