//! Bundles: what opens, and everything that does not.

mod world;

use dataplane_bundle::{Bundle, Draft, Refused, Revision, content};
use world::{NOW, appliance, catalog, draft, self_test, signer};

fn open(bytes: &[u8]) -> Result<Bundle, Refused> {
    Bundle::open(bytes, &[signer(1).public_key()], &appliance("box-1"), Revision(0))
}

fn sealed() -> Vec<u8> {
    draft(7).seal(&appliance("box-1"), &signer(1))
}

/// Offsets in the container, as its format says.
const REVISION_AT: usize = 16;
const KEY_ID_AT: usize = 96;
const FIRST_ENTRY_AT: usize = 104;
const SIGNATURE_AT: usize = 104 + 3 * 40;

#[test]
fn what_was_sealed_opens() {
    let bytes = sealed();
    let bundle = open(&bytes).unwrap();
    assert_eq!(bundle.revision, Revision(7));
    assert_eq!(bundle.created_at, NOW);
    assert_eq!(bundle.table, b"a table");
    assert_eq!(bundle.catalog, catalog());
    assert_eq!(bundle.self_tests, [self_test()]);
    assert_eq!(bundle.content, content(&bytes));
}

#[test]
fn every_flipped_bit_is_refused() {
    let good = sealed();
    let mut bytes = good.clone();
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(bytes == good && open(&bytes).is_ok());
}

#[test]
fn every_truncation_is_refused() {
    let bytes = sealed();
    for length in 0..bytes.len() {
        assert!(open(&bytes[..length]).is_err(), "{length} bytes");
    }
    let longer = [&bytes[..], b"\0"].concat();
    let refused = open(&longer).unwrap_err();
    assert_eq!(refused, Refused::TrailingBytes { what: "bundle", count: 1 });
}

/// RELIABILITY F7: about 590,000 cases, a minute or two. `cargo test -- --ignored`.
#[test]
#[ignore = "a minute or two; the small bundle's test has every case of the format"]
fn every_flipped_bit_and_truncation_of_64_kib_is_refused() {
    let size = (64 << 10) - sealed().len() + b"a table".len();
    let draft = Draft::new(Revision(7), NOW, vec![0x5a; size], &catalog(), &[self_test()]).unwrap();
    let good = draft.seal(&appliance("box-1"), &signer(1));
    assert_eq!(good.len(), 64 << 10);
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        for core in 0..cores {
            let mut bytes = good.clone();
            scope.spawn(move || {
                for bit in (core..bytes.len() * 8).step_by(cores) {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    assert!(open(&bytes).is_err(), "bit {bit}");
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                for length in (core..bytes.len()).step_by(cores) {
                    assert!(open(&bytes[..length]).is_err(), "{length} bytes");
                }
            });
        }
    });
}

#[test]
fn another_appliances_bundle_is_refused() {
    let bytes = draft(7).seal(&appliance("box-2"), &signer(1));
    let refused = open(&bytes).unwrap_err();
    let expected =
        Refused::OtherAppliance { found: appliance("box-2"), expected: appliance("box-1") };
    assert_eq!(refused, expected);
    assert_eq!(refused.to_string(), "made for appliance \"box-2\", this one is \"box-1\"");
}

#[test]
fn an_older_revision_is_refused_and_the_floor_itself_is_not() {
    let trusted = [signer(1).public_key()];
    let open = |floor| Bundle::open(&sealed(), &trusted, &appliance("box-1"), Revision(floor));
    assert!(open(7).is_ok());
    let expected = Refused::Older { found: Revision(7), floor: Revision(8) };
    assert_eq!(open(8).unwrap_err(), expected);
}

#[test]
fn an_unsigned_bundle_is_refused() {
    let mut zeroed = sealed();
    zeroed[SIGNATURE_AT..SIGNATURE_AT + 64].fill(0);
    assert_eq!(open(&zeroed).unwrap_err(), Refused::Signature { what: "bundle" });
    let mut cut = sealed();
    cut.drain(SIGNATURE_AT..SIGNATURE_AT + 64);
    assert!(open(&cut).is_err());
    let mut nameless = sealed();
    nameless[KEY_ID_AT..KEY_ID_AT + 8].fill(0);
    assert!(matches!(open(&nameless), Err(Refused::UnknownKey { .. })));
    let trusted_nobody = Bundle::open(&sealed(), &[], &appliance("box-1"), Revision(0));
    assert!(matches!(trusted_nobody, Err(Refused::UnknownKey { .. })));
}

#[test]
fn a_stranger_who_names_our_key_is_refused() {
    let mut bytes = draft(7).seal(&appliance("box-1"), &signer(2));
    assert!(matches!(open(&bytes), Err(Refused::UnknownKey { .. })));
    bytes[KEY_ID_AT..KEY_ID_AT + 8].copy_from_slice(&signer(1).public_key().id().0);
    assert_eq!(open(&bytes).unwrap_err(), Refused::Signature { what: "bundle" });
}

#[test]
fn a_higher_revision_under_an_old_signature_is_refused() {
    let mut bytes = sealed();
    bytes[REVISION_AT..REVISION_AT + 8].copy_from_slice(&8_u64.to_le_bytes());
    assert_eq!(open(&bytes).unwrap_err(), Refused::Signature { what: "bundle" });
}

#[test]
fn sections_of_another_bundle_are_refused() {
    let bytes = sealed();
    let other = Draft::new(Revision(7), NOW, b"b table".to_vec(), &catalog(), &[self_test()]);
    let other = other.unwrap().seal(&appliance("box-1"), &signer(1));
    let swapped = [&bytes[..SIGNATURE_AT + 64], &other[SIGNATURE_AT + 64..]].concat();
    assert_eq!(open(&swapped).unwrap_err(), Refused::Digest { section: "table" });
}

#[test]
fn unknown_and_repeated_sections_are_refused() {
    for (place, kind) in [(0, 2), (1, 1), (2, 4), (2, 0), (1, u32::MAX)] {
        let mut bytes = sealed();
        let at = FIRST_ENTRY_AT + place * 40;
        bytes[at..at + 4].copy_from_slice(&u32::to_le_bytes(kind));
        let refused = open(&bytes).unwrap_err();
        let same = matches!(refused, Refused::Section { place: p, found, .. }
            if p == place && found == kind);
        assert!(same, "{refused}");
    }
    for count in [0_u16, 2, 4, u16::MAX] {
        let mut bytes = sealed();
        bytes[10..12].copy_from_slice(&count.to_le_bytes());
        assert!(matches!(open(&bytes), Err(Refused::Section { .. })));
    }
}

#[test]
fn other_formats_and_versions_are_named() {
    let refused = open(b"PK\x03\x04zipped-things").unwrap_err();
    assert!(matches!(refused, Refused::Magic { what: "bundle", .. }));
    let mut bytes = sealed();
    bytes[8] = 2;
    let expected = Refused::Version { what: "bundle", found: 2, supported: 1 };
    assert_eq!(open(&bytes).unwrap_err(), expected);
}

#[test]
fn an_empty_table_and_revision_zero_are_not_signed() {
    let new = |revision, table: &[u8]| {
        Draft::new(Revision(revision), NOW, table.to_vec(), &catalog(), &[])
    };
    assert!(new(1, b"t").is_ok());
    assert!(new(1, b"").is_err());
    assert!(new(0, b"t").is_err());
}
