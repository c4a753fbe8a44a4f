//! Which faults a seed has, and how often. Each seed picks its own mix: most faults are rare or
//! absent in most runs, so that some run meets each of them alone and some meets many together.

use crate::Seed;

/// Chances in a thousand, each of what its name says.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Mix {
    pub cores: usize,
    pub connections: usize,
    /// Bytes pass in small pieces.
    pub cut: u64,
    /// A server misbehaves in an answer.
    pub bad_server: u64,
    /// A server takes for ever.
    pub stall: u64,
    /// No connection to a server is made, or it breaks while sending.
    pub unreachable: u64,
    pub log_stalls: u64,
    pub log_fails: u64,
    pub kills: u64,
    pub swaps: u64,
    pub leases: u64,
    pub jumps: u64,
    pub client_goes: u64,
    pub slow_reader: u64,
    pub hostile: u64,
    pub session_ends: u64,
    pub cancels: u64,
    pub pipelines: u64,
    pub drains: bool,
}

impl Mix {
    /// The mix of a seed.
    #[must_use]
    pub fn of(seed: &mut Seed) -> Self {
        let mut rare = |chance: u64, most: u64| {
            if seed.per_mille(chance) { 1 + seed.below(most) } else { 0 }
        };
        Self {
            cut: rare(500, 900),
            bad_server: rare(500, 500),
            stall: rare(250, 200),
            unreachable: rare(250, 200),
            log_stalls: rare(300, 60),
            log_fails: rare(250, 20),
            kills: rare(300, 20),
            swaps: rare(300, 20),
            leases: rare(250, 15),
            jumps: rare(400, 20),
            client_goes: rare(250, 50),
            slow_reader: rare(200, 100),
            hostile: rare(250, 100),
            session_ends: rare(300, 150),
            cancels: rare(300, 150),
            pipelines: rare(300, 300),
            drains: rare(100, 1) == 1,
            cores: 1 + seed.below(2) as usize,
            connections: 1 + seed.below(5) as usize,
        }
    }
}
