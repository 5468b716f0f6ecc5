//! OAuth credentials (contract A.15): pasted tokens, and consent in a person's browser.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::super::Call;
use super::super::caller::{InVault, Who};
use super::super::refusal::{Refusal, Reply};
use super::credentials::{check_key, check_value};
use crate::http1::respond::Answer;
use crate::json::json;
use crate::secret::Secret;
use crate::store::Timestamp;
use crate::store::oauth::{Config, Edit, MANUAL, NewTokens, NotConnected, Record};
use crate::vault::oauth::Url;
use crate::vault::oauth::call::{ClientAuth, Grant, known_code};
use crate::vault::scope::Role;
use crate::vault::substitute::Encoding;

/// Stands for a stored secret where it is shown; sent back, it means that the secret stays.
const BULLETS: &str = "\u{2022}\u{2022}\u{2022}\u{2022}\u{2022}\u{2022}\u{2022}\u{2022}";

#[derive(Deserialize)]
struct Form {
    vault: Option<String>,
    key: Option<String>,
    authorization_url: Option<String>,
    token_url: Option<String>,
    client_id: Option<String>,
    client_secret: Option<Secret>,
    scopes: Option<String>,
    scope_separator: Option<String>,
    disable_pkce: Option<bool>,
    token_auth_method: Option<String>,
    access_token: Option<Secret>,
    refresh_token: Option<Secret>,
}

impl Form {
    fn read(call: &Call<'_>, who: &Who) -> Result<(Self, InVault, String), Refusal> {
        let form: Self = call.request.json()?;
        let key = given(form.key.as_deref()).ok_or_else(|| missing("key"))?.to_owned();
        check_key(&key)?;
        let secrets = [&form.access_token, &form.refresh_token, &form.client_secret];
        for secret in secrets.into_iter().flatten() {
            check_value(&key, secret.expose())?;
        }
        let inside = who.clone().enter_named(call, form.vault.as_deref(), Role::Member)?;
        Ok((form, inside, key))
    }

    fn client_auth(&self) -> Result<Option<ClientAuth>, Refusal> {
        let Some(method) = given(self.token_auth_method.as_deref()) else { return Ok(None) };
        let known = ClientAuth::parse(method)
            .ok_or_else(|| bad("token_auth_method must be client_secret_post or client_secret_basic"))?;
        Ok(Some(known))
    }
}

/// What a form says about a secret: nothing, that it stays, or a new one.
fn edit(secret: Option<&Secret>, absent: Edit) -> Edit {
    match secret.filter(|secret| !secret.is_empty()) {
        None => absent,
        Some(secret) if secret.expose() == BULLETS.as_bytes() => Edit::Keep,
        Some(secret) => Edit::Set(secret.clone()),
    }
}

/// An empty field is an absent one.
fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn bad(text: impl AsRef<str>) -> Refusal {
    Refusal::error(400, text.as_ref())
}

fn missing(field: &str) -> Refusal {
    bad(format!("{field} is required"))
}

fn url(field: &str, text: Option<&str>) -> Result<String, Refusal> {
    let text = given(text).ok_or_else(|| missing(field))?;
    match Url::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(bad(format!("{field} must be an http or https URL"))),
    }
}

