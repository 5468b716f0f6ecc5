//! Agent Vault: credentials for containers, attached at the proxy boundary.

pub mod api;
pub mod authority;
pub mod cli;
pub mod client;
pub mod config;
pub mod entry;
pub mod failure;
pub mod health;
pub mod http1;
pub mod log;
pub mod net;
pub mod peer;
pub mod proxy;
pub mod rate;
pub mod secret;
pub mod server;
pub mod store;
pub mod sys;
pub mod tls;
pub mod vault;
