//! Which addresses may be dialled: the guard against requests that aim inwards.
//!
//! A name is resolved once, every address of the answer is judged, and only a judged address is dialled
//! (contract E): a second lookup could give another answer. Every form that embeds an IPv4 address is
//! judged as that address.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::authority::Authority;

/// Which private addresses an operator has opened.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    allow_private: bool,
    allowlist: Vec<Cidr>,
    overrides: Vec<(String, IpAddr)>,
}

/// A network in CIDR form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

/// Why there is no address to dial.
#[derive(Debug)]
pub enum Refusal {
    /// The policy refuses this address.
    Forbidden(IpAddr),
    /// The name has no address, or the lookup failed.
    Unresolved(io::Error),
}

/// What an address is, before the operator's settings are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Public,
    /// Refused unless private ranges or the allowlist open it.
    Private,
    /// Refused whatever the settings: credential endpoints, multicast, reserved space.
    Never,
}

impl Guard {
    pub fn new(allow_private: bool, allowlist: Vec<Cidr>) -> Self {
        Self { allow_private, allowlist, overrides: Vec::new() }
    }

    /// Answers these names with these addresses instead of asking the resolver; the addresses are judged
    /// like any other.
    #[must_use]
    pub fn with_overrides(mut self, overrides: Vec<(String, IpAddr)>) -> Self {
        self.overrides = overrides;
        self
    }

    /// Opens these networks too.
    #[must_use]
    pub fn also_allowing(mut self, networks: &[Cidr]) -> Self {
        self.allowlist.extend_from_slice(networks);
        self
    }

    /// Resolves a target and judges every address; all of them pass or none is returned.
    pub fn resolve(&self, target: &Authority) -> Result<Vec<SocketAddr>, Refusal> {
        let overridden = self.overrides.iter().filter(|(name, _)| name == target.host());
        let mut addresses: Vec<SocketAddr> =
            overridden.map(|(_, ip)| SocketAddr::new(*ip, target.port())).collect();
        if addresses.is_empty() {
            addresses = target.resolve().map_err(Refusal::Unresolved)?;
        }
        match addresses.iter().find(|address| !self.allows(address.ip())) {
            Some(address) => Err(Refusal::Forbidden(address.ip())),
            None => Ok(addresses),
        }
    }

    /// Whether an address may be dialled (order of contract E.1).
    pub fn allows(&self, ip: IpAddr) -> bool {
        let ip = embedded(ip);
        match classify(ip) {
            Class::Public => true,
            Class::Private => self.allow_private || self.allowlist.iter().any(|cidr| cidr.contains(ip)),
            Class::Never => false,
        }
    }
}

impl Cidr {
    /// Parses `address/prefix` or a bare address.
    pub fn parse(text: &str) -> Option<Self> {
        let (base, prefix) = match text.split_once('/') {
            Some((base, prefix)) if prefix.bytes().all(|b| b.is_ascii_digit()) => {
                (base.parse().ok()?, prefix.parse().ok()?)
            }
            Some(_) => return None,
            None => {
                let base: IpAddr = text.parse().ok()?;
                (base, if base.is_ipv4() { 32 } else { 128 })
            }
        };
        let longest = if base.is_ipv4() { 32 } else { 128 };
        (prefix <= longest).then_some(Self { base, prefix })
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.base, ip) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                u32::from(base) & mask == u32::from(ip) & mask
            }
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                u128::from(base) & mask == u128::from(ip) & mask
            }
            _ => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden(ip) => write!(f, "address {ip} is blocked by network policy"),
            Self::Unresolved(_) => f.write_str("name cannot be resolved"),
        }
    }
}

/// The IPv4 address inside an IPv6 form that carries one: mapped (RFC 4291), NAT64 (RFC 6052), 6to4
/// (RFC 3056), and the deprecated compatible form. Anything else is returned as it is.
fn embedded(ip: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = ip else { return ip };
    let octets = v6.octets();
    let segments = v6.segments();
    let v4_at =
        |at: usize| IpAddr::V4(Ipv4Addr::new(octets[at], octets[at + 1], octets[at + 2], octets[at + 3]));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, _, _] | [0x64, 0xff9b, 0, 0, 0, 0, _, _] => v4_at(12),
        [0, 0, 0, 0, 0, 0, _, low] if low > 1 || segments[6] != 0 => v4_at(12),
        [0x2002, ..] => v4_at(2),
        _ => ip,
    }
}

