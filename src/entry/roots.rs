//! The public roots a child trusts beside the vault's CA: somebody's choice, the image's own, or those built in.

use std::borrow::Cow;
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

const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// Bytes that stand for a line of text (RFC 7468 §2: 64 characters).
const LINE_BYTES: usize = 48;

/// The roots that need no file.
pub(super) use webpki_root_certs::TLS_SERVER_ROOT_CERTS as BUILT_IN;

/// The public roots.
pub(super) enum Roots {
    /// A file's text.
    Pem(Vec<u8>),
    BuiltIn,
}

impl Roots {
    pub(super) fn pem(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Pem(text) => Cow::Borrowed(text),
            Self::BuiltIn => Cow::Owned(built_in().into_bytes()),
        }
    }
}

/// The file the environment already names, else the image's own, else the built-in set.
pub(super) fn public(named: Option<&OsStr>) -> Roots {
    let named = named.filter(|path| !path.is_empty()).map(Path::new);
    let found = named.into_iter().chain(SYSTEM_BUNDLES.iter().map(Path::new)).find_map(read_bundle);
    found.map_or(Roots::BuiltIn, Roots::Pem)
}

fn read_bundle(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    // A buffer that grows is copied, and each page of each copy is a fault of its own.
    let size = file.metadata().map_or(0, |found| found.len()).min(MAX_BUNDLE_BYTES);
    let mut pem = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(MAX_BUNDLE_BYTES + 1).read_to_end(&mut pem).ok()?;
    let is_bundle = pem.windows(PEM_BEGIN.len()).any(|part| part == PEM_BEGIN.as_bytes());
    (is_bundle && pem.len() as u64 <= MAX_BUNDLE_BYTES).then_some(pem)
}

fn built_in() -> String {
    let mut pem = String::with_capacity(256 * 1024);
    for root in BUILT_IN {
        pem.push_str(PEM_BEGIN);
        for line in root.chunks(LINE_BYTES) {
            pem.push('\n');
            STANDARD.encode_string(line, &mut pem);
        }
        pem.push_str("\n-----END CERTIFICATE-----\n");
    }
    pem
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_built_in_roots_are_certificates() {
        let text = built_in();
        assert_eq!(text.matches("-----BEGIN").count(), BUILT_IN.len());
        assert!(text.lines().all(|line| line.len() <= 64));
    }

    #[test]
    fn a_named_bundle_comes_before_the_images_own() {
        let dir = tempfile::tempdir().unwrap();
        let named = dir.path().join("corp.pem");
        fs::write(&named, "-----BEGIN CERTIFICATE-----\nx\n").unwrap();
        assert_eq!(public(Some(named.as_os_str())).pem().as_ref(), b"-----BEGIN CERTIFICATE-----\nx\n");
        fs::write(&named, "nothing").unwrap();
        assert_ne!(public(Some(named.as_os_str())).pem().as_ref(), b"nothing");
    }
}
