//! Keys: no object holds one twice, and none of the envelope's looks like another.
//!
//! Duplicates are found after unescaping, at every depth, in at most `n log n` comparisons. In the
//! envelope (the message itself, `params` and `_meta`) a key must be plain ASCII, and may not equal
//! a known key but for case: some readers fold case and would act on what was not judged. Being
//! ASCII rules out every Unicode variant (NFKC, `ſ` for `s`) at once.

use simd_json::Node;

use crate::document::{Document, Extent, Members, skip};
use crate::fault::ParseFault;

/// Up to here comparing each key with each is quicker than sorting.
const PAIRWISE_MAX: usize = 12;

/// Refuses an object that holds a key twice.
pub(crate) fn refuse_duplicates(
    tape: &[Node<'_>],
    extents: &[Extent],
    keys: &mut Vec<u32>,
) -> Result<(), ParseFault> {
    for (index, node) in tape.iter().enumerate() {
        let Node::Object { len: len @ 2.., .. } = node else { continue };
        keys.clear();
        let mut next = index + 1;
        for _ in 0..*len {
            keys.push(u32::try_from(next).unwrap_or(u32::MAX));
            next = skip(tape, next + 1);
        }
        if let Some(key) = duplicate(tape, keys) {
            let at = extents.get(key as usize).map_or(0, |extent| extent.start as usize);
            return Err(ParseFault::DuplicateKey { at });
        }
    }
    Ok(())
}

fn duplicate(tape: &[Node<'_>], keys: &mut [u32]) -> Option<u32> {
    let text = |key: &u32| match tape.get(*key as usize) {
        Some(Node::String(text)) => *text,
        _ => "",
    };
    if keys.len() <= PAIRWISE_MAX {
        let mut rest = &*keys;
        while let [first, others @ ..] = rest {
            let first_text = text(first);
            if let Some(twin) = others.iter().find(|other| text(other) == first_text) {
                return Some(*twin);
            }
            rest = others;
        }
        return None;
    }
    keys.sort_unstable_by(|a, b| text(a).cmp(text(b)));
    keys.windows(2).find_map(|pair| match pair {
        [a, b] if text(a) == text(b) => Some(*a.max(b)),
        _ => None,
    })
}

/// The members of an envelope object, each with its exact known key or none.
pub(crate) struct Known<'p> {
    document: Document<'p>,
    members: Members<'p>,
    known: &'static [&'static str],
}

impl<'p> Known<'p> {
    pub(crate) fn new(
        document: Document<'p>,
        object: usize,
        known: &'static [&'static str],
    ) -> Self {
        Self { document, members: document.members(object), known }
    }
}

impl Iterator for Known<'_> {
    /// The known key, or none for a foreign one, and the value's index.
    type Item = Result<(Option<&'static str>, usize), ParseFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.members.next()?;
        Some(self.judge(key).map(|known| (known, value)))
    }
}

impl Known<'_> {
    fn judge(&self, key: usize) -> Result<Option<&'static str>, ParseFault> {
        let extent = self.document.extent(key);
        let at = extent.start as usize;
        let text = self.document.text(key).unwrap_or_default();
        // An escape is always longer than what it stands for.
        if extent.unquoted().len() != text.len() {
            return Err(ParseFault::EscapedKey { at });
        }
        if let Some(exact) = self.known.iter().find(|known| **known == text) {
            return Ok(Some(exact));
        }
        if !text.is_ascii() {
            return Err(ParseFault::NonAsciiKey { at });
        }
        match self.known.iter().find(|known| known.eq_ignore_ascii_case(text)) {
            Some(known) => Err(ParseFault::NearKey { known, at }),
            None => Ok(None),
        }
    }
}
