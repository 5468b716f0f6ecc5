//! `keygen` and `seal`: credentials that may lie in a configuration document.

use super::{Args, Verb, World, output, stdin};
use crate::config::Vars;
use crate::entry::standalone::{parse_key, sealed};
use crate::failure::{Exit, Failure};
use crate::vault::service::is_credential_key;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        words: &["keygen"],
        usage: "",
        about: "Make a key for sealed credentials (AGENT_VAULT_KEY)",
        flags: &[],
        example: "agent-vault keygen > vault-key",
        run: keygen,
    },
    Verb {
        words: &["seal"],
        usage: "NAME",
        about: "Seal a credential from stdin with AGENT_VAULT_KEY, or AGENT_VAULT_KEY_FILE, for run --config",
        flags: &[],
        example: "agent-vault seal STRIPE_KEY < stripe-key",
        run: seal,
    },
];

fn keygen(_: &World<'_>, args: Args) -> Result<Exit, Failure> {
    args.finish()?;
    let key = sealed::generate()?;
    output::print_bytes(&[key.expose(), b"\n"].concat())?;
    Ok(Exit::Success)
}

fn seal(world: &World<'_>, mut args: Args) -> Result<Exit, Failure> {
    let name = args.word("NAME")?;
    args.finish()?;
    if !is_credential_key(&name) {
        return Err(Failure::usage("NAME is the name of a credential, which is like STRIPE_KEY"));
    }
    let var = |name: &str| world.var(name);
    let mut vars = Vars::new(&var);
    let key = vars.secret("AGENT_VAULT_KEY");
    vars.finish()?;
    let key = key.ok_or_else(|| {
        Failure::usage("neither AGENT_VAULT_KEY nor AGENT_VAULT_KEY_FILE is set")
            .with_hint("agent-vault keygen makes a key")
    })?;
    let key = parse_key(&key)?;
    let value = stdin::stdin()?;
    if value.is_empty() {
        return Err(Failure::new("there is no value on stdin"));
    }
    output::print(&format!("{}\n", key.seal(&name, &value)?))?;
    Ok(Exit::Success)
}
