//! `user invite` and `auth accept-invite`: both ends of an invite's link.
//!
//! A command that is given an invite takes its link, the token in it, or `-` for either on stdin: whoever
//! reads it off a command line could use it first. Those who look after invites may name the address.

use serde_json::Value;

use super::agent::grants;
use super::broker::{Broker, Reach};
use super::issue::grant_of;
use super::{AS_JSON, Args, Flag, PUBLIC_REACH, REACH, Verb, World, ask, auth, encoded, list, output, text};
use crate::failure::{Exit, Failure};
use crate::json::json;
use crate::secret::Secret;

const LINK_ONLY: &[Flag] = &[Flag("--link-only", "print the link and nothing else, without a newline")];

/// How every invite's token begins (contract B.3).
const PREFIX: &str = "av_uinv_";

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["user", "invite"],
        usage: "EMAIL [flags]",
        about: "Invite somebody to have an account, and show the link, once",
        flags: &[
            &[
                Flag("--role ROLE", "what they may do in the instance: no-access, member or owner"),
                Flag("--vault NAME[:ROLE]", "a vault they may use, as member or admin; may be repeated"),
            ],
            LINK_ONLY,
            REACH,
        ],
        example: "agent-vault user invite ann@example.com --vault shop:admin",
        run: create,
    },
    Verb {
        words: &["user", "invite", "list"],
        usage: "[flags]",
        about: "List the invites",
        flags: &[
            &[Flag("--status STATUS", "only these: pending, accepted, expired or revoked")],
            AS_JSON,
            REACH,
        ],
        example: "agent-vault user invite list --status pending",
        run: show_all,
    },
    Verb {
        words: &["user", "invite", "revoke"],
        usage: "EMAIL|LINK|TOKEN|- [flags]",
        about: "End an invite",
        flags: &[REACH],
        example: "agent-vault user invite revoke ann@example.com",
        run: revoke,
    },
    Verb {
        words: &["user", "invite", "resend"],
        usage: "EMAIL|LINK|TOKEN|- [flags]",
        about: "End an invite's link and show another one for it, once",
        flags: &[LINK_ONLY, REACH],
        example: "agent-vault user invite resend ann@example.com --link-only > invite-link",
        run: resend,
    },
    Verb {
        words: &["auth", "accept-invite"],
        usage: "LINK|TOKEN|- [flags]",
        about: "Take up an invite; makes the account if there is none yet",
        flags: &[
            &[Flag(
                "--password-stdin",
                "read the new account's password from stdin, behind the link's line if that is there too",
            )],
            PUBLIC_REACH,
        ],
        example: "agent-vault auth accept-invite http://127.0.0.1:14321/invite/av_uinv_…",
        run: accept,
    },
];

/// An invite's token, and the broker its link leads to.
struct Link {
    token: Secret,
    address: Option<String>,
}

impl Link {
    fn parse(text: &str) -> Result<Self, Failure> {
        let text = text.trim().trim_end_matches('/');
        let (address, token) = match text.rsplit_once("/invite/") {
            Some((address, token)) => (Some(address.to_owned()), token),
            None => (None, text),
        };
        if !token.starts_with(PREFIX) {
            // What was given is not repeated: it may be another secret.
            return Err(Failure::usage(format!(
                "this is no invite: give its link, or the token at its end ({PREFIX}…)"
            )));
        }
        Ok(Self { token: token.into(), address })
    }

    /// The invite a word names, and what else was on stdin if it came from there.
    fn take(word: &str) -> Result<(Self, Option<Secret>), Failure> {
        if word != "-" {
            return Ok((Self::parse(word)?, None));
        }
        let input = ask::stdin()?;
        let input = input.expose_str().ok_or_else(|| Failure::new("what is on stdin is not UTF-8 text"))?;
        let (line, rest) = input.split_once('\n').unwrap_or((input, ""));
        Ok((Self::parse(line)?, Some(rest.into())))
    }

    fn path(&self) -> String {
        format!("/v1/users/invites/{}", encoded(self.token.expose_str().unwrap_or_default()))
    }
}

/// Where the invite is that a word names by its address or its link.
fn path_of(word: &str) -> Result<String, Failure> {
    if word.contains('@') && !word.contains('/') {
        return Ok(format!("/v1/users/invites/{}", encoded(word)));
    }
    Ok(Link::take(word)?.0.path())
}

fn create(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, link_only) = (Reach::take(&mut args)?, args.flag("--link-only"));
    let role = args.value("--role")?;
    let vaults: Vec<Value> = args.values("--vault")?.iter().map(|grant| grant_of(grant)).collect();
    let email = args.word("EMAIL")?;
    args.finish()?;
    let mut body = json!({ "email": email, "vaults": vaults });
    if let Some(role) = role {
        body["role"] = role.into();
    }
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.post("/v1/users/invites", &body)?;
    let answer = broker.json(&reply)?;
    let done = format!("Invited {} (role {})", text(&answer, "email"), text(&answer, "role"));
    show_link(world, &answer, link_only, &done)
}