/// Stores a configuration and says where to send a person for consent.
pub(super) fn connect(call: &Call<'_>, who: &Who) -> Reply {
    let (form, inside, key) = Form::read(call, who)?;
    let authorization_url = url("authorization_url", form.authorization_url.as_deref())?;
    let config = Config {
        authorization_url: Some(authorization_url.clone()),
        token_url: url("token_url", form.token_url.as_deref())?,
        client_id: given(form.client_id.as_deref()).ok_or_else(|| missing("client_id"))?.to_owned(),
        scopes: given(form.scopes.as_deref()).map(str::to_owned),
        scope_separator: given(form.scope_separator.as_deref()).unwrap_or(" ").to_owned(),
        disable_pkce: form.disable_pkce.unwrap_or(false),
        client_auth: form.client_auth()?.unwrap_or_default(),
    };
    let secret = edit(form.client_secret.as_ref(), Edit::Clear);
    let redirect_uri = format!("{}/v1/oauth/callback", call.api.settings.base_url);
    let place = (inside.vault.id.as_str(), key.as_str());
    let consent = call.store().begin_consent(place, &config, secret, &redirect_uri, call.now)?;
    let mut query = vec![
        ("response_type", "code"),
        ("client_id", &config.client_id),
        ("redirect_uri", &redirect_uri),
        ("state", consent.state.expose_str().unwrap_or_default()),
    ];
    query.extend(config.scopes.as_deref().map(|scopes| ("scope", scopes)));
    if let Some(challenge) = &consent.challenge {
        query.extend([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
    }
    Ok(Answer::json(200, &json!({"authorization_url": with_query(&authorization_url, &query)})))
}

/// Stores pasted tokens. A new refresh token is tried before anything is stored.
pub(super) fn tokens(call: &Call<'_>, who: &Who) -> Reply {
    let (form, inside, key) = Form::read(call, who)?;
    let new = |secret: &Option<Secret>| match edit(secret.as_ref(), Edit::Keep) {
        Edit::Set(secret) => Some(secret),
        Edit::Keep | Edit::Clear => None,
    };
    let (access_token, refresh_token) = (new(&form.access_token), new(&form.refresh_token));
    if access_token.is_none() && refresh_token.is_none() {
        return Err(bad("access_token or refresh_token is required"));
    }
    let store = call.store();
    let stored = store.oauth_record(&inside.vault.id, &key)?.map(|record| record.config);
    let config = pasted_config(&form, stored.as_ref())?;
    let client_secret = edit(form.client_secret.as_ref(), Edit::Keep);
    let mut tokens = NewTokens {
        config: &config,
        client_secret,
        access_token: Secret::from(""),
        refresh_token: Edit::Keep,
        expires_at: None,
    };
    match (access_token, refresh_token) {
        (access_token, Some(refresh_token)) if config.token_url != MANUAL => {
            let is_same = stored.is_some_and(|stored| stored.token_url == config.token_url);
            let secret = match &tokens.client_secret {
                Edit::Set(secret) => Some(secret.clone()),
                Edit::Keep if is_same => store.oauth_client_secret(&inside.vault.id, &key)?,
                Edit::Keep | Edit::Clear => None,
            };
            let client = config.client(secret).ok_or_else(|| missing("token_url"))?;
            let granted = store
                .ask_for_tokens(&client, &Grant::Refresh(&refresh_token))
                .map_err(|fault| bad(format!("The refresh token was not accepted: {fault}")))?;
            // The one that was sent along is older than the one that has just been granted.
            drop(access_token);
            tokens.access_token = granted.access_token;
            tokens.refresh_token = Edit::Set(granted.refresh_token.unwrap_or(refresh_token));
            tokens.expires_at = granted.expires_in.map(|span| call.now.plus(span));
        }
        (Some(access_token), refresh_token) => {
            tokens.access_token = access_token;
            tokens.refresh_token = refresh_token.map_or(Edit::Keep, Edit::Set);
        }
        (None, _) => return Err(bad("token_url is required to use a refresh_token")),
    }
    store.set_oauth_tokens(&inside.vault.id, &key, tokens, call.now)?;
    Ok(Answer::json(200, &json!({"connected": true, "connected_at": call.now.rfc3339()})))
}

/// The configuration pasted tokens are stored with: what the form says, else what is stored.
fn pasted_config(form: &Form, stored: Option<&Config>) -> Result<Config, Refusal> {
    let mut config = stored.cloned().unwrap_or_else(|| Config {
        authorization_url: None,
        token_url: MANUAL.to_owned(),
        client_id: MANUAL.to_owned(),
        scopes: None,
        scope_separator: " ".to_owned(),
        disable_pkce: false,
        client_auth: ClientAuth::default(),
    });
    match given(form.token_url.as_deref()) {
        None => {}
        Some(MANUAL) => MANUAL.clone_into(&mut config.token_url),
        text => config.token_url = url("token_url", text)?,
    }
    if let Some(client_id) = given(form.client_id.as_deref()) {
        client_id.clone_into(&mut config.client_id);
    }
    if let Some(client_auth) = form.client_auth()? {
        config.client_auth = client_auth;
    }
    Ok(config)
}

pub(super) fn status(call: &Call<'_>, who: &Who) -> Reply {
    let key = call.request.query("key").filter(|key| !key.is_empty()).ok_or_else(|| missing("key"))?;
    let vault = call.request.query("vault");
    let inside = who.clone().enter_named(call, vault.as_deref(), Role::Member)?;
    let Some(record) = call.store().oauth_record(&inside.vault.id, &key)? else {
        return Err(Refusal::error(404, &format!("Credential {key:?} not found")));
    };
    let mut body = Map::new();
    body.insert("connected".to_owned(), record.connected_at.is_some().into());
    let connected_at = record.connected_at.map(|at| at.rfc3339().into());
    let optional = [("connected_at", connected_at), ("last_error", record.last_error.map(Value::from))];
    body.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    Ok(Answer::json(200, &Value::Object(body)))
}

/// Where a provider sends the person back to. Whoever comes is known by the state alone.
pub(super) fn callback(call: &Call<'_>) -> Reply {
    let state = call.request.query("state").map(Secret::from).unwrap_or_else(|| Secret::from(""));
    let Some(returned) = call.store().take_consent(&state, call.now)? else {
        return Ok(completed(
            call,
            ("", ""),
            Err("This link is unknown, used already or older than 10 minutes"),
        ));
    };
    let place = (returned.vault_name.as_str(), returned.key.as_str());
    let code = call.request.query("code").filter(|code| !code.is_empty()).map(Secret::from);
    let Some(code) = code else {
        // What the provider says is shown only where it is one of the registered codes.
        let error = call.request.query("error").unwrap_or_default();
        let why = known_code(&error).unwrap_or("The provider gave no authorization code");
        return Ok(completed(call, place, Err(why)));
    };
    let outcome = match call.store().connect(&returned, &code)? {
        Ok(()) => Ok(()),
        Err(NotConnected::Fault(fault)) => Err(fault.to_string()),
        Err(NotConnected::Changed) => {
            Err("The credential was changed meanwhile; connect it again".to_owned())
        }
    };
    Ok(completed(call, place, outcome.as_ref().copied().map_err(String::as_str)))
}

/// Sends the browser on to the page that tells how it went.
fn completed(call: &Call<'_>, (vault, key): (&str, &str), outcome: Result<(), &str>) -> Answer {
    let (status, message) = match outcome {
        Ok(()) => ("success", ""),
        Err(message) => ("error", message),
    };
    let page = format!("{}/oauth/complete", call.api.settings.base_url);
    let query = [("status", status), ("vault", vault), ("key", key), ("message", message)];
    let fields = vec![("Location", with_query(&page, &query)), ("Cache-Control", "no-store".to_owned())];
    Answer { status: 302, fields, body: Vec::new() }
}

/// Tells how it went in plain words, with nothing in it that came with the request.
pub(super) fn complete(call: &Call<'_>) -> Reply {
    let text = match call.request.query("status").as_deref() {
        Some("success") => "Connected. You can close this window.",
        _ => "Not connected. Close this window and try again; the credential's status says why.",
    };
    Ok(Answer::text(200, text).with("Cache-Control", "no-store"))
}

/// Adds parameters to a URL that may have some.
fn with_query(url: &str, pairs: &[(&str, &str)]) -> String {
    let mut separator = if url.contains('?') { '&' } else { '?' };
    let mut out = url.to_owned();
    for (name, value) in pairs {
        let value = Encoding::Query.encode(&Secret::from(*value));
        out.push_str(&format!("{separator}{name}={}", value.expose_str().unwrap_or_default()));
        separator = '&';
    }
    out
}

/// What a list of credentials shows of an OAuth one.
pub(super) fn describe(record: &Record, entry: &mut Map<String, Value>) {
    let bullets = |is_there: bool| is_there.then(|| BULLETS.into());
    let Config { authorization_url, token_url, client_id, scopes, client_auth, .. } = &record.config;
    let moment = |at: Option<Timestamp>| at.map(|at| at.rfc3339().into());
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let fields: [(&str, Option<Value>); 11] = [
        ("connected_at", moment(record.connected_at)),
        ("last_refreshed_at", moment(record.last_refreshed_at)),
        ("last_refresh_error", text(&record.last_error)),
        ("authorization_url", text(authorization_url)),
        ("token_url", Some(token_url.as_str().into())),
        ("client_id", Some(client_id.as_str().into())),
        ("scopes", text(scopes)),
        ("client_secret", bullets(record.has_client_secret)),
        ("token_auth_method", Some(client_auth.as_str().into())),
        ("access_token", bullets(record.connected_at.is_some())),
        ("refresh_token", bullets(record.has_refresh_token)),
    ];
    entry.extend(fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
}
