//! The public roots built in, as what an upstream's certificate is verified against.
//!
//! They are linked once, as certificates: a child's client reads them so. A verifier needs a part of each,
//! and that part is read from there.

use rustls::pki_types::{Der, TrustAnchor};

/// Limits that Mozilla's programme puts on roots which do not say so themselves: words of the subject, and
/// the content of the name constraints (RFC 5280 §4.2.1.10). A test compares with the programme's own list.
const LIMITED: [(&[u8], &[u8]); 1] = [(b"TUBITAK Kamu SM SSL Kok Sertifikasi", b"\xa0\x070\x05\x82\x03.tr")];

/// All of them. One that the verifier could not read would be left out, as it trusts no such root.
pub(super) fn built_in() -> Vec<TrustAnchor<'static>> {
    let certificates = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    let mut anchors: Vec<_> =
        certificates.filter_map(|certificate| webpki::anchor_from_trusted_cert(certificate).ok()).collect();
    for (subject, limit) in LIMITED {
        let is_meant =
            |anchor: &&mut TrustAnchor<'_>| anchor.subject.windows(subject.len()).any(|part| part == subject);
        if let Some(anchor) = anchors.iter_mut().find(is_meant) {
            anchor.name_constraints = Some(Der::from_slice(limit));
        }
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list of verifiers' anchors is published beside that of certificates, and may be older.
    #[test]
    fn they_are_the_programmes_own_with_its_limits() {
        let anchors = built_in();
        assert_eq!(anchors.len(), webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        let unknown = anchors.iter().find(|anchor| !webpki_roots::TLS_SERVER_ROOTS.contains(anchor));
        assert!(unknown.is_none(), "{unknown:?}");
        let is_limited = |anchor: &&TrustAnchor<'_>| anchor.name_constraints.is_some();
        assert_eq!(anchors.iter().filter(is_limited).count(), LIMITED.len());
    }
}
