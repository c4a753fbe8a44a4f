//! One of the kernel's tables, and what we know to be in it.
//!
//! The copy makes listing, counting and ending entries cheap: the kernel gives its keys one system
//! call at a time. It also bounds the table: when it is full, the penalty that would end first makes
//! room, which loses the least. (The kernel's LRU maps would evict unseen, and list what they no
//! longer enforce.) Configured entries never make room.

use std::collections::{BTreeMap, BTreeSet};

use ebpf_abi::{CONFIGURED, NEW_ONLY, Penalty};

use crate::Fault;

/// A map of the kernel's that holds penalties.
pub(crate) trait Slots<K> {
    /// As people read it in a fault.
    const NAME: &'static str;
    fn put(&mut self, key: &K, entry: Penalty) -> Result<(), Fault>;
    /// What is not there is no fault.
    fn clear(&mut self, key: &K) -> Result<(), Fault>;
    /// Everything in it.
    fn read(&self) -> Result<Vec<(K, Penalty)>, Fault>;
}

pub(crate) struct Table<K, S> {
    slots: S,
    max: u32,
    entries: BTreeMap<K, Penalty>,
    /// The penalised ones, by their ends.
    ends: BTreeSet<(u64, K)>,
}

impl<K: Copy + Ord, S: Slots<K>> Table<K, S> {
    /// With everything that the kernel's table holds already.
    pub(crate) fn adopt(slots: S, max: u32) -> Result<Self, Fault> {
        let found = slots.read()?;
        let mut table = Self { slots, max, entries: BTreeMap::new(), ends: BTreeSet::new() };
        for (key, entry) in found {
            table.remember(key, entry);
        }
        Ok(table)
    }

    /// The kernel's side of it.
    pub(crate) fn slots(&self) -> &S {
        &self.slots
    }

    /// The same, to change what is no entry.
    pub(crate) fn slots_mut(&mut self) -> &mut S {
        &mut self.slots
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn penalised(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, key: &K) -> Option<&Penalty> {
        self.entries.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &Penalty)> {
        self.entries.iter()
    }

    /// Puts a penalty in, or its new values; a configured entry stays one. The key that made room,
    /// if one had to.
    pub(crate) fn penalise(&mut self, key: K, mut entry: Penalty) -> Result<Option<K>, Fault> {
        let configured = self.entries.get(&key).is_some_and(|old| old.flags & CONFIGURED != 0);
        if configured {
            entry.flags |= CONFIGURED;
        }
        self.put(key, entry)
    }

    /// Makes an entry a configured one of this tenant. Its penalty goes on if it was the tenant's.
    pub(crate) fn configure(&mut self, key: K, tenant: u32) -> Result<(), Fault> {
        let mut entry = Penalty { until_ns: 0, tenant, reason: 0, flags: CONFIGURED, pad: 0 };
        if let Some(old) = self.entries.get(&key).filter(|old| old.tenant == tenant) {
            entry = Penalty { flags: old.flags | CONFIGURED, ..*old };
        }
        if self.entries.get(&key) != Some(&entry) {
            self.put(key, entry)?;
        }
        Ok(())
    }

    /// Ends a penalty: a configured entry stays, another is removed. Whether there was one.
    pub(crate) fn release(&mut self, key: &K) -> Result<bool, Fault> {
        let Some(old) = self.entries.get(key).copied().filter(|old| old.until_ns != 0) else {
            return Ok(false);
        };
        match old.flags & CONFIGURED != 0 {
            true => {
                let entry = Penalty { until_ns: 0, flags: old.flags & !NEW_ONLY, ..old };
                self.put(*key, entry)?;
            }
            false => self.remove(key)?,
        }
        Ok(true)
    }

    /// Removes an entry, configured or not.
    pub(crate) fn remove(&mut self, key: &K) -> Result<(), Fault> {
        self.slots.clear(key)?;
        if let Some(old) = self.entries.remove(key) {
            self.ends.remove(&(old.until_ns, *key));
        }
        Ok(())
    }

    /// Removes what is not kept. How many.
    pub(crate) fn remove_unless(
        &mut self,
        keep: impl Fn(K, &Penalty) -> bool,
    ) -> Result<usize, Fault> {
        let bad = self.entries.iter().filter(|(key, entry)| !keep(**key, entry));
        let bad: Vec<K> = bad.map(|(key, _)| *key).collect();
        bad.iter().try_for_each(|key| self.remove(key))?;
        Ok(bad.len())
    }

    /// Ends what has come to its end at `now_ns`; what those entries were.
    pub(crate) fn expire(&mut self, now_ns: u64) -> Result<Vec<(K, Penalty)>, Fault> {
        let mut ended = Vec::new();
        while let Some(&(until_ns, key)) = self.ends.first() {
            if until_ns > now_ns {
                break;
            }
            if let Some(old) = self.entries.get(&key).copied() {
                ended.push((key, old));
            }
            self.release(&key)?;
        }
        Ok(ended)
    }

    fn put(&mut self, key: K, entry: Penalty) -> Result<Option<K>, Fault> {
        let full = self.entries.len() >= self.max as usize && !self.entries.contains_key(&key);
        let evicted = if full { Some(self.make_room()?) } else { None };
        self.slots.put(&key, entry)?;
        self.remember(key, entry);
        Ok(evicted)
    }

    fn make_room(&mut self) -> Result<K, Fault> {
        let configured =
            |key: &K| self.entries.get(key).is_some_and(|entry| entry.flags & CONFIGURED != 0);
        let first = self.ends.iter().map(|(_, key)| *key).find(|key| !configured(key));
        let first = first.ok_or(Fault::Full { table: S::NAME, max: self.max })?;
        self.remove(&first)?;
        Ok(first)
    }

    fn remember(&mut self, key: K, entry: Penalty) {
        if let Some(old) = self.entries.insert(key, entry) {
            self.ends.remove(&(old.until_ns, key));
        }
        if entry.until_ns != 0 {
            self.ends.insert((entry.until_ns, key));
        }
    }
}
