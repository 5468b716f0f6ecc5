//! Who may go on: the target a client names and the token it presents.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::error::Error;
use crate::authority::{Authority, AuthorityError};
use crate::http1::fields::Fields;
use crate::http1::framing::Framing;
use crate::http1::head::RequestHead;
use crate::secret::Secret;
use crate::vault::Scheme;

/// What a client asks the proxy's listener for (contract B.2).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask<'h> {
    Tunnel(Authority),
    /// An absolute-form request: scheme, target, and path with query.
    Forward(Scheme, Authority, &'h str),
}

/// Where the client is. What it says in the clear nobody overhears on loopback, so there, and only there,
/// it may leave the TLS of an `https://` URL to us (design 7; some HTTP libraries do).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Loopback,
    Elsewhere,
}

/// A token and the vault it is meant for, as the client wrote them.
pub(crate) struct Presented {
    pub(crate) token: Secret,
    pub(crate) vault_hint: Option<String>,
}

/// Reads the request line's target.
pub(super) fn ask(head: &RequestHead, peer: Peer) -> Result<Ask<'_>, Error> {
    let target = head.target();
    if head.method() == "CONNECT" {
        Framing::of_request(head).map_err(Error::Malformed)?;
        return Authority::parse(target).map(Ask::Tunnel).map_err(|error| match error {
            AuthorityError::NoPort => Error::NoTargetPort,
            AuthorityError::InvalidHost => Error::InvalidHost,
        });
    }
    let (scheme, authority, path) = absolute(target)?;
    if scheme == Scheme::Https && peer == Peer::Elsewhere {
        return Err(Error::NotAProxyRequest);
    }
    Ok(Ask::Forward(scheme, authority, path))
}

/// Reads a whole URL: scheme, target, path with query.
pub(super) fn absolute(url: &str) -> Result<(Scheme, Authority, &str), Error> {
    let (scheme, rest) = url.split_once("://").ok_or(Error::NotAProxyRequest)?;
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(Error::NotAProxyRequest),
    };
    if rest.contains('#') {
        return Err(Error::NotAProxyRequest);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    // User information is ignored (contract B.4); it ends at the last @.
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if authority.is_empty() {
        return Err(Error::NotAProxyRequest);
    }
    let authority = Authority::parse_or(authority, scheme.default_port()).map_err(|_| Error::InvalidHost)?;
    Ok((scheme, authority, path))
}

/// The path with its query of a request inside a tunnel. An absolute form there cannot move the tunnel:
/// only its path and query count (contract B.3).
pub(super) fn inner_path(head: &RequestHead) -> Result<&str, Error> {
    let target = head.target();
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => &rest[rest.find(['/', '?']).unwrap_or(rest.len())..],
        _ => target,
    };
    let is_path =
        path.is_empty() || path.starts_with(['/', '?']) || (path == "*" && head.method() == "OPTIONS");
    if !is_path || path.contains('#') || head.method() == "CONNECT" {
        return Err(Error::NotAProxyRequest);
    }
    Ok(path)
}

/// Reads `Proxy-Authorization`, or says that it is required.
pub(super) fn presented(fields: &Fields) -> Result<Presented, Error> {
    read_credential(fields).ok_or(Error::AuthorizationRequired)
}

/// Reads `Proxy-Authorization` (contract B.5); the first such field counts. The relay reads it too.
pub(crate) fn read_credential(fields: &Fields) -> Option<Presented> {
    let value = std::str::from_utf8(fields.first("proxy-authorization")?).ok()?;
    let (scheme, value) = value.split_once(' ')?;
    let value = value.trim();
    let presented = if scheme.eq_ignore_ascii_case("bearer") {
        Presented { token: Secret::from(value), vault_hint: None }
    } else if scheme.eq_ignore_ascii_case("basic") {
        basic(value)?
    } else {
        return None;
    };
    Some(presented).filter(|presented| !presented.token.is_empty())
}

