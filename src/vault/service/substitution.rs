//! Substitutions: which placeholder is replaced by which credential, and where.

use serde::Deserialize;
use serde_json::Value;

use super::{Invalid, Substitution, Surface, is_credential_key};
use crate::json::json;

/// What every placeholder error recommends.
const CONVENTION: &str = "(recommended convention: __name__)";

/// Shorter ones would match by accident.
const MIN_PLACEHOLDER_BYTES: usize = 4;

/// The surfaces of a substitution that names none.
const DEFAULT_SURFACES: &[Surface] = &[Surface::Path, Surface::Query];

/// The object as it was written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, expecting = "a substitution object")]
pub(super) struct Draft {
    key: Option<String>,
    placeholder: Option<String>,
    r#in: Option<Vec<String>>,
}

/// Checks a service's list; the error names the entry.
pub(super) fn check_list(drafts: Vec<Draft>) -> Result<Vec<Substitution>, Invalid> {
    let mut checked: Vec<Substitution> = Vec::with_capacity(drafts.len());
    for (at, draft) in drafts.into_iter().enumerate() {
        let substitution = draft.check().map_err(|invalid| invalid.within(format!("substitution {at}")))?;
        if let Some(first) = checked.iter().position(|other| other.placeholder == substitution.placeholder) {
            return Err(Invalid::new(format!(
                "substitution {at}: placeholder {:?} already declared by substitution {first}",
                substitution.placeholder
            )));
        }
        checked.push(substitution);
    }
    Ok(checked)
}

impl Draft {
    fn check(self) -> Result<Substitution, Invalid> {
        let key = self.key.unwrap_or_default();
        if key.is_empty() {
            return Err(Invalid::new("\"key\" is required"));
        }
        if !is_credential_key(&key) {
            return Err(Invalid::new(format!(
                "auth: key {key:?} must be UPPER_SNAKE_CASE (e.g. STRIPE_KEY)"
            )));
        }
        let placeholder = self.placeholder.unwrap_or_default();
        check_placeholder(&placeholder)?;
        let surfaces = check_surfaces(&self.r#in.unwrap_or_default())?;
        Ok(Substitution { key, placeholder, surfaces })
    }
}

fn check_placeholder(text: &str) -> Result<(), Invalid> {
    let refuse = |why: String| Err(Invalid::new(format!("placeholder {text:?} {why} {CONVENTION}")));
    if text.is_empty() {
        return Err(Invalid::new(format!("\"placeholder\" is required {CONVENTION}")));
    }
    if text.len() < MIN_PLACEHOLDER_BYTES {
        return refuse(format!("is too short — must be at least {MIN_PLACEHOLDER_BYTES} characters"));
    }
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-.~".contains(c);
    if let Some(c) = text.chars().find(|c| !is_allowed(*c)) {
        return refuse(format!(
            "contains disallowed character {c:?} — only RFC 3986 unreserved characters \
             [A-Za-z0-9_-.~] are permitted"
        ));
    }
    if !text.bytes().any(|b| b.is_ascii_alphanumeric()) {
        return refuse("must contain at least one alphanumeric character".to_owned());
    }
    if !text.contains("__") && !text.contains(['-', '.', '~']) {
        return refuse(
            "must contain a delimiter — either \"__\" or a character outside [A-Za-z0-9_] — \
             to avoid matching legitimate URL words"
                .to_owned(),
        );
    }
    Ok(())
}

fn check_surfaces(names: &[String]) -> Result<Vec<Surface>, Invalid> {
    let mut surfaces = Vec::new();
    for name in names {
        let Some(surface) = Surface::parse(name) else {
            return Err(Invalid::new(format!(
                "invalid substitution surface {name:?} — must be one of path, query, header, body, websocket"
            )));
        };
        if surfaces.contains(&surface) {
            return Err(Invalid::new(format!("substitution surface {name:?} listed more than once")));
        }
        surfaces.push(surface);
    }
    Ok(if surfaces.is_empty() { DEFAULT_SURFACES.to_vec() } else { surfaces })
}

impl Surface {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "path" => Self::Path,
            "query" => Self::Query,
            "header" => Self::Header,
            "body" => Self::Body,
            "websocket" => Self::Websocket,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Body => "body",
            Self::Websocket => "websocket",
        }
    }
}

impl Substitution {
    pub(super) fn to_json(&self) -> Value {
        let surfaces: Vec<_> = self.surfaces.iter().map(|surface| surface.as_str()).collect();
        json!({"key": self.key, "placeholder": self.placeholder, "in": surfaces})
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value) -> Result<Vec<Substitution>, String> {
        check_list(serde_json::from_value(value).unwrap()).map_err(|e| e.to_string())
    }

    #[test]
    fn accepted_ones_read_and_print_the_same() {
        for placeholder in ["__bot_token__", "tok-1", "a.b.c", "abc~"] {
            let value = json!([{"key": "K", "placeholder": placeholder, "in": ["body", "path"]}]);
            let checked = check(value.clone()).unwrap();
            assert_eq!(Value::Array(checked.iter().map(Substitution::to_json).collect()), value);
        }
        let default = check(json!([{"key": "K", "placeholder": "__a__", "in": []}])).unwrap();
        assert_eq!(default[0].surfaces, [Surface::Path, Surface::Query]);
    }

    #[test]
    fn refusals_say_which_and_why() {
        let convention = "(recommended convention: __name__)";
        for (placeholder, why) in [
            ("", format!("\"placeholder\" is required {convention}")),
            ("abc", format!("placeholder \"abc\" is too short — must be at least 4 characters {convention}")),
            (
                "____",
                format!("placeholder \"____\" must contain at least one alphanumeric character {convention}"),
            ),
            (
                "token",
                format!(
                    "placeholder \"token\" must contain a delimiter — either \"__\" or a character outside \
                     [A-Za-z0-9_] — to avoid matching legitimate URL words {convention}"
                ),
            ),
            (
                "a b__c",
                format!(
                    "placeholder \"a b__c\" contains disallowed character ' ' — only RFC 3986 unreserved \
                     characters [A-Za-z0-9_-.~] are permitted {convention}"
                ),
            ),
            (
                "__a/b__",
                format!(
                    "placeholder \"__a/b__\" contains disallowed character '/' — only RFC 3986 unreserved \
                     characters [A-Za-z0-9_-.~] are permitted {convention}"
                ),
            ),
        ] {
            let value = json!([{"key": "K", "placeholder": placeholder}]);
            assert_eq!(check(value), Err(format!("substitution 0: {why}")));
        }
        for (value, why) in [
            (json!([{"placeholder": "__a__"}]), "substitution 0: \"key\" is required"),
            (
                json!([{"key": "k", "placeholder": "__a__"}]),
                "substitution 0: auth: key \"k\" must be UPPER_SNAKE_CASE (e.g. STRIPE_KEY)",
            ),
            (
                json!([{"key": "K", "placeholder": "__a__"}, {"key": "L", "placeholder": "__a__"}]),
                "substitution 1: placeholder \"__a__\" already declared by substitution 0",
            ),
            (
                json!([{"key": "K", "placeholder": "__a__", "in": ["cookie"]}]),
                "substitution 0: invalid substitution surface \"cookie\" — must be one of path, query, \
                 header, body, websocket",
            ),
            (
                json!([{"key": "K", "placeholder": "__a__", "in": ["path", "path"]}]),
                "substitution 0: substitution surface \"path\" listed more than once",
            ),
        ] {
            assert_eq!(check(value), Err(why.to_owned()));
        }
    }
}
