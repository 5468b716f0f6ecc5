//! One credential a proposal fills or removes.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::text;
use crate::secret::Secret;
use crate::vault::oauth::Url;
use crate::vault::oauth::call::ClientAuth;
use crate::vault::service::{Invalid, is_credential_key};

/// Longest texts, in characters (contract F.3).
const MAX_DESCRIPTION_CHARS: usize = 500;
const MAX_OBTAIN_CHARS: usize = 500;
const MAX_INSTRUCTIONS_CHARS: usize = 1000;

/// A credential, and what is to become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub key: String,
    pub description: String,
    /// Where a person gets a value, and how.
    pub obtain: String,
    pub obtain_instructions: String,
    pub filling: Filling,
}

/// What comes into a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filling {
    /// The credential is removed.
    Nothing,
    /// A value: the agent's, if it brought one, or the reviewer's.
    Value { has_value: bool },
    /// A configuration; a person connects the account afterwards.
    Oauth(OauthClient),
}

/// How the tokens of an account will be obtained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OauthClient {
    pub authorization_url: Option<String>,
    pub token_url: String,
    pub client_id: Option<String>,
    pub scopes: Option<String>,
    pub scope_separator: Option<String>,
    pub disable_pkce: bool,
    pub token_auth_method: Option<ClientAuth>,
}

/// A slot as it was written; empty texts count as absent.
#[derive(Default, Deserialize)]
#[serde(default, expecting = "a credential object")]
pub(super) struct Draft {
    action: Option<String>,
    key: Option<String>,
    r#type: Option<String>,
    description: Option<String>,
    obtain: Option<String>,
    obtain_instructions: Option<String>,
    value: Option<Secret>,
    /// Ours, in what is stored; from an agent it means nothing.
    has_value: Option<bool>,
    oauth: Option<OauthDraft>,
}

#[derive(Default, Deserialize)]
#[serde(default, expecting = "an oauth object")]
struct OauthDraft {
    authorization_url: Option<String>,
    token_url: Option<String>,
    client_id: Option<String>,
    scopes: Option<String>,
    scope_separator: Option<String>,
    disable_pkce: Option<bool>,
    token_auth_method: Option<String>,
}

/// Reads back what [`Slot::to_json`] printed.
pub(super) fn from_stored(json: &str) -> Result<Vec<Slot>, Invalid> {
    let drafts: Vec<Draft> =
        serde_json::from_str(json).map_err(|error| Invalid::new(format!("stored credentials: {error}")))?;
    let slots = drafts.into_iter().map(|draft| {
        let is_filled = draft.has_value == Some(true);
        let (mut slot, _) = draft.check()?;
        if let Filling::Value { has_value } = &mut slot.filling {
            *has_value = is_filled;
        }
        Ok(slot)
    });
    slots.collect()
}

impl Draft {
    /// Checks the slot against the rules of F.3; beside it stands the value it came with.
    pub(super) fn check(self) -> Result<(Slot, Option<Secret>), Invalid> {
        // An empty value is none.
        let value = self.value.filter(|value| !value.is_empty());
        let key = self.key.unwrap_or_default();
        if !is_credential_key(&key) {
            return Err(Invalid::new(format!("key {key:?} must be UPPER_SNAKE_CASE (e.g. STRIPE_KEY)")));
        }
        let kind = self.r#type.unwrap_or_default();
        let has_value = value.is_some();
        let filling = match (self.action.as_deref(), kind.as_str()) {
            (Some("delete"), _) if has_value => {
                return Err(Invalid::new("value is not allowed for action delete"));
            }
            (Some("delete"), _) => Filling::Nothing,
            (Some("set"), "" | "static") => Filling::Value { has_value },
            (Some("set"), "oauth") if has_value => {
                return Err(Invalid::new("value is not allowed for type oauth"));
            }
            (Some("set"), "oauth") => {
                let oauth = self.oauth.ok_or_else(|| Invalid::new("oauth is required for type oauth"))?;
                Filling::Oauth(oauth.check().map_err(|invalid| invalid.within("oauth"))?)
            }
            (Some("set"), other) => {
                return Err(Invalid::new(format!("unknown type {other:?} (static or oauth)")));
            }
            _ => return Err(Invalid::new("action must be \"set\" or \"delete\"")),
        };
        let obtain = text("obtain", self.obtain, MAX_OBTAIN_CHARS)?;
        if !obtain.is_empty() && !is_web_link(&obtain) {
            return Err(Invalid::new("obtain must be an http or https URL"));
        }
        let slot = Slot {
            key,
            description: text("description", self.description, MAX_DESCRIPTION_CHARS)?,
            obtain,
            obtain_instructions: text(
                "obtain_instructions",
                self.obtain_instructions,
                MAX_INSTRUCTIONS_CHARS,
            )?,
            filling,
        };
        Ok((slot, value))
    }
}

