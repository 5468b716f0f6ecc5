//! Promise: a team is looked after from the command line, from the invite to the removal; and what a
//! removed person held ends in the proxy with the next request, in tunnels that are open too.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use support::rig::{read_answer, read_head};
use support::{
    BINARY, Broker, Ended, Origin, PATIENCE, SECRET, TempDir, Terminal, bare, contains, need, run,
};

const ANN: &str = "ann@example.test";
const PASSWORD: &str = "a password of ann";
const HOST: &str = "api.example.test";

fn broker() -> Broker {
    Broker::start(&Origin::plain(), &[])
}

/// A person's own machine: commands that know no more than its home.
struct Desk(TempDir);

impl Desk {
    /// Takes an invite up and logs in, the link from an argument, the password from stdin.
    #[track_caller]
    fn of_invited(broker: &Broker, link: &str) -> Self {
        let desk = Self(TempDir::new());
        desk.feed(&["auth", "accept-invite", link, "--password-stdin"], PASSWORD).expect_success();
        let login = ["auth", "login", "--email", ANN, "--password-stdin", "--address", broker.address()];
        desk.feed(&login, PASSWORD).expect_success();
        desk
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = bare(Path::new(BINARY), self.0.path());
        command.args(args);
        command
    }

    fn feed(&self, args: &[&str], stdin: &str) -> Ended {
        run(&mut self.command(args), format!("{stdin}\n").as_bytes())
    }

    #[track_caller]
    fn cli(&self, args: &[&str]) -> String {
        self.feed(args, "").expect_success().stdout
    }
}

#[track_caller]
fn invited(broker: &Broker, flags: &[&str]) -> String {
    broker.cli(&[&["user", "invite", ANN, "--link-only"], flags].concat()).stdout
}

#[track_caller]
fn refused(ended: &Ended, code: i32, message: &str) {
    assert_eq!((ended.code(), ended.stderr.trim_end()), (Some(code), message));
    assert_eq!(ended.stdout, "");
}

#[test]
fn somebody_is_invited_comes_in_and_is_looked_after() {
    let mut broker = broker();
    broker.cli(&["vault", "create", "shop"]);
    let link = invited(&broker, &["--role", "no-access", "--vault", "shop:admin"]);
    let start = format!("{}/invite/av_uinv_", broker.address());
    assert_eq!(link.strip_prefix(&start).map(str::len), Some(64), "{link}");
    let listed = broker.cli(&["user", "invite", "list", "--status", "pending"]).stdout;
    assert!(listed.starts_with("EMAIL             ROLE       STATUS   VAULTS      CREATED "), "{listed}");
    assert!(listed.contains("\nann@example.test  no-access  pending  shop:admin  20"), "{listed}");
    let members = ["vault", "user", "list", "--vault", "shop"];
    assert!(broker.cli(&members).stdout.contains("ann@example.test    pending  admin\n"));

    let desk = Desk(TempDir::new());
    let accept = ["auth", "accept-invite", &link];
    refused(
        &desk.feed(&accept, ""),
        2,
        "there is no terminal to ask for the password at\n\
         hint: pass --password-stdin and the new account's password on stdin",
    );
    let accepted = desk.feed(&[&accept[..], &["--password-stdin"]].concat(), PASSWORD).expect_success();
    assert_eq!(accepted.stdout, "✓ ann@example.test: Account created. You can log in now.\n");
    refused(&desk.feed(&accept, ""), 1, "This invite has been accepted already. You can log in.");
    let login = ["auth", "login", "--email", ANN, "--password-stdin", "--address", broker.address()];
    desk.feed(&login, PASSWORD).expect_success();

    // What she may do follows her roles.
    assert!(desk.cli(&["vault", "list"]).contains("  shop  admin  "));
    let denied = desk.feed(&["user", "list"], "");
    assert_eq!((denied.code(), denied.stderr.trim_end()), (Some(1), "Instance member role required"));
    assert_eq!(
        broker.cli(&["owner", "user", "set-role", ANN, "--role", "member"]).stdout,
        "✓ ann@example.test is member\n"
    );
    let listed = desk.cli(&["user", "list"]);
    assert!(listed.contains("\nann@example.test    member  -       20"), "{listed}");
    let listed = broker.cli(&["user", "list"]).stdout;
    let own = "\nann@example.test    member  shop:admin                 20";
    assert!(listed.contains(own), "{listed}");
    let info = broker.cli(&["owner", "user", "info", ANN]).stdout;
    assert!(
        info.starts_with("Email:   ann@example.test\nRole:    member\nVaults:  shop\nCreated: 20"),
        "{info}"
    );

    // Nothing that was said or kept holds the link or the password.
    broker.stop();
    let token = link.rsplit('/').next().unwrap();
    let (log, stored) = (broker.log(), broker.stored_bytes());
    for secret in [token, PASSWORD] {
        assert!(!log.contains(secret) && !contains(&stored, secret), "{secret}");
    }
}

