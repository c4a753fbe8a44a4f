//! A table of fixed size: sets of eight, picked by a keyed hash that is also the name.
//!
//! Nothing allocates after [`Table::new`]. Where a set is full the caller's ranking says which of its
//! eight may go; where none may, what is new is not taken, and the caller says what that means.

const WAYS: usize = 8;

pub(crate) struct Table<V> {
    /// `WAYS` a set; a power of two of sets.
    slots: Box<[Option<Slot<V>>]>,
    len: usize,
}

struct Slot<V> {
    key: u128,
    value: V,
}

/// What became of what was given.
pub(crate) enum Put<V> {
    Taken,
    /// It took the place of this one.
    Instead(V),
    /// No place: it comes back.
    Full,
}

impl<V> Table<V> {
    /// Room for `slots`, rounded up to a power of two of sets.
    pub(crate) fn new(slots: usize) -> Self {
        let sets = slots.clamp(1, 1 << 22).div_ceil(WAYS).next_power_of_two();
        Self { slots: (0..sets * WAYS).map(|_| None).collect(), len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Sets that there are, and the one of a key.
    pub(crate) const fn sets(&self) -> usize {
        self.slots.len() / WAYS
    }

    pub(crate) fn set_of(&self, key: u128) -> usize {
        usize::try_from(key & (self.sets() as u128 - 1)).unwrap_or(0)
    }

    pub(crate) fn get(&self, key: u128) -> Option<&V> {
        let set = self.set_of(key) * WAYS;
        let slots = self.slots.get(set..set + WAYS)?;
        slots.iter().flatten().find(|slot| slot.key == key).map(|slot| &slot.value)
    }

    pub(crate) fn get_mut(&mut self, key: u128) -> Option<&mut V> {
        let slots = self.set_mut(key);
        slots.iter_mut().flatten().find(|slot| slot.key == key).map(|slot| &mut slot.value)
    }

    /// Puts what is not there yet. `rank` says which others may go, the lowest first.
    pub(crate) fn put(&mut self, key: u128, value: V, rank: impl Fn(&V) -> Option<u64>) -> Put<V> {
        let slots = self.set_mut(key);
        if let Some(free) = slots.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(Slot { key, value });
            self.len += 1;
            return Put::Taken;
        }
        let ranked = slots.iter_mut().flatten().filter_map(|slot| Some((rank(&slot.value)?, slot)));
        match ranked.min_by_key(|(rank, _)| *rank) {
            Some((_, slot)) => {
                slot.key = key;
                Put::Instead(std::mem::replace(&mut slot.value, value))
            }
            None => Put::Full,
        }
    }

    pub(crate) fn remove(&mut self, key: u128) -> Option<V> {
        let slot = self.set_mut(key).iter_mut().find(|slot| {
            let found: &Option<Slot<V>> = slot;
            found.as_ref().is_some_and(|slot| slot.key == key)
        });
        let removed = slot.and_then(Option::take);
        self.len -= usize::from(removed.is_some());
        removed.map(|slot| slot.value)
    }

    /// Removes what `is_over` says, looking at `slots` places from `from` on; where to go on.
    pub(crate) fn sweep(
        &mut self,
        from: usize,
        slots: usize,
        is_over: impl Fn(&mut V) -> bool,
    ) -> usize {
        let from = if from < self.slots.len() { from } else { 0 };
        let to = from.saturating_add(slots).min(self.slots.len());
        for slot in self.slots.get_mut(from..to).unwrap_or_default() {
            if slot.as_mut().is_some_and(|slot| is_over(&mut slot.value)) {
                *slot = None;
                self.len -= 1;
            }
        }
        to
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u128, &V)> {
        self.slots.iter().flatten().map(|slot| (slot.key, &slot.value))
    }

    /// What is at one place of the table, for walks that change it.
    pub(crate) fn at(&self, place: usize) -> Option<(u128, &V)> {
        self.slots.get(place)?.as_ref().map(|slot| (slot.key, &slot.value))
    }

    pub(crate) const fn places(&self) -> usize {
        self.slots.len()
    }

    fn set_mut(&mut self, key: u128) -> &mut [Option<Slot<V>>] {
        let set = self.set_of(key) * WAYS;
        self.slots.get_mut(set..set + WAYS).unwrap_or_default()
    }
}

impl<V> std::fmt::Debug for Table<V> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (len, places) = (self.len, self.slots.len());
        out.debug_struct("Table").field("len", &len).field("places", &places).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_set_gives_away_the_lowest_or_nothing() {
        let mut table = Table::new(1);
        for value in 0..8_u64 {
            assert!(matches!(table.put(value.into(), value + 10, |_| None), Put::Taken));
        }
        assert!(matches!(table.put(8, 18, |_| None), Put::Full));
        assert!(matches!(
            table.put(8, 18, |value| (*value > 12).then_some(*value)),
            Put::Instead(13)
        ));
        assert_eq!((table.get(3), table.get(8), table.len()), (None, Some(&18), 8));
        assert_eq!((table.remove(8), table.remove(8), table.len()), (Some(18), None, 7));
        assert!(matches!(table.put(9, 19, |_| None), Put::Taken));
    }

    #[test]
    fn a_sweep_goes_around() {
        let mut table = Table::new(64);
        for value in 0..40_u64 {
            table.put(value.into(), value, |_| None);
        }
        let mut from = 0;
        for _ in 0..table.places().div_ceil(10) + 1 {
            from = table.sweep(from, 10, |value| value.is_multiple_of(2));
        }
        assert!(table.len() == 20 && table.iter().all(|(_, value)| value % 2 == 1));
    }
}
