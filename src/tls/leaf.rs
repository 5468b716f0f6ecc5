//! Leaves: a certificate for each name a client asks for, minted once and cached.
//!
//! All leaves share one key pair made at start, so a mint costs one signature. The cache is bounded and
//! forgets the least recently used; minting happens outside its lock.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SigningKey};

use super::Error;
use super::ca::{BACKDATE, Root, serial};
use crate::log_event;

/// Leaves kept (contract C.3).
const CAPACITY: usize = 1024;
/// Life of a leaf.
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// A leaf this close to its end is replaced.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);
/// Longest common name (X.520); longer names stand in the SAN alone, which is what clients read.
const MAX_COMMON_NAME: usize = 64;
/// Longest DNS label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// Mints and caches leaves.
pub struct Leaves {
    root: Root,
    key: KeyPair,
    signing_key: Arc<dyn SigningKey>,
    extra: Option<SanType>,
    cache: Mutex<Cache>,
}

struct Cache {
    leaves: HashMap<String, Cached>,
    capacity: usize,
    clock: u64,
}

struct Cached {
    leaf: Arc<CertifiedKey>,
    expires: SystemTime,
    used: u64,
}

impl Leaves {
    /// `extra` is the host of the broker's own address, which every leaf is good for too; one that
    /// cannot stand in a certificate is left out (contract C.3).
    pub fn new(root: Root, extra: Option<&str>) -> Result<Self, Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signing_key = any_ecdsa_type(&der)?;
        let extra = extra.and_then(|name| alternative_name(name).ok());
        let cache = Cache { leaves: HashMap::new(), capacity: CAPACITY, clock: 0 };
        Ok(Self { root, key, signing_key, extra, cache: Mutex::new(cache) })
    }

    /// The root's certificate, for clients to trust.
    pub fn root_pem(&self) -> &str {
        self.root.pem()
    }

    /// The root, which signs every leaf.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// A leaf for `name`, from the cache or fresh.
    pub fn leaf(&self, name: &str, now: SystemTime) -> Result<Arc<CertifiedKey>, Error> {
        if let Some(leaf) = self.lock().find(name, now) {
            return Ok(leaf);
        }
        let leaf = self.mint(name, now)?;
        self.lock().keep(name, &leaf, now + LIFE);
        Ok(leaf)
    }

    fn mint(&self, name: &str, now: SystemTime) -> Result<Arc<CertifiedKey>, Error> {
        let own = alternative_name(name)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if name.len() <= MAX_COMMON_NAME {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let extra = self.extra.iter().filter(|extra| !is_same_name(extra, &own)).cloned();
        params.subject_alt_names = std::iter::once(own.clone()).chain(extra).collect();
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + LIFE).into();
        params.serial_number = Some(serial()?);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&self.key, self.root.issuer())?;
        Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], Arc::clone(&self.signing_key))))
    }

    /// Nothing inside the lock can panic half way.
    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn find(&mut self, name: &str, now: SystemTime) -> Option<Arc<CertifiedKey>> {
        self.clock += 1;
        let cached = self.leaves.get_mut(name).filter(|cached| now + RENEW_BEFORE < cached.expires)?;
        cached.used = self.clock;
        Some(Arc::clone(&cached.leaf))
    }

    fn keep(&mut self, name: &str, leaf: &Arc<CertifiedKey>, expires: SystemTime) {
        if self.leaves.len() >= self.capacity && !self.leaves.contains_key(name) {
            let oldest =
                self.leaves.iter().min_by_key(|(_, cached)| cached.used).map(|(name, _)| name.clone());
            oldest.and_then(|oldest| self.leaves.remove(&oldest));
        }
        let cached = Cached { leaf: Arc::clone(leaf), expires, used: self.clock };
        self.leaves.insert(name.to_owned(), cached);
    }
}

/// Answers a handshake with the leaf for its SNI, or for the tunnel's target when it sends none.
pub(super) struct NamedLeaf {
    leaves: Arc<Leaves>,
    fallback: String,
}

impl NamedLeaf {
    pub(super) fn new(leaves: Arc<Leaves>, fallback: String) -> Self {
        Self { leaves, fallback }
    }
}

impl fmt::Debug for NamedLeaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamedLeaf({})", self.fallback)
    }
}

impl ResolvesServerCert for NamedLeaf {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or(&self.fallback);
        match self.leaves.leaf(name, SystemTime::now()) {
            Ok(leaf) => Some(leaf),
            Err(error) => {
                log_event!(Warn, "no certificate for a name", host = name, err = error);
                None
            }
        }
    }
}

/// A name as a SAN entry, if it may stand in a certificate: an IP literal, or labels of letters, digits
/// and inner hyphens (contract C.3).
fn alternative_name(name: &str) -> Result<SanType, Error> {
    if let Ok(ip) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(Error::BadName);
    }
    Ok(SanType::DnsName(Ia5String::try_from(name)?))
}

fn is_same_name(one: &SanType, other: &SanType) -> bool {
    match (one, other) {
        (SanType::DnsName(one), SanType::DnsName(other)) => one.as_str().eq_ignore_ascii_case(other.as_str()),
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves() -> Leaves {
        Leaves::new(Root::generate(SystemTime::now()).unwrap(), Some("agent-vault-hnh0")).unwrap()
    }

    #[test]
    fn refuses_names_that_are_not_host_names() {
        let leaves = leaves();
        let long = "a".repeat(64);
        let longer = "a.".repeat(127);
        for name in [
            "",
            "foo bar",
            "has/slash",
            "-leading.com",
            "trailing-.com",
            ".x.com",
            "a..b",
            "my_host",
            &long,
            &longer,
        ] {
            assert!(leaves.leaf(name, SystemTime::now()).is_err(), "{name}");
        }
        let long_name = format!("{}.{}.example", "a".repeat(60), "b".repeat(60));
        for name in ["host.docker.internal", "127.0.0.1", "::1", &long_name] {
            assert!(leaves.leaf(name, SystemTime::now()).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_cache_keeps_what_is_used_and_renews_what_ends() {
        let leaves = leaves();
        leaves.lock().capacity = 2;
        let now = SystemTime::now();
        let mint = |name, at| Arc::as_ptr(&leaves.leaf(name, at).unwrap()).cast::<u8>();
        let a = mint("a.test", now);
        assert_eq!(mint("a.test", now), a);
        let b = leaves.leaf("b.test", now).unwrap();
        assert_eq!(mint("a.test", now), a);
        let _c = leaves.leaf("c.test", now).unwrap();
        assert_eq!(mint("a.test", now), a, "a was used after b");
        assert!(!Arc::ptr_eq(&leaves.leaf("b.test", now).unwrap(), &b));
        let a = leaves.leaf("a.test", now).unwrap();
        for name in ["b.test", "c.test"] {
            leaves.leaf(name, now).unwrap();
        }
        assert!(!Arc::ptr_eq(&leaves.leaf("a.test", now).unwrap(), &a), "two others were used since");
        let a = leaves.leaf("a.test", now).unwrap();
        let late = now + LIFE - Duration::from_secs(60);
        assert!(!Arc::ptr_eq(&leaves.leaf("a.test", late).unwrap(), &a));
    }

    #[test]
    fn the_broker_itself_is_named_once() {
        let extra = alternative_name("agent-vault-hnh0").unwrap();
        assert!(is_same_name(&extra, &alternative_name("AGENT-VAULT-HNH0").unwrap()));
        assert!(!is_same_name(&extra, &alternative_name("10.0.0.5").unwrap()));
    }
}