#[test]
fn the_people_of_a_vault_come_and_go() {
    let broker = broker();
    broker.cli(&["vault", "create", "shop"]);
    let desk = Desk::of_invited(&broker, &invited(&broker, &[]));
    let at_shop =
        |args: &[&str]| broker.cli(&[&["vault", "user"], args, &["--vault", "shop"]].concat()).stdout;
    assert_eq!(at_shop(&["add", ANN]), "✓ ann@example.test may use vault \"shop\" as member\n");
    assert_eq!(
        at_shop(&["set-role", ANN, "--role", "admin"]),
        "✓ ann@example.test is admin in vault \"shop\"\n"
    );
    assert_eq!(
        at_shop(&["list"]),
        "EMAIL               STATUS  ROLE\n\
         ann@example.test    active  admin\n\
         owner@example.test  active  admin\n"
    );
    let answer: Value = serde_json::from_str(&at_shop(&["list", "--json"])).unwrap();
    assert_eq!(answer["users"][0], json!({"email": ANN, "role": "admin", "status": "active"}));
    assert_eq!(at_shop(&["remove", ANN]), "✓ ann@example.test may no longer use vault \"shop\"\n");

    // 94: the last admin stays, and says so to a script.
    let last = run(&mut broker.operator(&["vault", "leave", "shop"]), b"");
    refused(&last, 1, "The last admin cannot leave the vault");
    at_shop(&["add", ANN, "--role", "admin"]);
    assert_eq!(broker.cli(&["vault", "leave", "shop"]).stdout, "✓ Left vault \"shop\"\n");
    // 84: an owner sees it all the same, and comes in by joining.
    let listed = broker.cli(&["owner", "vault", "list"]).stdout;
    assert!(listed.starts_with("ID ") && listed.contains("  shop     20"), "{listed}");
    assert_eq!(broker.cli(&["owner", "vault", "join", "shop"]).stdout, "✓ You are admin of vault \"shop\"\n");
    broker.cli(&["vault", "leave", "shop"]);
    assert!(desk.cli(&["vault", "list"]).contains("  shop  admin  "));
    assert_eq!(
        broker.cli(&["owner", "vault", "delete", "shop", "--yes"]).stdout,
        "✓ Deleted vault \"shop\"\n"
    );
}

#[test]
fn a_renamed_vault_is_named_where_it_was_chosen() {
    // 93
    let broker = broker();
    broker.cli(&["vault", "create", "shop"]);
    let rename = |old: &str, new: &str| broker.cli(&["vault", "rename", old, new]);
    let quiet = rename("shop", "store");
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("✓ Vault \"shop\" is now \"store\"\n", ""));
    broker.cli(&["vault", "use", "store"]);
    let noted = rename("store", "market");
    assert_eq!(noted.stderr, "note: 'vault use' still names \"store\": agent-vault vault use market\n");
    broker.cli(&["vault", "use", "market"]);
    std::fs::write(broker.operator_home().join("agent-vault.json"), r#"{"vault":"market"}"#).unwrap();
    let mut with_variable = broker.operator(&["vault", "rename", "market", "stall"]);
    let noted = run(with_variable.env("AGENT_VAULT_VAULT", "market"), b"").expect_success();
    assert_eq!(
        noted.stderr,
        "note: AGENT_VAULT_VAULT still names \"market\": set it to stall\n\
         note: ./agent-vault.json still names \"market\": write stall there\n\
         note: 'vault use' still names \"market\": agent-vault vault use stall\n"
    );
    refused(
        &run(&mut broker.operator(&["vault", "rename", "default", "first"]), b""),
        1,
        "The default vault cannot be renamed",
    );
}

