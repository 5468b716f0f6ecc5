//! Auth type and credentials become the header fields to set (contract D.3).
//!
//! Done once when a snapshot is compiled, not per request: the result is ready to be written, or says
//! why it cannot be.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::service::template::{self, Part};
use super::service::{Auth, Service};
use super::sigv4::Keys;
use super::substitute::Encoding;
use crate::secret::Secret;

/// A field whose slot the service owns: whatever the client sent under this name is removed.
#[derive(Clone, Debug)]
pub struct InjectedField {
    pub name: String,
    pub value: Secret,
}

/// Why nothing can be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttachError {
    /// A credential the service names does not exist or cannot be opened.
    CredentialNotFound(String),
    /// An OAuth credential was configured and never connected: it has no access token.
    NotConnected(String),
    /// The value cannot stand in a header field: it has a line break or a control byte.
    UnsafeValue(String),
}

/// What a service attaches to a request.
#[derive(Debug)]
pub enum Attachment {
    Fields(Vec<InjectedField>),
    /// One query parameter; whatever the client sent under this name is removed. The value is encoded.
    Query {
        name: String,
        value: Secret,
    },
    /// The request is signed with these keys.
    Signature(Keys),
}

impl Default for Attachment {
    fn default() -> Self {
        Self::Fields(Vec::new())
    }
}

/// What the service attaches, ready to be written.
pub fn attachment(
    service: &Service,
    credentials: &HashMap<String, Secret>,
) -> Result<Attachment, AttachError> {
    let secret = |key: &String| {
        credentials.get(key).cloned().ok_or_else(|| AttachError::CredentialNotFound(key.clone()))
    };
    match &service.auth {
        Auth::Query { key, param } => {
            Ok(Attachment::Query { name: param.clone(), value: Encoding::Query.encode(&secret(key)?) })
        }
        Auth::AwsSigv4 { access_key, secret_key, session_token } => {
            // Two of the three are written into fields as they are.
            let shown = |key: &String| {
                let value = secret(key)?;
                let is_safe = is_field_safe(value.expose()) && value.expose_str().is_some();
                if is_safe { Ok(value) } else { Err(AttachError::UnsafeValue(key.clone())) }
            };
            Ok(Attachment::Signature(Keys {
                access_key: shown(access_key)?,
                secret_key: secret(secret_key)?,
                session_token: session_token.as_ref().map(shown).transpose()?,
            }))
        }
        _ => fields(service, credentials).map(Attachment::Fields),
    }
}

fn fields(
    service: &Service,
    credentials: &HashMap<String, Secret>,
) -> Result<Vec<InjectedField>, AttachError> {
    let value = |key: &String| {
        credentials.get(key).map(Secret::expose).ok_or_else(|| AttachError::CredentialNotFound(key.clone()))
    };
    let field = |name: &str, value: Vec<u8>| {
        if !is_field_safe(&value) {
            return Err(AttachError::UnsafeValue(name.to_owned()));
        }
        Ok(InjectedField { name: name.to_owned(), value: Secret::new(value) })
    };
    match &service.auth {
        Auth::Passthrough | Auth::Query { .. } | Auth::AwsSigv4 { .. } => Ok(Vec::new()),
        Auth::Bearer { token } => Ok(vec![field("Authorization", [b"Bearer ", value(token)?].concat())?]),
        Auth::Basic { username, password } => {
            let password = password.as_ref().map_or(Ok(&[][..]), value)?;
            let pair = Secret::new([value(username)?, b":", password].concat());
            let encoded = STANDARD.encode(pair.expose());
            Ok(vec![field("Authorization", format!("Basic {encoded}").into_bytes())?])
        }
        Auth::ApiKey { key, header, prefix } => {
            let name = header.as_deref().unwrap_or("Authorization");
            let prefix = prefix.as_deref().unwrap_or_default();
            Ok(vec![field(name, [prefix.as_bytes(), value(key)?].concat())?])
        }
        Auth::Custom { headers } => {
            headers.iter().map(|(name, template)| field(name, fill(template, value)?)).collect()
        }
    }
}

