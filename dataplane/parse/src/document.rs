//! A parsed text: the tape, and for each of its values the bytes that it was read from.
//!
//! All look-ups answer `None` for an index that is not there or is of another type, so that a stage
//! cannot panic on a value that it did not expect.

use simd_json::Node;

/// A range of bytes of the text.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extent {
    pub start: u32,
    /// Exclusive.
    pub end: u32,
}

impl Extent {
    /// The bytes; empty when the range lies outside of `text`.
    #[must_use]
    pub fn of<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        text.get(self.range()).unwrap_or_default()
    }

    /// As a range.
    #[must_use]
    pub const fn range(&self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Length in bytes.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether no byte is in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.end <= self.start
    }

    /// Of a string with quotes, what is between them.
    #[must_use]
    pub const fn unquoted(&self) -> Self {
        Self { start: self.start.saturating_add(1), end: self.end.saturating_sub(1) }
    }
}

/// A text that was read once. Values are named by their index on the tape; the root is 0.
#[derive(Clone, Copy, Debug)]
pub struct Document<'p> {
    /// The text as it was sent.
    pub body: &'p [u8],
    /// Depth first; an object is followed by key, value, key, value and so on.
    pub tape: &'p [Node<'p>],
    /// One for each node.
    pub(crate) extents: &'p [Extent],
}

impl<'p> Document<'p> {
    /// The bytes of the value, quotes and brackets included; empty for an index that is not there.
    #[must_use]
    pub fn extent(&self, index: usize) -> Extent {
        self.extents.get(index).copied().unwrap_or_default()
    }

    /// The value's bytes as they were sent.
    #[must_use]
    pub fn raw(&self, index: usize) -> &'p [u8] {
        self.extent(index).of(self.body)
    }

    /// The value's node.
    #[must_use]
    pub fn node(&self, index: usize) -> Option<Node<'p>> {
        self.tape.get(index).copied()
    }

    /// The unescaped text of a string.
    #[must_use]
    pub fn text(&self, index: usize) -> Option<&'p str> {
        match self.node(index) {
            Some(Node::String(text)) => Some(text),
            _ => None,
        }
    }

    /// Whether the value is an object.
    #[must_use]
    pub fn is_object(&self, index: usize) -> bool {
        matches!(self.node(index), Some(Node::Object { .. }))
    }

    /// Keys and values of an object in the order of the text; none for anything else.
    #[must_use]
    pub fn members(&self, index: usize) -> Members<'p> {
        let left = match self.node(index) {
            Some(Node::Object { len, .. }) => len,
            _ => 0,
        };
        Members { tape: self.tape, next: index.saturating_add(1), left }
    }

    /// The value of a member. Keys are compared as exact bytes after unescaping.
    #[must_use]
    pub fn get(&self, index: usize, key: &str) -> Option<usize> {
        self.members(index).find(|(name, _)| self.text(*name) == Some(key)).map(|(_, value)| value)
    }

    /// The indices of an array's items; none for anything else.
    pub fn items(&self, index: usize) -> impl Iterator<Item = usize> + use<'p> {
        let (tape, mut next) = (self.tape, index.saturating_add(1));
        let mut left = match self.node(index) {
            Some(Node::Array { len, .. }) => len,
            _ => 0,
        };
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let item = next;
            next = skip(tape, item);
            Some(item)
        })
    }
}

/// The members of one object: (index of the key, index of the value).
#[derive(Clone, Debug)]
pub struct Members<'p> {
    tape: &'p [Node<'p>],
    next: usize,
    left: usize,
}

impl Iterator for Members<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let key = self.next;
        let value = key.saturating_add(1);
        self.next = skip(self.tape, value);
        Some((key, value))
    }
}

/// The index after the value at `index` and everything in it.
#[must_use]
pub fn skip(tape: &[Node<'_>], index: usize) -> usize {
    let inside = match tape.get(index) {
        Some(Node::Object { count, .. } | Node::Array { count, .. }) => *count,
        _ => 0,
    };
    index.saturating_add(inside).saturating_add(1)
}
