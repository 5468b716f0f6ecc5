//! Agent Vault: credentials for containers, attached at the proxy boundary.
//!
//! An app in a container calls real APIs and holds none of their keys. `run` is the container's first
//! process and leads the app's traffic to a proxy; the proxy attaches the credential that the vault keeps
//! for that host, port and path. One binary is entrypoint, broker and operator's command line.
//!
//! # The rooms
//!
//! A module of this crate is a room with one subject; rooms use only what lies below them, and an outside
//! crate lives in the rooms listed for it (`tests/layers.rs` holds both lists).
//!
//! | layer | rooms |
//! |---|---|
//! | what people type | [`cli`] |
//! | the broker's order of things | [`server`] |
//! | settings, for the rooms that take them | [`config`] |
//! | being process 1 | [`entry`] |
//! | the proxy; the control API | [`proxy`], [`api`] |
//! | a conversation on a stream; TLS; what survives a restart; a broker's client | [`peer`], [`tls`], [`store`], [`client`] |
//! | bytes and time; the wire format; the rules; being asked how one is | [`net`], [`http1`], [`vault`], [`health`] |
//! | words all rooms share; the system | [`authority`], [`failure`], [`json`], [`log`], [`metrics`], [`rate`], [`secret`], [`sys`] |
//!
//! Without the feature `broker` the crate is the entrypoint alone: the rooms [`api`], [`server`] and [`store`]
//! and the commands that need them are left out whole.
//!
//! # The life of a request
//!
//! ```text
//! net::reactor     main thread: accept → permit (none left: 503) → a thread
//! peer             conversation: read a head, serve it, again; quiet → parked, no thread
//! proxy            CONNECT h:p → gate: target, token → scope                         400 403 404 407 429
//!                  tunnel: 200 → TLS with a leaf for the name, or untouched
//!                  every request, in the tunnel or in absolute form:
//! proxy::exchange  framing decided once                                              400
//!                  tiers: rate, in flight; limits                                    413 429
//!                  vault::Snapshot::judge → attach, pass or refuse                   403 502
//!                  upload: the body's window; rewrite: hop-by-hop out, auth slot ours; resign
//!                  upstream: pooled and alive, or guard → dial → TLS                 403 502 504
//!                  net::duplex: body up, response down, interim and early answers as they come
//!                  pooled again only if both bodies ended exactly where they said; one record
//! ```
//!
//! The relay of agent mode ([`entry`]) is the same reactor and the same conversation with another hand on
//! it: the run's credential comes in, the broker's token goes out.

#[cfg(feature = "broker")]
pub mod api;
pub mod authority;
pub mod cli;
pub mod client;
pub mod config;
pub mod entry;
pub mod failure;
pub mod health;
pub mod http1;
pub mod json;
pub mod log;
pub mod metrics;
pub mod net;
pub mod peer;
pub mod proxy;
pub mod rate;
pub mod secret;
#[cfg(feature = "broker")]
pub mod server;
#[cfg(feature = "broker")]
pub mod store;
pub mod sys;
pub mod tls;
pub mod vault;
