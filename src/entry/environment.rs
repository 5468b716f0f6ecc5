//! The environment the child is started with.
//!
//! The variables are tables, since they are the contract with every client library there is: which ones
//! carry the proxy's URL, which replace a client's roots and which add to them, which would lead around
//! the proxy and are taken away. What is changed is a value of its own, so that it can be shown to a
//! person without starting anything; secrets are hidden in what is shown.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;

use serde_json::{Map, Value};

use super::bypass::Bypass;
use super::java;
use crate::authority::Authority;
use crate::json::json;
use crate::secret::Secret;

/// Variables that carry the proxy's URL. curl reads `http_proxy` in lower case only; others read only
/// the upper case.
const PROXY_URL: [&str; 5] = ["HTTPS_PROXY", "HTTP_PROXY", "OPENCLAW_PROXY_URL", "https_proxy", "http_proxy"];

/// Variables that list hosts to reach without the proxy.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Variables whose file *replaces* a client's roots: they get the vault's CA and the public roots.
pub(super) const REPLACES_ROOTS: [&str; 13] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "AWS_CA_BUNDLE",
    "PIP_CERT",
    "CARGO_HTTP_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "BUNDLE_SSL_CA_CERT",
    "HEX_CACERTS_PATH",
    "PERL_LWP_SSL_CA_FILE",
];

/// Variables whose file is *added* to a client's roots: they get the vault's CA alone.
pub(super) const ADDS_ROOTS: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// Variables that would lead around the proxy, or to the token.
const REMOVED: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "GRPC_PROXY", "grpc_proxy", "no_grpc_proxy", "AGENT_VAULT_TOKEN_FILE"];

/// What no credential key may set, whatever the broker says: names that decide how programs start.
const NO_PLACEHOLDER: [&str; 3] = ["PATH", "HOME", "IFS"];

/// What stands for a secret where one is hidden.
const HIDDEN: &str = "***";

/// What the child is told about its way out.
pub(super) struct Route<'a> {
    /// The credential in the proxy URL and in `AGENT_VAULT_TOKEN`.
    pub(super) token: &'a Secret,
    /// The control API, as `AGENT_VAULT_ADDR`.
    pub(super) address: &'a str,
    pub(super) vault: &'a str,
    pub(super) proxy: &'a Authority,
    /// The vault's CA and the public roots.
    pub(super) bundle: &'a Path,
    /// The vault's CA alone.
    pub(super) ca: &'a Path,
    /// The CA and the public roots as the JVM reads them.
    pub(super) keystore: &'a Path,
    pub(super) bypass: &'a Bypass,
    /// Variables, and what the child finds in them, if it would find nothing.
    pub(super) placeholders: &'a [(String, String)],
}

/// The value of a variable in an environment block; the first entry counts, as in C.
pub(super) fn variable<'e>(environment: &'e [OsString], name: &str) -> Option<&'e OsStr> {
    environment.iter().find_map(|entry| {
        let (known, value) = split(entry)?;
        (known == name.as_bytes()).then(|| OsStr::from_bytes(value))
    })
}

/// Variables for credential keys: an SDK that insists on a key finds one and starts. What it sends is
/// replaced on the way.
pub(super) fn placeholders(keys: &[String]) -> Vec<(String, String)> {
    let is_wanted = |key: &&String| {
        is_portable(key) && !key.starts_with("LD_") && !NO_PLACEHOLDER.contains(&key.as_str())
    };
    keys.iter().filter(is_wanted).map(|key| (key.clone(), placeholder(key))).collect()
}

/// What stands for the value of a credential key (design 1.A).
pub(super) fn placeholder(key: &str) -> String {
    format!("__{}__", key.to_ascii_lowercase())
}

/// Whether every shell and runtime takes it for the name of a variable.
fn is_portable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What the child's environment has that ours has not, and the other way round.
pub struct Changes {
    set: Vec<Set>,
    /// Names that are there now and will not be.
    removed: Vec<OsString>,
}

