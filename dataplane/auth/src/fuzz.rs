//! Properties that the fuzz targets check.

use dataplane_telemetry::WallNanos;

use crate::{ApiKeys, Jwks, Key, Provider, Refused, TenantFrom, Verifier};

/// Nobody holds the private key, so no bytes are a good token; and nothing panics.
///
/// # Panics
/// Where a caller comes out.
pub fn jwt(bytes: &[u8]) {
    // The base point of Ed25519: a valid key whose private part is of no use here.
    let mut x = [0x66; 32];
    x[0] = 0x58;
    let keys = Key::ed25519("k", &x).into_iter().collect();
    let provider = Provider {
        name: "fuzz".to_owned(),
        issuer: "i".to_owned(),
        audiences: Vec::new(),
        keys,
        claims: crate::ClaimMap {
            tenant: TenantFrom::Fixed("t".to_owned()),
            user: None,
            agent: None,
            roles: crate::ClaimPath::parse("r").ok(),
            groups: None,
        },
        clock_skew_s: 60,
    };
    let Ok(mut verifier) = Verifier::new(vec![provider], ApiKeys::default()) else { return };
    let refused = verifier.verify(bytes, "a", WallNanos::from_secs(1));
    let refused = refused.err().unwrap_or(Refused::Parts);
    assert!(!refused.to_string().is_empty() && !refused.name().is_empty());
}

/// A set that is read has unique names and only keys that are strong enough, and reads the same
/// again.
///
/// # Panics
/// Where the property does not hold.
pub fn jwks(bytes: &[u8]) {
    let Ok(set) = Jwks::parse(bytes) else { return };
    for (place, key) in set.keys.iter().enumerate() {
        assert!(!key.key_id().is_empty());
        assert!(set.keys.iter().take(place).all(|other| other.key_id() != key.key_id()));
        assert!(!key.verifies(b"", &[]), "an empty signature");
    }
    assert_eq!(Jwks::parse(bytes), Ok(set));
}
