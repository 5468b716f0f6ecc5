//! Who the origin is: an authority made for one run, and a leaf for the one name measured.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The host of every request.
pub(crate) const HOST: &str = "origin.bench.test";

/// Files of the identity, each named for what is in it.
pub(crate) const CA: &str = "ca.pem";
pub(crate) const CA_WITH_KEY: &str = "ca-with-key.pem";
pub(crate) const LEAF: &str = "leaf.pem";
pub(crate) const LEAF_KEY: &str = "leaf-key.pem";
pub(crate) const LEAF_WITH_KEY: &str = "leaf-with-key.pem";

/// Makes the identity and writes it to `dir`.
pub(crate) fn write(dir: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let ca_key = KeyPair::generate()?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    ca.distinguished_name.push(DnType::CommonName, "Benchmark CA");
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let ca_key_pem = ca_key.serialize_pem();
    let leaf_key = KeyPair::generate()?;
    let mut leaf = CertificateParams::new(vec![HOST.to_owned()])?;
    leaf.use_authority_key_identifier_extension = true;
    let leaf = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key))?.pem();
    let leaf_key = leaf_key.serialize_pem();
    for (name, text) in [
        (CA, ca_pem.clone()),
        (CA_WITH_KEY, format!("{ca_pem}{ca_key_pem}")),
        (LEAF, leaf.clone()),
        (LEAF_KEY, leaf_key.clone()),
        (LEAF_WITH_KEY, format!("{leaf}{leaf_key}")),
    ] {
        std::fs::write(dir.join(name), text)?;
    }
    Ok(())
}

/// What a server with the certificate and key of a PEM text is set to.
pub(crate) fn server_config(pem: &str) -> io::Result<ServerConfig> {
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .map_err(io::Error::other)?;
    Ok(config)
}

/// What a client that trusts the authority of a PEM text alone is set to.
pub(crate) fn client_config(pem: &[u8], resumption: Resumption) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.resumption = resumption;
    Ok(Arc::new(config))
}