fn classify(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => classify_v6(v6),
    }
}

fn classify_v4(ip: Ipv4Addr) -> Class {
    match ip.octets() {
        // Link-local holds the cloud, ECS and EKS credential endpoints; Azure's is 168.63.129.16.
        [169, 254, ..] | [168, 63, 129, 16] => Class::Never,
        [0 | 224..=255, ..] => Class::Never,
        [10 | 127, ..] | [192, 168, ..] => Class::Private,
        [172, 16..=31, ..] | [100, 64..=127, ..] => Class::Private,
        _ => Class::Public,
    }
}

fn classify_v6(ip: Ipv6Addr) -> Class {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Never,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Private,
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, _] => Class::Never,
        // Link-local, site-local, multicast; Teredo, whose embedded address is obfuscated.
        [0xfe80..=0xffff, ..] | [0x2001, 0, ..] => Class::Never,
        // Local-use NAT64 (RFC 8215) reaches whatever the site's translator reaches.
        [0xfc00..=0xfdff, ..] | [0x64, 0xff9b, 1, ..] => Class::Private,
        _ => Class::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow_private: bool, allowlist: &str) -> Guard {
        Guard::new(allow_private, allowlist.split(',').filter_map(Cidr::parse).collect())
    }

    fn allows(guard: &Guard, ip: &str) -> bool {
        guard.allows(ip.parse().unwrap())
    }

    #[test]
    fn credential_endpoints_are_refused_whatever_the_settings() {
        let open = guard(true, "169.254.169.254,fd00:ec2::254,0.0.0.0/0,::/0");
        for ip in [
            "169.254.169.254",
            "169.254.170.2",
            "169.254.0.1",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "fe80::1",
            "ff02::1",
            "168.63.129.16",
        ] {
            assert!(!allows(&open, ip), "{ip}");
        }
    }

    #[test]
    fn private_ranges_are_refused_by_default_and_opened_by_policy() {
        let private = [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.0.1",
            "127.0.0.1",
            "100.64.0.1",
            "::1",
            "fc00::1",
            "fd12::1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "64:ff9b:1::1",
        ];
        for ip in private {
            assert!(!allows(&guard(false, ""), ip), "{ip}");
            assert!(allows(&guard(true, ""), ip), "{ip}");
        }
        for ip in ["8.8.8.8", "1.1.1.1", "104.18.0.1", "172.32.0.1", "2606:4700::1", "64:ff9b::808:808"] {
            assert!(allows(&guard(false, ""), ip), "{ip}");
        }
    }

    #[test]
    fn the_allowlist_opens_what_it_names_and_no_more() {
        let some = guard(false, "10.163.0.0/16,192.168.1.1,fd00::1");
        for (ip, open) in [
            ("10.163.255.254", true),
            ("192.168.1.1", true),
            ("fd00::1", true),
            ("10.0.0.1", false),
            ("192.168.1.2", false),
            ("fd00::2", false),
            ("::ffff:10.163.0.1", true),
        ] {
            assert_eq!(allows(&some, ip), open, "{ip}");
        }
    }

    #[test]
    fn bad_networks_do_not_parse() {
        for text in ["invalid", "bad/x", "10.0.0.0/33", "::/129", "10.0.0.0/+8", "10.0.0.0/"] {
            assert_eq!(Cidr::parse(text), None, "{text}");
        }
        assert!(Cidr::parse("0.0.0.0/0").is_some_and(|all| all.contains(Ipv4Addr::LOCALHOST.into())));
    }

    #[test]
    fn one_forbidden_address_refuses_the_whole_name() {
        let overrides =
            ["8.8.8.8", "127.0.0.1"].map(|ip| ("api.example.test".to_owned(), ip.parse().unwrap()));
        let guard = Guard::default().with_overrides(overrides.to_vec());
        let target = Authority::parse("API.example.test:443").unwrap();
        assert!(matches!(guard.resolve(&target), Err(Refusal::Forbidden(ip)) if ip == Ipv4Addr::LOCALHOST));
    }
}
