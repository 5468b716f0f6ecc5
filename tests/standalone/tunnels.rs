//! What a tunnel that passes through untouched costs while nothing passes through it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use serde_json::json;

use crate::support::rig::{read_answer, read_head};
use crate::support::{Origin, Run, eventually};
use crate::{API, Alone, bearer};

#[test]
fn idle_untouched_tunnels_hold_no_thread_and_go_on_from_either_end() {
    const TUNNELS: usize = 60;
    let alone = Alone::new(Origin::plain());
    let document = json!({
        "services": [bearer("the-api", API, "API_KEY")],
        "network_allowlist": ["127.0.0.0/8"],
        "unmatched_host_policy": "passthrough",
    });
    let run = Run::start(alone.inline(&document).env("API_KEY", "k"));
    let connect = format!("CONNECT other.example.test:{} HTTP/1.1", alone.origin.port());
    let mut tunnels: Vec<_> = (0..TUNNELS)
        .map(|_| {
            let credential = format!("Proxy-Authorization: Bearer {}", run.credential());
            let mut stream = run.send(&format!("{connect}\r\n{credential}\r\n\r\n"));
            let head = read_head(&mut stream);
            assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
            stream
        })
        .collect();
    let threads = || {
        let status = fs::read_to_string(format!("/proc/{}/status", run.pid())).expect("a process of ours");
        let line = status.lines().find_map(|line| line.strip_prefix("Threads:\t"));
        line.and_then(|number| number.parse::<usize>().ok()).expect("a number")
    };
    eventually("threads that have ended", || threads() < TUNNELS / 4);
    for stream in &mut tunnels {
        for _ in 0..2 {
            stream.write_all(b"GET /more HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            assert_eq!(read_answer(stream).1, "origin saw GET /more\n");
        }
    }
    eventually("threads that have ended again", || threads() < TUNNELS / 4);
    // An end of one side wakes it, and is passed on.
    for stream in &mut tunnels {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    run.stop();
}
