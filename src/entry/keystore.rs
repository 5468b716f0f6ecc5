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

/// Most that stands around a certificate in its bag.
const BAG_BYTES: usize = 160;

/// The store of the vault's CA and the public roots, each in PEM. A root store that cannot be read as
/// certificates costs the JVM those roots alone.
pub(super) fn of_pem(ca: &[u8], roots: &[u8]) -> Vec<u8> {
    let certificates = [ca, roots].map(|pem| tls::certificates(pem).unwrap_or_default());
    let certificates: Vec<_> = certificates.iter().flatten().collect();
    let bytes: usize = certificates.iter().map(|certificate| certificate.len() + BAG_BYTES).sum();
    let mut out = Backwards::with_room_for(bytes + BAG_BYTES);
    out.nested(SEQUENCE, |out| {
        out.content_info(|out| {
            out.nested(SEQUENCE, |out| {
                out.content_info(|out| {
                    out.nested(SEQUENCE, |out| {
                        for (number, certificate) in certificates.iter().enumerate().rev() {
                            out.bag(number, certificate);
                        }
                    });
                });
            });
        });
        out.value(INTEGER, &[3]);
    });
    out.into_bytes()
}

/// DER from its end to its start: a length stands in front of what it is the length of, and is known once that
/// is written. So a bundle of some hundred kilobytes is written once, however deep it is nested. What
/// stands last is written first.
struct Backwards {
    bytes: Vec<u8>,
    start: usize,
}

impl Backwards {
    fn with_room_for(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes], start: bytes }
    }

    fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.drain(..self.start);
        self.bytes
    }

    fn put(&mut self, part: &[u8]) {
        if part.len() > self.start {
            // Too little was guessed: as much again in front of what is there.
            let more = self.bytes.len() + part.len();
            self.bytes.splice(..0, std::iter::repeat_n(0, more));
            self.start += more;
        }
        let end = self.start;
        self.start -= part.len();
        self.bytes[self.start..end].copy_from_slice(part);
    }

    /// A tag and the length of what `content` writes, in front of it.
    fn nested(&mut self, tag: u8, content: impl FnOnce(&mut Self)) {
        let rest = self.bytes.len() - self.start;
        content(self);
        let length = (self.bytes.len() - self.start - rest).to_be_bytes();
        match &length[length.iter().take_while(|&&byte| byte == 0).count()..] {
            [] => self.put(&[0]),
            [short @ 0..0x80] => self.put(&[*short]),
            long => {
                self.put(long);
                // A length has at most eight bytes.
                self.put(&[0x80 | u8::try_from(long.len()).unwrap_or_default()]);
            }
        }
        self.put(&[tag]);
    }

    fn value(&mut self, tag: u8, content: &[u8]) {
        self.nested(tag, |out| out.put(content));
    }

    /// A `ContentInfo` in the clear.
    fn content_info(&mut self, content: impl FnOnce(&mut Self)) {
        self.nested(SEQUENCE, |out| {
            out.nested(ZERO, |out| out.nested(OCTETS, content));
            out.value(OBJECT, DATA);
        });
    }

    fn bag(&mut self, number: usize, certificate: &[u8]) {
        // The JVM keeps one entry per name.
        let name: Vec<u8> = format!("root-{number}").encode_utf16().flat_map(u16::to_be_bytes).collect();
        self.nested(SEQUENCE, |out| {
            out.nested(SET, |out| {
                out.attribute(TRUSTED_KEY_USAGE, OBJECT, ANY_USAGE);
                out.attribute(FRIENDLY_NAME, BMP_STRING, &name);
            });
            out.nested(ZERO, |out| {
                out.nested(SEQUENCE, |out| {
                    out.nested(ZERO, |out| out.value(OCTETS, certificate));
                    out.value(OBJECT, X509);
                });
            });
            out.value(OBJECT, CERT_BAG);
        });
    }

    fn attribute(&mut self, kind: &[u8], tag: u8, value: &[u8]) {
        self.nested(SEQUENCE, |out| {
            out.nested(SET, |out| out.value(tag, value));
            out.value(OBJECT, kind);
        });
    }
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
            // With too little room, too.
            let mut out = Backwards::with_room_for(size / 2);
            out.value(OCTETS, &vec![7; size]);
            let encoded = out.into_bytes();
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
