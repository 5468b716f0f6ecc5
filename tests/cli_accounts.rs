//! Promise: people get an account, look after it and leave it from the command line, at a terminal or from
//! a script, and no password or code is needed on it that could be typed or read instead.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use support::{Broker, Ended, OWNER_PASSWORD, Origin, StandIn, TempDir, Terminal, answer, need, run};

const SETSID: &str = "install util-linux";
const MEMBER: &str = "member@example.test";
const PASSWORD: &str = "a password of mine";
const NEW: &str = "another password of mine";

fn broker() -> Broker {
    Broker::start(&Origin::plain(), &[])
}

/// Somebody else than the owner, on a machine of their own.
struct Person<'b> {
    broker: &'b Broker,
    home: TempDir,
}

impl<'b> Person<'b> {
    fn new(broker: &'b Broker) -> Self {
        Self { broker, home: TempDir::new() }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.broker.operator(args);
        command.env("HOME", self.home.path()).current_dir(self.home.path());
        command
    }

    #[track_caller]
    fn runs(&self, args: &[&str], stdin: &str) -> Ended {
        self.tries(args, stdin).expect_success()
    }

    #[track_caller]
    fn tries(&self, args: &[&str], stdin: &str) -> Ended {
        run(&mut self.command(args), stdin.as_bytes())
    }

    fn session_file(&self) -> PathBuf {
        self.home.join(".agent-vault/session.json")
    }

    fn session(&self) -> Value {
        let text = fs::read_to_string(self.session_file()).expect("a saved login");
        serde_json::from_str(&text).expect("JSON")
    }
}

#[track_caller]
fn refused(ended: &Ended, code: i32, message: &str) {
    assert_eq!((ended.code(), ended.stderr.trim_end()), (Some(code), message));
    assert_eq!(ended.stdout, "");
}

/// The code in the line of the broker's log that hands it out.
#[track_caller]
fn code(broker: &mut Broker, kind: &str, email: &str) -> String {
    let start = format!("{kind} code for {email}: ");
    let line = broker.log_line(&start);
    line.strip_prefix(start.as_str()).expect("the code ends its line").to_owned()
}

#[test]
fn a_script_registers_verifies_and_leaves() {
    let mut broker = broker();
    let register = ["auth", "register", "--email", MEMBER, "--password-stdin"];
    let registered = {
        let person = Person::new(&broker);
        let ended = person.runs(&register, PASSWORD);
        assert!(!person.session_file().exists());
        ended
    };
    assert!(registered.stdout.starts_with("✓ Verify the address with its code"), "{}", registered.stdout);
    assert_eq!(
        registered.stderr,
        format!(
            "With the code: agent-vault auth verify --email {MEMBER} --code CODE --address {}\n",
            broker.address()
        )
    );
    let code = code(&mut broker, "Verification", MEMBER);
    let person = Person::new(&broker);
    let verify = |code: &str| {
        person.tries(&["auth", "verify", "--email", MEMBER, "--code", code, "--device-label", "ci"], "")
    };
    refused(&verify("x"), 1, "Invalid or expired verification code");
    let ended = verify(&code).expect_success();
    assert_eq!(ended.stdout, "✓ Account verified. You are logged in.\n");
    let session = person.session();
    assert_eq!((&session["email"], &session["device_label"]), (&json!(MEMBER), &json!("ci")));
    refused(&verify(&code), 1, "Account is already verified");

    let shown = person.runs(&["account", "whoami"], "").stdout;
    let start =
        format!("Email:   {MEMBER}\nRole:    member\nVaults:  -\nServer:  {}\nCreated: 2", broker.address());
    assert!(shown.starts_with(&start), "{shown}");
    let as_json: Value =
        serde_json::from_str(&person.runs(&["account", "whoami", "--json"], "").stdout).unwrap();
    assert_eq!(as_json["email"], MEMBER);

    let ended = person.tries(&["account", "delete"], "y\n");
    refused(&ended, 2, "there is no terminal to confirm this at: pass --yes");
    assert_eq!(
        person.runs(&["account", "delete", "--yes"], "").stdout,
        format!("✓ Deleted the account of {MEMBER}\n")
    );
    assert!(!person.session_file().exists());
    let words = "Owners cannot delete their own account; hand over ownership of the instance first";
    refused(&run(&mut broker.operator(&["account", "delete", "--yes"]), b""), 1, words);
    assert!(broker.operator_home().join(".agent-vault/session.json").exists());
}

