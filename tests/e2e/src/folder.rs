//! Looking for what must not be there, in everything that a run wrote.

use std::path::{Path, PathBuf};

use anyhow::Context;
use memchr::memmem::Finder;

/// Every file below a folder.
///
/// # Errors
/// When a folder cannot be read.
pub fn everything_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A text that must not be found, and how it would look in base64 or hex.
#[derive(Clone, Debug)]
pub struct Canary {
    needles: Vec<Finder<'static>>,
}

/// A shorter one is found where it was never written.
const CANARY_LEAST_BYTES: usize = 11;

impl Canary {
    /// # Panics
    /// When the text is so short that chance writes it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        assert!(text.len() >= CANARY_LEAST_BYTES, "{text:?} is too short to be looked for");
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut needles = vec![text.as_bytes().to_vec(), hex.into_bytes()];
        needles.extend((0..3).map(|shift| base64_core(text, shift)));
        Self { needles: needles.iter().map(|needle| Finder::new(needle).into_owned()).collect() }
    }

    /// Whether it occurs in these bytes.
    #[must_use]
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        self.needles.iter().any(|needle| needle.find(bytes).is_some())
    }
}

/// What every base64 text of something that holds `wanted` at this offset modulo 3 holds.
fn base64_core(wanted: &str, shift: usize) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let whole = wanted.as_bytes().get((3 - shift) % 3..).unwrap_or_default();
    let mut out = Vec::new();
    for three in whole.chunks_exact(3) {
        let joined = three.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        out.extend([18, 12, 6, 0].map(|bits| ALPHABET[joined >> bits & 63]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "too short")]
    fn what_chance_writes_is_no_canary() {
        let _ = Canary::new("aB3");
    }

    #[test]
    fn a_canary_is_found_in_every_dress() {
        let canary = Canary::new("secret-canary");
        assert!(canary.is_in(b"xx secret-canary yy"));
        assert!(canary.is_in(b"7365637265742d63616e617279"));
        // "secret-canary" alone, behind one byte, behind two.
        for text in ["c2VjcmV0LWNhbmFyeQ==", "eHNlY3JldC1jYW5hcnk=", "eHhzZWNyZXQtY2FuYXJ5"] {
            assert!(canary.is_in(text.as_bytes()), "{text}");
        }
        assert!(!canary.is_in(b"secret canary"));
    }
}
