//! The child: which file the command names, and the environment it is started with.
//!
//! The variables are tables, since they are the contract with every client library there is: which ones
//! carry the proxy's URL, which replace a client's roots and which add to them, which would lead around
//! the proxy and are taken away.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use crate::authority::Authority;
use crate::failure::{Exit, Failure};
use crate::secret::Secret;
use crate::sys;

/// Variables that carry the proxy's URL. curl reads `http_proxy` in lower case only; others read only
/// the upper case.
const PROXY_URL: [&str; 5] = ["HTTPS_PROXY", "HTTP_PROXY", "OPENCLAW_PROXY_URL", "https_proxy", "http_proxy"];

/// Variables that list hosts to reach without the proxy.
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

/// Variables whose file *replaces* a client's roots: they get the vault's CA and the public roots.
const REPLACES_ROOTS: [&str; 10] = [
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
];

/// Variables whose file is *added* to a client's roots: they get the vault's CA alone.
const ADDS_ROOTS: [&str; 2] = ["NODE_EXTRA_CA_CERTS", "DENO_CERT"];

/// Variables that would lead around the proxy, or to the token.
const REMOVED: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "GRPC_PROXY", "grpc_proxy", "no_grpc_proxy", "AGENT_VAULT_TOKEN_FILE"];

/// Hosts a client always reaches directly: the relay's own API is one of them.
const LOOPBACK: &str = "localhost,127.0.0.1";

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
    /// Hosts to reach directly beside loopback.
    pub(super) no_proxy: &'a [String],
}

/// Finds the file a command word names (contract A.10).
pub(super) fn resolve(word: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Failure> {
    if word.as_bytes().contains(&b'/') {
        return check(word, Path::new(word));
    }
    let mut refused = None;
    for dir in path.map(std::env::split_paths).into_iter().flatten() {
        // An empty entry means the working directory.
        let candidate = if dir.as_os_str().is_empty() { Path::new(".").join(word) } else { dir.join(word) };
        if word.is_empty() || !candidate.is_file() {
            continue;
        }
        if !sys::process::is_executable(&candidate) {
            refused.get_or_insert(candidate);
        } else if candidate.is_absolute() {
            return Ok(candidate);
        } else {
            return Err(not_found(word).with_hint(format!(
                "PATH leads to {}, which depends on the working directory; name it with a slash to run it",
                candidate.display()
            )));
        }
    }
    match refused {
        Some(candidate) => check(word, &candidate),
        None => Err(not_found(word)),
    }
}

fn check(word: &OsStr, file: &Path) -> Result<PathBuf, Failure> {
    let because = |reason: String| {
        Err(Failure::new(format!("cannot execute {}: {reason}", word.display()))
            .with_exit(Exit::NotExecutable))
    };
    match std::fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(not_found(word)),
        Err(error) => because(error.to_string()),
        Ok(found) if found.is_dir() => because("it is a directory".to_owned()),
        Ok(_) if !sys::process::is_executable(file) => because("permission denied".to_owned()),
        Ok(_) => Ok(file.to_owned()),
    }
}

fn not_found(word: &OsStr) -> Failure {
    Failure::new(format!("command not found: {}", word.display())).with_exit(Exit::NotFound)
}

/// Why a command that was found did not start.
pub(super) fn not_started(word: &OsStr, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("cannot execute {}: {error}", word.display()));
    match error.kind() {
        // No process could be made; the command is not to blame.
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => failure,
        io::ErrorKind::NotFound => failure
            .with_exit(Exit::NotExecutable)
            .with_hint("the file is there; its interpreter or loader is not in this image"),
        _ => failure.with_exit(Exit::NotExecutable),
    }
}

/// The value of a variable in an environment block; the first entry counts, as in C.
pub(super) fn variable<'e>(environment: &'e [OsString], name: &str) -> Option<&'e OsStr> {
    environment.iter().find_map(|entry| {
        let (known, value) = split(entry)?;
        (known == name.as_bytes()).then(|| OsStr::from_bytes(value))
    })
}

/// The child's environment: the inherited one in its order without the names set here, then those.
pub(super) fn environment(inherited: Vec<OsString>, route: &Route<'_>) -> Vec<OsString> {
    let ours = ours(route);
    let is_kept = |entry: &OsString| match split(entry) {
        // An entry without `=` is nobody's variable; it passes through.
        None => true,
        Some((name, _)) => !is_removed(name) && !ours.iter().any(|(known, _)| known.as_bytes() == name),
    };
    let mut environment: Vec<OsString> = inherited.into_iter().filter(is_kept).collect();
    environment.extend(ours.iter().map(|(name, value)| {
        let mut entry = name.as_bytes().to_vec();
        entry.push(b'=');
        entry.extend_from_slice(value.as_bytes());
        OsString::from_vec(entry)
    }));
    environment
}

