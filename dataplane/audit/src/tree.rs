//! The Merkle tree of RFC 6962 over the records, kept as its right edge only.
//!
//! A tree of any size is at most 64 hashes: one whole subtree for each bit of its size. Adding a leaf
//! costs one hash on average. <https://www.rfc-editor.org/rfc/rfc6962#section-2.1>

use ring::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// A leaf's, a node's or a root's hash.
pub type Hash = [u8; SHA256_OUTPUT_LEN];

/// A tree's size is a `u64`, so it has at most this many whole subtrees.
pub const FRONTIER_HASHES_MAX: usize = 64;

/// SHA-256(0x00 ‖ record).
#[must_use]
pub fn leaf_hash(record: &[u8]) -> Hash {
    sha256(&[&[0], record])
}

/// SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    finish(context)
}

pub(crate) fn finish(context: Context) -> Hash {
    let mut hash = [0; SHA256_OUTPUT_LEN];
    for (byte, source) in hash.iter_mut().zip(context.finish().as_ref()) {
        *byte = *source;
    }
    hash
}

/// The right edge of a tree.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frontier {
    size: u64,
    /// Roots of the whole subtrees, smallest first: level n is there when bit n of `size` is set, and
    /// zero otherwise.
    levels: [Hash; FRONTIER_HASHES_MAX],
}

impl Default for Frontier {
    fn default() -> Self {
        Self { size: 0, levels: [[0; SHA256_OUTPUT_LEN]; FRONTIER_HASHES_MAX] }
    }
}

impl Frontier {
    /// The subtrees of a tree with `size` leaves, smallest first. `None` unless there are exactly as
    /// many as `size` has bits set.
    #[must_use]
    pub fn from_parts(size: u64, hashes: &[Hash]) -> Option<Self> {
        let mut frontier = Self { size, ..Self::default() };
        let mut hashes_left = hashes.iter();
        for (level, place) in frontier.levels.iter_mut().enumerate() {
            if size >> level & 1 == 1 {
                *place = *hashes_left.next()?;
            }
        }
        hashes_left.next().is_none().then_some(frontier)
    }

    /// How many leaves the tree has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The subtrees, smallest first: what `from_parts` takes.
    pub fn hashes(&self) -> impl Iterator<Item = &Hash> {
        let present = move |level: &usize| self.size >> level & 1 == 1;
        (0..FRONTIER_HASHES_MAX).filter(present).filter_map(|level| self.levels.get(level))
    }

    /// Adds a leaf. A full tree of 2^64 − 1 leaves stays as it is; no log reaches it.
    pub fn push(&mut self, leaf: Hash) {
        let Some(size) = self.size.checked_add(1) else { return };
        let mut carried = leaf;
        for (level, place) in self.levels.iter_mut().enumerate() {
            if self.size >> level & 1 == 0 {
                *place = carried;
                break;
            }
            carried = node_hash(place, &carried);
            *place = [0; SHA256_OUTPUT_LEN];
        }
        self.size = size;
    }

    /// The tree's root. That of the empty tree is the hash of nothing.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut hashes = self.hashes();
        match hashes.next() {
            None => sha256(&[]),
            Some(first) => hashes.fold(*first, |right, left| node_hash(left, &right)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962 §2.1, word by word: the oracle.
    fn root_by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => sha256(&[]),
            [only] => *only,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(split);
                node_hash(&root_by_definition(left), &root_by_definition(right))
            }
        }
    }

    fn hex(hash: &Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn agrees_with_the_definition_at_every_size() {
        let (mut frontier, mut leaves) = (Frontier::default(), Vec::new());
        for size in 0..300_u64 {
            assert_eq!(frontier.size(), size);
            assert_eq!(frontier.root(), root_by_definition(&leaves), "{size} leaves");
            let hashes: Vec<Hash> = frontier.hashes().copied().collect();
            assert_eq!(Frontier::from_parts(size, &hashes).as_ref(), Some(&frontier));
            leaves.push(leaf_hash(&size.to_le_bytes()));
            frontier.push(leaf_hash(&size.to_le_bytes()));
        }
    }

    /// The eight inputs and roots that certificate transparency's own test suite publishes.
    #[test]
    fn agrees_with_the_published_vectors() {
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut frontier = Frontier::default();
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&frontier.root()), empty);
        for (input, root) in inputs.iter().zip(roots) {
            frontier.push(leaf_hash(input));
            assert_eq!(hex(&frontier.root()), root, "{} leaves", frontier.size());
        }
    }

    #[test]
    fn a_wrong_number_of_hashes_is_no_frontier() {
        assert_eq!(Frontier::from_parts(3, &[[1; 32]]), None);
        assert_eq!(Frontier::from_parts(3, &[[1; 32]; 3]), None);
        assert!(Frontier::from_parts(3, &[[1; 32]; 2]).is_some());
    }
}
