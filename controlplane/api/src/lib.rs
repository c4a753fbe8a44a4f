//! What people and programs may say to the control plane, and what it answers.
//!
//! The types of the REST API, shared by the server and the command line; the objects that make up a
//! revision, with their bounds and checks; the folder that operators keep in Git; the diff between
//! two revisions; and the one shape of every error. Pure: no clock, no files, no randomness.
//!
//! Every type that is read refuses unknown fields, and every check names the field and says what to
//! write instead.

// A problem is made at most once a request and never where time counts.
#![allow(clippy::result_large_err)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod bounds;
pub mod diff;
pub mod folder;
pub mod fuzz;
pub mod names;
pub mod objects;
mod problem;
pub mod rate;
mod set;
mod time;
pub mod wire;

pub use diff::Diff;
pub use problem::Problem;
pub use set::{GATEWAY_NAME, Kind, ObjectSet};
pub use time::Time;
