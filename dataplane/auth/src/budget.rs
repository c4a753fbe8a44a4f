//! The budget of signature checks: a forged token buys 140 µs of our time, so a source may not buy
//! many.
//!
//! Only checks that fail are counted: a thousand people behind one address may log in at nine.
//! Shared by all cores; the bound is exact but for the checks that run at the same time.

use std::net::IpAddr;
use std::num::NonZeroU32;

use dataplane_quota::{BucketKey, Buckets, Limit, LimitFault, Refusal};
use dataplane_telemetry::Nanos;

/// Wrong signatures that one source may show. A client with a stale key set makes one a token.
pub const CHECKS_FAILED_PER_SOURCE: &str = "5/s";
pub const CHECKS_FAILED_PER_SOURCE_BURST: NonZeroU32 = NonZeroU32::new(50).unwrap();

/// And all sources together: 500 × 140 µs are 7 % of one core.
pub const CHECKS_FAILED_TOTAL: &str = "500/s";
pub const CHECKS_FAILED_TOTAL_BURST: NonZeroU32 = NonZeroU32::new(1_000).unwrap();

/// One for the whole process.
#[derive(Debug)]
pub struct MissBudget {
    buckets: Buckets,
    source: Limit,
    total: Limit,
    total_key: BucketKey,
}

impl MissBudget {
    /// `slots` as for [`Buckets::new`]: sources that have failed lately. `key` is drawn by the
    /// process.
    ///
    /// # Errors
    /// Never, unless the constants above are changed to what is no rate.
    pub fn new(slots: usize, key: [u8; 16]) -> Result<Self, LimitFault> {
        let buckets = Buckets::new(slots, key);
        Ok(Self {
            source: Limit::parse(CHECKS_FAILED_PER_SOURCE, CHECKS_FAILED_PER_SOURCE_BURST)?,
            total: Limit::parse(CHECKS_FAILED_TOTAL, CHECKS_FAILED_TOTAL_BURST)?,
            total_key: buckets.key(0, &[]),
            buckets,
        })
    }

    /// To be asked before a credential is verified that the cache does not know.
    ///
    /// # Errors
    /// When it may be tried again.
    pub fn may_check(&self, source: IpAddr, now: Nanos) -> Result<(), Refusal> {
        self.buckets.peek(self.source_key(source), &self.source, 1, now)?;
        self.buckets.peek(self.total_key, &self.total, 1, now)
    }

    /// To be told of each refusal that cost a check. Where the source's place is crowded out by
    /// others', the total still counts it.
    pub fn failed(&self, source: IpAddr, now: Nanos) {
        let _ = self.buckets.take(self.source_key(source), &self.source, 1, now);
        let _ = self.buckets.take(self.total_key, &self.total, 1, now);
    }

    /// An IPv6 host has a /64 to choose from, so that counts as one source. An IPv4 address inside
    /// IPv6 is that IPv4 address.
    fn source_key(&self, source: IpAddr) -> BucketKey {
        match source.to_canonical() {
            IpAddr::V4(address) => self.buckets.key(4, &[&address.octets()]),
            IpAddr::V6(address) => {
                let network = (address.to_bits() >> 64) as u64;
                self.buckets.key(6, &[&network.to_be_bytes()])
            }
        }
    }
}
