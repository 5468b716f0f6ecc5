//! Hosts the request log knows and no service covers: what a vault may want a service for.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::vaults::read_services;
use super::{Error, Store, Timestamp};
use crate::authority::Authority;
use crate::vault::matcher::Matcher;

/// A host of unmatched requests, whatever their ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovered {
    pub host: String,
    pub requests: u32,
    pub last_seen: Timestamp,
    /// How the newest request meant to authenticate by itself; empty when it did not.
    pub auth_scheme: String,
    pub auth_header: String,
    /// Its row's number, which orders what happened in the same second.
    newest: i64,
}

impl Store {
    /// The hosts no service of the vault covers, last seen first. A service covers a host whatever its
    /// path, its port, and whether it is enabled.
    pub fn discovered_hosts(&self, vault_id: &str) -> Result<Vec<Discovered>, Error> {
        let (services, seen) = self.read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT l.host, seen.requests, l.created_at, l.auth_scheme, l.auth_header, l.id
                 FROM (SELECT MAX(id) AS newest, COUNT(*) AS requests FROM request_logs
                       WHERE vault_id = ?1 AND matched_service = '' GROUP BY host) seen
                 JOIN request_logs l ON l.id = seen.newest",
            )?;
            let rows = statement.query_map([vault_id], |row| {
                Ok(Discovered {
                    host: row.get(0)?,
                    requests: row.get(1)?,
                    last_seen: row.get(2)?,
                    auth_scheme: row.get(3)?,
                    auth_header: row.get(4)?,
                    newest: row.get(5)?,
                })
            })?;
            let seen = rows.collect::<Result<Vec<_>, _>>()?;
            Ok((read_services(connection, vault_id)?, seen))
        })?;
        let matcher = Matcher::new(&services);
        let is_covered = |target: &Authority| matcher.of_host(target).next().is_some();
        let mut hosts: HashMap<String, Discovered> = HashMap::new();
        for mut found in seen {
            // The port does not matter, and a row of old may name none.
            let target = Authority::parse_or(&found.host, 443).ok();
            if target.as_ref().is_some_and(is_covered) {
                continue;
            }
            if let Some(target) = target {
                target.host().clone_into(&mut found.host);
            }
            fold(&mut hosts, found);
        }
        let mut hosts: Vec<Discovered> = hosts.into_values().collect();
        hosts.sort_unstable_by(|a, b| (Reverse(a.last_seen), &a.host).cmp(&(Reverse(b.last_seen), &b.host)));
        Ok(hosts)
    }
}

/// Adds what was found to its host: counts add up, the newest row's hints stay.
fn fold(hosts: &mut HashMap<String, Discovered>, mut found: Discovered) {
    if let Some(known) = hosts.get(&found.host) {
        let requests = known.requests + found.requests;
        if known.newest > found.newest {
            found = known.clone();
        }
        found.requests = requests;
    }
    hosts.insert(found.host.clone(), found);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::vaults::DEFAULT_ID;
    use crate::store::{Stale, scratch};

    fn add(store: &Store, host: &str, count: u32, at: Timestamp, hint: (&str, &str)) {
        store
            .change(Stale::Nothing, |transaction| {
                for _ in 0..count {
                    transaction.execute(
                        "INSERT INTO request_logs (vault_id, ingress, method, host, path, status, latency_ms,
                             auth_scheme, auth_header, created_at)
                         VALUES (?1, 'mitm', 'GET', ?2, '/', 200, 1, ?3, ?4, ?5)",
                        (DEFAULT_ID, host, hint.0, hint.1, at),
                    )?;
                }
                Ok(())
            })
            .unwrap();
    }

    /// Contract J 99.
    #[test]
    fn ports_fold_into_one_host_and_the_newest_hint_stays() {
        let (_dir, store) = scratch();
        let now = Timestamp::now();
        let later = now.plus(std::time::Duration::from_secs(5));
        assert_eq!(store.discovered_hosts(DEFAULT_ID).unwrap(), []);
        add(&store, "api.x.com:443", 10, now, ("bearer", "Authorization"));
        add(&store, "api.x.com", 3, now, ("api-key", "X-Api-Key"));
        add(&store, "zebra.com:80", 1, now, ("", ""));
        add(&store, "[2001:db8::1]:443", 1, now, ("", ""));
        add(&store, "new.com:443", 2, later, ("", ""));
        let found = store.discovered_hosts(DEFAULT_ID).unwrap();
        let shown: Vec<(&str, u32, &str, &str)> = found
            .iter()
            .map(|host| (&*host.host, host.requests, &*host.auth_scheme, &*host.auth_header))
            .collect();
        assert_eq!(
            shown,
            [
                ("new.com", 2, "", ""),
                ("2001:db8::1", 1, "", ""),
                ("api.x.com", 13, "api-key", "X-Api-Key"),
                ("zebra.com", 1, "", "")
            ]
        );
    }
}
