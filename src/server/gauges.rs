//! The numbers of the process and of what serves all rooms, for `/metrics`.

use std::fs;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::api::Measure;
use crate::metrics::{Kind, Page};
use crate::net::reactor::Meter;
use crate::proxy::Proxy;
use crate::proxy::journal::Journal;
use crate::store::Store;

/// Collects a page when it is asked for.
pub(super) fn measure(
    store: &Arc<Store>,
    journal: &Arc<Journal>,
    proxy: &Arc<OnceLock<Arc<Proxy>>>,
    meter: Meter,
) -> Measure {
    let (store, journal, proxy) = (Arc::clone(store), Arc::clone(journal), Arc::clone(proxy));
    let started = SystemTime::now();
    Box::new(move |page| {
        page.numbers(
            Kind::Gauge,
            ("agent_vault_build_info", "version"),
            "The program that runs.",
            [(env!("CARGO_PKG_VERSION"), 1)],
        );
        connections(page, &meter);
        if let Some(proxy) = proxy.get() {
            proxy.measure(page);
        }
        page.number(
            Kind::Counter,
            "agent_vault_request_log_rows_dropped_total",
            "Rows of the request log that found no room.",
            journal.dropped(),
        );
        page.number(
            Kind::Gauge,
            "agent_vault_cached_tokens",
            "Tokens whose rights are in memory.",
            store.cached_tokens(),
        );
        process(page, started);
    })
}

fn connections(page: &mut Page, meter: &Meter) {
    let counts = meter.counts();
    page.number(
        Kind::Gauge,
        "agent_vault_connections_open",
        "Client connections, of both ports, parked ones included.",
        counts.open,
    );
    page.number(
        Kind::Gauge,
        "agent_vault_connections_parked",
        "Client connections that wait without a thread.",
        meter.parked(),
    );
    page.number(
        Kind::Counter,
        "agent_vault_connections_refused_total",
        "Clients that found no room.",
        counts.refused,
    );
    page.number(
        Kind::Counter,
        "agent_vault_connections_panicked_total",
        "Connections that ended in a fault of this program.",
        counts.panicked,
    );
}

/// What the system says of this process; what it does not tell is left out.
fn process(page: &mut Page, started: SystemTime) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let families = [
        ("VmRSS:", "process_resident_memory_bytes", "Resident memory size in bytes."),
        ("VmSize:", "process_virtual_memory_bytes", "Virtual memory size in bytes."),
    ];
    for (field, name, help) in families {
        if let Some(bytes) = kib(&status, field) {
            page.number(Kind::Gauge, name, help, bytes);
        }
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        // The descriptor of this very listing is not one of ours.
        let open = descriptors.count().saturating_sub(1);
        page.number(Kind::Gauge, "process_open_fds", "Number of open file descriptors.", open);
    }
    if let Ok(since) = started.duration_since(UNIX_EPOCH) {
        page.number(
            Kind::Gauge,
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            since.as_secs(),
        );
    }
}

/// A field of `/proc/self/status` that is given in kB, in bytes.
fn kib(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_told_in_bytes() {
        let status = "Name:\tx\nVmSize:\t    8 kB\nVmRSS:\t  12 kB\n";
        assert_eq!(kib(status, "VmRSS:"), Some(12 * 1024));
        assert_eq!(kib(status, "VmHWM:"), None);
    }
}
