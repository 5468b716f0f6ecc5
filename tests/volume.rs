//! Promise: memory is bounded by connections, never by what passes on them; many streams live side by side.
//!
//! The broker is measured by the origin, in the middle of a body or while all streams are open, so that
//! each figure belongs to a known moment. Bodies are generated and compared, never kept.

#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod support;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use support::{Broker, Origin, PATIENCE, Received, SECRET, Site, Wire, need_python, source};

const API: &str = "api.example.test";

/// The body of a large request or response: 1024 blocks of 1 MiB, no two alike.
const BLOCK_BYTES: usize = 1024 * 1024;
const BLOCKS: u64 = 1024;
/// What a body of 1 GiB may cost the broker, and what a relay may have cost in all, in KiB: their buffers
/// are a few hundred; the rest is what a debug build and its allocator take for themselves.
const ALLOWED_KIB: u64 = 8 * 1024;
const RELAY_KIB: u64 = 32 * 1024;

/// Streams at once, and what each may cost the broker in a debug build: two TLS connections, their buffers
/// of 18 KiB, and the part of a thread's stack that is used.
const STREAMS: usize = 500;
const STREAM_KIB: u64 = 256;
/// Threads a broker has without a connection, and those that serve the requests beside the streams.
const OTHER_THREADS: u64 = 16;

#[test]
fn a_gibibyte_each_way() {
    let Some(python) = need_python("a_gibibyte_each_way", "requests") else { return };
    // One after the other: each has the machine, and its own deadline.
    gibibyte(&python, "up");
    gibibyte(&python, "down");
}

/// Sends or receives 1 GiB of blocks.
fn gibibyte(python: &Path, direction: &str) {
    let meter = Arc::new(Meter::default());
    let measuring = Arc::clone(&meter);
    let origin = Origin::tls(&[API]).talking(move |request, wire| match request.method.as_str() {
        "PUT" => take_gibibyte(request, wire, &measuring),
        _ => send_gibibyte(wire, &measuring),
    });
    let mut site = Site::open(origin, API);
    meter.attach(site.broker.pid());
    let before = meter.resident_kib();
    let ended = site.client(python, &[&source("bulk.py"), &site.origin.url(API, ""), direction]);
    assert!(ended.stdout.starts_with("received\n"), "{}", ended.stdout);
    let peak = meter.peak_kib();
    assert!(peak < before + ALLOWED_KIB, "the broker grew from {before} to {peak} KiB");
    let relay = figure(&ended.stdout, "VmHWM:");
    assert!(relay < RELAY_KIB, "the relay grew to {relay} KiB");
    site.expect_credential_on(&site.origin.requests());
    site.expect_no_traces();
}

/// Takes the body and compares every byte of it.
fn take_gibibyte(request: &Received, wire: &mut dyn Wire, meter: &Meter) -> io::Result<()> {
    let mut block = block();
    let mut taken = 0;
    request.read_body(wire, &mut |mut piece| {
        while !piece.is_empty() {
            let at = usize::try_from(taken % BLOCK_BYTES as u64).unwrap();
            if at == 0 {
                number(&mut block, taken / BLOCK_BYTES as u64);
                meter.measure();
            }
            let (now, later) = piece.split_at(piece.len().min(BLOCK_BYTES - at));
            assert!(now == &block[at..at + now.len()], "other bytes than were sent, behind byte {taken}");
            taken += now.len() as u64;
            piece = later;
        }
    })?;
    assert_eq!(taken, BLOCKS * BLOCK_BYTES as u64);
    wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nreceived")
}

fn send_gibibyte(wire: &mut dyn Wire, meter: &Meter) -> io::Result<()> {
    write!(wire, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BLOCKS * BLOCK_BYTES as u64)?;
    let mut block = block();
    for at in 0..BLOCKS {
        number(&mut block, at);
        wire.write_all(&block)?;
        meter.measure();
    }
    Ok(())
}

fn block() -> Vec<u8> {
    let filler = (0..=250).cycle().take(BLOCK_BYTES - 8);
    [0; 8].into_iter().chain(filler).collect()
}

fn number(block: &mut [u8], at: u64) {
    block[..8].copy_from_slice(&at.to_be_bytes());
}

