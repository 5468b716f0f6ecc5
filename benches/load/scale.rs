//! The cost of a request as what the broker keeps grows: curves, not points.
//!
//! For each point a broker of its own is filled and stays; then all points of a curve are measured in turn,
//! round after round. The cost is the broker's processor time for one 1 KiB request.

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::Scope;
use crate::broker::{Broker, VAULT, basic};
use crate::client::{Ask, Target};
use crate::drive::{Lasting, Plan, run};
use crate::phases::KIB;
use crate::process::cpu_seconds;
use crate::report::{Curve, Point, Report};
use crate::ways::{BROKER, Origins, Setting, check, target};

/// Connections at work while something else grows.
const CONNECTIONS: usize = 32;

/// A broker that is filled to a size, and what is sent through it.
struct Filled {
    size: usize,
    broker: Broker,
    target: Target,
    connections: usize,
}

pub(crate) fn measure(
    setting: &Setting,
    origins: &Origins,
    scope: &Scope,
    report: &mut Report,
) -> io::Result<()> {
    let filled = |name: &str, services: usize| -> io::Result<(Broker, String)> {
        let broker = Broker::start(&setting.binary, setting.dir(), name, &[])?;
        broker.register()?;
        broker.fill_vault(services)?;
        let token = broker.agent()?;
        Ok((broker, basic(&format!("{token}:{VAULT}"))))
    };
    let point =
        |size: usize, connections: usize, broker: Broker, fields: Vec<String>| -> io::Result<Filled> {
            let target = target(origins, Some((broker.proxy_port, fields)), &broker.ca_pem()?)?;
            Ok(Filled { size, broker, target, connections })
        };
    let services = scope.services.iter().map(|size| {
        let (broker, field) = filled(&format!("services-{size}"), size - 1)?;
        point(*size, CONNECTIONS, broker, vec![field])
    });
    curve("services in the vault", &services.collect::<io::Result<Vec<_>>>()?, scope, report)?;
    let vaults = scope.vaults.iter().map(|size| {
        let broker = Broker::start(&setting.binary, setting.dir(), &format!("vaults-{size}"), &[])?;
        broker.register()?;
        let (token, names) = broker.fill_vaults(*size)?;
        // The connections are spread over all of them.
        let step = names.len().div_ceil(CONNECTIONS).max(1);
        let fields = names.iter().step_by(step).map(|vault| basic(&format!("{token}:{vault}"))).collect();
        point(*size, CONNECTIONS, broker, fields)
    });
    curve("vaults", &vaults.collect::<io::Result<Vec<_>>>()?, scope, report)?;
    let rows = scope.log_rows.iter().map(|size| {
        let name = format!("rows-{size}");
        let (broker, field) = filled(&name, 0)?;
        drop(broker);
        fill_log(&setting.dir().join(&name), *size)?;
        // Rows are kept, however many: what is measured is a log of this size.
        let keep = [("AGENT_VAULT_LOGS_MAX_ROWS_PER_VAULT", "0")];
        let broker = Broker::start(&setting.binary, setting.dir(), &name, &keep)?;
        point(*size, CONNECTIONS, broker, vec![field])
    });
    curve("rows of the request log", &rows.collect::<io::Result<Vec<_>>>()?, scope, report)?;
    let crowds = scope.crowds.iter().map(|size| {
        let (broker, field) = filled(&format!("crowd-{size}"), 0)?;
        point(*size, *size, broker, vec![field])
    });
    curve("busy connections", &crowds.collect::<io::Result<Vec<_>>>()?, scope, report)
}

fn curve(of: &str, filled: &[Filled], scope: &Scope, report: &mut Report) -> io::Result<()> {
    let mut points: Vec<Point> =
        filled.iter().map(|filled| Point { size: filled.size, samples: Vec::new() }).collect();
    for filled in filled {
        check(BROKER, &filled.target)?;
    }
    for _ in 0..scope.rounds {
        for (filled, point) in filled.iter().zip(&mut points) {
            let plan = Plan {
                ask: Ask::Get(KIB),
                connections: filled.connections,
                lasting: Lasting::KeepAlive,
                // Shorter than this, and the kernel's ticks show.
                run: scope.run.max(Duration::from_millis(200)),
            };
            let (figures, [before, after]) =
                run(&filled.target, plan, &mut || cpu_seconds(&[filled.broker.pid()]))?;
            point.samples.push((after - before) * 1e6 / figures.requests as f64);
        }
    }
    report.curves.push(Curve { of: of.to_owned(), unit: "µs CPU a request".to_owned(), points });
    Ok(())
}

/// Writes rows into the log of a broker that is stopped, as requests of the last hour.
fn fill_log(home: &Path, rows: usize) -> io::Result<()> {
    let fill = || -> rusqlite::Result<()> {
        let connection = Connection::open(Broker::database(home))?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.execute(
            "WITH RECURSIVE number (n) AS (SELECT 1 WHERE ?1 > 0 UNION ALL SELECT n + 1 FROM number WHERE n < ?1)
             INSERT INTO request_logs (vault_id, actor_type, actor_id, ingress, method, host, path,
                 matched_service, credential_keys, status, latency_ms, created_at)
             SELECT vaults.id, 'agent', 'bench', 'mitm', 'GET', 'host-' || (n % 100) || '.bench.test',
                 '/v1/items/' || n, 'measured', '[\"KEY\"]', 200, n % 300,
                 datetime('now', '-' || (n % 3600) || ' seconds')
             FROM number, vaults WHERE vaults.name = ?2",
            (i64::try_from(rows).unwrap_or(i64::MAX), VAULT),
        )?;
        Ok(())
    };
    fill().map_err(io::Error::other)
}
