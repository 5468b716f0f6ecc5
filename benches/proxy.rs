//! The proxy beside a direct connection, in one run on one machine: `cargo bench --bench proxy`.
//!
//! Client, proxy and origin share this process and its processors, and both rows of a pair use the same
//! client and the same origin, so the ratio is what the proxy costs. Absolute numbers say little.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and ends when something fails"
)]

#[path = "../tests/support/rig.rs"]
#[allow(dead_code, reason = "the benchmark uses a part of what tests use")]
mod rig;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use agent_vault::http1::framing::Framing;
use agent_vault::http1::head::{RequestHead, ResponseHead};
use agent_vault::net::Deadline;
use agent_vault::net::channel::{Channel, Receive};
use agent_vault::net::tcp::TcpChannel;
use agent_vault::peer;
use agent_vault::proxy::Limits;
use agent_vault::tls::ca::Root;
use agent_vault::tls::leaf::Leaves;
use agent_vault::tls::{Acceptor, Connector};
use rig::{AUTH, Rig, Rules, bearer};

const HOST: &str = "api.example.test";
const RUN: Duration = Duration::from_secs(3);
const SMALL: usize = 1024;
const LARGE: usize = 10 * 1024 * 1024;

fn main() {
    let (origin, origin_root) = origin();
    let limits = Limits { rates: None, ..Limits::default() };
    let roots = vec![origin_root.clone()];
    let rig = Rig::start(Rules { services: vec![bearer(HOST, None)], roots, limits, ..Rules::default() });
    let direct =
        Arc::new(Way { to: origin, through: None, connector: Connector::new(&[origin_root]).unwrap() });
    let proxied = Arc::new(Way {
        to: origin,
        through: Some(rig.address()),
        connector: Connector::new(&[rig.root_pem().as_bytes().to_vec()]).unwrap(),
    });
    println!("{:34} {:>12} {:>12} {:>7}", "", "direct", "proxied", "ratio");
    for connections in [1, 16, 64] {
        let one = requests(&direct, connections);
        let before = proxy_ticks();
        let other = requests(&proxied, connections);
        let spent = (proxy_ticks() - before) as f64 * 1e6 / TICKS_PER_SECOND;
        row(&format!("requests/s, 1 KiB, {connections} connections"), one.rate, other.rate);
        println!("{:34} {:>9.0} µs {:>9.0} µs", "  p50", one.p50, other.p50);
        println!("{:34} {:>9.0} µs {:>9.0} µs", "  p99", one.p99, other.p99);
        let each = spent / (other.rate * RUN.as_secs_f64());
        println!("{:34} {:>12} {each:>9.1} µs", "  processor time of the proxy", "");
    }
    let [one, other] = [&direct, &proxied].map(|way| handshakes(way, 16));
    row("connections/s, 16 at a time", one, other);
    let [one, other] = [&direct, &proxied].map(|way| bulk(way));
    row("10 MiB responses, MB/s", one, other);
}

fn row(name: &str, direct: f64, proxied: f64) {
    println!("{name:34} {direct:>12.0} {proxied:>12.0} {:>6.2}x", proxied / direct);
}

/// How a client reaches the origin.
struct Way {
    to: SocketAddr,
    through: Option<SocketAddr>,
    connector: Connector,
}

impl Way {
    fn open(&self) -> Box<dyn Channel> {
        let stream = TcpStream::connect(self.through.unwrap_or(self.to)).unwrap();
        let mut tcp = TcpChannel::new(stream).unwrap();
        if self.through.is_some() {
            let request = format!("CONNECT {HOST}:{} HTTP/1.1\r\n{AUTH}\r\n", self.to.port());
            tcp.send(request.as_bytes()).unwrap();
            tcp.flush_by(soon()).unwrap();
            let mut head = ResponseHead::default();
            peer::read_response(&mut tcp, &mut head, soon()).unwrap();
            assert_eq!(head.status(), 200);
        }
        Box::new(self.connector.connect(tcp, HOST, soon()).unwrap())
    }
}

/// The kernel's unit of processor time (`USER_HZ`), the same on every Linux of ours.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of the proxy's threads so far, user and system.
fn proxy_ticks() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
            // Fields 14 and 15 of proc_pid_stat(5); the third stands first behind the name.
            let ticks = |at: usize| fields.split(' ').nth(at - 3)?.parse::<u64>().ok();
            name.starts_with("conn-").then_some(ticks(14)? + ticks(15)?)
        })
        .sum()
}

