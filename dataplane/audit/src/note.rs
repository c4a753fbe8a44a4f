//! Signed notes: a text with Ed25519 signatures, as C2SP says, so that strangers' tools read ours.
//!
//! A note is a text that ends in a newline, an empty line, and signature lines
//! `— NAME base64(key id ‖ signature)`. Lines by other keys are kept apart and ignored: witnesses
//! add theirs later. <https://c2sp.org/signed-note>

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use thiserror::Error;

use crate::tree::sha256;

/// A whole note. Ours have under 1 KiB; a note with signatures of 60 witnesses still fits.
pub const NOTE_BYTES_MAX: usize = 16_384;

/// C2SP asks readers for at least 16.
pub const NOTE_SIGNATURES_MAX: usize = 64;

/// A segment's header has room for it, and so has a checkpoint's first line.
pub const NOTE_NAME_BYTES_MAX: usize = 255;

/// Signature type "Ed25519" of C2SP signed-note.
const ED25519_TYPE: u8 = 1;

/// U+2014 and a space begin a signature line.
const SIGNATURE_START: &str = "\u{2014} ";

/// Why a note, a name or a key is refused.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum NoteFault {
    #[error(
        "a log's name has 1 to {NOTE_NAME_BYTES_MAX} bytes, no spaces, no control characters and no plus"
    )]
    Name,
    #[error("a note key reads NAME+8 hexadecimal digits+base64 of 1 and an Ed25519 key")]
    Key,
    #[error(
        "this is not a signed note (text, empty line, lines of signatures; at most {NOTE_BYTES_MAX} bytes)"
    )]
    Malformed,
    #[error("the note carries no signature by the expected key")]
    Unsigned,
    #[error("the note's signature by the expected key is wrong: it was changed or forged")]
    Forged,
}

/// Signs notes in a log's name.
pub struct NoteSigner {
    name: String,
    pair: Ed25519KeyPair,
}

impl NoteSigner {
    /// From 32 secret random bytes.
    ///
    /// # Errors
    /// The name is not one that a note can carry.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, NoteFault> {
        check_name(name)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteFault::Key)?;
        Ok(Self { name: name.to_owned(), pair })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What checks this signer's notes.
    #[must_use]
    pub fn verifier(&self) -> NoteVerifier {
        let mut key = [0; 32];
        for (byte, source) in key.iter_mut().zip(self.pair.public_key().as_ref()) {
            *byte = *source;
        }
        NoteVerifier { name: self.name.clone(), key }
    }

    /// Signs any bytes with the log's key, for records that two keys sign.
    #[must_use]
    pub fn sign_bytes(&self, bytes: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        for (byte, source) in out.iter_mut().zip(self.pair.sign(bytes).as_ref()) {
            *byte = *source;
        }
        out
    }

    /// The note over `text`, which ends in a newline.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let verifier = self.verifier();
        let signature = self.sign_bytes(text.as_bytes());
        let signed: Vec<u8> = verifier.key_id().into_iter().chain(signature).collect();
        format!("{text}\n{SIGNATURE_START}{} {}\n", self.name, BASE64.encode(signed))
    }
}

impl std::fmt::Debug for NoteSigner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("NoteSigner").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A log's name and public key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoteVerifier {
    name: String,
    key: [u8; 32],
}

impl NoteVerifier {
    /// # Errors
    /// The name is not one that a note can carry.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, NoteFault> {
        check_name(name)?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// Reads `NAME+KEYID+KEY`, as [`NoteVerifier::to_text`] writes it.
    ///
    /// # Errors
    /// Not of this form, not Ed25519, or a key id that is not the key's.
    pub fn parse(text: &str) -> Result<Self, NoteFault> {
        let (name, rest) = text.split_once('+').ok_or(NoteFault::Key)?;
        let (key_id, key) = rest.split_once('+').ok_or(NoteFault::Key)?;
        let key = BASE64.decode(key).map_err(|_| NoteFault::Key)?;
        let Some((&ED25519_TYPE, key)) = key.split_first() else { return Err(NoteFault::Key) };
        let verifier = Self::new(name, key.try_into().map_err(|_| NoteFault::Key)?)?;
        if key_id.len() != 8 || u32::from_str_radix(key_id, 16) != Ok(verifier.key_number()) {
            return Err(NoteFault::Key);
        }
        Ok(verifier)
    }

    /// The "vkey" that other people's tools take.
    #[must_use]
    pub fn to_text(&self) -> String {
        let key: Vec<u8> = std::iter::once(ED25519_TYPE).chain(self.key).collect();
        format!("{}+{:08x}+{}", self.name, self.key_number(), BASE64.encode(key))
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub const fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// SHA-256(name ‖ newline ‖ type ‖ key), its first four bytes.
    #[must_use]
    pub fn key_id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = sha256(&[self.name.as_bytes(), b"\n", &[ED25519_TYPE], &self.key]);
        [a, b, c, d]
    }

    fn key_number(&self) -> u32 {
        u32::from_be_bytes(self.key_id())
    }

