//! Certificates as the JVM wants them: a PKCS#12 store (RFC 7292) of trusted certificates.
//!
//! The store says nothing that is not public, so it is neither encrypted nor authenticated, and the JVM
//! (8 and later) opens it with any password or none. What is left of the format are a few nested lists;
//! a certificate counts as trusted by an attribute of Oracle's, without which the JVM ignores it.

use super::roots::{self, Roots};
use crate::tls::{self, pem};

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

/// The store of the vault's CA, which is PEM, and the public roots. A root store that cannot be read as
/// certificates costs the JVM those roots alone.
pub(super) fn of(ca: &[u8], roots: &Roots) -> Keystore {
    let plain = || {
        let mut all: Vec<_> = pem::plain(ca)?.into_iter().map(Certificate::Text).collect();
        match roots {
            Roots::Pem(roots) => all.extend(pem::plain(roots)?.into_iter().map(Certificate::Text)),
            Roots::BuiltIn => all.extend(roots::BUILT_IN.iter().map(|root| Certificate::Bytes(root))),
        }
        Keystore::write(&all)
    };
    plain().unwrap_or_else(|| {
        let read = [ca, &roots.pem()].map(|pem| tls::certificates(pem).unwrap_or_default());
        let all: Vec<_> = read.iter().flatten().map(|bytes| Certificate::Bytes(bytes)).collect();
        Keystore::write(&all).unwrap_or_default()
    })
}

/// A certificate that goes into the store.
enum Certificate<'a> {
    Text(pem::Text<'a>),
    Bytes(&'a [u8]),
}

impl Certificate<'_> {
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.size(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// The store, written.
#[derive(Default)]
pub(super) struct Keystore(Backwards);

impl Keystore {
    /// `None` if a text is no certificate.
    fn write(certificates: &[Certificate<'_>]) -> Option<Self> {
        let bytes: usize = certificates.iter().map(|certificate| certificate.size() + BAG_BYTES).sum();
        let mut out = Backwards::with_room_for(bytes + BAG_BYTES);
        let mut written = Some(());
        out.nested(SEQUENCE, |out| {
            out.content_info(|out| {
                out.nested(SEQUENCE, |out| {
                    out.content_info(|out| {
                        out.nested(SEQUENCE, |out| {
                            for (number, certificate) in certificates.iter().enumerate().rev() {
                                written = written.and(out.bag(number, certificate));
                            }
                        });
                    });
                });
            });
            out.value(INTEGER, &[3]);
        });
        written.map(|()| Self(out))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.written()
    }
}

/// DER from its end to its start: a length stands in front of what it is the length of, and is known once that
/// is written. So a bundle of some hundred kilobytes is written once, however deep it is nested. What
/// stands last is written first.
#[derive(Default)]
struct Backwards {
    bytes: Vec<u8>,
    start: usize,
}

impl Backwards {
    fn with_room_for(bytes: usize) -> Self {
        Self { bytes: vec![0; bytes], start: bytes }
    }

    fn written(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// A place in front of what is there.
    fn place(&mut self, length: usize) -> &mut [u8] {
        if length > self.start {
            // Too little was guessed: as much again in front of what is there.
            let more = self.bytes.len() + length;
            self.bytes.splice(..0, std::iter::repeat_n(0, more));
            self.start += more;
        }
        let end = self.start;
        self.start -= length;
        &mut self.bytes[self.start..end]
    }

    fn put(&mut self, part: &[u8]) {
        self.place(part.len()).copy_from_slice(part);
    }

    /// `None` if it is no certificate.
    fn certificate(&mut self, certificate: &Certificate<'_>) -> Option<()> {
        let place = self.place(certificate.size());
        match certificate {
            Certificate::Text(text) => text.decode(place),
            Certificate::Bytes(bytes) => {
                place.copy_from_slice(bytes);
                Some(())
            }
        }
    }

    /// A tag and the length of what `content` writes, in front of it.
    fn nested<T>(&mut self, tag: u8, content: impl FnOnce(&mut Self) -> T) -> T {
        let rest = self.bytes.len() - self.start;
        let outcome = content(self);
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
        outcome
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

    fn bag(&mut self, number: usize, certificate: &Certificate<'_>) -> Option<()> {
        // The JVM keeps one entry per name.
        let name = format!("root-{number}");
        let mut wide = vec![0; 2 * name.len()];
        wide.as_chunks_mut::<2>().0.iter_mut().zip(name.bytes()).for_each(|(wide, byte)| wide[1] = byte);
        self.nested(SEQUENCE, |out| {
            out.nested(SET, |out| {
                out.attribute(TRUSTED_KEY_USAGE, OBJECT, ANY_USAGE);
                out.attribute(FRIENDLY_NAME, BMP_STRING, &wide);
            });
            let written = out.nested(ZERO, |out| {
                out.nested(SEQUENCE, |out| {
                    let written =
                        out.nested(ZERO, |out| out.nested(OCTETS, |out| out.certificate(certificate)));
                    out.value(OBJECT, X509);
                    written
                })
            });
            out.value(OBJECT, CERT_BAG);
            written
        })
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
            let encoded = out.written();
            assert_eq!(&encoded[..head.len()], head);
            assert_eq!(encoded.len(), head.len() + size);
        }
    }

    #[test]
    fn every_certificate_of_the_bundle_is_in_the_store() {
        let ca = "-----BEGIN CERTIFICATE-----\nYWJj\nZA==\n-----END CERTIFICATE-----\n";
        let roots = "text\n-----BEGIN CERTIFICATE-----\nZWZn\n-----END CERTIFICATE-----\n";
        let store = |roots: &str| of(ca.as_bytes(), &Roots::Pem(roots.into())).bytes().to_vec();
        let whole = store(roots);
        for part in [&b"abcd"[..], b"efg", b"\0r\0o\0o\0t\0-\x000", b"\0r\0o\0o\0t\0-\x001"] {
            assert!(whole.windows(part.len()).any(|window| window == part));
        }
        // The library's reading of the same.
        assert_eq!(store(&roots.replace('\n', "\r\n")), whole);
        for no_roots in ["nothing", "-----BEGIN CERTIFICATE-----\nZW*n\n-----END CERTIFICATE-----\n"] {
            let without = store(no_roots);
            assert!(without.len() < whole.len() && without.windows(4).any(|part| part == b"abcd"));
        }
    }

    #[test]
    fn the_built_in_roots_are_the_same_from_their_text() {
        let built_in = of(b"", &Roots::BuiltIn);
        let text = Roots::Pem(Roots::BuiltIn.pem().into_owned());
        assert!(built_in.bytes().len() > 50_000);
        assert!(built_in.bytes() == of(b"", &text).bytes());
    }
}
