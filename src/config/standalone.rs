//! Settings of a run without a broker: those of `agent-vault server` that concern its proxy.

use super::Vars;
use super::server::{self, Flags};
use crate::entry::standalone::{Settings, Source};
use crate::failure::Failure;
use crate::log::Level;
use crate::proxy::{Limits, Shares};
use crate::vault::service::InternalNames;

/// Reads and checks everything; the failure lists every problem.
pub fn read(
    source: Source,
    upstream_ca: Option<String>,
    var: &dyn Fn(&str) -> Option<String>,
) -> Result<(Settings, Level), Failure> {
    let flags = Flags { upstream_ca, ..Flags::default() };
    let mut vars = Vars::new(var);
    let connections = server::connections(&mut vars);
    let most = u32::try_from(connections.max_connections).unwrap_or(u32::MAX);
    let settings = Settings {
        source,
        key: vars.secret("AGENT_VAULT_KEY"),
        guard: server::guard(&mut vars),
        egress: server::egress(&mut vars),
        upstream_roots: server::upstream_roots(&flags, &mut vars),
        // One app uses it, and may do so without bounds but those of this process.
        limits: Limits {
            rates: None,
            shares: Shares { per_actor: most, per_vault: most },
            ..server::limits(&flags, &mut vars, connections.max_connections)
        },
        connections,
        internal_names: server::internal_names(&mut vars),
    };
    let level = server::log_level(&flags, &mut vars);
    vars.finish()?;
    Ok((settings, level))
}

/// Whether host names that reach into the machine may be services, for a command that needs nothing else.
pub fn internal_names(var: &dyn Fn(&str) -> Option<String>) -> Result<InternalNames, Failure> {
    let mut vars = Vars::new(var);
    let names = server::internal_names(&mut vars);
    vars.finish()?;
    Ok(names)
}
