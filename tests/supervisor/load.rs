//! Many things at once: orphans by the thousand while the proxy is busy.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{PATIENCE, StandIn, eventually};
use crate::{Place, Started, children, places};

const ORPHANS: u32 = 10_000;

#[test]
fn ten_thousand_orphans_under_load_miss_no_reap() {
    let test = "ten_thousand_orphans_under_load_miss_no_reap";
    let stand_in = StandIn::start();
    // Each subshell ends before its own child, which so becomes the run's to reap.
    let script = format!(
        "echo proxy $HTTPS_PROXY; i=0; \
         while [ $i -lt {ORPHANS} ]; do ( : & ); i=$((i + 1)); done; echo all gone; exec sleep 60"
    );
    // In a namespace of its own when that is possible, where the run is the only one who could reap them.
    let place = places(test).pop().unwrap_or(Place::Plain);
    let mut run = Started::at(place, stand_in.agent().args(["run", "--", "sh", "-c", &script]));
    let url = run.running.line_after("proxy http://");
    let (user, at) = url.split_once('@').expect("a proxy URL names a user");
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (over, served) = (Arc::clone(&over), Arc::clone(&served));
            let (at, user) = (at.to_owned(), STANDARD.encode(user));
            let client = thread::Builder::new().name("test-client".to_owned());
            client.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let answer = ask(&at, &user);
                    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .map(|client| client.expect("a thread"))
        .collect();
    run.running.line_after("all gone");
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("every request was answered");
    }
    assert!(served.load(Ordering::Relaxed) > 0);
    let pid = run.pid();
    eventually("nobody but the child is left to be reaped", || children(pid).len() == 1);
    run.signal(15);
    assert_eq!(run.code(), Some(143));
}

fn ask(at: &str, user: &str) -> String {
    let mut stream = TcpStream::connect(at).expect("the relay listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let head = format!(
        "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nProxy-Authorization: Basic {user}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("the relay reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and its end");
    answer
}
