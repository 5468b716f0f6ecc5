//! What a token endpoint is asked, and what its answer means (RFC 6749 §4.1.3, §5, §6).
//!
//! Of an answer that is no success only the status and a registered error code are kept: its text is
//! the provider's, may repeat what it was sent, and would be shown to agents.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::Url;
use crate::secret::Secret;
use crate::vault::substitute::Encoding;

/// Error codes of RFC 6749 §4.1.2.1 and §5.2, which say what is wrong and nothing else.
const ERROR_CODES: [&str; 9] = [
    "access_denied",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
];

/// How a client proves to the endpoint who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// The secret is sent as HTTP Basic.
    Basic,
    /// The secret is a field of the form.
    #[default]
    Post,
}

impl ClientAuth {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "client_secret_basic" => Some(Self::Basic),
            "client_secret_post" => Some(Self::Post),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
        }
    }
}

/// An OAuth client, as its endpoint knows it.
#[derive(Clone, Debug)]
pub struct Client {
    pub token_url: Url,
    pub client_id: String,
    /// A public client has none.
    pub client_secret: Option<Secret>,
    pub auth: ClientAuth,
    /// Separated by spaces; empty when none are asked for.
    pub scope: String,
}

/// What tokens are asked for with.
#[derive(Debug)]
pub enum Grant<'g> {
    Code {
        code: &'g Secret,
        redirect_uri: &'g str,
        /// The PKCE verifier, unless PKCE is off.
        verifier: Option<&'g str>,
    },
    Refresh(&'g Secret),
}

/// A form ready to be posted.
#[derive(Debug)]
pub struct Call {
    pub url: Url,
    pub authorization: Option<Secret>,
    pub form: Secret,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub body: Zeroizing<Vec<u8>>,
}

/// Tokens that were granted.
#[derive(Debug)]
pub struct Granted {
    pub access_token: Secret,
    pub refresh_token: Option<Secret>,
    pub expires_in: Option<Duration>,
}

/// Why there are no tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The endpoint could not be asked, or gave no whole answer.
    Unanswered(String),
    /// It answered with another status than success.
    Refused { status: u16, code: Option<&'static str> },
    /// It answered with success and without an access token.
    NoToken { code: Option<&'static str> },
}

impl Client {
    /// The call that asks for tokens.
    pub fn call(&self, grant: &Grant<'_>) -> Call {
        let mut form = Form(Vec::with_capacity(4096));
        match grant {
            Grant::Code { code, redirect_uri, verifier } => {
                form.push("grant_type", b"authorization_code");
                form.push("code", code.expose());
                form.push("redirect_uri", redirect_uri.as_bytes());
                if let Some(verifier) = verifier {
                    form.push("code_verifier", verifier.as_bytes());
                }
            }
            Grant::Refresh(token) => {
                form.push("grant_type", b"refresh_token");
                form.push("refresh_token", token.expose());
                if !self.scope.is_empty() {
                    form.push("scope", self.scope.as_bytes());
                }
            }
        }
        form.push("client_id", self.client_id.as_bytes());
        let mut authorization = None;
        match (&self.client_secret, self.auth) {
            (Some(secret), ClientAuth::Post) => form.push("client_secret", secret.expose()),
            (Some(secret), ClientAuth::Basic) => {
                let pair = Secret::new([self.client_id.as_bytes(), b":", secret.expose()].concat());
                authorization = Some(Secret::from(format!("Basic {}", STANDARD.encode(pair.expose()))));
            }
            (None, _) => {}
        }
        Call { url: self.token_url.clone(), authorization, form: Secret::new(form.0) }
    }
}

/// A form being written.
struct Form(Vec<u8>);

impl Form {
    fn push(&mut self, name: &str, value: &[u8]) {
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.0.extend_from_slice(Encoding::Query.encode(&Secret::new(value.to_vec())).expose());
    }
}

impl Answer {
    /// Reads the tokens out of the answer.
    pub fn into_tokens(self) -> Result<Granted, Fault> {
        #[derive(Default, Deserialize)]
        struct Body {
            access_token: Option<String>,
            refresh_token: Option<String>,
            expires_in: Option<Value>,
            error: Option<Value>,
        }
        let body: Body = serde_json::from_slice(&self.body).unwrap_or_default();
        let secret = |text: Option<String>| text.filter(|text| !text.is_empty()).map(Secret::from);
        let code = body.error.as_ref().and_then(Value::as_str).and_then(known_code);
        match (self.status, secret(body.access_token)) {
            (200..=299, Some(access_token)) => Ok(Granted {
                access_token,
                refresh_token: secret(body.refresh_token),
                expires_in: body.expires_in.as_ref().and_then(lifetime),
            }),
            (200..=299, None) => Err(Fault::NoToken { code }),
            (status, _) => Err(Fault::Refused { status, code }),
        }
    }
}

/// The code, if it is a registered one.
pub fn known_code(text: &str) -> Option<&'static str> {
    ERROR_CODES.into_iter().find(|known| *known == text)
}

/// Seconds as a number, or as the text some providers write; none, zero or less is unknown.
fn lifetime(value: &Value) -> Option<Duration> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|span| span.as_secs() > 0)
}

