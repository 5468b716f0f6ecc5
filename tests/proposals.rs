//! Promise: an agent that lacks a credential asks for it, a person approves, and the agent's next call
//! carries what the agent never sees. The operator's side of it works in scripts and at a terminal.

mod support;

use std::process::Command;

use serde_json::{Value, json};
use support::{
    BINARY, Broker, Ended, Origin, Running, SECRET, TempDir, Terminal, blocks, contains, need,
    repository_file, run,
};

const SETSID: &str = "install util-linux";

/// What an agent does when it wants to read balances: look, ask, show the link, wait, go on.
const AGENT: &str = r#"
av() { "$BINARY" "$@"; }
echo "sees $(av vault discover --json)"
created=$(curl -sS "$AGENT_VAULT_ADDR/v1/proposals" -H "Authorization: Bearer $AGENT_VAULT_TOKEN" \
    -H "X-Vault: $AGENT_VAULT_VAULT" --data "$PROPOSAL")
echo "created $created"
av vault proposal approve 1 STRIPE_KEY=mine --yes || echo "cannot approve"
until [ "$(av vault proposal get 1)" = applied ]; do sleep 0.05; done
echo "applied $(av vault proposal get 1 --json)"
curl -sS "$URL"
echo "ends with $(env | sort | tr '\n' ' ')"
"#;

