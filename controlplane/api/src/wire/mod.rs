//! Requests and answers of the REST API, by subject.
//!
//! What is read refuses unknown fields. What is answered may gain fields later; readers ignore those
//! that they do not know.

mod calls;
mod change;
mod deny;
mod drops;
mod fleet;
mod people;
mod server;

pub use calls::{Call, CallsPage, Explain, Explained, Rule, TestOutcome, TestReport, TestRequest};
pub use change::{Applied, Apply, Change, Item, Page, PutPolicy, Revision, Rollback};
pub use deny::{Kill, KillRequest, Secret, SecretValue, Target};
pub use drops::{
    AddressKnown, AddressSeen, Card, CardMode, DropCause, DropTarget, Dropped, DroppedPacket,
    DropsExplained, DropsOrdered, DropsOrderedOn, DropsPage, NotAsked, PacketReason, PacketTable,
    PacketsPage, PinRequest, Release, ReleaseRequest, SampledCard, Thinned, check_address,
};
pub use fleet::{Appliance, ApplianceState, Enrolment, EnrolmentRequest, Health, Status};
pub use people::{
    AdminEntry, Caller, CallerKind, IssuedKey, IssuedToken, Key, KeyRequest, Me, RoleOfToken,
    Token, TokenRequest,
};
pub use server::{Approve, Discovered, Drift, DriftKind, Outcome, ServerState, Tool, ToolState};
