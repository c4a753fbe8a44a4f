//! The table that all cores share: sets of slots, picked by the key.
//!
//! Sized by the shell, never grown. A take touches two adjacent cache lines and writes one word.

use dataplane_telemetry::Nanos;
use portable_atomic::AtomicU128;

use crate::cells::{Cells, Native};
use crate::grains::from_nanos;
use crate::set::{Ask, SLOTS, Set};
use crate::{BucketKey, Limit, Refusal, Refused};

/// 2 MiB. With 16,000 buckets in use at once, one in 100,000 sets is over-full.
pub const SLOTS_DEFAULT: usize = 16_384 * SLOTS;

/// 128 MiB: as much memory as a table may have.
pub const BUCKETS_MAX: usize = (1 << 20) * SLOTS;

/// Buckets of all callers and quotas of the box. Shared by reference between the cores.
pub struct Buckets {
    sets: Box<[Set<Native>]>,
    claims: <Native as Cells>::Narrow,
    key: [u8; 16],
}

impl Buckets {
    /// Room for `slots` buckets that are not full, rounded up to a power of two of sets and cut at
    /// [`BUCKETS_MAX`]. `key` is drawn by the process at start and never leaves it.
    #[must_use]
    pub fn new(slots: usize, key: [u8; 16]) -> Self {
        let sets = slots.clamp(1, BUCKETS_MAX).div_ceil(SLOTS).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Set::new()).collect(),
            claims: <Native as Cells>::Narrow::new(0),
            key,
        }
    }

    /// Whether this processor has the 128-bit compare-and-swap. Without it takes are still exact,
    /// but wait for each other.
    #[must_use]
    pub fn lock_free() -> bool {
        AtomicU128::is_lock_free()
    }

    /// The bucket of `identity` (for example tenant and user) under the quota numbered `quota`.
    /// Costs a hash of the identity: make it once for a caller.
    #[must_use]
    pub fn key(&self, quota: u32, identity: &[&[u8]]) -> BucketKey {
        BucketKey::of(&self.key, quota, identity)
    }

    /// Takes `units`, or says why not. A refusal takes nothing.
    ///
    /// # Errors
    /// See [`Refusal`]. Also `Wait(u64::MAX)` where the box has been up for nine years.
    pub fn take(
        &self,
        key: BucketKey,
        limit: &Limit,
        units: u32,
        now: Nanos,
    ) -> Result<(), Refusal> {
        let Some(ask) = ask(key, limit, units, now)? else { return Ok(()) };
        self.set(key).ok_or(Refusal::Crowded)?.take(&ask, &self.claims).map(|_| ())
    }

    /// What [`Buckets::take`] would say if nobody else came first. Takes nothing.
    ///
    /// # Errors
    /// As `take`, save `Crowded`.
    pub fn peek(
        &self,
        key: BucketKey,
        limit: &Limit,
        units: u32,
        now: Nanos,
    ) -> Result<(), Refusal> {
        let Some(ask) = ask(key, limit, units, now)? else { return Ok(()) };
        self.set(key).ok_or(Refusal::Crowded)?.peek(&ask)
    }

    /// Takes `units` from all of these buckets or from none, and names the limit that lets the
    /// call through last.
    ///
    /// All are looked at before any is taken from. Where another core empties one in between, what
    /// was taken from the others is given back, unless that core took from them as well: then these
    /// units stay taken. So it may, rarely, grant one take too few, and never one too many.
    ///
    /// # Errors
    /// The limit's place in `wanted`, and its refusal.
    pub fn take_all(
        &self,
        wanted: &[(BucketKey, Limit)],
        units: u32,
        now: Nanos,
    ) -> Result<(), Refused> {
        let mut worst: Option<Refused> = None;
        for (place, (key, limit)) in wanted.iter().enumerate() {
            if let Err(why) = self.peek(*key, limit, units, now)
                && worst.is_none_or(|worst| severity(worst.why) < severity(why))
            {
                worst = Some(Refused { limit: place, why });
            }
        }
        match worst {
            Some(refused) => Err(refused),
            None => self.take_rest(wanted, 0, units, now),
        }
    }

    fn take_rest(
        &self,
        wanted: &[(BucketKey, Limit)],
        place: usize,
        units: u32,
        now: Nanos,
    ) -> Result<(), Refused> {
        let refused = |why| Refused { limit: place, why };
        let Some((key, limit)) = wanted.get(place) else { return Ok(()) };
        let Some(ask) = ask(*key, limit, units, now).map_err(refused)? else { return Ok(()) };
        let set = self.set(*key).ok_or(refused(Refusal::Crowded))?;
        let taken = set.take(&ask, &self.claims).map_err(refused)?;
        let rest = self.take_rest(wanted, place + 1, units, now);
        if rest.is_err() {
            set.give_back(&taken);
        }
        rest
    }

    fn set(&self, key: BucketKey) -> Option<&Set<Native>> {
        // A power of two of sets, at least one.
        self.sets.get(usize::try_from(key.place).ok()? & (self.sets.len() - 1))
    }
}

/// Counts no bucket: that would be a walk over the table.
impl std::fmt::Debug for Buckets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Buckets").field("sets", &self.sets.len()).finish_non_exhaustive()
    }
}

/// `None` where nothing is asked for.
fn ask(key: BucketKey, limit: &Limit, units: u32, now: Nanos) -> Result<Option<Ask>, Refusal> {
    if units > limit.burst() {
        return Err(Refusal::TooLarge);
    }
    let cost = limit.unit_grains.checked_mul(u64::from(units)).ok_or(Refusal::TooLarge)?;
    let ask =
        Ask { fingerprint: key.fingerprint, cost, burst: limit.burst_grains, now: from_nanos(now) };
    Ok((units > 0).then_some(ask))
}

/// The refusal that holds longest is the one to tell.
const fn severity(refusal: Refusal) -> (u8, u64) {
    match refusal {
        Refusal::Crowded => (0, 0),
        Refusal::Wait(until) => (1, until.0),
        Refusal::TooLarge => (2, 0),
    }
}
