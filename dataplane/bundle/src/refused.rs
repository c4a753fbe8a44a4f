//! Why something that claims to come from the control plane was refused.
//!
//! The text is what the appliance sends back and what the operator reads, so each names the rule,
//! the bound or the field, and what was found instead.

use crate::{ApplianceId, Revision};

/// A refused bundle, kill list, lease or catalog. Nothing of it was used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refused {
    #[error("{what} is cut short: {have} bytes of {need}")]
    Truncated { what: &'static str, have: usize, need: usize },
    #[error("{what} has {count} bytes after its end")]
    TrailingBytes { what: &'static str, count: usize },
    #[error("not a {what}: the first eight bytes are {found:02x?}")]
    Magic { what: &'static str, found: [u8; 8] },
    #[error("{what} has format version {found}, this release reads version {supported}")]
    Version { what: &'static str, found: u16, supported: u16 },
    #[error("signed by key {key_id}, which this appliance does not trust")]
    UnknownKey { key_id: String },
    #[error("the signature does not match: {what} was changed, or signed for another purpose")]
    Signature { what: &'static str },
    #[error("made for appliance \"{found}\", this one is \"{expected}\"")]
    OtherAppliance { found: ApplianceId, expected: ApplianceId },
    #[error("revision {found} is older than {floor}, the lowest that may still be used")]
    Older { found: Revision, floor: Revision },
    #[error("kill list {found} is older than {floor}, the lowest that may still be used")]
    OlderKills { found: u64, floor: u64 },
    #[error("section {place} is of kind {found}; {rule}")]
    Section { place: usize, found: u32, rule: &'static str },
    #[error("section \"{section}\" does not have the digest that was signed")]
    Digest { section: &'static str },
    #[error("{what} is not what this release reads: {reason}")]
    Json { what: &'static str, reason: String },
    #[error("{field}: {found} is more than the limit of {max}")]
    TooMuch { field: String, found: u64, max: u64 },
    #[error("{field}: \"{found}\" {rule}")]
    Field { field: String, found: String, rule: &'static str },
    #[error("{field}: \"{name}\" is there twice")]
    Twice { field: String, name: String },
}