impl Fault {
    /// Whether asking again the same way cannot help.
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Refused { status: 400..=499, .. } if !self.is_status(408) && !self.is_status(429))
    }

    fn is_status(&self, expected: u16) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == expected)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self {
            Self::Unanswered(cause) => return write!(f, "oauth: token endpoint: {cause}"),
            Self::Refused { status, code } => {
                write!(f, "oauth: token endpoint returned {status}")?;
                code
            }
            Self::NoToken { code } => {
                f.write_str("oauth: token endpoint gave no access token")?;
                code
            }
        };
        code.map_or(Ok(()), |code| write!(f, ": {code}"))
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(secret: Option<&str>, auth: ClientAuth) -> Client {
        Client {
            token_url: Url::parse("https://id.example.com/token").unwrap(),
            client_id: "id 1".to_owned(),
            client_secret: secret.map(Secret::from),
            auth,
            scope: "read write".to_owned(),
        }
    }

    fn shown(call: &Call) -> (&str, Option<&str>) {
        let authorization = call.authorization.as_ref().map(|value| value.expose_str().unwrap());
        (call.form.expose_str().unwrap(), authorization)
    }

    #[test]
    fn the_secret_goes_where_the_method_says_and_nowhere_else() {
        let token = Secret::from("r&1");
        let refresh = |secret, auth| client(secret, auth).call(&Grant::Refresh(&token));
        let form = "grant_type=refresh_token&refresh_token=r%261&scope=read+write&client_id=id+1";
        let post = format!("{form}&client_secret=s%3D");
        assert_eq!(shown(&refresh(Some("s="), ClientAuth::Post)), (post.as_str(), None));
        assert_eq!(shown(&refresh(Some("s="), ClientAuth::Basic)), (form, Some("Basic aWQgMTpzPQ==")));
        for auth in [ClientAuth::Post, ClientAuth::Basic] {
            assert_eq!(shown(&refresh(None, auth)), (form, None));
        }
    }

    #[test]
    fn a_code_is_exchanged_with_its_verifier() {
        let code = Secret::from("c/1");
        let grant =
            |verifier| Grant::Code { code: &code, redirect_uri: "http://b/v1/oauth/callback", verifier };
        let client = client(None, ClientAuth::Post);
        let form =
            "grant_type=authorization_code&code=c%2F1&redirect_uri=http%3A%2F%2Fb%2Fv1%2Foauth%2Fcallback";
        assert_eq!(shown(&client.call(&grant(None))).0, format!("{form}&client_id=id+1"));
        let with_verifier = format!("{form}&code_verifier=v&client_id=id+1");
        assert_eq!(shown(&client.call(&grant(Some("v")))).0, with_verifier);
    }

    fn tokens(status: u16, body: &str) -> Result<(String, Option<String>, Option<u64>), String> {
        let answer = Answer { status, body: Zeroizing::new(body.as_bytes().to_vec()) };
        let text = |secret: &Secret| secret.expose_str().unwrap().to_owned();
        let granted = answer.into_tokens().map_err(|fault| fault.to_string())?;
        let lifetime = granted.expires_in.map(|span| span.as_secs());
        Ok((text(&granted.access_token), granted.refresh_token.as_ref().map(text), lifetime))
    }

    #[test]
    fn answers_are_read_as_json_and_nothing_else() {
        let granted =
            |refresh: Option<&str>, lifetime| Ok(("a".to_owned(), refresh.map(str::to_owned), lifetime));
        for (body, expected) in [
            (r#"{"access_token":"a","refresh_token":"r","expires_in":3600}"#, granted(Some("r"), Some(3600))),
            (r#"{"access_token":"a","expires_in":"60"}"#, granted(None, Some(60))),
            (r#"{"access_token":"a","refresh_token":"","expires_in":0}"#, granted(None, None)),
            (r#"{"access_token":"a","expires_in":-5,"x":[]}"#, granted(None, None)),
            (r#"{"access_token":"a","expires_in":1e300}"#, granted(None, None)),
        ] {
            assert_eq!(tokens(200, body), expected, "{body}");
        }
        let none = Err("oauth: token endpoint gave no access token".to_owned());
        for body in ["", "access_token=a", "[]", r#"{"access_token":""}"#, r#"{"access_token":5}"#] {
            assert_eq!(tokens(200, body), none, "{body}");
        }
    }

    #[test]
    fn of_a_refusal_only_what_is_registered_is_repeated() {
        for (status, body, text) in [
            (
                400,
                r#"{"error":"invalid_grant","error_description":"token r1"}"#,
                "returned 400: invalid_grant",
            ),
            (400, r#"{"error":"token r1 is bad"}"#, "returned 400"),
            (500, "<html>r1</html>", "returned 500"),
            (302, r#"{"access_token":"a"}"#, "returned 302"),
            (200, r#"{"error":"invalid_client"}"#, "gave no access token: invalid_client"),
        ] {
            assert_eq!(tokens(status, body), Err(format!("oauth: token endpoint {text}")));
        }
    }

    #[test]
    fn case_143_most_of_4xx_is_permanent() {
        for (status, is_permanent) in
            [(400, true), (401, true), (403, true), (408, false), (429, false), (500, false), (503, false)]
        {
            assert_eq!(Fault::Refused { status, code: None }.is_permanent(), is_permanent, "{status}");
        }
        assert!(!Fault::Unanswered(String::new()).is_permanent());
        assert!(!Fault::NoToken { code: None }.is_permanent());
    }
}
