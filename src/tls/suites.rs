//! The crypto of the streams made here, and which cipher suites come first.
//!
//! AES-128-GCM with SHA-256 is what RFC 8446 §9.1 has everybody speak. A handshake hashes a hundred times, and
//! processors that have AES have SHA-256 mostly too, but not the SHA-384 that comes with AES-256: with the
//! latter first, as libraries offer them, a sixteenth of a new tunnel's processor time went into the hash.
//! Where AES is not in the processor, ChaCha20-Poly1305 (RFC 8439) is several times faster than either.
//! Nothing that the library holds to be safe is left out, so a peer that wants AES-256 gets it.

use std::mem;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::{CipherSuite, SupportedCipherSuite};

/// Suites of TLS 1.3 and 1.2, those first that this machine is fast at.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = ring::default_provider();
    let all = mem::take(&mut provider.cipher_suites);
    let of = |bulk| all.iter().filter(move |suite| Bulk::of(suite) == bulk).copied();
    provider.cipher_suites = order(has_aes()).into_iter().flat_map(of).collect();
    Arc::new(provider)
}

/// What a suite encrypts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bulk {
    Aes128,
    Aes256,
    ChaCha20,
}

impl Bulk {
    fn of(suite: &SupportedCipherSuite) -> Self {
        match suite.suite() {
            CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Self::Aes128,
            CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Self::ChaCha20,
            _ => Self::Aes256,
        }
    }
}

fn order(has_aes: bool) -> [Bulk; 3] {
    if has_aes {
        [Bulk::Aes128, Bulk::Aes256, Bulk::ChaCha20]
    } else {
        [Bulk::ChaCha20, Bulk::Aes128, Bulk::Aes256]
    }
}

#[cfg(target_arch = "x86_64")]
fn has_aes() -> bool {
    std::arch::is_x86_feature_detected!("aes")
}

#[cfg(target_arch = "aarch64")]
fn has_aes() -> bool {
    std::arch::is_aarch64_feature_detected!("aes")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn has_aes() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_suite_of_the_library_is_there_and_the_fast_ones_are_first() {
        let ours = provider();
        let theirs = ring::default_provider();
        assert_eq!(ours.cipher_suites.len(), theirs.cipher_suites.len());
        assert!(theirs.cipher_suites.iter().all(|suite| ours.cipher_suites.contains(suite)));
        let bulks: Vec<Bulk> = ours.cipher_suites.iter().map(Bulk::of).collect();
        let expected: Vec<Bulk> = order(has_aes()).into_iter().flat_map(|bulk| [bulk; 3]).collect();
        assert_eq!(bulks, expected, "one of TLS 1.3 and two of 1.2 each");
        // What is not one of the two others by its name is AES-256.
        for suite in ours.cipher_suites.iter().filter(|suite| Bulk::of(suite) == Bulk::Aes256) {
            assert!(format!("{:?}", suite.suite()).contains("AES_256"), "{suite:?}");
        }
    }

    #[test]
    fn a_processor_without_aes_prefers_the_other_cipher() {
        assert_eq!(order(false)[0], Bulk::ChaCha20);
        assert_eq!(order(true)[0], Bulk::Aes128);
    }
}
