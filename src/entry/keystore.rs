//! Certificates as the JVM wants them: a PKCS#12 store (RFC 7292) of trusted certificates.
//!
//! The store says nothing that is not public, so it is neither encrypted nor authenticated, and the JVM
//! (8 and later) opens it with any password or none. What is left of the format are a few nested lists;
//! a certificate counts as trusted by an attribute of Oracle's, without which the JVM ignores it.

use crate::tls;

/// DER tags (X.690 §8).
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OBJECT: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
/// The explicit tag `[0]`.
const ZERO: u8 = 0xa0;

/// Contents of object identifiers.
const DATA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"; // 1.2.840.113549.1.7.1
const CERT_BAG: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03"; // 1.2.840.113549.1.12.10.1.3
const X509: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01"; // 1.2.840.113549.1.9.22.1
const FRIENDLY_NAME: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x14"; // 1.2.840.113549.1.9.20
const TRUSTED_KEY_USAGE: &[u8] = b"\x60\x86\x48\x01\x86\xf9\x66\xad\xca\x7b\x01\x01"; // 2.16.840.1.113894.746875.1.1
const ANY_USAGE: &[u8] = b"\x55\x1d\x25\x00"; // 2.5.29.37.0

/// The store of the vault's CA and the public roots, each in PEM. A root store that cannot be read as
/// certificates costs the JVM those roots alone.
pub(super) fn of_pem(ca: &[u8], roots: &[u8]) -> Vec<u8> {
    let certificates = [ca, roots].map(|pem| tls::certificates(pem).unwrap_or_default()).concat();
    let bags: Vec<Vec<u8>> =
        certificates.iter().enumerate().map(|(number, certificate)| bag(number, certificate)).collect();
    let contents = der(SEQUENCE, &bags);
    let safe = der(SEQUENCE, &[data(&contents)]);
    der(SEQUENCE, &[der(INTEGER, &[&[3]]), data(&safe)])
}

fn bag(number: usize, certificate: &[u8]) -> Vec<u8> {
    // The JVM keeps one entry per name.
    let name: Vec<u8> = format!("root-{number}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let value = der(SEQUENCE, &[object(X509), der(ZERO, &[der(OCTETS, &[certificate])])]);
    let attributes =
        [attribute(FRIENDLY_NAME, der(BMP_STRING, &[name])), attribute(TRUSTED_KEY_USAGE, object(ANY_USAGE))];
    der(SEQUENCE, &[object(CERT_BAG), der(ZERO, &[value]), der(SET, &attributes)])
}

fn attribute(kind: &[u8], value: Vec<u8>) -> Vec<u8> {
    der(SEQUENCE, &[object(kind), der(SET, &[value])])
}

fn object(identifier: &[u8]) -> Vec<u8> {
    der(OBJECT, &[identifier])
}

/// A `ContentInfo` in the clear.
fn data(content: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[object(DATA), der(ZERO, &[der(OCTETS, &[content])])])
}

/// A tag, the length and the parts in a row.
fn der(tag: u8, parts: &[impl AsRef<[u8]>]) -> Vec<u8> {
    // A bundle is some hundred kilobytes: piece by piece, not byte by byte.
    let content = parts.iter().map(AsRef::as_ref).collect::<Vec<&[u8]>>().concat();
    let length = content.len().to_be_bytes();
    let significant = &length[length.iter().take_while(|&&byte| byte == 0).count()..];
    let mut out = vec![tag];
    match significant {
        [] => out.push(0),
        [short @ 0..0x80] => out.push(*short),
        // A length has at most eight bytes.
        long => {
            out.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(&content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_der_wants_them() {
        for (size, head) in [
            (0, &[OCTETS, 0][..]),
            (0x7f, &[OCTETS, 0x7f]),
            (0x80, &[OCTETS, 0x81, 0x80]),
            (0x100, &[OCTETS, 0x82, 1, 0]),
            (0x1_0000, &[OCTETS, 0x83, 1, 0, 0]),
        ] {
            let encoded = der(OCTETS, &[vec![7; size]]);
            assert_eq!(&encoded[..head.len()], head);
            assert_eq!(encoded.len(), head.len() + size);
        }
    }

    #[test]
    fn every_certificate_of_the_bundle_is_in_the_store() {
        let ca = "-----BEGIN CERTIFICATE-----\nYWJj\nZA==\n-----END CERTIFICATE-----\n";
        let roots = "text\n-----BEGIN CERTIFICATE-----\nZWZn\n-----END CERTIFICATE-----\n";
        let store = of_pem(ca.as_bytes(), roots.as_bytes());
        for part in [&b"abcd"[..], b"efg", b"\0r\0o\0o\0t\0-\x000", b"\0r\0o\0o\0t\0-\x001"] {
            assert!(store.windows(part.len()).any(|window| window == part));
        }
        let without_roots = of_pem(ca.as_bytes(), b"nothing");
        assert!(without_roots.len() < store.len() && without_roots.windows(4).any(|part| part == b"abcd"));
    }
}
