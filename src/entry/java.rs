//! The JVM, which reads none of the variables all others read: it is told by options of its own.
//!
//! `JAVA_TOOL_OPTIONS` is taken up by every JVM, whoever starts it. It carries no credential: every JVM
//! prints it, and a JVM would not send one to open a tunnel anyway. Its trust store replaces the JVM's
//! own, so it holds the public roots, too.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use crate::authority::Authority;

pub(super) const VARIABLE: &str = "JAVA_TOOL_OPTIONS";

/// The options for a child that reaches all but these hosts through the proxy.
pub(super) fn options(proxy: &Authority, direct: &[String], keystore: &Path) -> OsString {
    let (host, port) = (proxy.host(), proxy.port());
    let mut options = format!(
        "-Dhttp.proxyHost={host} -Dhttp.proxyPort={port} -Dhttps.proxyHost={host} -Dhttps.proxyPort={port} \
         -Dhttp.nonProxyHosts={} -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStore=",
        direct.iter().filter_map(|host| pattern(host)).collect::<Vec<_>>().join("|")
    )
    .into_bytes();
    // The JVM splits at spaces, and takes what stands between double quotes as it is.
    let is_plain = !keystore.as_os_str().as_bytes().iter().any(u8::is_ascii_whitespace);
    let quote: &[u8] = if is_plain { b"" } else { b"\"" };
    for part in [quote, keystore.as_os_str().as_bytes(), quote] {
        options.extend_from_slice(part);
    }
    OsString::from_vec(options)
}

/// An entry of `NO_PROXY` as the JVM writes it: a name with a star at one end. It knows no networks but
/// those that end at a dot, and compares no ports.
fn pattern(entry: &str) -> Option<String> {
    if let Some((network, bits)) = entry.split_once('/') {
        let octets = network.parse::<Ipv4Addr>().ok()?.octets();
        let kept = match bits {
            "8" => 1,
            "16" => 2,
            "24" => 3,
            "32" => return Some(network.to_owned()),
            _ => return None,
        };
        return Some(octets[..kept].iter().map(|octet| format!("{octet}.")).collect::<String>() + "*");
    }
    let name = match entry.rsplit_once(':') {
        // An IPv6 address stands in brackets, as in a URL.
        Some((before, _)) if before.contains(':') && !entry.starts_with('[') => format!("[{entry}]"),
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name.to_owned(),
        _ => entry.to_owned(),
    };
    // A name may hold nothing that ends the option or the list.
    let is_plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.*:[]".contains(&b));
    is_plain.then(|| if name.starts_with('.') { format!("*{name}") } else { name })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_written_as_the_jvm_reads_them() {
        for (entry, expected) in [
            ("localhost", Some("localhost")),
            (".svc", Some("*.svc")),
            ("*.corp.example", Some("*.corp.example")),
            ("10.0.0.0/8", Some("10.*")),
            ("192.168.0.0/16", Some("192.168.*")),
            ("10.1.2.0/24", Some("10.1.2.*")),
            ("10.1.2.3/32", Some("10.1.2.3")),
            ("10.0.0.0/9", None),
            ("fd00::/8", None),
            ("db:5432", Some("db")),
            ("::1", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("[::1]:80", Some("[::1]")),
            ("a|b", None),
            ("a\"b", None),
        ] {
            assert_eq!(pattern(entry).as_deref(), expected, "{entry}");
        }
    }

    #[test]
    fn a_path_with_a_space_is_quoted() {
        let proxy = Authority::parse("127.0.0.1:5").unwrap();
        let direct = ["localhost".to_owned(), ".svc".to_owned()];
        assert_eq!(
            options(&proxy, &direct, Path::new("/a b/roots.p12")),
            "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=5 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=5 \
             -Dhttp.nonProxyHosts=localhost|*.svc -Djavax.net.ssl.trustStoreType=PKCS12 \
             -Djavax.net.ssl.trustStore=\"/a b/roots.p12\""
        );
    }
}