struct Figures {
    rate: f64,
    p50: f64,
    p99: f64,
}

/// Keep-alive requests on so many connections at once.
fn requests(way: &Arc<Way>, connections: usize) -> Figures {
    let ready = Arc::new(Barrier::new(connections + 1));
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let (way, ready) = (Arc::clone(way), Arc::clone(&ready));
            thread::Builder::new()
                .spawn(move || {
                    let mut channel = way.open();
                    get(&mut *channel, SMALL);
                    ready.wait();
                    let (start, mut times) = (Instant::now(), Vec::new());
                    while start.elapsed() < RUN {
                        let sent = Instant::now();
                        get(&mut *channel, SMALL);
                        times.push(sent.elapsed());
                    }
                    times
                })
                .unwrap()
        })
        .collect();
    ready.wait();
    let mut times: Vec<Duration> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    times.sort_unstable();
    let micros = |share: usize| {
        let at = (times.len() - 1) * share / 100;
        times[at].as_secs_f64() * 1e6
    };
    Figures { rate: times.len() as f64 / RUN.as_secs_f64(), p50: micros(50), p99: micros(99) }
}

/// Connections opened, each with one request.
fn handshakes(way: &Arc<Way>, at_a_time: usize) -> f64 {
    let clients: Vec<_> = (0..at_a_time)
        .map(|_| {
            let way = Arc::clone(way);
            thread::Builder::new()
                .spawn(move || {
                    let (start, mut count) = (Instant::now(), 0u32);
                    while start.elapsed() < RUN {
                        get(&mut *way.open(), SMALL);
                        count += 1;
                    }
                    count
                })
                .unwrap()
        })
        .collect();
    let count: u32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    f64::from(count) / RUN.as_secs_f64()
}

fn bulk(way: &Way) -> f64 {
    let mut channel = way.open();
    get(&mut *channel, LARGE);
    let (start, mut bytes) = (Instant::now(), 0);
    while start.elapsed() < RUN {
        get(&mut *channel, LARGE);
        bytes += LARGE;
    }
    bytes as f64 / start.elapsed().as_secs_f64() / 1e6
}

fn get(channel: &mut dyn Channel, size: usize) {
    channel
        .send(
            format!("GET /{size} HTTP/1.1\r\nHost: {HOST}\r\nAccept: */*\r\nUser-Agent: load\r\n\r\n")
                .as_bytes(),
        )
        .unwrap();
    channel.flush_by(soon()).unwrap();
    let mut head = ResponseHead::default();
    peer::read_response(channel, &mut head, soon()).unwrap();
    assert_eq!(head.status(), 200);
    let mut left = size;
    loop {
        let count = channel.received().len().min(left);
        channel.consume(count);
        left -= count;
        if left == 0 {
            return;
        }
        assert_eq!(channel.receive_by(soon()).unwrap(), Receive::Bytes);
    }
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

/// An HTTPS origin that answers `GET /N` with N bytes.
fn origin() -> (SocketAddr, Vec<u8>) {
    let leaves = Arc::new(Leaves::new(Root::generate(SystemTime::now()).unwrap(), None).unwrap());
    let root = leaves.root_pem().as_bytes().to_vec();
    let acceptor = Arc::new(Acceptor::new(leaves).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::Builder::new()
        .spawn(move || {
            for stream in listener.incoming().flatten() {
                let acceptor = Arc::clone(&acceptor);
                thread::Builder::new().spawn(move || serve(&acceptor, stream)).unwrap();
            }
        })
        .unwrap();
    (address, root)
}

fn serve(acceptor: &Acceptor, stream: TcpStream) -> Option<()> {
    let mut channel = acceptor.accept(TcpChannel::new(stream).ok()?, HOST, soon()).ok()?;
    let mut head = RequestHead::default();
    let body = vec![b'x'; 256 * 1024];
    loop {
        peer::read_request(&mut channel, &mut head, soon()).ok()?;
        assert_eq!(Framing::of_request(&head), Ok(Framing::Empty));
        let mut left: usize = head.target()[1..].parse().ok()?;
        channel.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n").as_bytes()).ok()?;
        while left > 0 {
            let count = left.min(body.len());
            channel.send(&body[..count]).ok()?;
            channel.flush_by(soon()).ok()?;
            left -= count;
        }
    }
}
