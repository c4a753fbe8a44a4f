//! The gateway's addresses and ports: an array in which each has one of two places.
//!
//! The program looks at both and is done, without a call into the kernel's hash map: every packet
//! asks this table first. A new key whose places are taken moves one of their holders to its other
//! place, and so on; a key that moves is in both places until the old one is cleared, so that no
//! packet misses it. Each has a number, which flows name it by; it keeps that wherever it moves.

use std::collections::BTreeMap;

use aya::maps::{Array, MapData};
use ebpf_abi::{Penalty, SERVICE_SLOTS, ServiceKey, ServiceSlot};

use crate::Fault;
use crate::table::Slots;

/// Moves in a row. With a quarter of the places taken, two are rare.
const MOVES_MAX: usize = 16;

/// A place that nobody has.
const EMPTY: ServiceSlot = ServiceSlot {
    key: ServiceKey { address: [0; 4], port_be: 0, protocol: 0, pad: 0 },
    number: 0,
    pad: 0,
    penalty: Penalty { until_ns: 0, tenant: 0, reason: 0, flags: 0, pad: 0 },
};

pub(crate) struct Services {
    slots: Array<MapData, ServiceSlot>,
    taken: Places,
    numbers: Numbers,
}

/// Who has which number.
#[derive(Default)]
struct Numbers {
    by_key: BTreeMap<ServiceKey, u16>,
    by_number: BTreeMap<u16, ServiceKey>,
}

/// Who is where: the kernel's array, as we know it.
#[derive(Default)]
struct Places {
    by_key: BTreeMap<ServiceKey, u32>,
    by_slot: BTreeMap<u32, (ServiceKey, Penalty)>,
}

impl Services {
    pub(crate) fn read(slots: Array<MapData, ServiceSlot>) -> Result<Self, Fault> {
        let (mut taken, mut numbers) = (Places::default(), Numbers::default());
        for at in 0..SERVICE_SLOTS {
            let slot = slots.get(&at, 0).map_err(|why| Fault::map("services", &why))?;
            // A key may have been left in both places by a process that ended between.
            if slot.key.protocol != 0 && !taken.by_key.contains_key(&slot.key) {
                taken.put(slot.key, at, slot.penalty);
                numbers.take(slot.key, slot.number);
            }
        }
        Ok(Self { slots, taken, numbers })
    }

    /// By what number flows name it.
    pub(crate) fn number(&self, key: &ServiceKey) -> Option<u16> {
        self.numbers.by_key.get(key).copied()
    }

    pub(crate) fn of_number(&self, number: u16) -> Option<ServiceKey> {
        self.numbers.by_number.get(&number).copied()
    }

    fn write(&mut self, key: ServiceKey, at: u32, penalty: Penalty) -> Result<(), Fault> {
        let number = self.number(&key).unwrap_or_default();
        self.set(at, ServiceSlot { key, number, pad: 0, penalty })
    }

    fn set(&mut self, at: u32, slot: ServiceSlot) -> Result<(), Fault> {
        self.slots.set(at, slot, 0).map_err(|why| Fault::map("services", &why))
    }
}

impl Slots<ServiceKey> for Services {
    const NAME: &'static str = "services";

    fn put(&mut self, key: &ServiceKey, entry: Penalty) -> Result<(), Fault> {
        if let Some(at) = self.taken.by_key.get(key).copied() {
            self.write(*key, at, entry)?;
            self.taken.put(*key, at, entry);
            return Ok(());
        }
        let full = Fault::Full { table: Self::NAME, max: ebpf_abi::SERVICES_MAX };
        let moves = self.taken.moves(*key, entry).ok_or(full)?;
        self.numbers.give(*key);
        // The last to move goes first, into a place that is free.
        for (key, penalty, at) in moves.into_iter().rev() {
            self.write(key, at, penalty)?;
            self.taken.put(key, at, penalty);
        }
        Ok(())
    }

