//! Where an answer sends a client instead, and whether the token goes along.
//!
//! A redirect is followed by hand because the client library keeps the `Authorization` field for every
//! port of a host name, and what listens on another port is not the broker. Here an origin is scheme,
//! host and port (RFC 6454 §4).

use ureq::http;
use ureq::http::Uri;

/// Redirects followed, as existing clients do.
pub(super) const MAX_REDIRECTS: usize = 3;

/// The place a redirect names, if it names one that can be asked.
pub(super) fn next(from: &Uri, status: http::StatusCode, fields: &http::HeaderMap) -> Option<Uri> {
    if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = fields.get("location")?.to_str().ok()?;
    let location = location.split('#').next().unwrap_or_default();
    let absolute = if location.starts_with('/') && !location.starts_with("//") {
        format!("{}://{}{location}", from.scheme_str()?, from.authority()?)
    } else {
        location.to_owned()
    };
    let uri: Uri = absolute.parse().ok()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    (is_web && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

/// Whether both are of one origin.
pub(super) fn is_same_origin(a: &Uri, b: &Uri) -> bool {
    let origin = |uri: &Uri| {
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Some((scheme, uri.host()?.to_ascii_lowercase(), port))
    };
    origin(a).is_some_and(|one| origin(b) == Some(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_path_or_a_web_address() {
        let from: Uri = "http://broker:14321/discover".parse().unwrap();
        let named = |location: &str, status: u16| {
            let fields = [("location".parse().unwrap(), location.parse().unwrap())].into_iter().collect();
            next(&from, status.try_into().unwrap(), &fields).map(|uri| uri.to_string())
        };
        assert_eq!(named("/x?y#z", 301).as_deref(), Some("http://broker:14321/x?y"));
        assert_eq!(named("https://other/x", 308).as_deref(), Some("https://other/x"));
        for location in ["//other/x", "x", "ftp://other/x", "", "https://"] {
            assert_eq!(named(location, 302), None, "{location}");
        }
        assert_eq!(named("/x", 200), None);
        assert_eq!(named("/x", 304), None);
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| is_same_origin(&a.parse().unwrap(), &b.parse().unwrap());
        assert!(same("http://a/x", "http://A:80/y"));
        assert!(same("https://a", "https://a:443/"));
        for (a, b) in [
            ("http://a", "https://a"),
            ("http://a:1", "http://a:2"),
            ("http://a:443", "https://a"),
            ("http://a", "http://b"),
        ] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