#[test]
fn an_invite_can_stay_off_the_command_line() {
    let broker = broker();
    let first = invited(&broker, &["--vault", "default"]);
    let again = broker.cli_with_stdin(&["user", "invite", "resend", "-", "--link-only"], &first).stdout;
    assert!(again.starts_with(&format!("{}/invite/av_uinv_", broker.address())) && again != first, "{again}");
    let desk = Desk(TempDir::new());
    let ended = desk.feed(&["auth", "accept-invite", &first, "--password-stdin"], PASSWORD);
    refused(&ended, 1, "This invite was revoked. Ask for another one.");
    let both = format!("{again}\n{PASSWORD}");
    desk.feed(&["auth", "accept-invite", "-", "--password-stdin"], &both).expect_success();

    // A token alone goes to the broker the environment names.
    let shown = broker.cli(&["user", "invite", "bob@example.test"]).stdout;
    let link = shown.lines().last().unwrap().trim();
    assert!(shown.starts_with("✓ Invited bob@example.test (role member)\n"), "{shown}");
    let token = link.rsplit('/').next().unwrap();
    assert_eq!(broker.cli_with_stdin(&["user", "invite", "revoke", "-"], token).stdout, "✓ Invite revoked\n");
    let ended = run(&mut broker.operator(&["auth", "accept-invite", token]), b"");
    refused(&ended, 1, "This invite was revoked. Ask for another one.");
    let ended = run(&mut broker.operator(&["user", "invite", "revoke", SECRET]), b"");
    refused(&ended, 2, "this is no invite: give its link, or the token at its end (av_uinv_…)");

    // Who looks after invites needs no link.
    broker.cli(&["user", "invite", "eve@example.test", "--link-only"]);
    let again = broker.cli(&["user", "invite", "resend", "eve@example.test", "--link-only"]).stdout;
    assert!(again.contains("/invite/av_uinv_"), "{again}");
    broker.cli(&["user", "invite", "revoke", "eve@example.test"]);
    let desk = Desk(TempDir::new());
    let ended = desk.feed(&["auth", "accept-invite", &again, "--password-stdin"], PASSWORD);
    refused(&ended, 1, "This invite was revoked. Ask for another one.");
}

#[test]
fn a_person_is_asked_for_a_new_password_twice() {
    if need("a_person_is_asked_for_a_new_password_twice", "setsid", "install util-linux").is_none() {
        return;
    }
    let broker = broker();
    let desk = Desk(TempDir::new());
    let link = invited(&broker, &[]);
    let mut person = Terminal::start(&desk.command(&["auth", "accept-invite", &link]));
    person.awaits("This makes an account for ann@example.test.").awaits("New password: ").types(PASSWORD);
    person.awaits("New password again: ").types(PASSWORD);
    let (code, shown) = person.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("Account created. You can log in now.") && !shown.contains(PASSWORD), "{shown}");
}

/// A service that takes the credential over plain http, and the broker in front of it.
fn site() -> (Origin, Broker) {
    let origin = Origin::plain();
    let host = format!("{HOST}:{}", origin.port());
    let broker = Broker::start(&origin, &[HOST]).with_credential("KEY", SECRET);
    (origin, broker.with_service("the-api", &host, "KEY"))
}

/// A tunnel to the origin, opened with a token.
fn tunnel(broker: &Broker, origin: &Origin, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(broker.proxy()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let target = format!("{HOST}:{}", origin.port());
    write!(
        stream,
        "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 200 "));
    stream
}

/// One request in the tunnel; the status line of its answer.
fn ask(tunnel: &mut TcpStream, origin: &Origin) -> String {
    write!(tunnel, "GET /x HTTP/1.1\r\nHost: {HOST}:{}\r\n\r\n", origin.port()).unwrap();
    read_answer(tunnel).0.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn what_somebody_minted_ends_in_open_tunnels_with_them() {
    let remove = ["owner", "user", "remove", ANN, "--yes"];
    let take_away = ["vault", "user", "remove", ANN, "--vault", "default"];
    for end in [&remove[..], &take_away] {
        let (origin, broker) = site();
        let desk = Desk::of_invited(&broker, &invited(&broker, &["--vault", "default"]));
        let token = desk.cli(&["vault", "token", "--vault", "default"]);
        let mut open = tunnel(&broker, &origin, &token);
        for seen in 1..=2 {
            assert_eq!(ask(&mut open, &origin), "HTTP/1.1 200 OK");
            assert_eq!(origin.requests().len(), seen);
        }
        assert_eq!(origin.last().field("authorization"), Some(format!("Bearer {SECRET}").as_str()));
        broker.cli(end);
        assert!(ask(&mut open, &origin).starts_with("HTTP/1.1 407 "), "{end:?}");
        assert_eq!(origin.requests().len(), 2, "{end:?}");
    }
}

#[test]
fn removing_a_person_is_confirmed() {
    let broker = broker();
    drop(Desk::of_invited(&broker, &invited(&broker, &[])));
    let ended = run(&mut broker.operator(&["owner", "user", "remove", ANN]), b"");
    refused(&ended, 2, "there is no terminal to confirm this at: pass --yes");
    assert_eq!(broker.cli(&["owner", "user", "remove", ANN, "--yes"]).stdout, "✓ Removed ann@example.test\n");
    let ended = run(&mut broker.operator(&["owner", "user", "info", ANN]), b"");
    refused(&ended, 1, "User \"ann@example.test\" not found");
    let last = run(&mut broker.operator(&["owner", "user", "remove", "owner@example.test", "--yes"]), b"");
    refused(&last, 1, "Cannot remove the last owner");
}