struct Set {
    name: String,
    value: OsString,
    /// What a person is shown in its place.
    shown: Option<String>,
}

impl Changes {
    pub(super) fn new(inherited: &[OsString], route: &Route<'_>) -> Self {
        let set = set(inherited, route);
        let names = inherited.iter().filter_map(split).map(|(name, _)| name);
        let mut removed: Vec<OsString> = Vec::new();
        for name in names.filter(|name| is_removed(name)) {
            let name = OsStr::from_bytes(name);
            if !removed.iter().any(|known| known == name) {
                removed.push(name.to_owned());
            }
        }
        Self { set, removed }
    }

    /// The child's environment: the inherited one in its order without the names set here, then those.
    pub(super) fn apply(&self, inherited: Vec<OsString>) -> Vec<OsString> {
        let is_kept = |entry: &OsString| match split(entry) {
            // An entry without `=` is nobody's variable; it passes through.
            None => true,
            Some((name, _)) => !is_removed(name) && !self.set.iter().any(|ours| ours.name.as_bytes() == name),
        };
        let mut environment: Vec<OsString> = inherited.into_iter().filter(is_kept).collect();
        environment.extend(self.set.iter().map(|Set { name, value, .. }| {
            let mut entry = name.as_bytes().to_vec();
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            OsString::from_vec(entry)
        }));
        environment
    }

    /// One line each: `NAME=value` for what is set, `unset NAME` for what is removed.
    pub fn lines(&self) -> String {
        let set = self.set.iter().map(|set| format!("{}={}\n", set.name, set.shown()));
        let removed = self.removed.iter().map(|name| format!("unset {}\n", name.to_string_lossy()));
        set.chain(removed).collect()
    }

    /// The same for programs: an object `set` and a list `removed`.
    pub fn json(&self) -> Value {
        let set: Map<String, Value> =
            self.set.iter().map(|set| (set.name.clone(), set.shown().into())).collect();
        let removed: Vec<_> = self.removed.iter().map(|name| name.to_string_lossy()).collect();
        json!({ "set": set, "removed": removed })
    }
}

impl Set {
    fn shown(&self) -> String {
        self.shown.clone().unwrap_or_else(|| self.value.to_string_lossy().into_owned())
    }
}

fn set(inherited: &[OsString], route: &Route<'_>) -> Vec<Set> {
    let mut list: Vec<Set> = Vec::new();
    let mut put = |name: &str, value: OsString, shown: Option<String>| {
        list.push(Set { name: name.to_owned(), value, shown });
    };
    put("AGENT_VAULT_TOKEN", OsStr::from_bytes(route.token.expose()).to_owned(), Some(HIDDEN.to_owned()));
    put("AGENT_VAULT_ADDR", route.address.into(), None);
    put("AGENT_VAULT_VAULT", route.vault.into(), None);
    put("NODE_USE_ENV_PROXY", "1".into(), None);
    let url = proxy_url(route);
    let hidden = format!("http://{HIDDEN}@{}", route.proxy);
    let hosts = route.bypass.hosts(route.proxy);
    for name in PROXY_URL {
        put(name, url.clone().into(), Some(hidden.clone()));
    }
    for name in NO_PROXY {
        put(name, hosts.join(",").into(), None);
    }
    for name in REPLACES_ROOTS {
        put(name, route.bundle.into(), None);
    }
    for name in ADDS_ROOTS {
        put(name, route.ca.into(), None);
    }
    let options = java::options(route.proxy, &hosts, route.keystore);
    match variable(inherited, java::VARIABLE).filter(|own| !own.is_empty()) {
        // What the operator says there may hold a password. The last word counts, and it is ours.
        Some(own) => {
            let merged = [own.as_bytes(), b" ", options.as_bytes()].concat();
            put(java::VARIABLE, OsString::from_vec(merged), Some(format!("{HIDDEN} {}", options.display())));
        }
        None => put(java::VARIABLE, options, None),
    }
    // A key that has the name of one of ours stays with its client: ours decide where calls go.
    for (name, value) in route.placeholders {
        let is_ours = is_removed(name.as_bytes())
            || name.starts_with("AGENT_VAULT_")
            || list.iter().any(|set| set.name == *name);
        if !is_ours && variable(inherited, name).is_none_or(OsStr::is_empty) {
            list.push(Set { name: name.clone(), value: value.into(), shown: None });
        }
    }
    list
}

