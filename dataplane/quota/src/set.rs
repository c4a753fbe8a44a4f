//! A set of slots: where a key's bucket may be, and the protocol that keeps it there once.
//!
//! A slot is one 128-bit word: fingerprint | the time at which the bucket is full again. A take is
//! one compare-and-swap of that word. Moving in is the hard part, since two cores must not give one
//! key two slots: a newcomer writes a *claim* (fingerprint | a number of its own) into a free slot,
//! takes the set's *turn*, and only then turns its claim into a bucket. Whoever looks for a place
//! removes other claims for its key. Of two that both take a turn, the later one looked after the
//! earlier one's turn, so it has seen the earlier claim and removed it, or found the bucket.
//!
//! `latest` is no earlier than any time at which a slot of this set was called free, and a newcomer
//! starts there: a core whose clock reading is older cannot refill a bucket that was given away.

use dataplane_telemetry::Nanos;

use crate::Refusal;
use crate::cells::{Cells, Narrow, Wide};
use crate::grains::to_nanos_up;

/// With the header this makes 128 bytes: two cache lines that are fetched together.
pub(crate) const SLOTS: usize = 7;

/// Each retry means that another core changed this set between our read and our write.
const TRIES_MAX: usize = 256;

const EMPTY: u128 = 0;
const CLAIM: u64 = 1 << 63;

#[repr(align(128))]
pub(crate) struct Set<C: Cells, const N: usize = SLOTS> {
    latest: C::Narrow,
    turn: C::Narrow,
    slots: [C::Wide; N],
}

/// What is asked of a set. Times in grains.
#[derive(Clone, Copy)]
pub(crate) struct Ask {
    pub(crate) fingerprint: u64,
    pub(crate) cost: u64,
    /// What a full bucket holds; at least `cost`.
    pub(crate) burst: u64,
    pub(crate) now: u64,
}

/// A take that may still be undone.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    slot: usize,
    before: u128,
    after: u128,
}

impl<C: Cells, const N: usize> Set<C, N> {
    pub(crate) fn new() -> Self {
        Self {
            latest: C::Narrow::new(0),
            turn: C::Narrow::new(0),
            slots: std::array::from_fn(|_| C::Wide::new(EMPTY)),
        }
    }

    /// Takes, or says why not. `numbers` gives each claim a number of its own.
    pub(crate) fn take(&self, ask: &Ask, numbers: &C::Narrow) -> Result<Taken, Refusal> {
        for _ in 0..TRIES_MAX {
            let answer = match self.find(ask.fingerprint) {
                Some((slot, full_at)) => self.take_from(slot, full_at, ask),
                None => self.move_in(ask, numbers),
            };
            match answer {
                Ok(Some(taken)) => return Ok(taken),
                Ok(None) => std::hint::spin_loop(),
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal::Crowded)
    }

    /// What `take` would say, if nobody else came first. Changes nothing.
    pub(crate) fn peek(&self, ask: &Ask) -> Result<(), Refusal> {
        match self.find(ask.fingerprint) {
            Some((_, full_at)) => pour(full_at, ask).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Undoes a take if nobody has taken from the bucket since. Otherwise the units stay taken: to
    /// hand them back blindly could grant more than the limit.
    pub(crate) fn give_back(&self, taken: &Taken) -> bool {
        match self.slots.get(taken.slot) {
            Some(slot) => slot.swap_if(taken.after, taken.before),
            None => false,
        }
    }

    fn find(&self, fingerprint: u64) -> Option<(usize, u64)> {
        for (place, slot) in self.in_order(fingerprint) {
            let (owner, full_at) = split(slot.load());
            if owner == fingerprint {
                return Some((place, full_at));
            }
        }
        None
    }

    /// `None`: another core was quicker, look again.
    fn take_from(&self, place: usize, full_at: u64, ask: &Ask) -> Result<Option<Taken>, Refusal> {
        let (from, to) = pour(full_at, ask)?;
        let Some(slot) = self.slots.get(place) else { return Err(Refusal::Crowded) };
        let seen = join(ask.fingerprint, full_at);
        let (before, after) = (join(ask.fingerprint, from), join(ask.fingerprint, to));
        Ok(slot.swap_if(seen, after).then_some(Taken { slot: place, before, after }))
    }

    fn move_in(&self, ask: &Ask, numbers: &C::Narrow) -> Result<Option<Taken>, Refusal> {
        let latest = self.latest.raise(ask.now);
        let turn = self.turn.load();
        let mut free = None;
        for (place, slot) in self.in_order(ask.fingerprint) {
            let word = slot.load();
            let (owner, full_at) = split(word);
            if owner == ask.fingerprint {
                return Ok(None);
            }
            let rival = owner == ask.fingerprint | CLAIM;
            if rival && !slot.swap_if(word, EMPTY) {
                return Ok(None);
            }
            let word = if rival { EMPTY } else { word };
            let over = word == EMPTY || (owner & CLAIM == 0 && full_at <= latest);
            if over && free.is_none() {
                free = Some((place, slot, word));
            }
        }
        let Some((place, slot, word)) = free else { return Err(Refusal::Crowded) };
        let claim = join(ask.fingerprint | CLAIM, numbers.next());
        if !slot.swap_if(word, claim) {
            return Ok(None);
        }
        if !self.turn.swap_if(turn, turn.wrapping_add(1)) {
            slot.swap_if(claim, EMPTY);
            return Ok(None);
        }
        // Read after the slots: whoever gave our old bucket away had raised it before.
        let from = self.latest.load();
        let Some(to) = from.checked_add(ask.cost) else {
            slot.swap_if(claim, EMPTY);
            return Err(Refusal::Wait(Nanos(u64::MAX)));
        };
        let (before, after) = (join(ask.fingerprint, from), join(ask.fingerprint, to));
        Ok(slot.swap_if(claim, after).then_some(Taken { slot: place, before, after }))
    }

    /// From the key's own first slot, so that a hit is usually the first look.
    fn in_order(&self, fingerprint: u64) -> impl Iterator<Item = (usize, &C::Wide)> {
        let first = usize::try_from((fingerprint >> 8) % N as u64).unwrap_or(0);
        let (before, after) = self.slots.split_at_checked(first).unwrap_or((&[], &self.slots));
        let numbered = move |(place, slot)| (first + place, slot);
        after.iter().enumerate().map(numbered).chain(before.iter().enumerate())
    }
}

/// Generic cell rate algorithm: the bucket's times before and after, or when it will do.
fn pour(full_at: u64, ask: &Ask) -> Result<(u64, u64), Refusal> {
    let from = full_at.max(ask.now);
    let Some(to) = from.checked_add(ask.cost) else {
        return Err(Refusal::Wait(Nanos(u64::MAX)));
    };
    // `cost` is at most `burst`, so `to - burst` is at most `from`.
    let granted_at = to.saturating_sub(ask.burst);
    if granted_at > ask.now { Err(Refusal::Wait(to_nanos_up(granted_at))) } else { Ok((from, to)) }
}

const fn join(owner: u64, low: u64) -> u128 {
    (owner as u128) << 64 | low as u128
}

const fn split(word: u128) -> (u64, u64) {
    ((word >> 64) as u64, word as u64)
}

#[cfg(test)]
mod tests;