#[test]
fn a_person_types_the_code_at_a_terminal() {
    if need("a_person_types_the_code_at_a_terminal", "setsid", SETSID).is_none() {
        return;
    }
    let mut broker = broker();
    let home = TempDir::new();
    let at = |broker: &Broker, args: &[&str]| {
        let mut command = broker.operator(args);
        command.env("HOME", home.path()).current_dir(home.path());
        Terminal::start(&command)
    };
    let mut person = at(&broker, &["auth", "register", "--email", MEMBER, "--device-label", "desk"]);
    person.awaits("New password: ").types("short").awaits("New password again: ").types("short");
    let (exit, shown) = person.end();
    assert!(exit == Some(1) && shown.ends_with("the password must be at least 8 characters\r\n"), "{shown}");

    let mut person = at(&broker, &["auth", "register", "--email", MEMBER, "--device-label", "desk"]);
    person.awaits("New password: ").types(PASSWORD).awaits("New password again: ").types(PASSWORD);
    person.awaits("Code: ").types("no code");
    let (exit, shown) = person.end();
    let hint = format!(
        "Invalid or expired verification code\r\nhint: try again with: agent-vault auth verify --email {MEMBER} \
         --code CODE --address {}\r\n",
        broker.address()
    );
    assert!(exit == Some(1) && shown.ends_with(&hint), "{shown}");

    let resent = run(&mut broker.operator(&["auth", "resend", "--email", MEMBER]), b"").expect_success();
    assert!(resent.stdout.starts_with("✓ "), "{}", resent.stdout);
    let mut person = at(&broker, &["auth", "verify"]);
    person.awaits("Email: ").types(MEMBER).awaits("Code: ");
    person.types(&code(&mut broker, "Verification", MEMBER));
    let (exit, shown) = person.end();
    assert!(exit == Some(0) && shown.ends_with(" Account verified. You are logged in.\r\n"), "{shown}");

    let mut person = at(&broker, &["account", "change-password"]);
    person.awaits("Current password: ").types("not it").awaits("New password: ").types(NEW);
    person.awaits("New password again: ").types(NEW);
    let (exit, shown) = person.end();
    assert!(exit == Some(1) && shown.ends_with("Current password is incorrect\r\n"), "{shown}");

    let mut person = at(&broker, &["account", "delete"]);
    person.awaits("[y/N] ").types("n");
    let (exit, shown) = person.end();
    assert!(exit == Some(0) && shown.ends_with("Aborted.\r\n"), "{shown}");
}

#[test]
fn a_forgotten_password_is_replaced_with_a_code() {
    let mut broker = broker();
    let owner = "owner@example.test";
    let asked = broker.cli(&["auth", "forgot-password", "--email", owner]).stdout;
    assert_eq!(asked, "✓ If this address has an account, a reset code is in the server's log.\n");
    let code = code(&mut broker, "Password reset", owner);
    let reset = ["auth", "reset-password", "--email", owner, "--code", &code, "--password-stdin"];
    let ended = broker.cli_with_stdin(&reset, NEW);
    assert_eq!(ended.stdout, "✓ Password reset; every login has ended.\n");
    assert_eq!(ended.stderr, "Log in with 'agent-vault auth login'.\n");
    let ended = run(&mut broker.operator(&["vault", "list"]), b"");
    let hint = "hint: log in again with 'agent-vault auth login'";
    refused(&ended, 1, &format!("Invalid or expired session\n{hint}"));
    let login = ["auth", "login", "--email", owner, "--password-stdin"];
    refused(&run(&mut broker.operator(&login), OWNER_PASSWORD.as_bytes()), 1, "Invalid email or password");
    broker.cli_with_stdin(&login, NEW);
    broker.cli(&["vault", "list"]);
    assert!(!broker.log().contains(NEW));
}

