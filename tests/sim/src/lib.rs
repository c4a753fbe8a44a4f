//! The pipeline under seeds.
//!
//! [`World`] is one core with a compiled policy and callers with API keys; [`Client`] is one
//! connection to it, carried out by a shell without sockets. Time, splits, servers and the log are
//! the test's to decide, so a run is a function of its seed.

mod client;
mod seed;
mod world;

pub use client::{Client, Reply, Server};
pub use seed::Seed;
pub use world::{ToolSpec, World, WorldSpec};

pub mod http;
