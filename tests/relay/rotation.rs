//! A token that is replaced while it is used.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::load::{API, Door, under_load};
use crate::status;
use crate::support::rig::{read_answer, read_head};
use crate::support::{Origin, Run, Site, StandIn, TOKEN, answer, eventually};

/// A broker, and a run that has its token from a file.
struct Rotating {
    site: Site,
    file: PathBuf,
    run: Run,
}

impl Rotating {
    #[track_caller]
    fn start() -> Self {
        let site = Site::open(Origin::tls(&[API]), API);
        let file = site.broker.operator_home().join("token");
        fs::write(&file, &site.token).expect("a file in a folder of ours");
        let mut command = site.broker.run_command(&site.token);
        command.env_remove("AGENT_VAULT_TOKEN").env("AGENT_VAULT_TOKEN_FILE", &file);
        let run = Run::start(&mut command);
        Self { site, file, run }
    }

    /// Rotates the agent's token; the new one.
    #[track_caller]
    fn rotate(&self, more: &[&str]) -> String {
        let args = [&["agent", "rotate", "test-agent", "--token-only"], more].concat();
        self.site.broker.cli(&args).stdout.trim().to_owned()
    }
}

/// Replaces the file whole.
#[track_caller]
fn swap(file: &Path, token: &str) {
    let beside = file.with_extension("new");
    fs::write(&beside, token).expect("a file in a folder of ours");
    fs::rename(&beside, file).expect("a file of ours");
}

#[test]
fn a_rotation_with_grace_refuses_nobody() {
    let rotating = Rotating::start();
    let door = Door::of(&rotating.run);
    let seen = under_load(
        || door.connect(),
        |progress| {
            progress.goes_on();
            for _ in 0..3 {
                let token = rotating.rotate(&["--grace", "10m"]);
                progress.goes_on();
                swap(&rotating.file, &token);
                progress.goes_on();
            }
        },
    );
    assert_eq!(seen.keys().collect::<Vec<_>>(), [&200], "{seen:?}");
    rotating.run.stop();
}

#[test]
fn without_grace_whoever_asks_after_the_swap_is_let_in() {
    let rotating = Rotating::start();
    let door = Door::of(&rotating.run);
    for _ in 0..3 {
        let before = under_load(|| door.connect(), |progress| progress.goes_on());
        assert_eq!(before.keys().collect::<Vec<_>>(), [&200], "{before:?}");
        let token = rotating.rotate(&[]);
        assert_eq!(door.connect(), 407, "neither the old token nor the new one");
        // Written in place this time.
        fs::write(&rotating.file, format!("{token}\n")).unwrap();
        let after = under_load(|| door.connect(), |progress| progress.goes_on());
        assert_eq!(after.keys().collect::<Vec<_>>(), [&200], "{after:?}");
    }
    rotating.run.stop();
}

#[test]
fn a_rotated_token_file_is_read_again() {
    let stand_in = StandIn::start();
    let file = stand_in.home().write("token", TOKEN);
    let mut command = stand_in.agent();
    command.env_remove("AGENT_VAULT_TOKEN").env("AGENT_VAULT_TOKEN_FILE", &file).args(["run", "--"]);
    let run = Run::start(&mut command);
    let connect = || {
        let mut stream = run.send(&format!("CONNECT a:443 HTTP/1.1\r\n{}\r\n", run.authorization()));
        status(&read_head(&mut stream))
    };
    assert_eq!(connect(), 200);
    stand_in.knows("av_agt_second");
    assert_eq!(connect(), 407, "the broker's own answer, when there is no other token");
    stand_in.home().write("token", "av_agt_second\n");
    assert_eq!(connect(), 200);
    // Of the same length and with the old time stamp: only the broker's refusal shows that it has changed.
    let stamp = fs::metadata(&file).unwrap().modified().unwrap();
    stand_in.home().write("token", "av_agt_third\n\n");
    fs::File::options().write(true).open(&file).unwrap().set_modified(stamp).unwrap();
    stand_in.knows("av_agt_third");
    assert_eq!(connect(), 200);
    stand_in.answers("GET /discover", answer(401, &[], "{\"error\":\"Session expired\"}"));
    let question =
        format!("GET /discover HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\n\r\n", run.credential());
    assert_eq!(status(&read_answer(&mut run.send(&question)).0), 401);
    run.stop();
}

/// The child gets the signal as ever; the relay reads what nothing else would have shown.
#[test]
fn sighup_reads_the_token_again_where_that_was_asked_for() {
    let stand_in = StandIn::start();
    let file = stand_in.home().write("token", TOKEN);
    // With the flag, SIGHUP asks for no end, so no clock runs.
    for (flags, reloads) in [(&[][..], false), (&["--reload-on-hup", "--stop-timeout", "1ms"], true)] {
        stand_in.home().write("token", TOKEN);
        let mut command = stand_in.agent();
        command.env_remove("AGENT_VAULT_TOKEN").env("AGENT_VAULT_TOKEN_FILE", &file);
        command.arg("run").args(flags).arg("--");
        let script = "trap 'echo hup >> hups' HUP; echo proxy $HTTPS_PROXY; echo bundle $SSL_CERT_FILE; \
                      while :; do sleep 0.01; done";
        let run = Run::with_script(&mut command, script);
        // Of the same length and age, so nothing but the signal shows it.
        let stamp = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, TOKEN.replace('0', "f")).unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(stamp).unwrap();
        let door = Door::of(&run);
        assert_eq!(door.connect(), 200);
        run.signal(Signal::SIGHUP);
        let hups = stand_in.home().join("hups");
        eventually("the child's SIGHUP", || hups.exists());
        fs::remove_file(&hups).unwrap();
        // The stand-in knows the old token alone, so the new one shows by its refusal.
        assert_eq!(door.connect(), if reloads { 407 } else { 200 });
    }
}
