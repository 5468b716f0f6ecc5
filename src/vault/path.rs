//! The path as rules see it: decoded once, dot segments resolved.
//!
//! Two servers may read `/a/%2e%2e/b` in two ways; a rule that guards `/b` has to see `/b`. Every escape
//! is decoded once, except an encoded slash, which stays encoded and never separates segments; then `.`
//! and `..` are resolved (RFC 3986 §5.2.4). A path that would change under a second pass is ambiguous
//! and is refused. What goes upstream is the path as the client sent it.

/// The path cannot be judged: it is escaped twice, or an escape is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// Normalises a raw path without its query.
pub fn normalise(raw: &str) -> Result<Vec<u8>, Ambiguous> {
    Ok(resolve_dots(&decode(raw.as_bytes())?))
}

fn decode(path: &[u8]) -> Result<Vec<u8>, Ambiguous> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut percent_signs = Vec::new();
    let mut at = 0;
    while at < path.len() {
        if path[at] != b'%' {
            decoded.push(path[at]);
            at += 1;
            continue;
        }
        let digits = path.get(at + 1..at + 3).ok_or(Ambiguous)?;
        match (hex(digits[0]), hex(digits[1])) {
            (Some(0x2), Some(0xf)) => decoded.extend_from_slice(b"%2F"),
            (Some(high), Some(low)) => {
                if (high, low) == (0x2, 0x5) {
                    percent_signs.push(decoded.len());
                }
                decoded.push(high << 4 | low);
            }
            _ => return Err(Ambiguous),
        }
        at += 3;
    }
    // An escaped percent sign in front of two digits would decode again: the path was escaped twice.
    let decodes_again =
        |&at: &usize| decoded.get(at + 1..at + 3).is_some_and(|next| next.iter().all(u8::is_ascii_hexdigit));
    if percent_signs.iter().any(decodes_again) { Err(Ambiguous) } else { Ok(decoded) }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn resolve_dots(path: &[u8]) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    let mut segments = path.split(|&b| b == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." if is_last => kept.push(b""),
            b"." => {}
            b".." => {
                kept.pop();
                if is_last {
                    kept.push(b"");
                }
            }
            other => kept.push(other),
        }
    }
    let mut resolved = vec![b'/'];
    resolved.extend_from_slice(&kept.join(&b'/'));
    resolved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_see_where_a_path_leads() {
        for (raw, seen) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b/", "/a//b/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/%2e%2E/b", "/b"),
            ("/../../etc", "/etc"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/v1/%73ecret", "/v1/secret"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2F..%2Fb", "/a%2F..%2Fb"),
            ("/caf%C3%A9", "/café"),
            ("/100%25", "/100%"),
        ] {
            assert_eq!(normalise(raw).as_deref(), Ok(seen.as_bytes()), "{raw}");
        }
    }

    #[test]
    fn what_is_escaped_twice_is_refused() {
        for raw in ["/a/%252e%252e/b", "/a%252Fb", "/%2541", "/%25%34%31", "/%", "/%4", "/%zz"] {
            assert_eq!(normalise(raw), Err(Ambiguous), "{raw}");
        }
    }
}
