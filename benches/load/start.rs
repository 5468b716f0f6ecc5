//! How long starting takes, and how large the binary is.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Scope;
use crate::broker::{VAULT, bare, command, service};
use crate::identity::HOST;
use crate::phases::note;
use crate::process::{Program, output};
use crate::report::{Beside, Report};
use crate::ways::{BROKER, DIRECT, Setting};

/// Shaped like an agent's token; the stand-in asks for none.
const TOKEN: &str = "av_agt_0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
/// A certificate nobody uses: the child makes no request.
const CA_PEM: &str = "-----BEGIN CERTIFICATE-----\nc3RhbmQtaW4=\n-----END CERTIFICATE-----\n";

/// What the child of `run` does: says when it got to run.
pub(crate) fn stamp() -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    writeln!(io::stdout(), "{}", now.as_nanos())
}

pub(crate) fn measure(setting: &Setting, scope: &Scope, report: &mut Report) -> io::Result<()> {
    let size = fs::metadata(&setting.binary)?.len() as f64;
    note(report, "the binary", "bytes", Beside::Nothing, BROKER, io::Result::Ok(size));
    if let Some(entrypoint) = &setting.entrypoint {
        let size = fs::metadata(entrypoint)?.len() as f64;
        note(report, "the entrypoint alone", "bytes", Beside::Nothing, BROKER, io::Result::Ok(size));
    }
    let document = setting.dir().join("start.json");
    fs::write(&document, format!("{{\"services\": [{}]}}", service("measured", HOST)))?;
    let (port, spent) = stand_in()?;
    for _ in 0..scope.starts {
        let bare_start = to_stamp(Command::new(&setting.own).arg("stamp"))?;
        let run = |more: &mut dyn FnMut(&mut Command)| {
            let mut run = bare(&setting.binary, setting.dir());
            more(run.arg("run"));
            to_stamp(run.arg("--").arg(&setting.own).arg("stamp"))
        };
        let whole = run(&mut |run| {
            run.env("AGENT_VAULT_ADDR", format!("http://127.0.0.1:{port}"))
                .env("AGENT_VAULT_TOKEN", TOKEN)
                .env("AGENT_VAULT_VAULT", VAULT);
        })?;
        let asking = spent.recv_timeout(Duration::from_secs(5)).map_err(io::Error::other)?;
        let alone = run(&mut |run| {
            run.arg("--config").arg(&document).env("KEY", "value");
        })?;
        let rows = [
            ("run to the child's first line, without the broker's answers", whole.saturating_sub(asking)),
            ("run --config to the child's first line", alone),
        ];
        for (name, time) in rows {
            for (way, time) in [(DIRECT, bare_start), (BROKER, time)] {
                note(report, name, "ms", Beside::Difference, way, io::Result::Ok(millis(time)));
            }
        }
    }
    for (name, password) in [
        ("server to listening, no master password", None),
        ("server to listening, master password (Argon2id)", Some("a master password")),
    ] {
        let home = setting.dir().join(format!("start-{}", password.is_some()));
        fs::create_dir_all(&home)?;
        // The first start makes the store; what is measured opens it.
        for number in 0..=scope.starts {
            let time = to_listening(&setting.binary, &home, password)?;
            if number > 0 {
                note(report, name, "ms", Beside::Nothing, BROKER, io::Result::Ok(millis(time)));
            }
        }
    }
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// From the start of a command to the moment its last line names.
fn to_stamp(command: &mut Command) -> io::Result<Duration> {
    let start = SystemTime::now();
    let said = output(command, "")?;
    let nanos: u64 = said.lines().last().unwrap_or_default().parse().map_err(io::Error::other)?;
    (UNIX_EPOCH + Duration::from_nanos(nanos)).duration_since(start).map_err(io::Error::other)
}

fn to_listening(binary: &Path, home: &Path, password: Option<&str>) -> io::Result<Duration> {
    let mut server = command(binary, home);
    server.envs(password.map(|password| ("AGENT_VAULT_MASTER_PASSWORD", password)));
    let start = Instant::now();
    let mut server = Program::start(&mut server, home)?;
    server.line_after("Agent Vault server listening on ")?;
    Ok(start.elapsed())
}

/// A broker that answers what `run` asks before it starts the child, and tells how long it was asked: from
/// accepting the connection to the last answer.
fn stand_in() -> io::Result<(u16, mpsc::Receiver<Duration>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let (tell, told) = mpsc::channel();
    let serve = move || {
        for stream in listener.incoming().flatten() {
            // A client that breaks off shows as a run that fails.
            answer(&stream, port, &tell).unwrap_or_default();
        }
    };
    thread::Builder::new().name("stand-in".to_owned()).spawn(serve)?;
    Ok((port, told))
}

fn answer(stream: &std::net::TcpStream, port: u16, tell: &Sender<Duration>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (start, mut lines) = (Instant::now(), BufReader::new(stream).lines());
    while let Some(line) = lines.next() {
        let path = line?.split(' ').nth(1).unwrap_or_default().to_owned();
        while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
        let (field, body) = if path.starts_with("/discover") {
            (String::new(), format!("{{\"vault\":\"{VAULT}\",\"services\":[]}}"))
        } else {
            (format!("X-MITM-Port: {port}\r\n"), CA_PEM.to_owned())
        };
        let head = format!("HTTP/1.1 200 OK\r\n{field}Content-Length: {}\r\n\r\n", body.len());
        (&*stream).write_all(format!("{head}{body}").as_bytes())?;
        if !field.is_empty() {
            tell.send(start.elapsed()).unwrap_or_default();
        }
    }
    Ok(())
}