    /// The note's text, if this key signed it.
    ///
    /// # Errors
    /// No note, no signature by this key, or a wrong one.
    pub fn open<'n>(&self, note: &'n str) -> Result<&'n str, NoteFault> {
        let (text, signatures) = split(note)?;
        let mut ours = signatures.lines().filter_map(|line| self.ours(line)).peekable();
        if ours.peek().is_none() {
            return Err(NoteFault::Unsigned);
        }
        let public = UnparsedPublicKey::new(&ED25519, &self.key);
        for signature in ours {
            public.verify(text.as_bytes(), &signature).map_err(|_| NoteFault::Forged)?;
        }
        Ok(text)
    }

    /// The signature of a line that names this key.
    fn ours(&self, line: &str) -> Option<Vec<u8>> {
        let (name, encoded) = parse_signature(line)?;
        let signed = BASE64.decode(encoded).ok()?;
        let (key_id, signature) = signed.split_first_chunk()?;
        (name == self.name && *key_id == self.key_id()).then(|| signature.to_vec())
    }
}

/// The text, newline included, and the signature lines. Checks the form and no signature.
pub(crate) fn split(note: &str) -> Result<(&str, &str), NoteFault> {
    let control = |character: char| character < ' ' && character != '\n';
    if note.len() > NOTE_BYTES_MAX || note.contains(control) || !note.ends_with('\n') {
        return Err(NoteFault::Malformed);
    }
    let at = note.rfind("\n\n").ok_or(NoteFault::Malformed)?;
    let (text, rest) = note.split_at_checked(at + 1).ok_or(NoteFault::Malformed)?;
    let signatures = rest.strip_prefix('\n').ok_or(NoteFault::Malformed)?;
    let lines = signatures.lines().count();
    let formed = signatures.lines().all(|line| parse_signature(line).is_some());
    if !formed || !(1..=NOTE_SIGNATURES_MAX).contains(&lines) {
        return Err(NoteFault::Malformed);
    }
    Ok((text, signatures))
}

/// Name and base64 of a signature line.
fn parse_signature(line: &str) -> Option<(&str, &str)> {
    let (name, encoded) = line.strip_prefix(SIGNATURE_START)?.split_once(' ')?;
    check_name(name).ok()?;
    (BASE64.decode(encoded).ok()?.len() > 4).then_some((name, encoded))
}

fn check_name(name: &str) -> Result<(), NoteFault> {
    let bad =
        |character: char| character.is_whitespace() || character.is_control() || character == '+';
    match (1..=NOTE_NAME_BYTES_MAX).contains(&name.len()) && !name.contains(bad) {
        true => Ok(()),
        false => Err(NoteFault::Name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Go module `golang.org/x/mod/sumdb/note`, which defined the format.
    const KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SEED: &str = "YEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
        then you don't know what your problem is.\n\
        \n\
        \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    #[test]
    fn opens_the_published_note() {
        let verifier = NoteVerifier::parse(KEY).unwrap();
        assert_eq!(verifier.to_text(), KEY);
        let text = verifier.open(NOTE).unwrap();
        assert!(text.ends_with("what your problem is.\n"), "{text}");
    }

    #[test]
    fn signs_the_published_note() {
        // The published secret key is base64 of the type byte and the seed.
        let secret = BASE64.decode(format!("A{SEED}")).unwrap();
        let seed = secret[1..].try_into().unwrap();
        let signer = NoteSigner::from_seed("PeterNeumann", &seed).unwrap();
        assert_eq!(signer.verifier().to_text(), KEY);
        let (text, _) = split(NOTE).unwrap();
        assert_eq!(signer.sign(text), NOTE);
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let verifier = NoteVerifier::parse(KEY).unwrap();
        for place in 0..NOTE.len() {
            let mut bytes = NOTE.as_bytes().to_vec();
            bytes[place] ^= 1;
            if let Ok(note) = String::from_utf8(bytes) {
                assert!(verifier.open(&note).is_err(), "byte {place}");
            }
        }
    }

    #[test]
    fn other_signatures_are_ignored_but_must_be_lines() {
        let verifier = NoteVerifier::parse(KEY).unwrap();
        let witness = NoteSigner::from_seed("witness.example", &[9; 32]).unwrap();
        let (text, ours) = split(NOTE).unwrap();
        let theirs = witness.sign(text);
        let (_, line) = split(&theirs).unwrap();
        assert_eq!(verifier.open(&format!("{text}\n{line}{ours}")), Ok(text));
        assert_eq!(verifier.open(&theirs), Err(NoteFault::Unsigned));
        assert_eq!(verifier.open(&format!("{text}\n{ours}junk\n")), Err(NoteFault::Malformed));
    }

    #[test]
    fn one_signature_past_the_limit() {
        let verifier = NoteVerifier::parse(KEY).unwrap();
        let (text, ours) = split(NOTE).unwrap();
        let note = |lines: usize| format!("{text}\n{}", ours.repeat(lines));
        assert_eq!(verifier.open(&note(NOTE_SIGNATURES_MAX)), Ok(text));
        let one_more = note(NOTE_SIGNATURES_MAX + 1);
        assert_eq!(verifier.open(&one_more), Err(NoteFault::Malformed));
    }

    #[test]
    fn names_that_a_note_cannot_carry_are_refused() {
        for name in ["", "a b", "a+b", "a\nb", "a\u{3000}b", &"n".repeat(NOTE_NAME_BYTES_MAX + 1)] {
            assert_eq!(NoteVerifier::new(name, [0; 32]), Err(NoteFault::Name), "{name:?}");
        }
        assert!(NoteVerifier::new(&"n".repeat(NOTE_NAME_BYTES_MAX), [0; 32]).is_ok());
    }
}
