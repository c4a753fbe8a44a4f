//! Prefixes: an array of them, and the line of all sources cut where another one is the longest.
//!
//! A kernel's prefix trie is a call and a step for each bit. Here the program goes down four nodes of
//! a tree to a segment, and the segment names its prefix. What changes in a penalty changes in the
//! prefix's own element; only when prefixes come or go are the segments written anew, into the half
//! that the program does not look at, and one word makes that half the valid one. An element is
//! cleared, or given to another prefix, when no valid segment names it, or its holder is gone.

use std::collections::BTreeMap;

use aya::maps::{Array, MapData};
use ebpf_abi::{
    FANOUT, IPV4_POINTS, LEVELS, NO_TENANT, NODES, PREFIX_SLOTS, PREFIXES_MAX, Penalty, PrefixSlot,
    SEGMENTS, Segments,
};

use crate::Fault;
use crate::table::Slots;

/// A prefix as the program compares it: its first point, and the bits of a point that it names.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct PrefixKey {
    pub(crate) start: u64,
    pub(crate) mask: u64,
}

/// Points have 63 bits.
pub(crate) const POINT_MAX: u64 = u64::MAX >> 1;

/// An element that nobody has.
const EMPTY: PrefixSlot = PrefixSlot {
    start: 0,
    mask: 0,
    penalty: Penalty { until_ns: 0, tenant: NO_TENANT, reason: 0, flags: 0, pad: 0 },
};

pub(crate) struct Prefixes {
    slots: Array<MapData, PrefixSlot>,
    halves: Array<MapData, Segments>,
    held: BTreeMap<PrefixKey, (u16, Penalty)>,
    free: Vec<u16>,
    /// Elements whose prefix is gone; valid segments may name them until the next [`Self::settle`].
    leaving: Vec<u16>,
    /// The segments are not of these prefixes.
    stale: bool,
}

impl Prefixes {
    /// What was there is known again. Its segments are made anew: a process may have ended between.
    pub(crate) fn read(
        slots: Array<MapData, PrefixSlot>,
        halves: Array<MapData, Segments>,
    ) -> Result<Self, Fault> {
        let (mut held, mut free) = (BTreeMap::new(), Vec::new());
        for at in (1..PREFIX_SLOTS).rev() {
            let slot = slots.get(&at, 0).map_err(|why| fault(&why))?;
            let at = u16::try_from(at).unwrap_or(0);
            if slot.penalty.tenant == NO_TENANT {
                free.push(at);
                continue;
            }
            let key = PrefixKey { start: slot.start, mask: slot.mask };
            held.insert(key, (at, slot.penalty));
        }
        Ok(Self { slots, halves, held, free, leaving: Vec::new(), stale: true })
    }

    /// Makes the segments those of the prefixes, where they are not: writes the half that is not
    /// valid, has `turn` make it so, and clears what is no longer named.
    pub(crate) fn settle(
        &mut self,
        half: u32,
        turn: impl FnOnce(u32) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if !self.stale {
            return Ok(());
        }
        let prefixes = self.held.iter().map(|(key, (at, _))| (*key, *at)).collect::<Vec<_>>();
        let other = (half & 1) ^ 1;
        let segments = tree(&cut(&prefixes));
        self.halves.set(other, *segments, 0).map_err(|why| fault(&why))?;
        turn(other)?;
        self.stale = false;
        while let Some(at) = self.leaving.last().copied() {
            self.write(at, EMPTY)?;
            self.leaving.pop();
            self.free.push(at);
        }
        Ok(())
    }

    fn write(&mut self, at: u16, slot: PrefixSlot) -> Result<(), Fault> {
        self.slots.set(u32::from(at), slot, 0).map_err(|why| fault(&why))
    }
}

impl Slots<PrefixKey> for Prefixes {
    const NAME: &'static str = "prefixes";

    fn put(&mut self, key: &PrefixKey, entry: Penalty) -> Result<(), Fault> {
        let slot = PrefixSlot { start: key.start, mask: key.mask, penalty: entry };
        if let Some((at, _)) = self.held.get(key).copied() {
            self.write(at, slot)?;
            self.held.insert(*key, (at, entry));
            return Ok(());
        }
        // The element of one that is gone where there is no other: the program compares, and finds
        // that the segments mean another prefix.
        let full = Fault::Full { table: Self::NAME, max: PREFIXES_MAX };
        let at = self.free.last().or(self.leaving.last()).copied().ok_or(full)?;
        self.write(at, slot)?;
        if self.free.pop().is_none() {
            self.leaving.pop();
        }
        self.held.insert(*key, (at, entry));
        self.stale = true;
        Ok(())
    }

    fn clear(&mut self, key: &PrefixKey) -> Result<(), Fault> {
        if let Some((at, _)) = self.held.remove(key) {
            self.leaving.push(at);
            self.stale = true;
        }
        Ok(())
    }

    fn read(&self) -> Result<Vec<(PrefixKey, Penalty)>, Fault> {
        Ok(self.held.iter().map(|(key, (_, entry))| (*key, *entry)).collect())
    }
}

/// A piece of the line up to the next one's start, and the element of its longest prefix, or zero.
type Segment = (u64, u16);

impl PrefixKey {
    /// The last point. The line of IPv6 ends where IPv4 has its points.
    fn end(self) -> u64 {
        let end = self.start | (!self.mask & POINT_MAX);
        if self.start < IPV4_POINTS { end.min(IPV4_POINTS - 1) } else { end }
    }
}

