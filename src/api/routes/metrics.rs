//! `GET /metrics`: numbers for those who watch over a broker.

use super::super::caller;
use super::super::refusal::{Refusal, Reply};
use super::super::{Call, Instance, Watchers};
use crate::http1::respond::Answer;
use crate::metrics::{CONTENT_TYPE, Kind, Page};

/// Guarded by a setting and not by the table: who may look is the operator's choice.
pub(super) fn show(call: &Call<'_>) -> Reply {
    match call.api.settings.watchers {
        Watchers::Nobody => return Err(Refusal::error(404, "Not found")),
        Watchers::Anyone => {}
        Watchers::Owners => {
            let who = caller::identify(call)?;
            call.api.limits.admit_actor(&who)?;
            who.into_actor()?.require(Instance::Owner)?;
        }
    }
    let mut page = Page::default();
    page.numbers(
        Kind::Counter,
        ("agent_vault_control_requests_total", "class"),
        "Control requests by the class of their status.",
        call.api.counts.answered(),
    );
    page.number(
        Kind::Counter,
        "agent_vault_store_errors_total",
        "Control requests that failed because the store did.",
        call.api.counts.store_errors(),
    );
    (call.api.surroundings.measure)(&mut page);
    let fields = vec![("Content-Type", CONTENT_TYPE.to_owned()), ("Cache-Control", "no-store".to_owned())];
    Ok(Answer { status: 200, fields, body: page.into_bytes() })
}
