//! Looking for what must not be there, in everything that a run wrote.

use std::path::{Path, PathBuf};

use anyhow::Context;

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

/// Whether these bytes occur, as they are or as base64 or hex would show them.
#[must_use]
pub fn holds(bytes: &[u8], wanted: &str) -> bool {
    let hex: String = wanted.bytes().map(|byte| format!("{byte:02x}")).collect();
    let has = |needle: &[u8]| {
        !needle.is_empty() && bytes.windows(needle.len()).any(|window| window == needle)
    };
    has(wanted.as_bytes())
        || has(hex.as_bytes())
        || (0..3).any(|shift| has(&base64_core(wanted, shift)))
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
    fn a_canary_is_found_in_every_dress() {
        assert!(holds(b"xx secret-canary yy", "secret-canary"));
        assert!(holds(b"7365637265742d63616e617279", "secret-canary"));
        // "secret-canary" alone, behind one byte, behind two.
        for text in ["c2VjcmV0LWNhbmFyeQ==", "eHNlY3JldC1jYW5hcnk=", "eHhzZWNyZXQtY2FuYXJ5"] {
            assert!(holds(text.as_bytes(), "secret-canary"), "{text}");
        }
        assert!(!holds(b"secret canary", "secret-canary"));
    }
}