#[test]
fn five_hundred_streams() {
    let Some(python) = need_python("five_hundred_streams", "aiohttp") else { return };
    let rounds = Arc::new(Rounds::default());
    let meter = Arc::new(Meter::default());
    let (going, measuring) = (Arc::clone(&rounds), Arc::clone(&meter));
    let origin = Origin::tls(&[API]).talking(move |request, wire| {
        let Some(event) = request.target.strip_prefix("/seen/") else { return going.stream(wire) };
        measuring.measure();
        going.reach(event.parse().expect("an event of ours"));
        wire.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
    });
    // The tiers bound what one agent may do at once; here it may do more.
    let broker = Broker::start_with(&origin, &[API], &[("AGENT_VAULT_RATELIMIT_PROFILE", "off")])
        .with_credential("API_KEY", SECRET)
        .with_service("the-api", API, "API_KEY");
    let mut site = Site::over(origin, broker);
    meter.attach(site.broker.pid());
    let before = meter.resident_kib();
    let count = STREAMS.to_string();
    let ended = site.client(&python, &[&source("many.py"), &site.origin.url(API, ""), &count]);
    assert!(ended.stdout.starts_with("500 streams had every event\n"), "{}", ended.stdout);
    let (threads, peak) = (meter.most_threads(), meter.peak_kib());
    assert!(threads <= STREAMS as u64 + OTHER_THREADS, "{threads} threads for {STREAMS} streams");
    let allowed = before + STREAMS as u64 * STREAM_KIB;
    assert!(peak <= allowed, "the broker grew from {before} to {peak} KiB for {STREAMS} streams");
    site.expect_credential_on(&site.origin.requests());
    site.expect_no_traces();
}

/// How far all streams have come together.
#[derive(Default)]
struct Rounds {
    progress: Mutex<Progress>,
    moved: Condvar,
}

#[derive(Default)]
struct Progress {
    open: usize,
    /// The event that every stream has delivered.
    seen: u32,
}

impl Rounds {
    /// Sends three events, the first when all streams are open, each other when all had the one before.
    fn stream(&self, wire: &mut dyn Wire) -> io::Result<()> {
        wire.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
        wire.flush()?;
        self.progress.lock().unwrap().open += 1;
        self.moved.notify_all();
        for event in 1..=3 {
            self.wait(|progress| progress.open == STREAMS && progress.seen == event - 1)?;
            write!(wire, "9\r\ndata: {event}\n\n\r\n")?;
            wire.flush()?;
        }
        self.wait(|progress| progress.seen == 3)?;
        wire.write_all(b"0\r\n\r\n")
    }

    fn reach(&self, event: u32) {
        self.progress.lock().unwrap().seen = event;
        self.moved.notify_all();
    }

    fn wait(&self, is_so: impl Fn(&Progress) -> bool) -> io::Result<()> {
        let progress = self.progress.lock().unwrap();
        let waited = self.moved.wait_timeout_while(progress, PATIENCE, |progress| !is_so(progress)).unwrap();
        if waited.1.timed_out() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

/// Measures the broker from inside an origin, so that each figure belongs to a known place in a stream.
#[derive(Default)]
struct Meter {
    pid: OnceLock<u32>,
    /// Most memory in KiB, and most threads.
    peak: Mutex<(u64, u64)>,
}

impl Meter {
    fn attach(&self, pid: u32) {
        self.pid.set(pid).expect("one broker");
    }

    fn status(&self) -> String {
        let pid = self.pid.get().expect("the broker was there before its client");
        fs::read_to_string(format!("/proc/{pid}/status")).expect("a running broker")
    }

    fn resident_kib(&self) -> u64 {
        figure(&self.status(), "VmRSS:")
    }

    fn measure(&self) {
        let status = self.status();
        let mut peak = self.peak.lock().unwrap();
        *peak = (figure(&status, "VmRSS:").max(peak.0), figure(&status, "Threads:").max(peak.1));
    }

    fn peak_kib(&self) -> u64 {
        self.peak.lock().unwrap().0
    }

    fn most_threads(&self) -> u64 {
        self.peak.lock().unwrap().1
    }
}

/// The number behind a name in `/proc/PID/status`.
fn figure(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
    line.trim_end_matches("kB").trim().parse().expect("a number")
}
