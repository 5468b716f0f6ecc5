//! Promise: in a real container, `agent-vault run` is process 1, a second static program is the app, and the
//! app's call reaches a TLS origin with a credential the app never had; all that is promised of the first
//! process holds there as it does for a plain process.

#[path = "../support/mod.rs"]
mod support;

mod docker;
mod images;
mod pod;
mod shell;
mod supervision;
