//! How much the broker takes on: connections and their shares, and bodies.

use super::{Flags, Vars};
use crate::net::reactor;
use crate::proxy::{Limits, Shares};

pub(in crate::config) fn connections(vars: &mut Vars<'_>) -> reactor::Limits {
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

pub(in crate::config) fn limits(flags: &Flags, vars: &mut Vars<'_>, max_connections: usize) -> Limits {
    let standard = Limits::default();
    let mut number = |flag: Option<&str>, flag_name, name| {
        let (text, name) = vars.source(flag, flag_name, name)?;
        vars.parsed::<u64>(Some(&text), name, "a number of bytes")
    };
    let request =
        number(flags.max_request_bytes.as_deref(), "--max-request-bytes", "AGENT_VAULT_MAX_REQUEST_BYTES");
    let response =
        number(flags.max_response_bytes.as_deref(), "--max-response-bytes", "AGENT_VAULT_MAX_RESPONSE_BYTES");
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
