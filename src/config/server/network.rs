//! Where the proxy may connect to, by which way, and whose word it takes for it.

use std::net::IpAddr;

use super::{Flags, Vars};
use crate::net::guard::{Cidr, Guard};
use crate::proxy::Egress;

pub(in crate::config) fn guard(vars: &mut Vars<'_>) -> Guard {
    let allow_private = vars.switch("AGENT_VAULT_ALLOW_PRIVATE_RANGES");
    let allowlist = cidrs(vars, "AGENT_VAULT_NETWORK_ALLOWLIST");
    Guard::new(allow_private, allowlist).with_overrides(overrides(vars))
}

/// `name=address` pairs that are answered without asking the resolver.
fn overrides(vars: &mut Vars<'_>) -> Vec<(String, IpAddr)> {
    const NAME: &str = "AGENT_VAULT_HOST_OVERRIDES";
    let mut pairs = Vec::new();
    for entry in list(vars.text(NAME).as_deref()) {
        match entry.split_once('=').map(|(name, ip)| (name.trim().to_ascii_lowercase(), ip.trim().parse())) {
            Some((name, Ok(ip))) if !name.is_empty() => pairs.push((name, ip)),
            _ => vars.problem(format!("{NAME}: {entry:?} is not name=address")),
        }
    }
    pairs
}

pub(in crate::config) fn egress(vars: &mut Vars<'_>) -> Option<Egress> {
    let url = vars.text("AGENT_VAULT_UPSTREAM_PROXY")?;
    let exclusions = vars.text("AGENT_VAULT_UPSTREAM_NO_PROXY").unwrap_or_default();
    match Egress::parse(&url, &exclusions) {
        Ok(egress) => Some(egress),
        Err(reason) => {
            vars.problem(format!("AGENT_VAULT_UPSTREAM_PROXY: {reason}"));
            None
        }
    }
}

pub(in crate::config) fn upstream_roots(flags: &Flags, vars: &mut Vars<'_>) -> Vec<Vec<u8>> {
    let source = vars.source(flags.upstream_ca.as_deref(), "--upstream-ca", "AGENT_VAULT_UPSTREAM_CA");
    source.and_then(|(path, name)| vars.file(&path, name)).into_iter().collect()
}

pub(super) fn cidrs(vars: &mut Vars<'_>, name: &str) -> Vec<Cidr> {
    let mut networks = Vec::new();
    for entry in list(vars.text(name).as_deref()) {
        match Cidr::parse(&entry) {
            Some(network) => networks.push(network),
            None => vars.problem(format!("{name}: {entry:?} is not a network like 10.0.0.0/8")),
        }
    }
    networks
}

fn list(text: Option<&str>) -> Vec<String> {
    let entries = text.unwrap_or_default().split(',').map(str::trim);
    entries.filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
}
