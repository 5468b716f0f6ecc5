//! Settings of the proxy, whether a broker or a run without one has it.

use std::net::IpAddr;

use super::Vars;
use crate::log::Level;
use crate::net::guard::{Cidr, Guard};
use crate::net::reactor;
use crate::proxy::{Egress, Limits, Shares};
use crate::vault::service::InternalNames;

/// Bounds on bodies, as typed.
#[derive(Default)]
pub(super) struct Bytes<'a> {
    pub(super) request: Option<&'a str>,
    pub(super) response: Option<&'a str>,
}

pub(super) fn log_level(flag: Option<&str>, vars: &mut Vars<'_>) -> Level {
    let Some((text, name)) = vars.source(flag, "--log-level", "AGENT_VAULT_LOG_LEVEL") else {
        return Level::Info;
    };
    Level::parse(&text).unwrap_or_else(|| {
        vars.problem(format!("{name}: {text:?} is neither info nor debug"));
        Level::Info
    })
}

pub(super) fn limits(flags: &Bytes<'_>, vars: &mut Vars<'_>, max_connections: usize) -> Limits {
    let standard = Limits::default();
    let mut number = |flag: Option<&str>, flag_name, name| {
        let (text, name) = vars.source(flag, flag_name, name)?;
        vars.parsed::<u64>(Some(&text), name, "a number of bytes")
    };
    let request = number(flags.request, "--max-request-bytes", "AGENT_VAULT_MAX_REQUEST_BYTES");
    let response = number(flags.response, "--max-response-bytes", "AGENT_VAULT_MAX_RESPONSE_BYTES");
    if request == Some(0) {
        vars.problem("the limit of request bytes must be at least 1".to_owned());
    }
    Limits {
        max_request_bytes: request.unwrap_or(standard.max_request_bytes),
        max_response_bytes: response.filter(|bytes| *bytes > 0),
        shares: shares(vars, max_connections),
        ..standard
    }
}

pub(super) fn connections(vars: &mut Vars<'_>) -> reactor::Limits {
    let standard = reactor::Limits::default();
    let max = vars.positive("AGENT_VAULT_MAX_CONNECTIONS");
    reactor::Limits { max_connections: max.unwrap_or(standard.max_connections), ..standard }
}

/// What one actor and one vault may hold of all connections.
fn shares(vars: &mut Vars<'_>, max_connections: usize) -> Shares {
    let standard = Shares::of(max_connections);
    Shares {
        per_actor: vars.positive("AGENT_VAULT_MAX_CONNECTIONS_PER_ACTOR").unwrap_or(standard.per_actor),
        per_vault: vars.positive("AGENT_VAULT_MAX_CONNECTIONS_PER_VAULT").unwrap_or(standard.per_vault),
    }
}

pub(super) fn guard(vars: &mut Vars<'_>) -> Guard {
    let allow_private = vars.switch("AGENT_VAULT_ALLOW_PRIVATE_RANGES");
    let allowlist = cidrs(vars, "AGENT_VAULT_NETWORK_ALLOWLIST");
    Guard::new(allow_private, allowlist).with_overrides(overrides(vars))
}

pub(super) fn egress(vars: &mut Vars<'_>) -> Option<Egress> {
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

pub(super) fn internal_names(vars: &mut Vars<'_>) -> InternalNames {
    if vars.switch("AGENT_VAULT_DEV_MODE") { InternalNames::Allowed } else { InternalNames::Refused }
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

pub(super) fn upstream_roots(flag: Option<&str>, vars: &mut Vars<'_>) -> Vec<Vec<u8>> {
    let source = vars.source(flag, "--upstream-ca", "AGENT_VAULT_UPSTREAM_CA");
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