#[test]
fn a_changed_password_keeps_this_machine_logged_in() {
    let broker = broker();
    let elsewhere = Person::new(&broker);
    let login = ["auth", "login", "--email", "owner@example.test", "--password-stdin"];
    elsewhere.runs(&login, OWNER_PASSWORD);
    let change = ["account", "change-password", "--password-stdin"];
    let stdin = |text: &str| run(&mut broker.operator(&change), text.as_bytes());
    refused(&stdin("only one"), 2, "stdin must hold two lines: the current password, then the new one");
    refused(&stdin(&format!("wrong one\n{NEW}\n")), 1, "Current password is incorrect");
    let changed = stdin(&format!("{OWNER_PASSWORD}\n{NEW}\n")).expect_success();
    assert_eq!(changed.stdout, "✓ Password changed; every other login has ended.\n");
    broker.cli(&["vault", "list"]);
    assert_eq!(elsewhere.tries(&["vault", "list"], "").code(), Some(1));
    elsewhere.runs(&login, NEW);
}

#[test]
fn logins_are_listed_and_ended() {
    let broker = broker();
    let phone = Person::new(&broker);
    let owner = "owner@example.test";
    phone.runs(
        &["auth", "login", "--email", owner, "--password-stdin", "--device-label", "phone"],
        OWNER_PASSWORD,
    );
    let listed = phone.runs(&["auth", "sessions", "list"], "").stdout;
    let lines: Vec<&str> = listed.lines().collect();
    let [header, one, other] = lines[..] else { panic!("{listed}") };
    let columns: Vec<&str> = header.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(columns, ["ID", "DEVICE", "LAST IP", "LAST USED", "EXPIRES", "CURRENT"]);
    let (own, others) = if one.ends_with('✓') { (one, other) } else { (other, one) };
    assert!(own.contains("  phone") && own.contains("  127.0.0.1  ") && own.ends_with('✓'), "{listed}");
    assert!(!others.ends_with('✓'), "{listed}");
    let as_json: Value =
        serde_json::from_str(&phone.runs(&["auth", "sessions", "list", "--json"], "").stdout).unwrap();
    assert_eq!(as_json["sessions"].as_array().map(Vec::len), Some(2));

    let id = |line: &str| line.split(' ').next().expect("an id").to_owned();
    refused(&phone.tries(&["auth", "sessions", "revoke", "0123"], ""), 1, "Session not found");
    let ended = phone.runs(&["auth", "sessions", "revoke", &id(others)], "");
    assert_eq!((ended.stdout.as_str(), ended.stderr), ("", format!("✓ Revoked login {}\n", id(others))));
    assert!(phone.session_file().exists());
    assert_eq!(run(&mut broker.operator(&["vault", "list"]), b"").code(), Some(1));
    let ended = phone.runs(&["auth", "sessions", "revoke", &id(own)], "");
    assert_eq!(ended.stderr, "✓ Revoked this machine's login; it is forgotten here as well.\n");
    assert!(!phone.session_file().exists());
}

#[test]
fn whoami_takes_vaults_as_names_or_as_objects() {
    let stand_in = StandIn::start();
    stand_in.home().dir(".agent-vault");
    let session = json!({"token": "av_sess_old", "address": stand_in.address(), "email": "a@b.c"});
    stand_in.home().write(".agent-vault/session.json", &session.to_string());
    for vaults in [json!(["one", "two"]), json!([{"vault_name": "one", "vault_role": "admin"}, "two"])] {
        let body = json!({"email": "a@b.c", "role": "owner", "vaults": vaults, "created_at": "2026-01-02T03:04:05Z"});
        stand_in.answers("GET /v1/admin/users/me", answer(200, &[], &body.to_string()));
        let shown = run(stand_in.bare().args(["account", "whoami"]), b"").expect_success().stdout;
        let expected = format!(
            "Email:   a@b.c\nRole:    owner\nVaults:  one, two\nServer:  {}\nCreated: 2026-01-02T03:04:05Z\n",
            stand_in.address()
        );
        assert_eq!(shown, expected);
    }
}

#[test]
fn nothing_is_asked_where_nobody_can_answer() {
    let stand_in = StandIn::start();
    for (line, message) in [
        ("auth verify --email a@b.c", "missing flag: --code"),
        ("auth verify --code 123456", "missing flag: --email"),
        ("auth resend", "missing flag: --email"),
        ("auth forgot-password", "missing flag: --email"),
        (
            "auth reset-password --password-stdin --email a@b.c",
            "--password-stdin requires --email and --code",
        ),
        ("auth sessions revoke", "missing argument: ID"),
    ] {
        refused(&run(stand_in.bare().args(line.split(' ')), b""), 2, message);
    }
    let ended = run(stand_in.bare().args(["auth", "reset-password"]), b"");
    let hint = "hint: pass --email ADDRESS --code CODE --password-stdin and the new password on stdin";
    refused(&ended, 2, &format!("there is no terminal to ask for the password at\n{hint}"));
    let ended = run(stand_in.bare().args(["account", "whoami"]), b"");
    refused(&ended, 1, "not logged in, run 'agent-vault auth login' first");
    assert_eq!(stand_in.lines(), [""; 0]);
}