    fn clear(&mut self, key: &ServiceKey) -> Result<(), Fault> {
        for at in key.slots() {
            let holder = self.slots.get(&at, 0).map_err(|why| Fault::map("services", &why))?;
            if holder.key == *key {
                self.set(at, EMPTY)?;
            }
        }
        self.taken.remove(key);
        self.numbers.remove(key);
        Ok(())
    }

    fn read(&self) -> Result<Vec<(ServiceKey, Penalty)>, Fault> {
        Ok(self.taken.by_slot.values().copied().collect())
    }
}

impl Numbers {
    fn take(&mut self, key: ServiceKey, number: u16) {
        self.by_key.insert(key, number);
        self.by_number.insert(number, key);
    }

    /// The least that is free, for a key that has none.
    fn give(&mut self, key: ServiceKey) {
        let free = (0..).zip(self.by_number.keys()).find(|(free, taken)| free != *taken);
        let free = free.map_or(self.by_number.len(), |(free, _)| usize::from(free));
        if !self.by_key.contains_key(&key)
            && let Ok(free) = u16::try_from(free)
        {
            self.take(key, free);
        }
    }

    fn remove(&mut self, key: &ServiceKey) {
        if let Some(number) = self.by_key.remove(key) {
            self.by_number.remove(&number);
        }
    }
}

impl Places {
    fn put(&mut self, key: ServiceKey, at: u32, penalty: Penalty) {
        if let Some(old) = self.by_key.insert(key, at)
            && old != at
            && self.by_slot.get(&old).is_some_and(|(holder, _)| *holder == key)
        {
            self.by_slot.remove(&old);
        }
        self.by_slot.insert(at, (key, penalty));
    }

    fn remove(&mut self, key: &ServiceKey) {
        if let Some(at) = self.by_key.remove(key) {
            self.by_slot.remove(&at);
        }
    }

    /// Where a new key goes, and where those go that it drives out. `None` when neither of its places
    /// leads to a free one.
    fn moves(&self, key: ServiceKey, penalty: Penalty) -> Option<Vec<(ServiceKey, Penalty, u32)>> {
        let ways = key.slots().map(|at| self.way(key, penalty, at));
        ways.into_iter().flatten().min_by_key(Vec::len)
    }

    /// From one place on there is but one way: each holder has one other place.
    fn way(
        &self,
        mut key: ServiceKey,
        mut penalty: Penalty,
        mut at: u32,
    ) -> Option<Vec<(ServiceKey, Penalty, u32)>> {
        let mut way: Vec<(ServiceKey, Penalty, u32)> = Vec::new();
        while way.len() < MOVES_MAX {
            // In circles it would come by a place that was given away already.
            if way.iter().any(|(.., given)| *given == at) {
                return None;
            }
            way.push((key, penalty, at));
            let Some(holder) = self.by_slot.get(&at) else { return Some(way) };
            (key, penalty) = *holder;
            at = key.slots().into_iter().find(|place| *place != at)?;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use ebpf_abi::{SERVICES_MAX, TCP};

    use super::*;

    fn key(at: u32) -> ServiceKey {
        let address = ebpf_abi::mapped((0x0a00_0000 + at).to_be_bytes());
        ServiceKey { address, port_be: 443_u16.to_be(), protocol: TCP, pad: 0 }
    }

    /// Neighbouring addresses, one port: as an operator gives them.
    #[test]
    fn as_many_as_may_be_find_their_places() {
        for first in (0..100).map(|block| block * 7_919) {
            let mut places = Places::default();
            for at in 0..SERVICES_MAX {
                let moves = places.moves(key(first + at), EMPTY.penalty).expect("a place");
                for (key, penalty, at) in moves.into_iter().rev() {
                    assert!(key.slots().contains(&at));
                    assert!(!places.by_slot.contains_key(&at), "driven out before it moved");
                    places.put(key, at, penalty);
                }
            }
            assert_eq!(places.by_key.len(), SERVICES_MAX as usize);
            assert_eq!(places.by_slot.len(), SERVICES_MAX as usize);
        }
    }
}
