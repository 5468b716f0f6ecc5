//! The path as rules see it: decoded once, dot segments resolved.
//!
//! Two servers may read `/a/%2e%2e/b` in two ways; a rule that guards `/b` has to see `/b`. Every escape
//! is decoded once, except an encoded slash, which stays encoded and never separates segments; then `.`
//! and `..` are resolved (RFC 3986 §5.2.4). A path that would change under a second pass is ambiguous
//! and is refused, as is one whose dots lead somewhere only for some servers: behind an encoded slash, a
//! backslash, or in front of a segment's parameters. What goes upstream is the path as the client sent it.

/// The path cannot be judged: it is escaped twice, an escape is broken, or its dots are in disguise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

/// Normalises a raw path without its query.
pub fn normalise(raw: &str) -> Result<Vec<u8>, Ambiguous> {
    let decoded = decode(raw.as_bytes())?;
    if decoded.split(|&b| b == b'/').any(hides_dots) { Err(Ambiguous) } else { Ok(resolve_dots(&decoded)) }
}

/// Whether some server sees a dot segment in this segment: one that decodes slashes, takes a backslash for
/// one, or cuts parameters off (`..;x`).
fn hides_dots(segment: &[u8]) -> bool {
    let is_dots = |part: &[u8]| matches!(part, b"." | b"..");
    !is_dots(segment)
        && parts(segment).any(|part| is_dots(part.split(|&b| b == b';').next().unwrap_or_default()))
}

/// A segment's parts between encoded slashes and backslashes.
fn parts(segment: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(segment);
    std::iter::from_fn(move || {
        let text = rest?;
        let at = (0..text.len()).find(|&at| text[at] == b'\\' || text[at..].starts_with(b"%2F"));
        let (part, behind) = text.split_at(at.unwrap_or(text.len()));
        rest = at.map(|_| behind.strip_prefix(b"\\").unwrap_or_else(|| behind.get(3..).unwrap_or_default()));
        Some(part)
    })
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
            ("/a%2F..b%2F...", "/a%2F..b%2F..."),
            ("/a;..;b/c\\d", "/a;..;b/c\\d"),
            ("/caf%C3%A9", "/café"),
            ("/100%25", "/100%"),
        ] {
            assert_eq!(normalise(raw).as_deref(), Ok(seen.as_bytes()), "{raw}");
        }
    }

    #[test]
    fn dots_in_disguise_are_refused() {
        for raw in [
            "/a%2F..%2Fb",
            "/a/..%2fb",
            "/a/%2e%2e%2Fb",
            "/a%2F.",
            "/a/..\\b",
            "/a\\..",
            "/a/%5c../b",
            "/a/..;/b",
            "/a/.;x=y/b",
            "/a/..%3b/b",
        ] {
            assert_eq!(normalise(raw), Err(Ambiguous), "{raw}");
        }
    }

    #[test]
    fn what_is_escaped_twice_is_refused() {
        for raw in ["/a/%252e%252e/b", "/a%252Fb", "/%2541", "/%25%34%31", "/%", "/%4", "/%zz"] {
            assert_eq!(normalise(raw), Err(Ambiguous), "{raw}");
        }
    }
}
