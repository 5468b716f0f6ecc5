//! The proxy's part of a page of numbers.

use super::Proxy;
use crate::metrics::{Kind, Page};

impl Proxy {
    /// Writes what has been counted. Locks are taken here and not where it is counted.
    pub fn measure(&self, page: &mut Page) {
        let (traffic, upstreams) = (&self.traffic, self.upstreams.counts());
        page.numbers(
            Kind::Counter,
            ("agent_vault_proxy_requests_total", "verdict"),
            "Requests of known actors: sent by a service's rules, passed without one, or refused.",
            [
                ("attached", traffic.attached.get()),
                ("passed", traffic.passed.get()),
                ("refused", traffic.refused.get()),
            ],
        );
        page.numbers(
            Kind::Counter,
            ("agent_vault_proxy_errors_total", "reason"),
            "Refusals and broken exchanges by reason (docs/reasons.md).",
            self.counts(),
        );
        page.number(
            Kind::Gauge,
            "agent_vault_proxy_requests_in_flight",
            "Requests that hold a slot of tier PROXY.",
            self.tiers.in_flight(),
        );
        page.number(
            Kind::Gauge,
            "agent_vault_proxy_permits",
            "Connections that count for an actor and a vault.",
            self.permits.count(),
        );
        page.numbers(
            Kind::Counter,
            ("agent_vault_proxy_tunnels_total", "kind"),
            "Tunnels that were opened.",
            [("terminated", traffic.terminated.get()), ("untouched", traffic.untouched.get())],
        );
        page.number(
            Kind::Gauge,
            "agent_vault_proxy_tunnels_open",
            "Tunnels that are open.",
            traffic.open_tunnels(),
        );
        page.numbers(
            Kind::Counter,
            ("agent_vault_upstream_connections_total", "from"),
            "Connections taken for a request: from the pool, or dialled for it, whether or not that succeeded.",
            [("pool", upstreams.reused), ("dial", upstreams.dialled)],
        );
        page.number(
            Kind::Gauge,
            "agent_vault_upstream_connections_idle",
            "Connections that wait in the pool.",
            upstreams.idle,
        );
    }
}
