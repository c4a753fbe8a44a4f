//! Pages of lists: where to go on, and how many.

/// Which part of a list: items after the key `after`, at most `limit`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Slice<K> {
    pub after: K,
    pub limit: u32,
}
