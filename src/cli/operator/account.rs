//! `account`: one's own account at the broker.

use serde_json::Value;

use super::ask::{self, Consent};
use super::auth;
use super::broker::{Broker, Reach};
use super::{AS_JSON, Args, Flag, REACH, Verb, WITHOUT_ASKING, World, list, output, text};
use crate::client::state::Session;
use crate::failure::{Exit, Failure};
use crate::json::json;
use crate::secret::Secret;

pub(in crate::cli) const VERBS: &[Verb] = &[
    Verb {
        words: &["account", "whoami"],
        usage: "[flags]",
        about: "Show who is logged in, and where",
        flags: &[AS_JSON, REACH],
        example: "agent-vault account whoami",
        run: whoami,
    },
    Verb {
        words: &["account", "change-password"],
        usage: "[flags]",
        about: "Choose another password; ends every other login",
        flags: &[
            &[Flag("--password-stdin", "read two lines from stdin: the current password, then the new one")],
            REACH,
        ],
        example: "agent-vault account change-password --password-stdin < old-and-new",
        run: change_password,
    },
    Verb {
        words: &["account", "delete"],
        usage: "[flags]",
        about: "Delete your account for good",
        flags: &[WITHOUT_ASKING, REACH],
        example: "agent-vault account delete --yes",
        run: delete,
    },
];

fn whoami(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, as_json) = (Reach::take(&mut args)?, args.flag("--json"));
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let reply = broker.get("/v1/admin/users/me")?;
    if as_json {
        output::print_json(reply.body())?;
        return Ok(Exit::Success);
    }
    let person = broker.json(&reply)?;
    let mut shown = String::new();
    for (label, value) in [
        ("Email", text(&person, "email")),
        ("Role", text(&person, "role")),
        ("Vaults", vaults(&person)),
        ("Server", broker.address().to_owned()),
        ("Created", text(&person, "created_at")),
    ] {
        shown.push_str(&format!("{:9}{value}\n", format!("{label}:")));
    }
    output::print(&shown)?;
    Ok(Exit::Success)
}

/// A person's vaults by name. Brokers list names, or objects with a name and a role.
fn vaults(person: &Value) -> String {
    let names: Vec<String> = list(person, "vaults")
        .map(|vault| vault.as_str().map_or_else(|| text(vault, "vault_name"), str::to_owned))
        .collect();
    if names.is_empty() { "-".to_owned() } else { names.join(", ") }
}

fn change_password(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, is_on_stdin) = (Reach::take(&mut args)?, args.flag("--password-stdin"));
    args.finish()?;
    let session = world.state().session()?;
    // A wrong current password is a 401 too, and must not end in a question for a new login.
    let mut broker = Broker::as_person(world, &reach)?.without_renewal();
    let (current, new) = if is_on_stdin {
        two_lines(&ask::stdin()?)?
    } else if world.is_interactive() {
        (ask::hidden("Current password: ")?, auth::new_password()?)
    } else {
        return Err(Failure::usage("there is no terminal to ask for the passwords at")
            .with_hint("pass --password-stdin, and the current and the new password on a line each"));
    };
    let body = json!({ "current_password": auth::text_of(&current)?, "new_password": auth::text_of(&new)? });
    let reply = broker.post("/v1/auth/change-password", &body)?;
    let token = text(&broker.json(&reply)?, "token");
    world.state().save_session(&Session { token: token.into(), ..session })?;
    output::success(world, "Password changed; every other login has ended.")?;
    Ok(Exit::Success)
}

/// The current password and the new one, a line each.
fn two_lines(input: &Secret) -> Result<(Secret, Secret), Failure> {
    let mut lines = input.expose().split(|byte| *byte == b'\n');
    let mut next = || {
        let line = lines.next().filter(|line| !line.is_empty())?;
        Some(Secret::new(line.strip_suffix(b"\r").unwrap_or(line).to_vec()))
    };
    match (next(), next(), next()) {
        (Some(current), Some(new), None) => Ok((current, new)),
        _ => Err(Failure::usage("stdin must hold two lines: the current password, then the new one")),
    }
}

fn delete(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let (reach, yes) = (Reach::take(&mut args)?, args.flag("--yes"));
    args.finish()?;
    let mut broker = Broker::as_person(world, &reach)?;
    let question = format!("Delete your account at {}, with its logins and grants?", broker.address());
    if ask::consent(world, yes, &question)? == Consent::Declined {
        output::note("Aborted.");
        return Ok(Exit::Success);
    }
    let reply = broker.delete("/v1/auth/account", None)?;
    let email = text(&broker.json(&reply)?, "email");
    world.state().forget_session()?;
    output::success(world, &format!("Deleted the account of {email}"))?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn vaults_are_shown_by_name_however_they_are_listed() {
        assert_eq!(vaults(&json!({"vaults": ["a", "b"]})), "a, b");
        assert_eq!(vaults(&json!({"vaults": [{"vault_name": "a", "vault_role": "admin"}]})), "a");
        for none in [json!({}), json!({"vaults": null}), json!({"vaults": []})] {
            assert_eq!(vaults(&none), "-");
        }
    }

    #[test]
    fn two_passwords_are_two_lines() {
        let read = |text: &str| two_lines(&Secret::from(text)).ok();
        let both = Some((Secret::from("old one"), Secret::from("new")));
        assert_eq!(read("old one\nnew"), both);
        assert_eq!(read("old one\r\nnew"), both);
        for wrong in ["", "old", "old\n", "\nnew", "a\nb\nc"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
