//! `portcullis-control`: the control plane process.
//!
//! REST for people and programs, QUIC for appliances, SQLite for the state. Every change goes one
//! way (`change`): edit the objects, check them, ask who has to be asked, compile,
//! test, store, push. A handler authorises, calls, answers; who may is said in the list of routes
//! and nowhere else. The control plane never carries a call: without it, appliances go on.
//!
//! [`run`] serves until it is told to stop; [`start()`] gives a handle, for tests and for embedding.

// A problem is made at most once a request and never where time counts.
#![allow(clippy::result_large_err)]

mod app;
mod appliances;
mod apply;
mod ask;
mod auth;
mod build;
mod calls;
mod catalog;
mod change;
mod config;
mod data_dir;
mod directory;
mod discover;
mod drops;
mod explain;
mod fault;
mod jwks;
mod kept;
mod keys;
mod kills;
mod listen;
mod mcp_client;
mod objects;
mod openapi;
mod outbound;
mod outside;
mod packets;
mod policy_tests;
mod random;
mod revisions;
mod route;
mod routes;
mod secrets;
mod servers;
mod start;
mod status;
mod tls;
mod tokens;
mod upkeep;

pub use config::{Clock, Config};
pub use data_dir::TOKEN_FILE;
pub use routes::openapi_json;
pub use start::{Running, run, start};
