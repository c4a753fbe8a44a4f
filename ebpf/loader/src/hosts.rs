//! Hosts: a hash map of the kernel's, and a filter before it that spares most packets the look-up.
//!
//! A host that is in the map has its bit set in the filter: the bit is set before the host goes in, and
//! cleared after it has gone out, if it is no other host's. So no packet of a host that is in the map is
//! taken for one that is not; a bit too many costs a look-up, and no more.

use std::collections::BTreeSet;

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
    held: BTreeSet<(u32, u64)>,
}

impl Hosts {
    /// What was there is known again. The filter is made anew: a process may have ended between.
    pub(crate) fn read(
        entries: HashMap<MapData, u64, Penalty>,
        filter: Array<MapData, u64>,
    ) -> Result<Self, Fault> {
        let found = (0..HOST_FILTER_WORDS).map(|at| filter.get(&at, 0));
        let words = found.collect::<Result<_, _>>().map_err(|why| Fault::map("hosts", &why))?;
        let mut hosts = Self { entries, filter, words, held: BTreeSet::new() };
        hosts.held = hosts.read()?.into_iter().map(|(key, _)| (filter_bit(key), key)).collect();
        for bit in 0..ebpf_abi::HOST_FILTER_BITS {
            hosts.mark(bit, hosts.has(bit))?;
        }
        Ok(hosts)
    }

    /// Whether a host that is in has this bit.
    fn has(&self, bit: u32) -> bool {
        self.held.range((bit, 0)..=(bit, u64::MAX)).next().is_some()
    }

    fn mark(&mut self, bit: u32, set: bool) -> Result<(), Fault> {
        let (at, mask) = (bit / u64::BITS, 1 << (bit % u64::BITS));
        let Some(word) = self.words.get_mut(at as usize) else { return Ok(()) };
        let marked = if set { *word | mask } else { *word & !mask };
        if marked != *word {
            self.filter.set(at, marked, 0).map_err(|why| Fault::map("hosts", &why))?;
            *word = marked;
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
        self.held.insert((bit, *key));
        Ok(())
    }

    fn clear(&mut self, key: &u64) -> Result<(), Fault> {
        gone("hosts", self.entries.remove(key))?;
        let bit = filter_bit(*key);
        self.held.remove(&(bit, *key));
        self.mark(bit, self.has(bit))
    }

    fn read(&self) -> Result<Vec<(u64, Penalty)>, Fault> {
        collect("hosts", self.entries.iter())
    }
}
