//! What tests on the real binary share: an [`Origin`], a [`Broker`], and programs with deadlines.
//!
//! Nothing here waits for a while, binds a fixed port or passes the test's environment on.

#![allow(dead_code, unused_imports, reason = "every test file uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test reports")]

mod broker;
mod origin;
mod process;
mod readme;
pub(crate) mod rig;
mod site;
mod stand_in;
mod terminal;
mod tools;
pub(crate) mod websocket;

pub(crate) use broker::{BINARY, Background, Broker, OWNER_PASSWORD, bare};
pub(crate) use origin::{Origin, Received, Wire};
pub(crate) use process::{Ended, PATIENCE, Running, TempDir, run};
pub(crate) use readme::{blocks, readme_block, repository_file};
pub(crate) use site::{Site, source};
pub(crate) use stand_in::{CA_PEM, Run, StandIn, TOKEN, answer, eventually};
pub(crate) use terminal::Terminal;
pub(crate) use tools::{find, need, need_node, need_python, search_path, skip, succeeds, target_dir};

/// A credential no program invents, so that finding it anywhere is finding a leak.
pub(crate) const SECRET: &str = "sk_test_51Vw8kQ2xN0t4Real9secretZZ";

/// Whether `needle` is in `heap`, which may hold anything.
pub(crate) fn contains(heap: &[u8], needle: &str) -> bool {
    heap.windows(needle.len()).any(|window| window == needle.as_bytes())
}