/// The proxy's URL, token and vault in its user information (contract A.9).
fn proxy_url(route: &Route<'_>) -> String {
    let mut url = String::from("http://");
    encode(route.token.expose(), &mut url);
    url.push(':');
    encode(route.vault.as_bytes(), &mut url);
    url.push('@');
    url.push_str(&route.proxy.to_string());
    url
}

/// Percent-encodes what is not allowed in user information as existing clients write it.
fn encode(bytes: &[u8], out: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,;=".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn is_removed(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    REMOVED.iter().any(|known| known.as_bytes() == name)
        // npm reads its settings from variables of either case: proxy, https_proxy, noproxy.
        || (lower.starts_with(b"npm_config_") && lower.ends_with(b"proxy"))
}

fn split(entry: &OsString) -> Option<(&[u8], &[u8])> {
    let bytes = entry.as_bytes();
    let at = bytes.iter().position(|&b| b == b'=')?;
    Some((&bytes[..at], &bytes[at + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(entries: &[&str]) -> Vec<OsString> {
        entries.iter().map(OsString::from).collect()
    }

    fn changes(inherited: &[&str], proxy: &str, token: &str, vault: &str) -> Changes {
        let route = Route {
            token: &Secret::from(token),
            address: "http://127.0.0.1:9",
            vault,
            proxy: &Authority::parse(proxy).unwrap(),
            bundle: Path::new("/b.pem"),
            ca: Path::new("/ca.pem"),
            keystore: Path::new("/k.p12"),
            bypass: &Bypass::read(Some("10.0.0.0/8"), |_| None).unwrap(),
            placeholders: &[
                ("STRIPE_KEY".to_owned(), "__stripe_key__".to_owned()),
                ("HTTPS_PROXY".to_owned(), "__https_proxy__".to_owned()),
                ("ALL_PROXY".to_owned(), "__all_proxy__".to_owned()),
                ("AGENT_VAULT_CA_DIR".to_owned(), "__agent_vault_ca_dir__".to_owned()),
            ],
        };
        Changes::new(&block(inherited), &route)
    }

    fn built(inherited: &[&str], proxy: &str, token: &str, vault: &str) -> Vec<String> {
        let entries = changes(inherited, proxy, token, vault).apply(block(inherited));
        entries.into_iter().map(|entry| entry.into_string().unwrap()).collect()
    }

    const STALE: [&str; 16] = [
        "FOO=bar",
        "HTTPS_PROXY=http://corp:3128",
        "https_proxy=http://corp:3128",
        "NO_PROXY=corp",
        "SSL_CERT_FILE=/etc/corp.pem",
        "AGENT_VAULT_TOKEN=old",
        "AGENT_VAULT_ADDR=http://old",
        "AGENT_VAULT_VAULT=old",
        "AGENT_VAULT_TOKEN_FILE=/run/secrets/token",
        "ALL_PROXY=socks5://corp",
        "all_proxy=socks5://corp",
        "grpc_proxy=http://corp",
        "npm_config_https_proxy=http://corp",
        "NPM_CONFIG_NOPROXY=x",
        "no equals sign",
        "EMPTY=",
    ];

    #[test]
    fn each_name_occurs_once_and_the_rest_survives() {
        let entries = built(&STALE, "127.0.0.1:5", "tok", "v");
        assert_eq!(entries[..3], ["FOO=bar", "no equals sign", "EMPTY="]);
        let names: Vec<&str> = entries.iter().filter_map(|entry| Some(entry.split_once('=')?.0)).collect();
        let mut unique = names.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        let value = |name: &str| {
            variable(&block(&entries.iter().map(String::as_str).collect::<Vec<_>>()), name)
                .map(OsStr::to_owned)
        };
        for name in PROXY_URL {
            assert_eq!(value(name), Some("http://tok:v@127.0.0.1:5".into()));
        }
        for name in NO_PROXY {
            assert_eq!(value(name), Some("localhost,127.0.0.1,::1,10.0.0.0/8".into()));
        }
        assert_eq!(value("SSL_CERT_FILE"), Some("/b.pem".into()));
        assert_eq!(value("NODE_EXTRA_CA_CERTS"), Some("/ca.pem".into()));
        assert_eq!(value("AGENT_VAULT_TOKEN"), Some("tok".into()));
        assert_eq!(value("STRIPE_KEY"), Some("__stripe_key__".into()));
        for gone in
            ["ALL_PROXY", "grpc_proxy", "AGENT_VAULT_TOKEN_FILE", "NPM_CONFIG_NOPROXY", "AGENT_VAULT_CA_DIR"]
        {
            assert_eq!(value(gone), None, "{gone}");
        }
    }

    #[test]
    fn the_proxy_url_is_encoded_as_existing_clients_do() {
        let entries = built(&[], "[::1]:14322", "t/k n", "a@b $&+,;=");
        assert!(entries.contains(&"HTTPS_PROXY=http://t%2Fk%20n:a%40b%20$&+,;=@[::1]:14322".to_owned()));
        assert!(entries.contains(&"NO_PROXY=localhost,127.0.0.1,::1,10.0.0.0/8".to_owned()));
        let entries = built(&[], "broker.internal:14322", "t", "v");
        assert!(entries.contains(&"NO_PROXY=localhost,127.0.0.1,broker.internal,10.0.0.0/8".to_owned()));
    }

    #[test]
    fn what_is_shown_hides_every_secret() {
        let inherited = [&STALE[..], &["JAVA_TOOL_OPTIONS=-Dkey.password=hunter2"]].concat();
        let shown = changes(&inherited, "127.0.0.1:5", "tok-secret", "v");
        let json = shown.json();
        for text in [shown.lines(), json.to_string()] {
            for secret in ["tok-secret", "hunter2", "corp:3128"] {
                assert!(!text.contains(secret), "{secret} in:\n{text}");
            }
        }
        let lines = shown.lines();
        for line in [
            "AGENT_VAULT_TOKEN=***",
            "HTTPS_PROXY=http://***@127.0.0.1:5",
            "STRIPE_KEY=__stripe_key__",
            "unset AGENT_VAULT_TOKEN_FILE",
            "unset NPM_CONFIG_NOPROXY",
        ] {
            assert!(lines.lines().any(|known| known == line), "no {line} in:\n{lines}");
        }
        assert!(lines.contains("\nJAVA_TOOL_OPTIONS=*** -D"), "{lines}");
        assert_eq!(json["set"]["NO_PROXY"], "localhost,127.0.0.1,::1,10.0.0.0/8");
        assert_eq!(json["removed"][0], "AGENT_VAULT_TOKEN_FILE");
    }

    #[test]
    fn a_key_that_steers_programs_gets_no_placeholder() {
        let keys = ["API_KEY", "PATH", "LD_PRELOAD", "a-b", "9X", ""].map(str::to_owned);
        assert_eq!(placeholders(&keys), [("API_KEY".to_owned(), "__api_key__".to_owned())]);
    }

    #[test]
    fn a_placeholder_takes_no_value_away() {
        let stripe = |entry: &str| {
            let entries = built(&[entry], "127.0.0.1:5", "t", "v");
            entries.into_iter().filter(|entry| entry.starts_with("STRIPE_KEY")).collect::<Vec<_>>()
        };
        assert_eq!(stripe("STRIPE_KEY=mine"), ["STRIPE_KEY=mine"]);
        for without in ["STRIPE_KEY=", "OTHER="] {
            assert_eq!(stripe(without), ["STRIPE_KEY=__stripe_key__"]);
        }
    }
}
