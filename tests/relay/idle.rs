//! What a tunnel costs while nothing passes through it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::Shutdown;

use crate::status;
use crate::support::rig::{read_answer, read_head};
use crate::support::{StandIn, eventually};

/// A line of /proc/PID/status that is a number.
fn number(pid: u32, name: &str) -> usize {
    let all = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = all.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    let digits = line.and_then(|rest| rest.split_ascii_whitespace().next());
    digits.and_then(|digits| digits.parse().ok()).expect("a number")
}

#[test]
fn idle_tunnels_hold_no_thread_and_go_on_from_either_end() {
    const TUNNELS: usize = 60;
    let stand_in = StandIn::start();
    let run = stand_in.stay();
    let mut tunnels: Vec<_> = (0..TUNNELS)
        .map(|_| {
            let mut stream = run.send(&format!("CONNECT a:443 HTTP/1.1\r\n{}\r\n", run.authorization()));
            assert_eq!(status(&read_head(&mut stream)), 200);
            stream
        })
        .collect();
    eventually("threads that have ended", || number(run.pid(), "Threads") < TUNNELS / 4);
    for stream in &mut tunnels {
        for _ in 0..2 {
            stream.write_all(b"GET /more HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
            assert_eq!(read_answer(stream).1, "GET /more ");
        }
    }
    eventually("threads that have ended again", || number(run.pid(), "Threads") < TUNNELS / 4);
    // An end of one side wakes it, and is passed on.
    for stream in &mut tunnels {
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    run.stop();
}
