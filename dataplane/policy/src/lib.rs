//! The policy table: its layout, its verifier and its evaluator.
//!
//! A table is what policies compile to. It arrives in a bundle as bytes, is verified once by
//! [`Table::load`], and then answers [`Table::decide`] by index arithmetic: no allocation, no lock.
//! A cell (caller class × tool) is a plain answer or a small program over the call's arguments; a
//! program only ever jumps downwards, so it ends.
//!
//! **Promises.** Whatever the bytes are, loading and deciding neither panic nor loop. A call is
//! allowed only if the arguments that policies look at have their pinned types, no policy errs, no
//! forbid is true and some permit is. What cannot be decided is denied.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

pub mod build;
mod eval;
pub mod fuzz;
mod guard;
pub mod layout;
mod parse;
pub mod program;
mod see;
mod subject;
mod table;
pub mod value;
mod verify;

pub use eval::{Call, Context, Decision, Era, Why};
pub use guard::{GUARD_DEPTH_MAX, SEEN_FIELDS_MAX, SET_LEN_MAX};
pub use layout::{FactKind, Malformed};
pub use parse::{date, datetime, decimal, duration, ip_address, number};
pub use subject::{CallerFacts, CallerKind, Subject};
pub use table::{
    ArgumentIndex, Cell, Obligation, PolicyIndex, PolicyName, ServerIndex, Table, ToolIndex,
};
pub use verify::{FIELDS_MAX, OBLIGED_MAX, SERVERS_MAX, SET_CONSTANTS_MAX};
