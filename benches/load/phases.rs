//! The rows: each phase is run on every way in turn, round after round, so that what the machine does
//! meanwhile meets all ways alike.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::Scope;
use crate::client::Ask;
use crate::drive::{Crowd, Figures, Lasting, Plan, run};
use crate::process::{cpu_seconds, resident_bytes};
use crate::report::{Beside, Report};
use crate::ways::{COPY, DIRECT, Ready, Way};

pub(crate) const KIB: usize = 1024;
pub(crate) const LARGE: usize = 10 * 1024 * KIB;

/// The sizes that are fetched.
pub(crate) const SIZES: [usize; 3] = [KIB, 64 * KIB, LARGE];

/// Opening idle connections may take a way this long.
const PATIENCE: Duration = Duration::from_secs(40);

/// Resident memory, from a process that has done nothing yet to one with thousands of idle connections.
pub(crate) fn memory(ways: &[Way], scope: &Scope, report: &mut Report) -> io::Result<()> {
    let each = |report: &mut Report, name: &str, measure: &dyn Fn(&Ready) -> io::Result<f64>| {
        // Neither the origin's memory nor the copier's says anything.
        for (way, ready) in present(ways).filter(|(way, _)| !matches!(*way, DIRECT | COPY)) {
            let value = measure(ready);
            note(report, name, "MiB resident", Beside::Ratio, way, value.map(|bytes| bytes / 1_048_576.0));
        }
    };
    each(report, "fresh", &|ready| Ok(resident_bytes(&ready.pids)));
    let busy = Plan { ask: Ask::Get(KIB), connections: 64, lasting: Lasting::KeepAlive, run: scope.run };
    each(report, "64 busy connections", &|ready| {
        run(&ready.target, busy, &mut || resident_bytes(&ready.pids)).map(|(_, [_, after])| after)
    });
    for count in &scope.idle {
        let plan = Plan { connections: *count, ..busy };
        each(report, &format!("{count} idle connections"), &|ready| {
            let crowd = Crowd::open(&ready.target, plan, *count, Instant::now() + PATIENCE)?;
            let bytes = settled(&ready.pids);
            drop(crowd);
            Ok(bytes)
        });
        let base = report.row("fresh", "", Beside::Ratio).samples.clone();
        let grown = report.row(&format!("{count} idle connections"), "", Beside::Ratio).samples.clone();
        let row = report.row(&format!("one of {count} idle connections"), "KiB", Beside::Ratio);
        for (way, samples) in grown {
            if let (Some(base), Some(grown)) = (base.get(&way).and_then(|base| base.first()), samples.first())
            {
                row.samples.insert(way, vec![(grown - base) * 1024.0 / *count as f64]);
            }
        }
    }
    Ok(())
}

/// Memory once it has stopped falling: what parks idle connections does so a little later.
fn settled(pids: &[u32]) -> f64 {
    let until = Instant::now() + Duration::from_secs(3);
    let mut last = resident_bytes(pids);
    let mut calm = 0;
    while calm < 5 && Instant::now() < until {
        thread::park_timeout(Duration::from_millis(100));
        let now = resident_bytes(pids);
        calm = if (last - now).abs() < last * 0.005 { calm + 1 } else { 0 };
        last = now;
    }
    last
}

/// Requests, tunnels and bodies.
pub(crate) fn traffic(ways: &[Way], scope: &Scope, report: &mut Report) {
    for size in [KIB, 64 * KIB] {
        for connections in &scope.connections {
            let name = format!("{} KiB, {connections} connections", size / KIB);
            let plan = Plan {
                ask: Ask::Get(size),
                connections: *connections,
                lasting: Lasting::KeepAlive,
                run: scope.run,
            };
            rounds(ways, scope, plan, report, &mut |report, way, measured| {
                note(
                    report,
                    &name,
                    "requests/s",
                    Beside::Ratio,
                    way,
                    measured.as_ref().map(|(figures, _)| figures.rate()),
                );
                let Ok((figures, seconds)) = measured else { return };
                for percent in [50, 99] {
                    let value: io::Result<f64> = Ok(figures.percentile(percent));
                    note(report, &format!("{name}: p{percent}"), "µs", Beside::Difference, way, value);
                }
                if let Some(seconds) = seconds {
                    let each = seconds / figures.requests as f64 * 1e4;
                    note(
                        report,
                        &format!("{name}: CPU of 10 000 requests"),
                        "s",
                        Beside::Ratio,
                        way,
                        io::Result::Ok(each),
                    );
                }
            });
        }
    }
    for (name, lasting) in [
        ("new tunnels, 16 at a time", Lasting::Once),
        ("resumed tunnels, 16 at a time", Lasting::OnceResumed),
    ] {
        let plan = Plan { ask: Ask::Get(KIB), connections: 16, lasting, run: scope.run };
        rounds(ways, scope, plan, report, &mut |report, way, measured| {
            note(report, name, "tunnels/s", Beside::Ratio, way, measured.map(|(figures, _)| figures.rate()));
        });
    }
    for (name, ask) in [("10 MiB down", Ask::Get(LARGE)), ("10 MiB up", Ask::Put(LARGE))] {
        let plan = Plan { ask, connections: 1, lasting: Lasting::KeepAlive, run: scope.run };
        rounds(ways, scope, plan, report, &mut |report, way, measured| {
            let rate = measured.map(|(figures, _)| figures.rate() * LARGE as f64 / 1e6);
            note(report, name, "MB/s", Beside::Ratio, way, rate);
        });
    }
}

type Measured<'m> = Result<&'m (Figures, Option<f64>), String>;

fn rounds(
    ways: &[Way],
    scope: &Scope,
    plan: Plan,
    report: &mut Report,
    take: &mut dyn FnMut(&mut Report, &str, Measured<'_>),
) {
    for _ in 0..scope.rounds {
        for (way, ready) in present(ways) {
            let measured = run(&ready.target, plan, &mut || cpu_seconds(&ready.pids));
            let measured = measured.map(|(figures, [before, after])| {
                (figures, (!ready.pids.is_empty()).then_some(after - before))
            });
            take(report, way, measured.as_ref().map_err(ToString::to_string));
        }
    }
}

fn present(ways: &[Way]) -> impl Iterator<Item = (&'static str, &Ready)> {
    ways.iter().filter_map(|way| Some((way.name, way.ready.as_ref().ok()?)))
}

/// Adds a sample, or says why there is none.
pub(crate) fn note<E: ToString>(
    report: &mut Report,
    name: &str,
    unit: &str,
    beside: Beside,
    way: &str,
    value: Result<f64, E>,
) {
    let row = report.row(name, unit, beside);
    match value {
        Ok(value) => row.samples.entry(way.to_owned()).or_default().push(value),
        Err(error) => drop(row.notes.insert(way.to_owned(), error.to_string())),
    }
}
