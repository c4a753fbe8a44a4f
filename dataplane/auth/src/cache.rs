//! The cache of verified callers: a signature is checked once a token and core, not once a call.
//!
//! Keyed by a 128-bit keyed hash of endpoint and token under a key that the process drew, so nobody
//! can aim at an entry; tokens themselves are not kept. An entry ends with its token and with the
//! bundle that it was verified under (the *epoch*): what a bundle withdraws, a deleted API key or a
//! provider's old key, no entry outlives. Fixed in size: sets of eight, the least recently used goes.
//! A hit allocates nothing.

use std::hash::Hasher;

use dataplane_telemetry::WallNanos;
use siphasher::sip128::{Hasher128, SipHasher24};

use crate::Caller;

/// Tokens kept a core. Each costs what a caller costs, some hundred bytes.
pub const TOKENS_CACHED_DEFAULT: usize = 4_096;

const WAYS: usize = 8;

/// Verified callers of one core. `T` is what the pipeline keeps beside a caller.
pub struct Cache<T> {
    /// `WAYS` in each at most; a power of two of them. One has its memory once it is used.
    sets: Box<[Vec<Entry<T>>]>,
    key: [u8; 16],
    uses: u64,
}

/// A credential at an endpoint, hashed. Made once a request, for the look-up and for what follows.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct TokenKey(u128);

struct Entry<T> {
    key: TokenKey,
    value: T,
    epoch: u64,
    last_use: u64,
}

impl<T: AsRef<Caller>> Cache<T> {
    /// Room for `tokens`, rounded up to a power of two of sets. `key` is drawn by the process.
    #[must_use]
    pub fn new(tokens: usize, key: [u8; 16]) -> Self {
        let sets = tokens.clamp(1, 1 << 20).div_ceil(WAYS).next_power_of_two();
        Self { sets: (0..sets).map(|_| Vec::new()).collect(), key, uses: 0 }
    }

    /// Hashes the credential together with the endpoint that it was shown to: what is good at one
    /// is not thereby good at another. A microsecond at most.
    #[must_use]
    pub fn key(&self, audience: &str, credential: &[u8]) -> TokenKey {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write_u64(audience.len() as u64);
        hasher.write(audience.as_bytes());
        hasher.write(credential);
        TokenKey(hasher.finish128().as_u128())
    }

    /// The caller of a credential that was verified in this epoch and is still good. What is not is
    /// gone then.
    pub fn lookup(&mut self, key: TokenKey, wall: WallNanos, epoch: u64) -> Option<&T> {
        self.uses += 1;
        let uses = self.uses;
        let set = self.set(key)?;
        let place = set.iter().position(|entry| entry.key == key)?;
        let entry = set.get_mut(place)?;
        if entry.epoch != epoch || entry.value.as_ref().expires_at <= wall {
            set.swap_remove(place);
            return None;
        }
        entry.last_use = uses;
        set.get(place).map(|entry| &entry.value)
    }

    /// Keeps a caller that was just verified under this epoch's bundle; `lookup` finds it then.
    pub fn admit(&mut self, key: TokenKey, value: T, epoch: u64) {
        self.uses += 1;
        let entry = Entry { key, value, epoch, last_use: self.uses };
        let Some(set) = self.set(key) else { return };
        // The same key, else a free place, else an entry that is over anyway, else the one least used.
        if let Some(same) = set.iter_mut().find(|held| held.key == key) {
            *same = entry;
        } else if set.len() < WAYS {
            set.reserve_exact(WAYS - set.len());
            set.push(entry);
        } else if let Some(least) =
            set.iter_mut().min_by_key(|held| (held.epoch == epoch, held.last_use))
        {
            *least = entry;
        }
    }

    /// Entries held, for the gauge: a walk over the table.
    #[must_use]
    pub fn held(&self) -> usize {
        self.sets.iter().map(Vec::len).sum()
    }

    fn set(&mut self, key: TokenKey) -> Option<&mut Vec<Entry<T>>> {
        let last = self.sets.len() as u128 - 1;
        self.sets.get_mut(usize::try_from(key.0 & last).ok()?)
    }
}

impl<T> std::fmt::Debug for Cache<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cache").field("sets", &self.sets.len()).finish_non_exhaustive()
    }
}

/// Shows nothing: it stands for a credential.
impl std::fmt::Debug for TokenKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("TokenKey(..)")
    }
}
