//! Who is slowed, and whom the network card drops: tell first, drop last.
//!
//! A ladder for whoever shares one bucket of a quota: *tell*, *slow*, *drop*; up by refusals that were
//! ignored, down by calm. Dropping is off unless a quota's rule has it. What is promised:
//!
//! - An entry is only made for what the dataplane refuses anyway: in the turn of a refusal, and until a
//!   time until which [`Standings`] has every method of that subject refused, with the time told.
//! - An address or /64 with more than one owner, with unauthenticated traffic, or not known for long
//!   enough is never dropped; what the tables could not hold counts as shared.
//! - Each entry ends by itself, within its rule's cap, and is on record: without room to record its
//!   making and its end it is not made. When in doubt, packets pass.
//! - Every table has a size; nothing on the way of a refusal allocates.
//!
//! [`Drops`] is the machine, one for the box: `on_*`, then `poll_change` and `poll_event` until `None`.

#![deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod drops;
mod entries;
pub mod fuzz;
mod ladder;
mod limits;
mod list;
mod names;
mod operator;
pub mod packet;
mod place;
mod places;
mod restart;
mod rule;
mod sightings;
mod standings;
mod table;

pub use drops::{Counters, Drops, Fill, Refusal};
pub use entries::{Change, Event, What, Why};
pub use ladder::Rung;
pub use limits::*;
pub use list::{Explained, Listed, Seen};
pub use names::{Cause, Keys, Names, Owner, Per, Subject};
pub use operator::{OperatorFault, Select};
pub use place::{Flow, IPV6_BITS_MAX, Prefix, Target};
pub use places::{Place, PlaceFault, check_places};
pub use restart::{Kept, KeptEntry, KeptSubject, Pinned};
pub use rule::{
    DELAY_MS_MAX, DROP_MS_MAX, DROP_MS_MIN, DropRule, GRACE_MS_MAX, GROWTH_PERCENT_MAX,
    IGNORED_MAX, LEVEL_MAX, LadderRule, Rule, RuleFault, WINDOW_MS_MAX,
};
pub use standings::{Standing, Standings};
