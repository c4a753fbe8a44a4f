//! What a control plane may tell an appliance, and how an appliance knows that it may.
//!
//! A [`Bundle`] (policy table, [`Catalog`], self-tests) is signed for one appliance and has a
//! revision that only rises. A [`KillList`] is signed under a purpose of its own and can only deny.
//! A [`Lease`] travels on the channel alone, and so does what is said of [`drops`]. [`message`] is the channel's own language, [`enrol`] the
//! token that lets a new box in. Every bound is in [`limits`]; every refusal says its reason.
//!
//! Pure: no clock, no file, no randomness. Whoever reads the format owns it, so the control plane's
//! builder is here too.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod catalog;
mod catalog_check;
mod container;
pub mod drops;
pub mod enrol;
pub mod fuzz;
mod json;
mod keys;
mod kill;
pub mod lease;
pub mod limits;
pub mod message;
mod names;
mod refused;
mod self_test;
mod wall;
mod wire;

pub use catalog::{
    ApiKey, CallerKind, Catalog, ClaimMap, Connections, Era, GatewaySettings, IdentityProvider,
    Inject, Limits, Per, Quota, Rate, Server, TenantFrom, Timeouts, Tool,
};
pub use container::{Bundle, Draft, content};
pub use enrol::EnrolmentToken;
pub use keys::{KeyId, PublicKey, Signer};
pub use kill::{Kill, KillList, KillTarget};
pub use lease::Lease;
pub use names::{ApplianceId, Revision, is_name, is_tool_name};
pub use refused::Refused;
pub use self_test::{Expect, SelfTest, TestCaller};