fn ours(route: &Route<'_>) -> Vec<(&'static str, OsString)> {
    let mut list: Vec<(&str, OsString)> = vec![
        ("AGENT_VAULT_TOKEN", OsStr::from_bytes(route.token.expose()).to_owned()),
        ("AGENT_VAULT_ADDR", route.address.into()),
        ("AGENT_VAULT_VAULT", route.vault.into()),
        ("NODE_USE_ENV_PROXY", "1".into()),
    ];
    let url = proxy_url(route);
    let hosts = no_proxy(route);
    list.extend(PROXY_URL.map(|name| (name, OsString::from(&url))));
    list.extend(NO_PROXY.map(|name| (name, OsString::from(&hosts))));
    list.extend(REPLACES_ROOTS.map(|name| (name, route.bundle.into())));
    list.extend(ADDS_ROOTS.map(|name| (name, route.ca.into())));
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

fn no_proxy(route: &Route<'_>) -> String {
    let host = route.proxy.host();
    let is_new = !LOOPBACK.split(',').any(|known| known == host);
    let mut hosts = LOOPBACK.to_owned();
    // The relay listens on 127.0.0.1; a client that prefers the other loopback address stays local too.
    for more in
        [if is_new { host } else { "::1" }].into_iter().chain(route.no_proxy.iter().map(String::as_str))
    {
        hosts.push(',');
        hosts.push_str(more);
    }
    hosts
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
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn block(entries: &[&str]) -> Vec<OsString> {
        entries.iter().map(OsString::from).collect()
    }

    fn built(inherited: &[&str], proxy: &str, token: &str, vault: &str) -> Vec<String> {
        let route = Route {
            token: &Secret::from(token),
            address: "http://127.0.0.1:9",
            vault,
            proxy: &Authority::parse(proxy).unwrap(),
            bundle: Path::new("/b.pem"),
            ca: Path::new("/ca.pem"),
            no_proxy: &["10.0.0.0/8".to_owned()],
        };
        let entries = environment(block(inherited), &route);
        entries.into_iter().map(|entry| entry.into_string().unwrap()).collect()
    }

    #[test]
    fn each_name_occurs_once_and_the_rest_survives() {
        let stale = [
            "FOO=bar",
            "HTTPS_PROXY=http://corp:3128",
            "https_proxy=http://corp:3128",
            "NO_PROXY=*",
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
        let entries = built(&stale, "127.0.0.1:5", "tok", "v");
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
        for gone in ["ALL_PROXY", "grpc_proxy", "AGENT_VAULT_TOKEN_FILE", "NPM_CONFIG_NOPROXY"] {
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
    fn commands_are_found_as_a_shell_finds_them() {
        let dir = std::env::temp_dir().join(format!("agent-vault-resolve-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let write = |name: &str, mode: u32| {
            let file = dir.join(name);
            std::fs::write(&file, "#!/bin/sh\n").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
            file
        };
        let (good, plain) = (write("good", 0o755), write("plain", 0o644));
        let find = |word: &str, path: Option<&str>| {
            resolve(OsStr::new(word), path.map(OsStr::new)).map_err(|f| (f.message().to_owned(), f.exit()))
        };
        let here = dir.to_str();
        assert_eq!(find("good", here), Ok(good.clone()));
        assert_eq!(find(good.to_str().unwrap(), None), Ok(good));
        let missing = |word: &str| Err((format!("command not found: {word}"), Exit::NotFound));
        for (word, path) in [("nope", here), ("", here), ("good", None), ("good", Some("")), ("/no/x", here)]
        {
            assert_eq!(find(word, path), missing(word), "{word} on {path:?}");
        }
        let refused =
            |word: &str, why: &str| Err((format!("cannot execute {word}: {why}"), Exit::NotExecutable));
        assert_eq!(find("plain", here), refused("plain", "permission denied"));
        let plain = plain.to_str().unwrap();
        assert_eq!(find(plain, None), refused(plain, "permission denied"));
        assert_eq!(find("/tmp", None), refused("/tmp", "it is a directory"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