fn show_all(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    let status = args.value("--status")?;
    args.finish()?;
    let query = status.map(|status| format!("?status={}", encoded(&status))).unwrap_or_default();
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get(&format!("/v1/users/invites{query}"))?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let answer = broker.json(&reply)?;
    let row = |invite: &Value| {
        let columns = [text(invite, "email"), text(invite, "role"), text(invite, "status"), grants(invite)];
        columns.into_iter().chain([text(invite, "created_at"), text(invite, "expires_at")]).collect()
    };
    let rows: Vec<Vec<String>> = list(&answer, "invites").map(row).collect();
    output::print(&output::table(&["EMAIL", "ROLE", "STATUS", "VAULTS", "CREATED", "EXPIRES"], &rows))?;
    Ok(Exit::Success)
}

fn revoke(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let reach = Reach::take(&mut args)?;
    let word = args.word("EMAIL")?;
    args.finish()?;
    Broker::as_person(world, &reach)?.delete(&path_of(&word)?, None)?;
    output::success(world, "Invite revoked")?;
    Ok(Exit::Success)
}

fn resend(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, link_only) = (Reach::take(&mut args)?, args.flag("--link-only"));
    let word = args.word("EMAIL")?;
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.post(&format!("{}/reinvite", path_of(&word)?), &json!({}))?;
    let answer = broker.json(&reply)?;
    let done = format!("Invited {} again; the old link has ended", text(&answer, "email"));
    show_link(world, &answer, link_only, &done)
}

/// The link, which cannot be asked for again; a broker that sent it by mail shows none.
fn show_link(world: &World<'_>, answer: &Value, link_only: bool, done: &str) -> Result<Exit, Failure> {
    let link = text(answer, "invite_link");
    if link_only && link.is_empty() {
        return Err(Failure::new("invited; the link went out by mail and is not shown"));
    }
    if link_only {
        output::print(&link)?;
        return Ok(Exit::Success);
    }
    output::success(world, done)?;
    if !link.is_empty() {
        output::print(&format!(
            "\nThe link is shown this once. It works once, until {}; take it up with\n\
             'agent-vault auth accept-invite LINK'.\n\n  {link}\n",
            text(answer, "expires_at")
        ))?;
    }
    Ok(Exit::Success)
}

fn accept(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, is_on_stdin) = (Reach::take(&mut args)?, args.flag("--password-stdin"));
    let word = args.word("LINK")?;
    args.finish()?;
    let (link, rest) = Link::take(&word)?;
    let mut broker = Broker::as_nobody(world, &reach.or_address(link.address.clone()))?;
    let reply = broker.get(&format!("{}/details", link.path()))?;
    let details = broker.json(&reply)?;
    if details.get("error").is_some() {
        return Err(Failure::new(text(&details, "error_message")));
    }
    let mut body = json!({});
    if details.get("needs_account").and_then(Value::as_bool) == Some(true) {
        let email = text(&details, "email");
        let password = match rest.filter(|_| is_on_stdin) {
            Some(password) => password,
            None if is_on_stdin => ask::stdin()?,
            None if world.is_interactive() => {
                output::note(&format!("This makes an account for {email}."));
                auth::new_password()?
            }
            None => {
                return Err(Failure::usage("there is no terminal to ask for the password at")
                    .with_hint("pass --password-stdin and the new account's password on stdin"));
            }
        };
        body["password"] = auth::text_of(&password)?.into();
    }
    let reply = broker.post(&format!("{}/accept", link.path()), &body)?;
    let answer = broker.json(&reply)?;
    output::success(world, &format!("{}: {}", text(&answer, "email"), text(&answer, "message")))?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_is_its_link_or_the_token_in_it() {
        for (given, address) in [
            ("av_uinv_0a", None),
            ("https://av.example.com/invite/av_uinv_0a", Some("https://av.example.com")),
            (" http://127.0.0.1:14321/base/invite/av_uinv_0a/\n", Some("http://127.0.0.1:14321/base")),
        ] {
            let link = Link::parse(given).unwrap();
            assert_eq!(link.token, Secret::from("av_uinv_0a"), "{given}");
            assert_eq!(link.address.as_deref(), address, "{given}");
        }
        for given in ["", "av_sess_secret", "http://127.0.0.1/invite/x", "http://127.0.0.1/av_uinv_0a"] {
            let failure = Link::parse(given).err().expect(given);
            assert!(!failure.message().contains("secret"));
        }
    }
}
