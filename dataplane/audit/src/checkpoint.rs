//! Checkpoints: a log's size and root, signed.
//!
//! Who keeps one can prove later that the log was changed or cut. The text is C2SP tlog-checkpoint:
//! origin, size, base64 root, one line each. <https://c2sp.org/tlog-checkpoint>

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::note::{self, NoteFault, NoteSigner, NoteVerifier};
use crate::tree::{Frontier, Hash};

/// What a log was at one time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checkpoint {
    pub origin: String,
    pub size: u64,
    pub root: Hash,
}

impl Checkpoint {
    #[must_use]
    pub fn of(origin: &str, tree: &Frontier) -> Self {
        Self { origin: origin.to_owned(), size: tree.size(), root: tree.root() }
    }

    /// As a signed note.
    #[must_use]
    pub fn sign(&self, signer: &NoteSigner) -> String {
        signer.sign(&self.to_text())
    }

    /// Reads a signed note and checks that `verifier` signed it, and that the log is its own.
    ///
    /// # Errors
    /// No checkpoint, not signed by this key, or forged.
    pub fn open(bytes: &[u8], verifier: &NoteVerifier) -> Result<Self, NoteFault> {
        let note = std::str::from_utf8(bytes).map_err(|_| NoteFault::Malformed)?;
        let checkpoint = Self::parse(verifier.open(note)?)?;
        if checkpoint.origin != verifier.name() {
            return Err(NoteFault::Unsigned);
        }
        Ok(checkpoint)
    }

    /// Reads a signed note and checks no signature: for comparing with a copy that the reader kept
    /// himself and trusts.
    ///
    /// # Errors
    /// No checkpoint.
    pub fn read_unverified(bytes: &[u8]) -> Result<Self, NoteFault> {
        let note = std::str::from_utf8(bytes).map_err(|_| NoteFault::Malformed)?;
        Self::parse(note::split(note)?.0)
    }

    pub(crate) fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }

    /// Extension lines may follow; a size has no sign and no leading zeros.
    fn parse(text: &str) -> Result<Self, NoteFault> {
        let mut lines = text.lines();
        let mut line = || lines.next().filter(|line| !line.is_empty()).ok_or(NoteFault::Malformed);
        let (origin, size_text, root) = (line()?, line()?, line()?);
        let size: u64 = size_text.parse().map_err(|_| NoteFault::Malformed)?;
        let root = BASE64.decode(root).map_err(|_| NoteFault::Malformed)?;
        let root = root.try_into().map_err(|_| NoteFault::Malformed)?;
        if size.to_string() != size_text || lines.any(str::is_empty) {
            return Err(NoteFault::Malformed);
        }
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::leaf_hash;

    fn signed() -> (Checkpoint, NoteSigner, String) {
        let mut tree = Frontier::default();
        tree.push(leaf_hash(b"a record"));
        let signer = NoteSigner::from_seed("gate.example/log", &[7; 32]).unwrap();
        let checkpoint = Checkpoint::of(signer.name(), &tree);
        let note = checkpoint.sign(&signer);
        (checkpoint, signer, note)
    }

    #[test]
    fn what_is_signed_opens() {
        let (checkpoint, signer, note) = signed();
        assert!(note.starts_with("gate.example/log\n1\n"), "{note}");
        assert_eq!(Checkpoint::open(note.as_bytes(), &signer.verifier()), Ok(checkpoint.clone()));
        assert_eq!(Checkpoint::read_unverified(note.as_bytes()), Ok(checkpoint));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let (_, signer, note) = signed();
        for bit in 0..note.len() * 8 {
            let mut bytes = note.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Checkpoint::open(&bytes, &signer.verifier()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn another_log_of_the_same_key_is_refused() {
        let (checkpoint, signer, _) = signed();
        let other = Checkpoint { origin: "other.example".to_owned(), ..checkpoint };
        let opened = Checkpoint::open(other.sign(&signer).as_bytes(), &signer.verifier());
        assert_eq!(opened, Err(NoteFault::Unsigned));
    }

    #[test]
    fn a_size_has_one_spelling() {
        let (_, signer, _) = signed();
        let root = BASE64.encode([0; 32]);
        for (size, fine) in [("0", true), ("01", false), ("+1", false), ("", false), ("-1", false)]
        {
            let note = signer.sign(&format!("gate.example/log\n{size}\n{root}\n"));
            assert_eq!(
                Checkpoint::open(note.as_bytes(), &signer.verifier()).is_ok(),
                fine,
                "{size}"
            );
        }
        let extended = signer.sign(&format!("gate.example/log\n3\n{root}\nlater\n"));
        assert!(Checkpoint::open(extended.as_bytes(), &signer.verifier()).is_ok());
    }
}
