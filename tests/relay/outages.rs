//! A broker that goes away: for a moment, and nobody notices; for longer, and everybody is told at once.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::load::{API, Door, under_load};
use crate::status;
use crate::support::rig::{Script, read_answer, read_head};
use crate::support::{CA_PEM, Origin, Run, Site, StandIn, answer};

/// A run in front of a stand-in whose proxy is said to be at `port`.
fn run_with(retry: &str, port: u16) -> (StandIn, Run) {
    let stand_in = StandIn::start();
    stand_in.answers("GET /v1/mitm/ca.pem", answer(200, &[("X-MITM-Port", &port.to_string())], CA_PEM));
    let run = Run::start(stand_in.agent().args(["run", "--retry", retry, "--"]));
    (stand_in, run)
}

/// A port on which nobody listens.
fn vacant() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn the_first_waits_and_the_next_are_told_at_once() {
    let patience = Duration::from_secs(1);
    let (_stand_in, run) = run_with("1s", vacant());
    let door = Door::of(&run);
    let begin = Instant::now();
    assert_eq!(door.connect(), 502);
    assert!(begin.elapsed() >= patience, "{:?}", begin.elapsed());
    let begin = Instant::now();
    for _ in 0..20 {
        assert_eq!(door.connect(), 502);
    }
    assert!(begin.elapsed() < patience, "20 answers took {:?}", begin.elapsed());
    run.stop();
    // Who wants no waiting gets none.
    let (_stand_in, run) = run_with("0s", vacant());
    let door = Door::of(&run);
    let begin = Instant::now();
    assert_eq!(door.connect(), 502);
    assert!(begin.elapsed() < patience, "{:?}", begin.elapsed());
    run.stop();
}

/// A lost packet is not a refusal: the listener's queue is full and nobody accepts.
#[test]
fn a_silent_broker_is_no_hang() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let mut queued = Vec::new();
    loop {
        match std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
            Ok(stream) => queued.push(stream),
            Err(error) if error.kind() == ErrorKind::TimedOut => break,
            Err(error) => panic!("{error}"),
        }
    }
    let (_stand_in, run) = run_with("0s", address.port());
    let door = Door::of(&run);
    assert_eq!(door.connect(), 502);
    let begin = Instant::now();
    assert_eq!(door.connect(), 502);
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    run.stop();
}

#[test]
fn a_broker_that_comes_back_gets_what_has_waited() {
    let port = vacant();
    let (_stand_in, run) = run_with("60s", port);
    let door = Door::of(&run);
    thread::scope(|scope| {
        let door = &door;
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| door.connect())).collect();
        let post = scope.spawn(|| door.post("http://a/"));
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        for _ in 0..5 {
            let (mut stream, _) = listener.accept().unwrap();
            if read_head(&mut stream).starts_with("POST") {
                stream.read_exact(&mut [0; 4]).unwrap();
            }
            stream.write_all(&answer(200, &[], "")).unwrap();
        }
        assert!(waiting.into_iter().all(|one| one.join().unwrap() == 200));
        assert_eq!(post.join().unwrap(), 200);
    });
    run.stop();
}

/// Once a byte has gone out it may have been acted on; a tunnel that was not opened has not been.
#[test]
fn what_has_gone_out_unanswered_is_not_sent_again() {
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    let mute = Script::start(move |mut stream, _| {
        let line = read_head(&mut stream).lines().next().unwrap_or_default().to_owned();
        seen.lock().unwrap().push(line);
    });
    let (_stand_in, run) = run_with("1s", mute.port);
    let door = Door::of(&run);
    for method in ["GET", "POST", "PUT"] {
        let head = format!("{method} http://a/ HTTP/1.1\r\nHost: a\r\n{}\r\n", run.authorization());
        assert_eq!(status(&read_answer(&mut run.send(&head)).0), 502);
        assert_eq!(std::mem::take(&mut *heads.lock().unwrap()), [format!("{method} http://a/ HTTP/1.1")]);
    }
    assert_eq!(door.connect(), 502);
    assert!(heads.lock().unwrap().len() > 1, "a CONNECT is tried again");
    run.stop();
}

#[test]
fn a_restart_under_load_loses_nothing_that_had_not_gone_out() {
    let mut site = Site::open(Origin::tls(&[API]), API);
    let run = Run::start(site.broker.run_command(&site.token).env("AGENT_VAULT_RETRY", "60s"));
    let door = Door::of(&run);
    let seen = under_load(
        || door.connect(),
        |progress| {
            for _ in 0..3 {
                progress.goes_on();
                site.broker.restart_in_place();
            }
            progress.goes_on();
        },
    );
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&200], "{seen:?}");
    run.stop();
}
