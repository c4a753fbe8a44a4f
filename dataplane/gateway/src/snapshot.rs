//! What a core tells about itself, ten times a second, for metrics and status.

use dataplane_pipeline::Counters;

#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub counters: Counters,
    pub connections: u64,
    pub accepted: u64,
    pub handshakes_failed: u64,
    pub revision: u64,
    pub kills: u64,
    pub leases: u64,
    /// Names of servers that rest after failures.
    pub resting: Vec<String>,
}