/// Contract E.1: a command that needs a login leads a person at a terminal to one, and then does what it was
/// asked; its result is still alone on stdout.
#[test]
fn a_person_who_is_not_logged_in_is_led_there() {
    if need("a_person_who_is_not_logged_in_is_led_there", "setsid", SETSID).is_none() {
        return;
    }
    let mut broker = broker();
    let asks = |broker: &Broker, home: &TempDir, args: &[&str]| {
        let mut command = broker.operator(args);
        command.env("HOME", home.path()).current_dir(home.path());
        Terminal::start(&command)
    };
    let home = TempDir::new();
    let mut person = asks(&broker, &home, &["account", "whoami"]);
    person.awaits("You are not logged in.").awaits("1) log in\r\n").awaits("2) sign up\r\n");
    person.awaits("What now? [1-2] ").types("2").awaits("Email: ").types(MEMBER);
    person.awaits("New password: ").types(PASSWORD).awaits("New password again: ").types(PASSWORD);
    person.awaits("Code: ").types(&code(&mut broker, "Verification", MEMBER));
    let (exit, shown) = person.end();
    assert!(exit == Some(0) && shown.contains("✓ Account verified. You are logged in.\r\n"), "{shown}");
    assert!(shown.contains(&format!("  {MEMBER}\r\n")), "{shown}");

    let home = TempDir::new();
    let mut person = asks(&broker, &home, &["account", "whoami", "--json"]);
    person.awaits("What now? [1-2] ").types("1").awaits("Email: ").types(MEMBER);
    person.awaits("Password: ").types("not it at all");
    let (exit, shown) = person.end();
    assert!(exit == Some(1) && shown.ends_with("Invalid email or password\r\n"), "{shown}");
    assert!(!home.join(".agent-vault/session.json").exists());

    // What is read by a program holds the result and nothing else.
    let mut command =
        broker.operator(&["-euc", r#"list=$("$0" vault list --json); printf 'got %s' "$list""#]);
    let binary = command.get_program().to_owned();
    let mut shell = support::bare(std::path::Path::new("/bin/sh"), home.path());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    shell.env("HOME", home.path()).args(command.get_args()).arg(&binary);
    command = shell;
    let mut person = Terminal::start(&command);
    person.awaits("What now? [1-2] ").types("1").awaits("Email: ").types(MEMBER);
    person.awaits("Password: ").types(PASSWORD);
    let (exit, shown) = person.end();
    assert!(exit == Some(0) && shown.ends_with("got {\"vaults\":[]}"), "{shown}");
}

#[test]
fn the_first_person_at_a_new_broker_becomes_its_owner() {
    if need("the_first_person_at_a_new_broker", "setsid", SETSID).is_none() {
        return;
    }
    let stand_in = StandIn::start();
    let status = r#"{"initialized":false,"needs_first_user":true}"#;
    stand_in.answers("GET /v1/status", answer(200, &[], status));
    let made = r#"{"message":"Owner account created.","token":"av_sess_one"}"#;
    stand_in.answers("POST /v1/auth/register", answer(201, &[], made));
    stand_in.answers("GET /v1/vaults", answer(200, &[], r#"{"vaults":[]}"#));
    let mut person = Terminal::start(stand_in.bare().args(["vault", "list"]));
    person.awaits("Which broker? [1-2] ").types("2").awaits("Address: ").types(&stand_in.address());
    person.awaits("no account yet").awaits("Email: ").types("a@b.c");
    person.awaits("New password: ").types(PASSWORD).awaits("New password again: ").types(PASSWORD);
    let (exit, shown) = person.end();
    assert!(exit == Some(0) && shown.contains("✓ Owner account created.\r\n"), "{shown}");
    assert_eq!(stand_in.lines(), ["GET /v1/status", "POST /v1/auth/register", "GET /v1/vaults"]);
}
