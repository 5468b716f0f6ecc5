//! Slugs: the names of services, vaults and agents, and the name a nameless stored service gets.

use std::collections::HashSet;

use super::Invalid;

const MIN_BYTES: usize = 3;
const MAX_BYTES: usize = 64;

/// Refuses what is not a slug (contract F.1), with the words of contract D.1.
pub fn check(name: &str) -> Result<(), Invalid> {
    let is_slug_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let problem = if name.is_empty() {
        return Err(Invalid::new("name is required"));
    } else if name.len() < MIN_BYTES {
        "must be at least 3 characters"
    } else if name.len() > MAX_BYTES {
        "must be at most 64 characters"
    } else if name.starts_with('-') || name.ends_with('-') {
        "must not start or end with a hyphen"
    } else if name.contains("--") {
        "must not contain consecutive hyphens"
    } else if !name.bytes().all(is_slug_byte) {
        "must contain only lowercase letters, digits, and hyphens"
    } else {
        return Ok(());
    };
    Err(Invalid::new(format!("name {name:?} {problem}")))
}

/// Makes a slug that is not taken from a service's joined host (contract D.1).
pub(super) fn derive(host: &str, port: Option<u16>, path: &str, taken: &HashSet<String>) -> String {
    let port = port.map(|port| port.to_string()).unwrap_or_default();
    let source = format!("{host}{port}{path}").to_ascii_lowercase();
    let mut slug = String::with_capacity(source.len());
    for c in source.chars() {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.truncate(MAX_BYTES);
    let mut slug = slug.trim_end_matches('-').to_owned();
    if slug.is_empty() {
        slug = "svc".to_owned();
    } else if slug.len() < MIN_BYTES {
        slug.push_str("-svc");
    }
    if !taken.contains(&slug) {
        return slug;
    }
    // One of the first `taken + 1` numbers is free.
    for number in 2..=taken.len() + 2 {
        let suffix = format!("-{number}");
        let base = slug[..slug.len().min(MAX_BYTES - suffix.len())].trim_end_matches('-');
        let candidate = format!("{base}{suffix}");
        if !taken.contains(&candidate) {
            return candidate;
        }
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_as_the_contract_has_them() {
        for name in ["my-vault", "vault-123", "abc", "a1b", &"a".repeat(64)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        for (name, text) in [
            ("", "name is required"),
            ("ab", "name \"ab\" must be at least 3 characters"),
            ("-a-b", "name \"-a-b\" must not start or end with a hyphen"),
            ("a-b-", "name \"a-b-\" must not start or end with a hyphen"),
            ("a--b", "name \"a--b\" must not contain consecutive hyphens"),
            ("My-Vault", "name \"My-Vault\" must contain only lowercase letters, digits, and hyphens"),
            ("my vault", "name \"my vault\" must contain only lowercase letters, digits, and hyphens"),
            ("my_vault", "name \"my_vault\" must contain only lowercase letters, digits, and hyphens"),
        ] {
            assert_eq!(check(name).unwrap_err().to_string(), text);
        }
        assert!(check(&"a".repeat(65)).unwrap_err().to_string().ends_with("must be at most 64 characters"));
    }

    #[test]
    fn derived_names_are_slugs_and_free() {
        let taken = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<HashSet<_>>();
        let none = taken(&[]);
        assert_eq!(derive("api.anthropic.com", None, "", &none), "api-anthropic-com");
        assert_eq!(derive("*.github.com", None, "/repos/*", &none), "github-com-repos");
        assert_eq!(derive("x.com", Some(8443), "", &none), "x-com8443");
        assert_eq!(derive("*", None, "", &none), "svc");
        assert_eq!(derive("a", None, "", &none), "a-svc");
        assert_eq!(derive("foo", None, "", &taken(&["foo", "foo-2"])), "foo-3");
        let long = "a".repeat(70);
        assert_eq!(derive(&long, None, "", &none).len(), 64);
        let cut = derive(&long, None, "", &taken(&[&"a".repeat(64)]));
        assert_eq!(cut, format!("{}-2", "a".repeat(62)));
        assert_eq!(check(&cut), Ok(()));
    }
}
