//! Fields that this release does not know are refused, under a good signature too.
//!
//! The JSON is changed and sealed again by hand: a control plane of another release.

mod world;

use dataplane_bundle::{Bundle, Refused, Revision, Signer};
use ring::digest::{SHA256, digest};
use ring::signature::Ed25519KeyPair;
use world::{appliance, draft, signer};

/// Replaces `from` by `to` in the section of that number, and signs what results.
fn resealed(section: usize, from: &str, to: &str) -> Vec<u8> {
    let sealed = draft(7).seal(&appliance("box-1"), &signer(1));
    let length = |number: usize| {
        let at = 104 + number * 40 + 4;
        u32::from_le_bytes(sealed[at..at + 4].try_into().unwrap()) as usize
    };
    let mut at = 104 + 3 * 40 + 64;
    let mut sections: Vec<Vec<u8>> = Vec::new();
    for number in 0..3 {
        sections.push(sealed[at..at + length(number)].to_vec());
        at += length(number);
    }
    let text = String::from_utf8(sections[section].clone()).unwrap();
    assert!(text.contains(from), "{text}");
    sections[section] = text.replacen(from, to, 1).into_bytes();
    let mut bytes = sealed[..104].to_vec();
    let total = 104 + 120 + 64 + sections.iter().map(Vec::len).sum::<usize>();
    bytes[12..16].copy_from_slice(&u32::try_from(total).unwrap().to_le_bytes());
    for (number, section) in sections.iter().enumerate() {
        bytes.extend_from_slice(&(number as u32 + 1).to_le_bytes());
        bytes.extend_from_slice(&(section.len() as u32).to_le_bytes());
        bytes.extend_from_slice(digest(&SHA256, section).as_ref());
    }
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let signature = pair.sign(&[b"portcullis bundle v1\0", &bytes[..]].concat());
    bytes.extend_from_slice(signature.as_ref());
    sections.iter().for_each(|section| bytes.extend_from_slice(section));
    bytes
}

fn refused(bytes: &[u8]) -> String {
    let trusted = [Signer::from_seed(&[1; 32]).unwrap().public_key()];
    let refused = Bundle::open(bytes, &trusted, &appliance("box-1"), Revision(0)).unwrap_err();
    assert!(!matches!(refused, Refused::Signature { .. } | Refused::Digest { .. }), "{refused}");
    refused.to_string()
}

#[test]
fn resealing_changes_nothing_by_itself() {
    let bytes = resealed(1, "crm", "crm");
    let trusted = [signer(1).public_key()];
    assert!(Bundle::open(&bytes, &trusted, &appliance("box-1"), Revision(0)).is_ok());
}

#[test]
fn an_unknown_field_is_refused_at_every_level() {
    for (from, to) in [
        ("{\"gateway\":", "{\"new\":1,\"gateway\":"),
        ("\"public_url\":", "\"new\":1,\"public_url\":"),
        ("\"issuer\":", "\"new\":1,\"issuer\":"),
        ("\"tenant\":{", "\"new\":1,\"tenant\":{"),
        ("\"secret_sha256\":", "\"new\":1,\"secret_sha256\":"),
        ("\"era\":", "\"new\":1,\"era\":"),
        ("\"prefix\":", "\"new\":1,\"prefix\":"),
        ("\"connect_ms\":", "\"new\":1,\"connect_ms\":"),
        ("\"digest\":", "\"new\":1,\"digest\":"),
        ("\"burst\":", "\"new\":1,\"burst\":"),
        ("\"units\":", "\"new\":1,\"units\":"),
        ("\"event_bytes_max\":", "\"new\":1,\"event_bytes_max\":"),
    ] {
        let text = refused(&resealed(1, from, to));
        assert!(text.contains("new"), "{to}: {text}");
    }
    let text = refused(&resealed(2, "\"expect\":", "\"new\":1,\"expect\":"));
    assert!(text.contains("new"), "{text}");
}

#[test]
fn a_repeated_or_missing_field_an_unknown_word_and_a_past_bound_are_refused() {
    for (from, to) in [
        ("\"burst\":100", "\"burst\":100,\"burst\":100"),
        ("\"burst\":100,", ""),
        ("\"modern\"", "\"future\""),
        ("\"per\":\"agent\"", "\"per\":\"everyone\""),
        ("\"burst\":100", "\"burst\":-1"),
        ("\"burst\":100", "\"burst\":4294967296"),
        ("\"burst\":100", "\"burst\":0"),
        ("\"name\":\"crm\"", "\"name\":\"CRM\""),
        ("\"read_only\":true", "\"read_only\":1"),
    ] {
        let text = refused(&resealed(1, from, to));
        assert!(text.len() > 10, "{to}: {text}");
    }
}
