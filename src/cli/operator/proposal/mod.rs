//! `vault proposal`: what agents ask for, made by them and decided by people.
//!
//! An agent asks the side of the broker that is its own (it makes proposals and follows them), a person the
//! reviewers' side; which one is asked follows from the token at hand. What an agent wrote is shown with
//! everything taken out of it that could command a terminal.

mod create;
mod decide;
mod page;
mod review;

use serde_json::Value;

use super::broker::{Broker, Caller, Reach};
use super::{AS_JSON, Args, Flag, IN_VAULT, REACH, Verb, WITHOUT_ASKING, World, encoded, list, output, text};
use crate::client::Reply;
use crate::failure::{Exit, Failure};
use crate::json::json;
use page::Page;

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["vault", "proposal", "list"],
        usage: "[flags]",
        about: "List the proposals of a vault, newest first",
        flags: &[
            &[Flag("--status STATUS", "only pending, applied, rejected or expired ones")],
            AS_JSON,
            IN_VAULT,
            REACH,
        ],
        example: "agent-vault vault proposal list --status pending --vault shop",
        run: show_all,
    },
    Verb {
        words: &["vault", "proposal", "show"],
        usage: "NUMBER [flags]",
        about: "Show what a proposal would change",
        flags: &[AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault proposal show 7 --vault shop",
        run: show,
    },
    Verb {
        words: &["vault", "proposal", "get"],
        usage: "NUMBER [flags]",
        about: "Print a proposal's status and nothing else",
        flags: &[&[Flag("--json", "print the whole proposal for programs")], IN_VAULT, REACH],
        example: "agent-vault vault proposal get 7 --json",
        run: get,
    },
    Verb {
        words: &["vault", "proposal", "create"],
        usage: "[flags]",
        about: "Ask for services and credentials, as an agent",
        flags: &[create::FLAGS, super::service::AUTH, create::MESSAGES, AS_JSON, IN_VAULT, REACH],
        example: "agent-vault vault proposal create --name stripe --host api.stripe.com --auth-type bearer \
                  --token-key STRIPE_KEY --credential 'STRIPE_KEY=Stripe secret key' --user-message 'to read balances'",
        run: create::create,
    },
    Verb {
        words: &["vault", "proposal", "approve"],
        usage: "NUMBER [KEY=VALUE…] [flags]",
        about: "Apply a proposal; values that are missing are asked for",
        flags: &[decide::VALUES, WITHOUT_ASKING, IN_VAULT, REACH],
        example: "agent-vault vault proposal approve 7 STRIPE_KEY=- --yes --vault shop < stripe-key",
        run: decide::approve,
    },
    Verb {
        words: &["vault", "proposal", "reject"],
        usage: "NUMBER [flags]",
        about: "Reject a proposal",
        flags: &[&[Flag("--reason TEXT", "what the agent is told")], IN_VAULT, REACH],
        example: "agent-vault vault proposal reject 7 --reason 'use the test account' --vault shop",
        run: decide::reject,
    },
    Verb {
        words: &["vault", "proposal", "review"],
        usage: "[flags]",
        about: "Go through the pending proposals at the terminal",
        flags: &[IN_VAULT, REACH],
        example: "agent-vault vault proposal review --vault shop",
        run: review::review,
    },
];

/// The vault whose proposals are spoken of, at a broker.
struct Desk<'w> {
    broker: Broker<'w>,
    vault: String,
}

impl<'w> Desk<'w> {
    fn take(args: &mut Args) -> Result<(Reach, Option<String>), Failure> {
        Ok((Reach::take(args)?, args.value("--vault")?))
    }

    fn open(world: &'w World<'w>, (reach, vault): (Reach, Option<String>)) -> Result<Self, Failure> {
        let (broker, vault) = Broker::for_vault(world, &reach, vault)?;
        Ok(Self { broker, vault })
    }

    /// One proposal, as the caller's side shows it.
    fn proposal(&mut self, number: u32) -> Result<Reply, Failure> {
        match self.broker.as_whom() {
            Caller::Agent => self.broker.get(&format!("/v1/proposals/{number}")),
            Caller::Nobody | Caller::Person => self.reviewed(number),
        }
    }

    /// One proposal, as reviewers see it.
    fn reviewed(&mut self, number: u32) -> Result<Reply, Failure> {
        self.broker.get(&format!("/v1/admin/proposals/{number}?vault={}", encoded(&self.vault)))
    }

    fn proposals(&mut self, status: Option<&str>) -> Result<Reply, Failure> {
        let status = status.map(encoded).unwrap_or_default();
        match self.broker.as_whom() {
            Caller::Agent => self.broker.get(&format!("/v1/proposals?status={status}")),
            Caller::Nobody | Caller::Person => {
                let vault = encoded(&self.vault);
                self.broker.get(&format!("/v1/admin/proposals?vault={vault}&status={status}"))
            }
        }
    }

    /// Sends a decision.
    fn decide(&mut self, number: u32, verb: &str, more: (&str, Value)) -> Result<(), Failure> {
        let mut body = json!({ "vault": self.vault });
        body[more.0] = more.1;
        self.broker.post(&format!("/v1/admin/proposals/{number}/{verb}"), &body).map(drop)
    }
}

/// The number that is the next word.
fn number(args: &mut Args) -> Result<u32, Failure> {
    let word = args.word("NUMBER")?;
    let digits = word.bytes().all(|b| b.is_ascii_digit());
    word.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| Failure::usage(format!("{word:?} is not the number of a proposal")))
}

fn show_all(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (place, as_json) = (Desk::take(&mut args)?, args.flag("--json"));
    let status = args.value("--status")?;
    args.finish()?;
    let mut desk = Desk::open(world, place)?;
    let reply = desk.proposals(status.as_deref())?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = desk.broker.json(&reply)?;
    let rows: Vec<Vec<String>> = list(&answer, "proposals")
        .map(|one| {
            let number = one.get("id").and_then(Value::as_u64).unwrap_or_default();
            vec![number.to_string(), text(one, "status"), text(one, "created_at"), text(one, "message")]
        })
        .collect();
    output::print(&output::table(&["#", "STATUS", "CREATED", "MESSAGE"], &rows))?;
    Ok(Exit::Success)
}

fn show(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (place, as_json) = (Desk::take(&mut args)?, args.flag("--json"));
    let number = number(&mut args)?;
    args.finish()?;
    let mut desk = Desk::open(world, place)?;
    let reply = desk.proposal(number)?;
    if as_json {
        output::print_json(reply.body())?;
    } else {
        output::print(&Page::read(&desk.broker.json(&reply)?).to_string())?;
    }
    Ok(Exit::Success)
}

fn get(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (place, as_json) = (Desk::take(&mut args)?, args.flag("--json"));
    let number = number(&mut args)?;
    args.finish()?;
    let mut desk = Desk::open(world, place)?;
    let reply = desk.proposal(number)?;
    if as_json {
        output::print_json(reply.body())?;
    } else {
        let status = text(&desk.broker.json(&reply)?, "status");
        output::print(&format!("{}\n", output::printable(&status)))?;
    }
    Ok(Exit::Success)
}