#[test]
fn an_agent_asks_a_person_approves_and_the_next_call_carries_the_credential() {
    if need("an_agent_asks_a_person_approves", "curl", "install curl").is_none() {
        return;
    }
    let origin = Origin::tls(&["api.stripe.com"]);
    let broker = Broker::start(&origin, &["api.stripe.com"]);
    let token = broker.agent("bookkeeper");

    // The proposal is the one the agent's skill shows, for the port this origin has.
    let host = format!("api.stripe.com:{}", origin.port());
    let skill = blocks(&repository_file("docs/agent-skill.md"));
    let proposal = &skill.iter().find(|block| block.language == "json").expect("a proposal").text;
    let mut command = broker.run_command(&token);
    command
        .env("BINARY", BINARY)
        .env("PROPOSAL", proposal.replace("api.stripe.com", &host))
        .env("URL", format!("https://{host}/v1/balance"))
        .args(["sh", "-c", AGENT]);
    let mut agent = Running::start(&mut command);
    let seen = agent.line_after("sees ");
    assert_eq!(seen, r#"{"vault":"default","services":[],"available_credentials":[]}"#);
    let created: Value = serde_json::from_str(&agent.line_after("created ")).expect("an answer");
    assert_eq!((&created["id"], &created["status"]), (&json!(1), &json!("pending")));
    // The agent's own way to the broker does not lead to the reviewers' side.
    agent.line_after("cannot approve");

    let listed = broker.cli(&["vault", "proposal", "list", "--status", "pending"]).stdout;
    assert!(listed.starts_with("#  STATUS   CREATED ") && listed.contains("\n1  pending  "), "{listed}");
    let shown = broker.cli(&["vault", "proposal", "show", "1"]).stdout;
    for line in [
        "Proposal 1 (pending)\nFrom: bookkeeper\n",
        "\nFor you: I need to read balances\n",
        &format!("\n  + stripe  {host}  bearer\n      token: STRIPE_KEY\n"),
        "\n  + STRIPE_KEY (needs a value)\n      Stripe secret key\n",
    ] {
        assert!(shown.contains(line), "{line:?} is not in\n{shown}");
    }
    let approve = ["vault", "proposal", "approve", "1", "STRIPE_KEY=-", "--yes"];
    assert_eq!(broker.cli_with_stdin(&approve, SECRET).stdout, "✓ Proposal 1 applied\n");

    let applied: Value = serde_json::from_str(&agent.line_after("applied ")).expect("a proposal");
    assert_eq!(applied["status"], "applied");
    agent.line_after("origin saw GET /v1/balance");
    assert!(agent.wait().success(), "{}", agent.output());
    let received = origin.last();
    assert_eq!(received.field("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    let output = agent.output();
    assert!(output.contains("ends with ") && output.contains("AGENT_VAULT_TOKEN="), "{output}");
    for secret in [SECRET, token.as_str()] {
        assert!(!output.contains(secret), "the agent saw {secret}:\n{output}");
        assert!(!contains(&broker.stored_bytes(), secret), "{secret} lies in a file of the broker");
    }
}

/// A broker, and an agent's token for its vault `default`.
struct Office {
    broker: Broker,
    token: String,
}

impl Office {
    fn open() -> Self {
        let broker = Broker::start(&Origin::plain(), &[]);
        let token = broker.agent("bot");
        Self { broker, token }
    }

    /// A command of the agent, which talks to the broker itself.
    fn agent(&self, args: &[&str]) -> Command {
        let mut command = self.broker.operator(args);
        command.env("AGENT_VAULT_TOKEN", &self.token).env("AGENT_VAULT_VAULT", "default");
        command
    }

    #[track_caller]
    fn propose(&self, args: &[&str]) -> String {
        let args = [&["vault", "proposal", "create"], args].concat();
        run(&mut self.agent(&args), b"").expect_success().stdout
    }

    fn decide(&self, args: &[&str], stdin: &str) -> Ended {
        let args = [&["vault", "proposal"], args].concat();
        run(&mut self.broker.operator(&args), stdin.as_bytes())
    }

    #[track_caller]
    fn status(&self, number: &str) -> String {
        self.broker.cli(&["vault", "proposal", "get", number]).stdout.trim_end().to_owned()
    }

    #[track_caller]
    fn value(&self, key: &str) -> String {
        self.broker.cli(&["vault", "credential", "get", key]).stdout
    }
}

/// A shell with a command's surroundings in its place.
fn in_shell(command: &Command, script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.args(["-euc", script]);
    shell
}

#[track_caller]
fn refused(ended: &Ended, code: i32, message: &str) {
    assert_eq!((ended.code(), ended.stderr.trim_end()), (Some(code), message));
    assert_eq!(ended.stdout, "");
}

#[test]
fn a_proposal_is_made_from_flags_or_a_file() {
    let office = Office::open();
    // The skill's command asks for what the document beside it asks for.
    let skill = repository_file("docs/agent-skill.md");
    let line = skill.lines().find_map(|line| line.strip_prefix("`agent-vault vault proposal create --name "));
    let line = line.expect("a command").trim_end_matches('`').trim_end_matches(" --json");
    let mut shell = office.agent(&[]);
    shell.env("BINARY", BINARY);
    let script = format!("exec \"$BINARY\" vault proposal create --name {line} -m m");
    let said = run(&mut in_shell(&shell, &script), b"").expect_success().stdout;
    let link = said.strip_prefix("✓ Proposal 1 created\nApprove here: ").expect("a link");
    assert!(link.starts_with(&format!("{}/approve/1?token=av_appr_", office.broker.address())), "{link}");

    let files = TempDir::new();
    let yaml = "services:\n  - action: set\n    name: crm\n    host: crm.example.com\n    port: 8443\n    \
                auth: {type: bearer, token: CRM}\ncredentials:\n  - {action: set, key: CRM, value: brought}\n\
                message: from the file\nuser_message: from the file\n";
    let file = files.write("proposal.yaml", yaml);
    let file = file.to_str().expect("a plain path");
    let made = office.propose(&["-f", file, "--user-message", "from the flag", "--json"]);
    let made: Value = serde_json::from_str(&made).expect("an answer");
    assert_eq!(made["id"], 2);
    let show = |number: &str| -> Value {
        let args = ["vault", "proposal", "show", number, "--json"];
        let shown = run(&mut office.agent(&args), b"").expect_success().stdout;
        serde_json::from_str(&shown).expect("a proposal")
    };
    let (first, second) = (show("1"), show("2"));
    assert_eq!(first["message"], "m");
    let shown: Value = serde_json::from_str(
        &blocks(&skill).iter().find(|block| block.language == "json").expect("a body").text,
    )
    .expect("a document");
    assert_eq!(first["services"], shown["services"]);
    for (field, value) in shown["credentials"][0].as_object().expect("a slot") {
        assert_eq!(first["credentials"][0][field], *value);
    }
    assert_eq!(second["message"], "from the file");
    assert_eq!(second["services"][0]["host"], "crm.example.com:8443");
    let reviewed = office.broker.cli(&["vault", "proposal", "show", "2"]).stdout;
    assert!(reviewed.contains("\nFor you: from the flag\n"), "{reviewed}");
    assert!(reviewed.contains("+ CRM (the agent brought a value)") && !reviewed.contains("brought\n"));
    let theirs = run(&mut office.agent(&["vault", "proposal", "list"]), b"").expect_success().stdout;
    assert!(theirs.contains("\n2  pending  ") && theirs.contains("\n1  pending  "), "{theirs}");

    for (args, message) in [
        (
            &["-f", file, "--credential", "K"][..],
            "-f describes the proposal: leave all flags but the messages out",
        ),
        (&[], "missing flags: --name, --host and --auth-type, --credential, or -f FILE"),
    ] {
        let args = [&["vault", "proposal", "create"], args].concat();
        refused(&run(&mut office.agent(&args), b""), 2, message);
    }
    let as_person = office.decide(&["create", "--credential", "K"], "");
    let message = "proposals are made by agents, and there is no agent's token here\nhint: set \
                   AGENT_VAULT_TOKEN; a person adds services with 'vault service add' instead";
    refused(&as_person, 1, message);
}

#[test]
fn values_come_from_stdin_a_file_or_the_line_and_stand_in_no_message() {
    let office = Office::open();
    for _ in 0..5 {
        office.propose(&["--credential", "A", "--credential", "B"]);
    }
    let bare = office.decide(&["approve", "1", "--yes"], "");
    let message =
        "there is no value for credential A\nhint: give it with A=-, --from-file A=PATH or --values-stdin";
    refused(&bare, 2, message);
    refused(&office.decide(&["approve", "x"], ""), 2, "\"x\" is not the number of a proposal");

    let values = json!({"A": SECRET, "B": "2"}).to_string();
    let ended = office.decide(&["approve", "1", "--values-stdin", "--yes"], &values).expect_success();
    assert_eq!(ended.stdout, "✓ Proposal 1 applied\n");
    assert!(!ended.stderr.contains(SECRET), "{}", ended.stderr);
    assert_eq!((office.value("A").as_str(), office.value("B").as_str()), (SECRET, "2"));

    let files = TempDir::new();
    let file = format!("A={}", files.write("a", "from a file\n").display());
    office.decide(&["approve", "2", "B=line", "--from-file", &file, "--yes"], "").expect_success();
    assert_eq!((office.value("A").as_str(), office.value("B").as_str()), ("from a file", "line"));

    let broken = office.decide(&["approve", "3", "--values-stdin", "--yes"], &format!("[\"{SECRET}\"]"));
    refused(&broken, 1, "what is on stdin is not a JSON object of texts");
    let twice = office.decide(&["approve", "3", "A=1", "--values-stdin", "--yes"], &values);
    refused(&twice, 2, "A is given more than once");
    let foreign = office.decide(&["approve", "3", "A=1", "B=2", "C=3", "--yes"], "");
    refused(&foreign, 1, "Credential \"C\" is not part of proposal 3");

    let rejected = office.decide(&["reject", "4", "--reason", "not now"], "").expect_success();
    assert_eq!(rejected.stdout, "✓ Proposal 4 rejected\n");
    refused(
        &office.decide(&["approve", "4", "A=1", "B=2", "--yes"], ""),
        1,
        "Proposal 4 is already rejected",
    );
    refused(&office.decide(&["reject", "9"], ""), 1, "Proposal #9 not found in vault \"default\"");
    let shown = office.broker.cli(&["vault", "proposal", "show", "4"]).stdout;
    assert!(shown.contains("\nReview note: not now\n"), "{shown}");
    let statuses = ["1", "2", "3", "4", "5"].map(|number| office.status(number));
    assert_eq!(statuses, ["applied", "applied", "pending", "rejected", "pending"]);
    refused(&office.decide(&["approve", "5"], ""), 2, "there is no terminal to confirm this at: pass --yes");
}

#[test]
fn a_person_at_a_terminal_is_shown_the_proposal_and_asked() {
    if need("a_person_at_a_terminal_is_asked", "setsid", SETSID).is_none() {
        return;
    }
    let office = Office::open();
    let files = TempDir::new();
    let brought =
        "credentials:\n  - {action: set, key: BROUGHT, value: theirs}\n  - {action: set, key: WANTED}\n";
    let file = files.write("proposal.yaml", brought);
    for _ in 0..2 {
        office.propose(&["-f", file.to_str().expect("a plain path")]);
    }
    let approve =
        |number: &str| Terminal::start(&office.broker.operator(&["vault", "proposal", "approve", number]));

    let mut declined = approve("1");
    declined
        .awaits("+ WANTED (needs a value)")
        .awaits("Approve proposal 1 in vault \"default\"? [y/N] ")
        .types("n");
    let (code, shown) = declined.end();
    assert_eq!(code, Some(0));
    assert!(shown.contains("Aborted."), "{shown}");
    assert_eq!(office.status("1"), "pending");

    let mut accepted = approve("1");
    accepted.awaits("[y/N] ").types("y");
    accepted.awaits("Use the value the agent brought for BROUGHT? [Y/n] ").types("");
    accepted.awaits("Value for WANTED: ").types(SECRET);
    let (code, shown) = accepted.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("Proposal 1 applied") && !shown.contains(SECRET), "{shown}");
    assert_eq!((office.value("BROUGHT").as_str(), office.value("WANTED").as_str()), ("theirs", SECRET));

    let mut replaced = approve("2");
    replaced.awaits("[y/N] ").types("y");
    replaced.awaits("[Y/n] ").types("n");
    replaced.awaits("Value for BROUGHT: ").types("ours");
    replaced.awaits("Value for WANTED: ").types("more");
    let (code, shown) = replaced.end();
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!((office.value("BROUGHT").as_str(), office.value("WANTED").as_str()), ("ours", "more"));
}

#[test]
fn a_review_goes_through_what_is_pending() {
    refused(
        &Office::open().decide(&["review"], ""),
        2,
        "there is no terminal to review proposals at\nhint: use 'vault proposal show', 'approve' and 'reject'",
    );
    if need("a_review_goes_through_what_is_pending", "setsid", SETSID).is_none() {
        return;
    }
    let office = Office::open();
    for number in 1..=5 {
        office.propose(&["--credential", &format!("KEY_{number}"), "-m", &format!("number {number}")]);
    }
    let mut review = Terminal::start(&office.broker.operator(&["vault", "proposal", "review"]));
    let asks = "[a]pprove, [r]eject, [s]kip or [q]uit? ";
    review.awaits("[1 of 5] Proposal 1 (pending)").awaits(asks).types("x");
    review.awaits("Type a, r, s or q.").types("a");
    review.awaits("Value for KEY_1: ").types(SECRET);
    review.awaits("[2 of 5] Proposal 2 (pending)").types("r");
    review.awaits("Reason, for the agent: ").types("no");
    review.awaits("[3 of 5] Proposal 3 (pending)").types("s");
    // A value the broker refuses leaves the proposal where it was.
    review.awaits("[4 of 5] Proposal 4 (pending)").types("a");
    review.awaits("Value for KEY_4: ").types("");
    review.awaits("Credential \"KEY_4\" cannot be empty");
    review.awaits("[5 of 5] Proposal 5 (pending)").types("q");
    let (code, shown) = review.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("1 approved, 1 rejected, 2 skipped, 1 left"), "{shown}");
    assert!(!shown.contains(SECRET), "{shown}");
    let statuses = ["1", "2", "3", "4", "5"].map(|number| office.status(number));
    assert_eq!(statuses, ["applied", "rejected", "pending", "pending", "pending"]);
    assert_eq!(office.value("KEY_1"), SECRET);
}
