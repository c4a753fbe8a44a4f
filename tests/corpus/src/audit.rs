//! Properties of the audit log's formats, on whatever a disk gives back.

use dataplane_audit::{Checkpoint, NoteVerifier, Record, Scan, recover};

/// A segment's longest valid prefix is the same each time, its records are canonical, and what is cut
/// behind the prefix changes nothing about it.
///
/// # Panics
/// Where the property does not hold.
pub fn segment(bytes: &[u8]) {
    let Ok(recovered) = recover(bytes, None) else { return };
    let position = recovered.scan.position;
    let valid = usize::try_from(position.offset).unwrap_or(usize::MAX);
    assert!(valid <= bytes.len(), "the valid prefix is longer than the segment");
    let again = recover(bytes.get(..valid).unwrap_or_default(), None);
    assert!(
        again.is_ok_and(|again| again.scan.position == position),
        "the prefix by itself reads otherwise"
    );
    let Ok(mut scan) = Scan::open(bytes) else { return };
    while let Ok(group) = scan.group() {
        group.iter().for_each(record);
    }
}

/// What decodes, encodes to the same bytes: one record has one leaf hash.
///
/// # Panics
/// Where the property does not hold.
pub fn record(bytes: &[u8]) {
    let Ok(record) = Record::decode(bytes) else { return };
    let mut encoded = Vec::new();
    record.encode(&mut encoded);
    assert_eq!(encoded, bytes, "{record:?}");
}

/// Checkpoints and verifier keys: no panic, nothing opens that nobody signed, and a key that reads
/// writes back to itself.
///
/// # Panics
/// Where the property does not hold.
pub fn note(bytes: &[u8]) {
    let _ = Checkpoint::read_unverified(bytes);
    // The base point of Ed25519: nobody holds its private half.
    let mut key = [0x66; 32];
    key[0] = 0x58;
    if let Ok(verifier) = NoteVerifier::new("box-1.example/log", key) {
        assert!(Checkpoint::open(bytes, &verifier).is_err(), "nobody signed this");
    }
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(verifier) = NoteVerifier::parse(text) else { return };
    let again = NoteVerifier::parse(&verifier.to_text());
    assert!(again.is_ok_and(|again| again.key_id() == verifier.key_id()), "{text}");
}
