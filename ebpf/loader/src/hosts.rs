//! Hosts: a hash map of the kernel's, and a filter before it that spares most packets the look-up.
//!
//! A host that is in the map has its bit set in the filter: the bit is set before the host goes in, and
//! cleared after it has gone out, if it is no other host's. So no packet of a host that is in the map is
//! taken for one that is not; a bit too many costs a look-up, and no more.

use std::collections::BTreeMap;

use aya::maps::{Array, HashMap, MapData};
use ebpf_abi::{HOST_FILTER_WORDS, Penalty, filter_bit};

use crate::Fault;
use crate::maps::{collect, gone};
use crate::table::Slots;

pub(crate) struct Hosts {
    entries: HashMap<MapData, u64, Penalty>,
    filter: Array<MapData, u64>,
    /// The filter, as the kernel has it.
    words: Vec<u64>,
    /// The hosts that are in, by their bits.
    held: BTreeMap<(u32, u64), Penalty>,
}

impl Hosts {
    /// What was there is known again. The filter is made anew: a process may have ended between.
    pub(crate) fn read(
        entries: HashMap<MapData, u64, Penalty>,
        filter: Array<MapData, u64>,
    ) -> Result<Self, Fault> {
        let words = (0..HOST_FILTER_WORDS).map(|at| filter.get(&at, 0));
        let words = words.collect::<Result<_, _>>().map_err(|why| Fault::map("hosts", &why))?;
        let found = collect("hosts", entries.iter())?.into_iter();
        let held = found.map(|(key, entry)| ((filter_bit(key), key), entry)).collect();
        let mut hosts = Self { entries, filter, words, held };
        for at in 0..HOST_FILTER_WORDS {
            let bits = hosts.held.range((at * u64::BITS, 0)..((at + 1) * u64::BITS, 0));
            let word = bits.fold(0, |word, ((bit, _), _)| word | 1 << (bit % u64::BITS));
            hosts.write(at, word)?;
        }
        Ok(hosts)
    }

    /// Whether a host that is in has this bit.
    fn has(&self, bit: u32) -> bool {
        self.held.range((bit, 0)..=(bit, u64::MAX)).next().is_some()
    }

    fn mark(&mut self, bit: u32, set: bool) -> Result<(), Fault> {
        let (at, mask) = (bit / u64::BITS, 1 << (bit % u64::BITS));
        let word = self.words.get(at as usize).copied().unwrap_or_default();
        self.write(at, if set { word | mask } else { word & !mask })
    }

    fn write(&mut self, at: u32, word: u64) -> Result<(), Fault> {
        if let Some(known) = self.words.get_mut(at as usize).filter(|known| **known != word) {
            self.filter.set(at, word, 0).map_err(|why| Fault::map("hosts", &why))?;
            *known = word;
        }
        Ok(())
    }
}

impl Slots<u64> for Hosts {
    const NAME: &'static str = "hosts";

    fn put(&mut self, key: &u64, entry: Penalty) -> Result<(), Fault> {
        let bit = filter_bit(*key);
        self.mark(bit, true)?;
        let put = self.entries.insert(key, entry, 0);
        put.map_err(|why| Fault::map("hosts", &why))?;
        self.held.insert((bit, *key), entry);
        Ok(())
    }

    fn clear(&mut self, key: &u64) -> Result<(), Fault> {
        gone("hosts", self.entries.remove(key))?;
        let bit = filter_bit(*key);
        self.held.remove(&(bit, *key));
        self.mark(bit, self.has(bit))
    }

    fn read(&self) -> Result<Vec<(u64, Penalty)>, Fault> {
        Ok(self.held.iter().map(|((_, key), entry)| (*key, *entry)).collect())
    }
}
