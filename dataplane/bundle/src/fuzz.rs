//! Properties that the fuzz targets check, on bytes that anybody may send.
//!
//! Besides never panicking: what opens, writes back to the same bytes or the same value, and nothing
//! opens that our key did not sign.

use dataplane_telemetry::WallNanos;

use crate::message::{Encoded, Enrol, Enrolled, HEAD_BYTES, Head, ToAppliance, ToControl};
use crate::{ApplianceId, Bundle, Draft, KillList, PublicKey, Refused, Revision, Signer};

/// Bytes as a bundle: as they are (which nobody signed), and as a table, a catalog and self-tests
/// that the right key did sign.
pub fn bundle(bytes: &[u8]) {
    let Some((signer, appliance)) = world() else { return };
    let trusted = [signer.public_key()];
    let opened = Bundle::open(bytes, &trusted, &appliance, Revision(0));
    assert!(opened.is_err() || was_sealed_here(bytes, 96, &trusted), "opened what nobody signed");
    let third = bytes.len() / 3;
    let (table, rest) = bytes.split_at_checked(third).unwrap_or_default();
    let (catalog, self_tests) = rest.split_at_checked(third).unwrap_or_default();
    let hostile = Draft::unchecked(Revision(7), WallNanos(1), [table, catalog, self_tests]);
    let Ok(opened) =
        Bundle::open(&hostile.seal(&appliance, &signer), &trusted, &appliance, Revision(7))
    else {
        return;
    };
    let again = draft(&opened).map(|draft| draft.seal(&appliance, &signer));
    let again = again.and_then(|sealed| Bundle::open(&sealed, &trusted, &appliance, Revision(7)));
    let same = again.is_ok_and(|again| {
        again.catalog == opened.catalog && again.self_tests == opened.self_tests
    });
    assert!(same, "what was opened does not write back to itself");
}

/// Bytes as a kill list, and as the JSON of one that the right key did sign.
pub fn kill_list(bytes: &[u8]) {
    let Some((signer, _)) = world() else { return };
    let trusted = [signer.public_key()];
    let opened = KillList::open(bytes, &trusted, 0);
    assert!(opened.is_err() || was_sealed_here(bytes, 30, &trusted), "opened what nobody signed");
    let hostile = KillList::seal_unchecked(7, bytes, &signer);
    let Ok(opened) = KillList::open(&hostile, &trusted, 7) else { return };
    let again = opened.seal(&signer).and_then(|sealed| KillList::open(&sealed, &trusted, 7));
    assert!(again.as_ref() == Ok(&opened), "what was opened does not write back to itself");
}

/// Bytes as a message of the channel: what decodes, encodes to the same bytes.
pub fn message(bytes: &[u8]) {
    let Some((head, body)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return };
    let Ok(Head { kind, length }) = Head::read(*head) else { return };
    let Some(body) = body.get(..length) else { return };
    let whole = bytes.get(..HEAD_BYTES + length).unwrap_or_default();
    let same = |again: Result<Encoded, Refused>| again.is_ok_and(|again| *again == whole);
    if let Ok(message) = ToAppliance::decode(kind, Encoded::new(body.to_vec())) {
        assert!(same(message.encode()), "{kind:?} does not encode to itself");
    }
    if let Ok(message) = ToControl::decode(kind, body) {
        assert!(same(message.encode()), "{kind:?} does not encode to itself");
    }
    if let Ok(message) = Enrol::decode(kind, body) {
        assert!(same(message.encode()), "{kind:?} does not encode to itself");
    }
    if let Ok(message) = Enrolled::decode(kind, body) {
        assert!(same(Enrolled::encode(&message)), "{kind:?} does not encode to itself");
    }
}

fn world() -> Option<(Signer, ApplianceId)> {
    Some((Signer::from_seed(&[7; 32])?, ApplianceId::new("box-1").ok()?))
}

fn draft(bundle: &Bundle) -> Result<Draft, Refused> {
    let Bundle { revision, created_at, table, catalog, self_tests, .. } = bundle;
    Draft::new(*revision, *created_at, table.clone(), catalog, self_tests)
}

/// A corpus may hold what the fuzzing key sealed: that opens. `at` is the key id's place.
fn was_sealed_here(bytes: &[u8], at: usize, trusted: &[PublicKey]) -> bool {
    bytes.get(at..at + 8).is_some_and(|id| trusted.iter().any(|key| key.id().0 == id))
}