fn basic(value: &str) -> Option<Presented> {
    let pair = Secret::new(STANDARD.decode(value).ok()?);
    let text = pair.expose_str()?;
    let (token, vault) = text.split_once(':').unwrap_or((text, ""));
    let vault_hint = (!vault.is_empty()).then(|| vault.to_owned());
    Some(Presented { token: Secret::from(token), vault_hint })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(start: &str, fields: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.parse(format!("{start} HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes(), &mut 0)
            .unwrap()
            .unwrap();
        head
    }

    fn asked_by(peer: Peer, start: &str) -> Result<String, Error> {
        let head = head(start, "");
        ask(&head, peer).map(|ask| match ask {
            Ask::Tunnel(target) => format!("tunnel {target}"),
            Ask::Forward(_, target, path) => format!("{target} {path}"),
        })
    }

    fn asked(start: &str) -> Result<String, Error> {
        asked_by(Peer::Elsewhere, start)
    }

    #[test]
    fn only_a_loopback_client_may_leave_tls_to_us() {
        let start = "POST https://api.example.com/x";
        assert_eq!(asked_by(Peer::Loopback, start).as_deref(), Ok("api.example.com:443 /x"));
        assert_eq!(asked_by(Peer::Elsewhere, start), Err(Error::NotAProxyRequest));
        assert!(asked_by(Peer::Loopback, "GET wss://api.example.com/x").is_err());
    }

    #[test]
    fn targets() {
        for (start, expected) in [
            ("CONNECT api.stripe.com:443", Ok("tunnel api.stripe.com:443")),
            ("CONNECT example.com", Err(Error::NoTargetPort)),
            ("CONNECT .leading:443", Err(Error::InvalidHost)),
            ("GET http://intranet.corp.com/x?y=1", Ok("intranet.corp.com:80 /x?y=1")),
            ("GET HTTP://a.com", Ok("a.com:80 ")),
            ("GET http://a.com?x", Ok("a.com:80 ?x")),
            ("GET http://u:p@a.com:8080/", Ok("a.com:8080 /")),
            ("GET http://[::1]:8080/x", Ok("[::1]:8080 /x")),
            ("GET http://bad_%host/", Err(Error::InvalidHost)),
            ("GET /x", Err(Error::NotAProxyRequest)),
            ("GET http:///x", Err(Error::NotAProxyRequest)),
            ("GET http://a.com/#f", Err(Error::NotAProxyRequest)),
            ("POST https://api.example.com/x", Err(Error::NotAProxyRequest)),
            ("GET file:///etc/passwd", Err(Error::NotAProxyRequest)),
            ("GET ws://a.com/", Err(Error::NotAProxyRequest)),
            ("OPTIONS *", Err(Error::NotAProxyRequest)),
        ] {
            assert_eq!(asked(start), expected.map(str::to_owned), "{start}");
        }
    }

    #[test]
    fn a_tunnel_takes_only_path_and_query() {
        for (start, path) in [
            ("GET /x?y=http://z/", Ok("/x?y=http://z/")),
            ("GET https://evil.example/x?y", Ok("/x?y")),
            ("OPTIONS *", Ok("*")),
            ("GET x", Err(Error::NotAProxyRequest)),
            ("CONNECT a.com:443", Err(Error::NotAProxyRequest)),
        ] {
            assert_eq!(inner_path(&head(start, "")), path, "{start}");
        }
    }

    #[test]
    fn tokens() {
        let read = |value: &str| {
            let fields = format!("Proxy-Authorization: {value}\r\n");
            presented(head("GET /", &fields).fields())
                .ok()
                .map(|p| (p.token.expose_str().unwrap().to_owned(), p.vault_hint.unwrap_or_default()))
        };
        let pair = |token: &str, vault: &str| Some((token.to_owned(), vault.to_owned()));
        let b64 = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert_eq!(read("Bearer av_sess_x"), pair("av_sess_x", ""));
        assert_eq!(read("bearer  av_sess_x"), pair("av_sess_x", ""));
        assert_eq!(read(&b64("av_sess_x")), pair("av_sess_x", ""));
        assert_eq!(read(&b64("av_sess_x:")), pair("av_sess_x", ""));
        assert_eq!(read(&b64("av_agt_x:default")), pair("av_agt_x", "default"));
        for bad in ["Digest x", "Basic not-base64!@#", &b64(":default"), "Bearer ", "Bearer", "Basic YQ", ""]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert!(presented(head("GET /", "").fields()).is_err());
    }
}
