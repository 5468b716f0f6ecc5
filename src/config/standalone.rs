//! Settings of a run without a broker: those of `agent-vault server` that concern its proxy.

use super::Vars;
use super::proxy::{self, Bytes};
use crate::entry::standalone::{Settings, Source};
use crate::failure::Failure;
use crate::log::Level;
use crate::proxy::{Limits, Shares};
use crate::vault::service::InternalNames;

/// Reads and checks everything; the failure lists every problem.
pub fn read(
    source: Source,
    upstream_ca: Option<&str>,
    var: &dyn Fn(&str) -> Option<String>,
) -> Result<(Settings, Level), Failure> {
    let mut vars = Vars::new(var);
    let connections = proxy::connections(&mut vars);
    let most = u32::try_from(connections.max_connections).unwrap_or(u32::MAX);
    let settings = Settings {
        source,
        key: vars.secret("AGENT_VAULT_KEY"),
        guard: proxy::guard(&mut vars),
        egress: proxy::egress(&mut vars),
        upstream_roots: proxy::upstream_roots(upstream_ca, &mut vars),
        // One app uses it, and may do so without bounds but those of this process.
        limits: Limits {
            rates: None,
            shares: Shares { per_actor: most, per_vault: most },
            ..proxy::limits(&Bytes::default(), &mut vars, connections.max_connections)
        },
        connections,
        internal_names: proxy::internal_names(&mut vars),
    };
    let level = proxy::log_level(None, &mut vars);
    vars.finish()?;
    Ok((settings, level))
}

/// Whether host names that reach into the machine may be services, for a command that needs nothing else.
pub fn internal_names(var: &dyn Fn(&str) -> Option<String>) -> Result<InternalNames, Failure> {
    let mut vars = Vars::new(var);
    let names = proxy::internal_names(&mut vars);
    vars.finish()?;
    Ok(names)
}
