//! What would become of a request: the proxy's own judgement, told to those who look after the vault.

use super::super::Call;
use super::super::caller::InVault;
use super::super::refusal::{Refusal, Reply};
use crate::http1::respond::Answer;

pub(super) fn explain(call: &Call<'_>, inside: &InVault) -> Reply {
    let needed = |name: &str| {
        let given = call.request.query(name).filter(|text| !text.is_empty());
        given.ok_or_else(|| Refusal::error(400, &format!("{name} is required")))
    };
    let (method, url) = (needed("method")?, needed("url")?);
    let rules = call.store().rules(&inside.vault.id)?;
    let told = (call.api.surroundings.explain)(&rules, &inside.vault.name, &method, &url);
    told.map(|told| Answer::json(200, &told)).map_err(|wrong| Refusal::error(400, wrong))
}