/// Cuts the line: one piece after the other, from its beginning, no two alike beside each other.
/// Prefixes are in order: of two with one start the longer, of more bits, is the later.
fn cut(prefixes: &[(PrefixKey, u16)]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = vec![(0, 0)];
    let mut begin = |start: u64, longest: u16| {
        if start > POINT_MAX {
            return;
        }
        segments.pop_if(|(there, _)| *there == start);
        if segments.last().is_none_or(|(_, before)| *before != longest) {
            segments.push((start, longest));
        }
    };
    // Around each other, the longest last.
    let mut around: Vec<(u64, u16)> = Vec::new();
    for (key, at) in prefixes {
        while let Some((end, _)) = around.pop_if(|(end, _)| *end < key.start) {
            begin(end + 1, around.last().map_or(0, |(_, outer)| *outer));
        }
        begin(key.start, *at);
        around.push((key.end(), *at));
    }
    while let Some((end, _)) = around.pop() {
        begin(end + 1, around.last().map_or(0, |(_, outer)| *outer));
    }
    segments
}

/// The segments as the program searches them.
fn tree(segments: &[Segment]) -> Box<Segments> {
    let mut tree =
        Box::new(Segments { nodes: [[POINT_MAX; FANOUT]; NODES], longest: [0; SEGMENTS] });
    for (to, (_, longest)) in tree.longest.iter_mut().zip(segments) {
        *to = *longest;
    }
    // Of the first node of a level, and of its neighbours: what is below one of its ways.
    let (mut first, mut nodes, mut below) = (0, 1, SEGMENTS / FANOUT);
    for _ in 0..LEVELS {
        for (at, keys) in tree.nodes.iter_mut().skip(first).take(nodes).enumerate() {
            for (way, key) in keys.iter_mut().take(FANOUT - 1).enumerate() {
                let right = (at * FANOUT + way + 1) * below;
                *key = segments.get(right).map_or(POINT_MAX, |(start, _)| start - 1);
            }
        }
        (first, nodes, below) = (first + nodes, nodes * FANOUT, below / FANOUT);
    }
    tree
}

fn fault(why: &(dyn std::error::Error + 'static)) -> Fault {
    Fault::map("prefixes", why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Prefix;

    fn key(text: &str) -> PrefixKey {
        let (address, bits) = text.split_once('/').unwrap();
        Prefix::new(address.parse().unwrap(), bits.parse().unwrap()).unwrap().key()
    }

    /// As the program goes down.
    fn search(tree: &Segments, point: u64) -> u16 {
        let (mut node, mut segment) = (0, 0);
        for _ in 0..LEVELS {
            let way = tree.nodes[node][..FANOUT - 1].iter().filter(|key| **key < point).count();
            (node, segment) = (node * FANOUT + 1 + way, segment * FANOUT + way);
        }
        tree.longest[segment]
    }

    /// The one with the most bits, by looking at all of them.
    fn longest(prefixes: &[(PrefixKey, u16)], point: u64) -> u16 {
        let v4 = |point| point >= IPV4_POINTS;
        let around = prefixes
            .iter()
            .filter(|(key, _)| point & key.mask == key.start && v4(key.start) == v4(point));
        around.max_by_key(|(key, _)| key.mask).map_or(0, |(_, at)| *at)
    }

    fn check(mut prefixes: Vec<PrefixKey>) {
        prefixes.sort();
        prefixes.dedup();
        let named: Vec<_> = prefixes.into_iter().zip(1..).collect();
        let segments = cut(&named);
        assert!(segments.len() <= 2 * named.len() + 1, "{} of {}", segments.len(), named.len());
        assert!(segments.is_sorted_by(|one, next| one.0 < next.0 && one.1 != next.1));
        let tree = tree(&segments);
        let ends = named.iter().flat_map(|(key, _)| {
            [key.start.saturating_sub(1), key.start, key.end(), (key.end() + 1).min(POINT_MAX)]
        });
        for point in ends.chain([0, IPV4_POINTS - 1, IPV4_POINTS, POINT_MAX]) {
            assert_eq!(search(&tree, point), longest(&named, point), "{point:x} in {named:x?}");
        }
    }

    #[test]
    fn the_longest_is_found_at_the_ends_of_all() {
        check(vec![]);
        check(["::/0", "8000::/1", "fe00::/7", "fe00::/8", "0.0.0.0/0"].map(key).into());
        check(["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/31", "10.255.255.254/31"].map(key).into());
        check(["255.255.255.254/31", "128.0.0.0/1", "::/63", "::/1"].map(key).into());
        check(["2001:db8::/32", "2001:db8::/48", "2001:db8:0:2::/63", "2001::/16"].map(key).into());
    }

    #[test]
    fn the_longest_is_found_among_as_many_as_may_be() {
        let mut state = 1_u64;
        let mut random = |end: u64| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 33) % end
        };
        for nearness in [2, 12, 24] {
            let mut prefixes = Vec::new();
            while prefixes.len() < PREFIXES_MAX as usize {
                // Near each other, so that they nest.
                let bits = 32 - random(nearness) as u32;
                let mask = POINT_MAX ^ ((1 << (63 - bits)) - 1);
                prefixes.push(PrefixKey { start: (random(1 << nearness) << 31) & mask, mask });
                let mask = POINT_MAX ^ ((1 << random(nearness)) - 1);
                let start = IPV4_POINTS + (random(1 << nearness) & mask);
                prefixes.push(PrefixKey { start: start & mask, mask });
            }
            prefixes.truncate(PREFIXES_MAX as usize);
            check(prefixes);
        }
        // None touches another: as many pieces as there can be.
        let apart = (0..u64::from(PREFIXES_MAX)).map(|at| (at * 2 + 1) << 20);
        let apart: Vec<_> =
            apart.map(|start| PrefixKey { start, mask: POINT_MAX ^ 0xf_ffff }).collect();
        let named: Vec<_> = apart.iter().copied().zip(1..).collect();
        assert_eq!(cut(&named).len(), SEGMENTS - 1);
        check(apart);
    }
}
