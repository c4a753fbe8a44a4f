//! The pipeline under seeds.
//!
//! [`World`] is one core with a compiled policy and callers with API keys; [`Client`] is one
//! connection to it, carried out by a shell without sockets. Time, splits, servers and the log are
//! the test's to decide, so a run is a function of its seed. [`Swarm`] is a box under a seed: many
//! clients, bad servers, a bad log, and news at any step, held against a [`model`] that knows nothing
//! of the pipeline.

mod asked;
mod backend;
mod client;
mod core_sim;
mod http_reader;
mod link;
mod mix;
mod scene;
mod seed;
mod swarm;
mod world;

pub use client::{Client, Reply, Server};
pub use mix::Mix;
pub use scene::Seen;
pub use seed::Seed;
pub use swarm::{Outcome, Swarm};
pub use world::{Compiled, FLOW, Shared, ToolSpec, World, WorldSpec, digest_key, lease};

pub mod http;
pub mod model;