impl OauthDraft {
    fn check(self) -> Result<OauthClient, Invalid> {
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let url = |field: &str, text: Option<String>| match given(text) {
            Some(text) if Url::parse(&text).is_none() => {
                Err(Invalid::new(format!("{field} must be an http or https URL")))
            }
            other => Ok(other),
        };
        let token_auth_method = match given(self.token_auth_method) {
            None => None,
            Some(method) => Some(ClientAuth::parse(&method).ok_or_else(|| {
                Invalid::new("token_auth_method must be client_secret_post or client_secret_basic")
            })?),
        };
        Ok(OauthClient {
            authorization_url: url("authorization_url", self.authorization_url)?,
            token_url: url("token_url", self.token_url)?
                .ok_or_else(|| Invalid::new("token_url is required"))?,
            client_id: given(self.client_id),
            scopes: given(self.scopes),
            scope_separator: given(self.scope_separator),
            disable_pkce: self.disable_pkce.unwrap_or(false),
            token_auth_method,
        })
    }
}

impl Slot {
    pub fn is_deletion(&self) -> bool {
        self.filling == Filling::Nothing
    }

    /// The slot as clients read it: never with a value.
    pub fn to_json(&self) -> Value {
        let texts = [
            ("description", &self.description),
            ("obtain", &self.obtain),
            ("obtain_instructions", &self.obtain_instructions),
        ];
        let (action, kind) = match &self.filling {
            Filling::Nothing => ("delete", None),
            Filling::Value { .. } => ("set", Some("static")),
            Filling::Oauth(_) => ("set", Some("oauth")),
        };
        let mut object = Map::new();
        object.insert("action".to_owned(), action.into());
        object.insert("key".to_owned(), self.key.as_str().into());
        object.extend(kind.map(|kind| ("type".to_owned(), kind.into())));
        let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
        object.extend(texts.map(|(name, text)| (name.to_owned(), text.as_str().into())));
        match &self.filling {
            Filling::Nothing => {}
            Filling::Value { has_value } => drop(object.insert("has_value".to_owned(), (*has_value).into())),
            Filling::Oauth(client) => drop(object.insert("oauth".to_owned(), client.to_json())),
        }
        Value::Object(object)
    }
}

impl OauthClient {
    fn to_json(&self) -> Value {
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        let fields = [
            ("authorization_url", text(&self.authorization_url)),
            ("token_url", Some(self.token_url.as_str().into())),
            ("client_id", text(&self.client_id)),
            ("scopes", text(&self.scopes)),
            ("scope_separator", text(&self.scope_separator)),
            ("disable_pkce", self.disable_pkce.then_some(Value::Bool(true))),
            ("token_auth_method", self.token_auth_method.map(|method| method.as_str().into())),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }
}

/// Whether a text is a link a person can open: http or https, with a host. It is never called from here, so
/// it may have a fragment.
fn is_web_link(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
        && !host.is_empty()
        && !host.starts_with(':')
        && !text.chars().any(|c| c.is_control() || c.is_whitespace())
}
