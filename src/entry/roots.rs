//! The public roots a child trusts beside the vault's CA: somebody's choice, the image's own, or those built in.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where distributions keep their roots, the most common place first.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// Largest root store that is taken over; distributions ship a quarter of a megabyte.
const MAX_BUNDLE_BYTES: u64 = 8 * 1024 * 1024;

const PEM_BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// The public roots as PEM: the file the environment already names, else the image's own, else the
/// built-in set.
pub(super) fn public(named: Option<&OsStr>) -> Vec<u8> {
    let named = named.filter(|path| !path.is_empty()).map(Path::new);
    named
        .into_iter()
        .chain(SYSTEM_BUNDLES.iter().map(Path::new))
        .find_map(read_bundle)
        .unwrap_or_else(built_in)
}

fn read_bundle(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let mut pem = Vec::new();
    file.take(MAX_BUNDLE_BYTES + 1).read_to_end(&mut pem).ok()?;
    let is_bundle = pem.windows(PEM_BEGIN.len()).any(|part| part == PEM_BEGIN);
    (is_bundle && pem.len() as u64 <= MAX_BUNDLE_BYTES).then_some(pem)
}

fn built_in() -> Vec<u8> {
    let mut pem = Vec::with_capacity(256 * 1024);
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        pem.extend_from_slice(PEM_BEGIN);
        // RFC 7468 §2: lines of 64 characters.
        for line in STANDARD.encode(root).as_bytes().chunks(64) {
            pem.push(b'\n');
            pem.extend_from_slice(line);
        }
        pem.extend_from_slice(b"\n-----END CERTIFICATE-----\n");
    }
    pem
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_built_in_roots_are_certificates() {
        let pem = built_in();
        let text = std::str::from_utf8(&pem).unwrap();
        assert_eq!(text.matches("-----BEGIN").count(), webpki_root_certs::TLS_SERVER_ROOT_CERTS.len());
        assert!(text.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn a_named_bundle_comes_before_the_images_own() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("corp.pem");
        fs::write(&named, "-----BEGIN CERTIFICATE-----\nx\n").unwrap();
        assert_eq!(public(Some(named.as_os_str())), b"-----BEGIN CERTIFICATE-----\nx\n");
        fs::write(&named, "nothing").unwrap();
        assert_ne!(public(Some(named.as_os_str())), b"nothing");
    }
}
