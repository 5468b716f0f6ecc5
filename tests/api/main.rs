//! Promise: the control API answers as the contract says, on the real binary. Numbers in comments are the
//! contract's edge cases (control plane, section J).

#[path = "../support/mod.rs"]
mod support;

mod access;
mod accounts;
mod agents;
mod credentials;
mod discovery;
mod golden;
mod invites;
mod logs;
mod members;
mod proposals;
mod services;
mod sessions;
mod settings;
mod site;
mod transport;
mod users;
mod vaults;
