//! Which of several a person at the terminal means, where the command line does not say: a vault, a broker.

use super::broker::{Broker, LOCAL};
use super::{World, ask, list, text};
use crate::failure::Failure;

/// Leads to a question of its own: an address that is not in the list.
const ANOTHER: &str = "another address";

/// The only vault there is, or the one a person picks.
pub(super) fn vault(broker: &mut Broker<'_>) -> Result<String, Failure> {
    let none = || {
        Failure::new("there is no vault you may use")
            .with_hint("make one with 'agent-vault vault create NAME'")
    };
    let reply = broker.get("/v1/vaults")?;
    let answer = broker.json(&reply)?;
    let mut vaults: Vec<String> = list(&answer, "vaults").map(|vault| text(vault, "name")).collect();
    match vaults.len() {
        0 | 1 => vaults.pop().ok_or_else(none),
        _ => ask::pick("Which vault?", &vaults),
    }
}

/// The address of the broker of this machine, of the one the saved login is for, or one that is typed.
pub(super) fn address(world: &World<'_>) -> Result<String, Failure> {
    let mut choices = vec![LOCAL.to_owned()];
    choices.extend(world.state().find_session()?.map(|saved| saved.address).filter(|saved| saved != LOCAL));
    choices.push(ANOTHER.to_owned());
    match ask::pick("Which broker?", &choices)? {
        chosen if chosen == ANOTHER => ask::line("Address: "),
        chosen => Ok(chosen),
    }
}
