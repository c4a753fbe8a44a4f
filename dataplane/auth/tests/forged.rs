//! Forged tokens: more than five hundred, each refused by the rule that it breaks.

mod forger;
mod issuer;

use std::collections::BTreeSet;

use forger::forged;
use issuer::{ALL, AUDIENCE, Issuer, With, now, verifier};

#[test]
fn every_forged_token_is_refused_by_the_rule_that_it_breaks() {
    let mut verifier = verifier();
    let (mut seen, mut rules) = (BTreeSet::new(), BTreeSet::new());
    let mut wrong = Vec::new();
    for with in ALL {
        for (why, token, rule) in forged(with) {
            let shown = token[..token.len().min(200)].escape_ascii();
            match verifier.verify(&token, AUDIENCE, now()) {
                Err(refused) if refused.name() == rule => {}
                other => wrong.push(format!("{why}: not {rule:?} but {other:?}\n{shown}\n")),
            }
            rules.insert(rule);
            seen.insert(token);
        }
        // The right one is accepted by the same verifier, so none of them is refused for nothing.
        let good = Issuer::new().good(with);
        assert!(verifier.verify(good.as_bytes(), AUDIENCE, now()).is_ok());
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
    assert!(seen.len() >= 500, "{}", seen.len());
    assert!(rules.len() >= 18, "{rules:?}");
}

#[test]
fn any_single_changed_character_is_refused() {
    const ALPHABET: &[u8] =
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+/= \0";
    let mut verifier = verifier();
    for with in ALL {
        let good = Issuer::new().good(with).into_bytes();
        for place in 0..good.len() {
            // Each neighbour in the alphabet, and by turns the others.
            let others = ALPHABET.iter().enumerate().filter(|(nth, byte)| {
                let near = byte.abs_diff(good[place]) < 2 || (nth + place) % 8 == 0;
                near && **byte != good[place]
            });
            for (_, byte) in others {
                let mut changed = good.clone();
                changed[place] = *byte;
                let refused = verifier.verify(&changed, AUDIENCE, now());
                assert!(refused.is_err(), "{with:?}: place {place}, {byte:?}");
            }
            let mut shorter = good.clone();
            shorter.remove(place);
            assert!(verifier.verify(&shorter, AUDIENCE, now()).is_err());
        }
        for end in 0..good.len() {
            assert!(verifier.verify(&good[..end], AUDIENCE, now()).is_err());
        }
    }
}

#[test]
fn only_a_wrong_signature_costs_a_check() {
    let mut verifier = verifier();
    for (why, token, rule) in forged(With::Es256) {
        let refused = verifier.verify(&token, AUDIENCE, now()).unwrap_err();
        assert_eq!(refused.cost_a_check(), rule == "signature", "{why}");
    }
}

#[test]
fn the_fuzz_property_holds_for_every_forged_token() {
    for (_, token, _) in forged(With::EdDsa) {
        dataplane_auth::fuzz::jwt(&token);
        dataplane_auth::fuzz::jwks(&token);
    }
}
