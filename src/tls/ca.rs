//! The root: made once, kept sealed by the store, shown as PEM (contract C.1, C.2).
//!
//! The subject is written as a PrintableString, as existing brokers do, so that a root of theirs loaded
//! here and leaves signed here name their issuer in the same bytes. At rest the key has SEC1 form
//! (RFC 5915); the crypto library wants PKCS#8 (RFC 5958). Both are fixed layouts for P-256.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use rcgen::string::PrintableString;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, DnValue, GeneralSubtree,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::pki_types::PrivatePkcs8KeyDer;

use super::Error;
use crate::secret::Secret;

const COMMON_NAME: &str = "Agent Vault Root CA";
/// Life of a root.
const LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
/// Backdating, for clients whose clocks are behind ours.
pub(super) const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// A name that nothing has (RFC 2606 §2).
const NO_NAME: &str = "invalid";

/// PKCS#8 in front of the key: version, the algorithm ids, and the octet string that holds SEC1's
/// version and the 32-byte octet string.
const PKCS8_HEAD: [u8; 36] = [
    0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
    0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01,
    0x04, 0x20,
];
/// Between key and public point, in PKCS#8.
const POINT_HEAD: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];
/// SEC1 in front of the key.
const SEC1_HEAD: [u8; 7] = [0x30, 0x77, 0x02, 0x01, 0x01, 0x04, 0x20];
/// SEC1's curve id, between key and [`POINT_HEAD`].
const SEC1_CURVE: [u8; 12] = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const SCALAR: usize = 32;
const POINT: usize = 65;

/// A root certificate and its key.
pub struct Root {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    /// Makes a new root, valid from five minutes ago.
    pub fn generate(now: SystemTime) -> Result<Self, Error> {
        Self::generate_for(&Names::Any, now)
    }

    /// Makes a new root that can vouch for these names alone.
    pub fn generate_for(names: &Names, now: SystemTime) -> Result<Self, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let pem = certificate(&key, names, now)?;
        Ok(Self { pem, issuer: Issuer::new(params()?, key) })
    }

    /// Another certificate of the same root, for other names: leaves that were signed before are good under
    /// it as far as they are for one of them.
    pub fn certify_for(&self, names: &Names, now: SystemTime) -> Result<String, Error> {
        certificate(self.issuer.key(), names, now)
    }

    /// Takes up a root from its PEM certificate and SEC1 key.
    pub fn load(pem: &str, sec1: &Secret) -> Result<Self, Error> {
        let pkcs8 = pkcs8(sec1.expose()).ok_or(Error::BadKey)?;
        let der = PrivatePkcs8KeyDer::from(pkcs8.expose());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256)
            .map_err(|_| Error::BadKey)?;
        let certificate = super::certificates(pem.as_bytes())?.swap_remove(0);
        let holds = |part: &[u8]| certificate.windows(part.len()).any(|window| window == part);
        if !holds(key.public_key_raw()) {
            return Err(Error::BadKey);
        }
        if !holds(COMMON_NAME.as_bytes()) {
            return Err(Error::BadName);
        }
        Ok(Self { pem: pem.to_owned(), issuer: Issuer::new(params()?, key) })
    }

    /// The certificate, as `GET /v1/mitm/ca.pem` serves it.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The private key in SEC1 DER, for the store to seal.
    pub fn key_sec1(&self) -> Option<Secret> {
        sec1(self.issuer.key().serialized_der())
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }
}

fn certificate(key: &KeyPair, names: &Names, now: SystemTime) -> Result<String, Error> {
    let mut params = params()?;
    params.not_before = (now - BACKDATE).into();
    params.not_after = (now + LIFE).into();
    params.serial_number = Some(serial()?);
    params.name_constraints = names.constraints();
    Ok(params.self_signed(key)?.pem())
}

/// What a root can vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    Any,
    /// These host names and those below them, and no address: clients refuse a leaf for anything else (RFC
    /// 5280 §4.2.1.10).
    Only(BTreeSet<String>),
}

impl Names {
    fn constraints(&self) -> Option<NameConstraints> {
        let Self::Only(names) = self else { return None };
        // A list of nothing would permit everything.
        let nothing = names.is_empty().then(|| NO_NAME.to_owned());
        let permitted = names.iter().cloned().chain(nothing).map(GeneralSubtree::DnsName);
        let addresses = [CidrSubnet::V4([0; 4], [0; 4]), CidrSubnet::V6([0; 16], [0; 16])];
        Some(NameConstraints {
            permitted_subtrees: permitted.collect(),
            excluded_subtrees: addresses.map(GeneralSubtree::IpAddress).into(),
        })
    }
}

/// What is the same in every root of ours: name, role, usages.
fn params() -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    let common_name = PrintableString::try_from(COMMON_NAME)?;
    name.push(DnType::CommonName, DnValue::PrintableString(common_name));
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

/// A random serial below 2^128 (contract C.1), never zero.
pub(super) fn serial() -> Result<SerialNumber, Error> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::Library("no random numbers".to_owned()))?;
    bytes[15] |= 1;
    Ok(SerialNumber::from_slice(&bytes))
}

fn sec1(pkcs8: &[u8]) -> Option<Secret> {
    let rest = pkcs8.strip_prefix(&PKCS8_HEAD)?;
    let (scalar, rest) = rest.split_at_checked(SCALAR)?;
    let point = rest.strip_prefix(&POINT_HEAD).filter(|point| point.len() == POINT)?;
    Some(Secret::new([&SEC1_HEAD, scalar, &SEC1_CURVE, &POINT_HEAD, point].concat()))
}

fn pkcs8(sec1: &[u8]) -> Option<Secret> {
    let rest = sec1.strip_prefix(&SEC1_HEAD)?;
    let (scalar, rest) = rest.split_at_checked(SCALAR)?;
    let rest = rest.strip_prefix(&SEC1_CURVE)?;
    let point = rest.strip_prefix(&POINT_HEAD).filter(|point| point.len() == POINT)?;
    Some(Secret::new([&PKCS8_HEAD, scalar, &POINT_HEAD, point].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_survives_being_stored() {
        let made = Root::generate(SystemTime::now()).unwrap();
        let loaded = Root::load(made.pem(), &made.key_sec1().unwrap()).unwrap();
        assert_eq!(loaded.pem(), made.pem());
        assert_eq!(loaded.key_sec1(), made.key_sec1());
    }

    #[test]
    fn refuses_a_key_of_another_root() {
        let [one, two] = [(); 2].map(|()| Root::generate(SystemTime::now()).unwrap());
        assert!(matches!(Root::load(one.pem(), &two.key_sec1().unwrap()), Err(Error::BadKey)));
        assert!(matches!(Root::load(one.pem(), &Secret::from("short")), Err(Error::BadKey)));
        assert!(matches!(Root::load("not pem", &one.key_sec1().unwrap()), Err(Error::BadPem)));
    }
}
