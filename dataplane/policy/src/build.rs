//! Building a table: strings once each, then the parts as they are.
//!
//! Whoever reads a format owns it, so the writer stands beside the reader. The compiler fills the
//! parts of [`Builder::layout`] and calls [`Builder::finish`], which verifies what it is about to
//! hand out by the rules that an appliance will apply: a table that would be refused is never made.

use std::collections::HashMap;

use crate::layout::{Layout, Malformed, Text};
use crate::verify;

/// A table in the making.
#[derive(Debug, Default)]
pub struct Builder {
    /// Every part but the arena is the caller's to fill.
    pub layout: Layout,
    texts: HashMap<String, Text>,
}

impl Builder {
    /// The arena's copy of a string: one for equal strings.
    ///
    /// # Errors
    /// When the arena is full.
    pub fn text(&mut self, text: &str) -> Result<Text, Malformed> {
        if let Some(known) = self.texts.get(text) {
            return Ok(*known);
        }
        let full = Malformed { part: "arena", rule: "strings take less than 4 GiB" };
        let at = u32::try_from(self.layout.arena.len()).map_err(|_| full)?;
        let len = u32::try_from(text.len()).map_err(|_| full)?;
        let slice = Text { at, len };
        self.layout.arena.push_str(text);
        self.texts.insert(text.to_owned(), slice);
        Ok(slice)
    }

    /// The table's bytes.
    ///
    /// # Errors
    /// Names the rule that the table would break on an appliance.
    pub fn finish(self) -> Result<Vec<u8>, Malformed> {
        verify::verify(&self.layout)?;
        self.layout.encode()
    }
}