/// Whether a value can stand in a field without ending it (RFC 9110 §5.5).
pub(super) fn is_field_safe(value: &[u8]) -> bool {
    value.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

/// Fills a template in one pass; what is filled in is not looked at again.
fn fill<'c>(
    template: &str,
    value: impl Fn(&String) -> Result<&'c [u8], AttachError>,
) -> Result<Vec<u8>, AttachError> {
    let mut filled = Vec::new();
    for part in template::parts(template) {
        match part {
            Part::Literal(text) => filled.extend_from_slice(text.as_bytes()),
            Part::Key(key) => filled.extend_from_slice(value(&key.to_owned())?),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::vault::service::HostPattern;

    fn credentials() -> HashMap<String, Secret> {
        let credentials = [("TOKEN", "s3cret"), ("KEY", "key123"), ("TENANT", "42"), ("LINE", "a\nb")];
        credentials.map(|(key, value)| (key.to_owned(), Secret::from(value))).into()
    }

    fn service(auth: Auth) -> Service {
        Service {
            name: "s".to_owned(),
            host: HostPattern::Exact("a.com".to_owned()),
            port: None,
            path: String::new(),
            enabled: None,
            auth,
            substitutions: Vec::new(),
        }
    }

    fn attached(auth: Auth) -> Result<Vec<(String, String)>, AttachError> {
        let found = fields(&service(auth), &credentials())?;
        Ok(found.into_iter().map(|f| (f.name, f.value.expose_str().unwrap().to_owned())).collect())
    }

    fn one(name: &str, value: &str) -> Result<Vec<(String, String)>, AttachError> {
        Ok(vec![(name.to_owned(), value.to_owned())])
    }

    fn custom(template: &str) -> Auth {
        Auth::Custom { headers: BTreeMap::from([("X-Custom".to_owned(), template.to_owned())]) }
    }

    #[test]
    fn each_type_has_its_form() {
        let key = || "KEY".to_owned();
        assert_eq!(
            attached(Auth::Bearer { token: "TOKEN".to_owned() }),
            one("Authorization", "Bearer s3cret")
        );
        let alone = Auth::Basic { username: key(), password: None };
        assert_eq!(attached(alone), one("Authorization", "Basic a2V5MTIzOg=="));
        let both = Auth::Basic { username: key(), password: Some("TOKEN".to_owned()) };
        assert_eq!(attached(both), one("Authorization", "Basic a2V5MTIzOnMzY3JldA=="));
        let header =
            Auth::ApiKey { key: key(), header: Some("X-API-Key".to_owned()), prefix: Some("sk_".to_owned()) };
        assert_eq!(attached(header), one("X-API-Key", "sk_key123"));
        let plain = Auth::ApiKey { key: key(), header: None, prefix: None };
        assert_eq!(attached(plain), one("Authorization", "key123"));
        assert_eq!(attached(Auth::Passthrough), Ok(Vec::new()));
    }

    #[test]
    fn templates_are_filled_in_one_pass() {
        for (template, value) in [
            ("acme-{{ TENANT }}", "acme-42"),
            ("{{TENANT}}{{ KEY }}", "42key123"),
            ("{{ not a key }} {{TENANT}}", "{{ not a key }} 42"),
            ("{{{TENANT}}}", "{42}"),
            ("no slot", "no slot"),
            ("é{{TENANT}}é", "é42é"),
            ("{{", "{{"),
        ] {
            assert_eq!(attached(custom(template)), one("X-Custom", value), "{template}");
        }
    }

    #[test]
    fn what_cannot_be_attached_says_why() {
        let missing = attached(Auth::Bearer { token: "NOPE".to_owned() });
        assert_eq!(missing, Err(AttachError::CredentialNotFound("NOPE".to_owned())));
        let aws = |access_key: &str, session_token: Option<&str>| {
            let service = Service {
                auth: Auth::AwsSigv4 {
                    access_key: access_key.to_owned(),
                    secret_key: "LINE".to_owned(),
                    session_token: session_token.map(str::to_owned),
                },
                ..service(Auth::Passthrough)
            };
            attachment(&service, &credentials()).map(drop)
        };
        let line = || Err(AttachError::UnsafeValue("LINE".to_owned()));
        assert_eq!([aws("LINE", None), aws("KEY", Some("LINE")), aws("KEY", None)], [line(), line(), Ok(())]);
        let unsafe_value = attached(Auth::Bearer { token: "LINE".to_owned() });
        assert_eq!(unsafe_value, Err(AttachError::UnsafeValue("Authorization".to_owned())));
    }
}
