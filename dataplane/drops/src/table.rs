//! A table of fixed size: sets of eight, picked by a keyed hash that is also the name.
//!
//! Nothing allocates after [`Table::new`], and memory that nothing was put into is never touched: an
//! empty table costs address space only. Where a set is full the caller's ranking says which of its
//! eight may go; where none may, what is new is not taken, and the caller says what that means.

const WAYS: usize = 8;

pub(crate) struct Table<V> {
    /// `WAYS` a set; a power of two of sets. Zero, or one more than a place in `slots`.
    index: Box<[u32]>,
    /// As many as were ever in use at once; what is free is `None`, and in `free`.
    slots: Vec<Option<Slot<V>>>,
    free: Vec<u32>,
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
        let room = sets * WAYS;
        Self {
            index: vec![0; room].into(),
            slots: Vec::with_capacity(room),
            free: Vec::with_capacity(room),
            len: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Sets that there are, and the one of a key.
    pub(crate) const fn sets(&self) -> usize {
        self.index.len() / WAYS
    }

    pub(crate) fn set_of(&self, key: u128) -> usize {
        usize::try_from(key & (self.sets() as u128 - 1)).unwrap_or(0)
    }

    pub(crate) fn get(&self, key: u128) -> Option<&V> {
        let place = self.place(key)?;
        self.slots.get(place)?.as_ref().map(|slot| &slot.value)
    }

    pub(crate) fn get_mut(&mut self, key: u128) -> Option<&mut V> {
        let place = self.place(key)?;
        self.slots.get_mut(place)?.as_mut().map(|slot| &mut slot.value)
    }

    /// Puts what is not there yet. `rank` says which others may go, the lowest first.
    pub(crate) fn put(&mut self, key: u128, value: V, rank: impl Fn(&V) -> Option<u64>) -> Put<V> {
        let set = self.set_of(key) * WAYS;
        let ways = self.index.get_mut(set..set + WAYS).unwrap_or_default();
        if let Some(way) = ways.iter_mut().find(|way| **way == 0) {
            let slot = Some(Slot { key, value });
            *way = match self.free.pop() {
                Some(place) => {
                    if let Some(free) = self.slots.get_mut(place as usize) {
                        *free = slot;
                    }
                    place + 1
                }
                None => {
                    self.slots.push(slot);
                    u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
                }
            };
            self.len += 1;
            return Put::Taken;
        }
        let mut lowest: Option<(u64, usize)> = None;
        for place in ways.iter().map(|way| *way as usize - 1) {
            let found = self.slots.get(place).and_then(Option::as_ref);
            let Some(ranked) = found.and_then(|slot| rank(&slot.value)) else { continue };
            if lowest.is_none_or(|(least, _)| ranked < least) {
                lowest = Some((ranked, place));
            }
        }
        let lowest = lowest.and_then(|(_, place)| self.slots.get_mut(place)?.as_mut());
        match lowest {
            Some(slot) => {
                slot.key = key;
                Put::Instead(std::mem::replace(&mut slot.value, value))
            }
            None => Put::Full,
        }
    }

    pub(crate) fn remove(&mut self, key: u128) -> Option<V> {
        let place = self.place(key)?;
        self.take(place).map(|slot| slot.value)
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
        for place in from..to {
            let slot = self.slots.get_mut(place).and_then(Option::as_mut);
            if slot.is_some_and(|slot| is_over(&mut slot.value)) {
                self.take(place);
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

    /// Past the last place that [`Table::at`] may find something at.
    pub(crate) const fn places(&self) -> usize {
        self.slots.len()
    }

    fn place(&self, key: u128) -> Option<usize> {
        let set = self.set_of(key) * WAYS;
        let ways = self.index.get(set..set + WAYS)?.iter().filter(|way| **way != 0);
        let mut places = ways.map(|way| *way as usize - 1);
        places.find(|place| self.at(*place).is_some_and(|(found, _)| found == key))
    }

    fn take(&mut self, place: usize) -> Option<Slot<V>> {
        let slot = self.slots.get_mut(place)?.take()?;
        let set = self.set_of(slot.key) * WAYS;
        let ways = self.index.get_mut(set..set + WAYS).unwrap_or_default();
        if let Some(way) = ways.iter_mut().find(|way| **way as usize == place + 1) {
            self.free.push(*way - 1);
            *way = 0;
        }
        self.len -= 1;
        Some(slot)
    }
}

impl<V> std::fmt::Debug for Table<V> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (len, places) = (self.len, self.index.len());
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
    fn an_empty_table_is_not_touched_and_a_used_one_does_not_grow() {
        let mut table = Table::new(1 << 12);
        assert_eq!(table.places(), 0);
        let room = (table.slots.capacity(), table.free.capacity());
        for round in 0..10_u64 {
            for value in 0..2_048_u64 {
                table.put((value * 7 + round).into(), value, |_| None);
            }
            for value in 0..2_048_u64 {
                table.remove((value * 7 + round).into());
            }
            assert_eq!((table.len(), table.iter().count()), (0, 0));
        }
        assert!(table.places() <= 2_048);
        assert_eq!((table.slots.capacity(), table.free.capacity()), room);
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
