//! Key sets and API keys: what is read, what is skipped by name, what is refused.

mod issuer;

use dataplane_auth::{
    API_KEYS_MAX, Algorithm, ApiKey, ApiKeyFault, ApiKeys, CallerKind, CredentialKind,
    JWKS_BYTES_MAX, Jwks, JwksFault, KEYS_MAX, Key, PROVIDERS_MAX, Provider, ProviderFault,
    Refused, TenantFrom, Verifier, mint, secret_sha256,
};
use dataplane_telemetry::WallNanos;
use issuer::{AUDIENCE, EC_X, EC_Y, ED_D, ED_X, ISSUER, RSA_D, RSA_N, jwks, now, provider};

fn set(keys: &[String]) -> Result<Jwks, JwksFault> {
    Jwks::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
}

fn ed(kid: &str, more: &str) -> String {
    format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{ED_X}"{more}}}"#)
}

#[test]
fn a_set_gives_its_keys_their_algorithms() {
    let set = Jwks::parse(jwks().as_bytes()).unwrap();
    let found: Vec<_> = set.keys.iter().map(|key| (key.key_id(), key.algorithm())).collect();
    let expected =
        [("rs256", Algorithm::Rs256), ("es256", Algorithm::Es256), ("eddsa", Algorithm::EdDsa)];
    assert_eq!(found, expected);
    assert_eq!(Jwks::parse(br#"{"keys":[]}"#), Ok(Jwks::default()));
}

#[test]
fn a_key_that_is_not_for_us_is_skipped_by_name() {
    let rsa = |n: &str, e: &str, more: &str| {
        format!(r#"{{"kty":"RSA","kid":"k","n":"{n}","e":"{e}"{more}}}"#)
    };
    let ec = |crv: &str, x: &str| {
        format!(r#"{{"kty":"EC","crv":"{crv}","kid":"k","x":"{x}","y":"{EC_Y}"}}"#)
    };
    for (key, why) in [
        (ed("k", r#","use":"enc""#), "its use is not sig"),
        (ed("k", r#","use":7"#), "its use is not sig"),
        (ed("k", r#","key_ops":["sign"]"#), "its key_ops do not hold verify"),
        (ed("k", r#","key_ops":"verify""#), "its key_ops do not hold verify"),
        (ed("k", r#","alg":"HS256""#), r#"its alg is "HS256", not EdDSA"#),
        (ed("k", r#","alg":null"#), r#"its alg is "", not EdDSA"#),
        (ed("", ""), "its kid is missing, empty or too long"),
        (ed(&"k".repeat(257), ""), "its kid is missing, empty or too long"),
        (
            r#"{"kty":"oct","kid":"k","k":"AAAA"}"#.to_owned(),
            r#"kty "oct" with crv "none" is not accepted"#,
        ),
        (r#"{"kid":"k"}"#.to_owned(), r#"kty "" with crv "none" is not accepted"#),
        (ec("P-384", EC_X), r#"kty "EC" with crv "P-384" is not accepted"#),
        (ec("secp256k1", EC_X), r#"kty "EC" with crv "secp256k1" is not accepted"#),
        (ec("P-256", "AAAA"), "its coordinates have not 32 bytes each"),
        (ec("P-256", "not base64url!"), "its x is missing or not base64url"),
        (rsa(RSA_N, "AQAB", r#","alg":"RS512""#), r#"its alg is "RS512", not RS256"#),
        (rsa(RSA_N, "AQAB", r#","alg":"PS256""#), r#"its alg is "PS256", not RS256"#),
        (rsa(RSA_N, "Aw", ""), "its exponent is even, below 65537 or too large"),
        (rsa(&RSA_N[..200], "AQAB", ""), ""),
        (rsa(&format!("{RSA_N}="), "AQAB", ""), "its n is missing or not base64url"),
    ] {
        let set = set(&[key.clone(), ed("good", "")]).unwrap();
        assert_eq!(set.keys.len(), 1, "{key}");
        assert_eq!(set.skipped.len(), 1, "{key}");
        assert!(set.skipped[0].why.contains(why), "{key}: {}", set.skipped[0].why);
    }
}

#[test]
fn a_short_rsa_key_is_skipped_and_the_reason_has_its_size() {
    // An odd number of 1024 bits.
    let n = "_".repeat(170) + "8";
    let key = format!(r#"{{"kty":"RSA","kid":"k","n":"{n}","e":"AQAB"}}"#);
    let skipped = set(&[key]).unwrap().skipped;
    assert_eq!(&*skipped[0].why, "its modulus has 1024 bits; 2048 to 4096 are accepted");
}

#[test]
fn a_set_that_publishes_a_private_key_is_refused_whole() {
    let private = |key_id: &str| Err(JwksFault::Private { key_id: key_id.into() });
    let rsa = format!(r#"{{"kty":"RSA","kid":"r","n":"{RSA_N}","e":"AQAB","d":"{RSA_D}"}}"#);
    assert_eq!(set(&[ed("good", ""), rsa]), private("r"));
    assert_eq!(set(&[ed("e", &format!(r#","d":"{ED_D}""#))]), private("e"));
    // Also where the key would not be used.
    assert_eq!(set(&[ed("e", r#","use":"enc","d":null"#)]), private("e"));
}

#[test]
fn a_set_with_two_readings_is_refused_whole() {
    let twice = Err(JwksFault::Twice { key_id: "a".into() });
    assert_eq!(set(&[ed("a", ""), ed("a", "")]), twice);
    // A skipped one of the same name is no second reading.
    assert!(set(&[ed("a", ""), ed("a", r#","use":"enc""#)]).is_ok());
    let json = |text: &str| matches!(Jwks::parse(text.as_bytes()), Err(JwksFault::Json(_)));
    assert!(json("") && json("[]") && json("{\"keys\":[],\"keys\":[]}") && json("{}x"));
    assert!(json(r#"{"keys":[{"kid":"a","kid":"b"}]}"#));
    for text in ["{}", r#"{"keys":{}}"#, r#"{"keys":null}"#, r#"{"Keys":[]}"#] {
        assert_eq!(Jwks::parse(text.as_bytes()), Err(JwksFault::NoKeys), "{text}");
    }
    assert_eq!(Jwks::parse(br#"{"keys":[7]}"#), Err(JwksFault::NotAnObject));
}

#[test]
fn one_past_the_limits_of_a_set() {
    let keys: Vec<_> = (0..=KEYS_MAX).map(|number| ed(&number.to_string(), "")).collect();
    assert_eq!(set(&keys[1..]).unwrap().keys.len(), KEYS_MAX);
    assert_eq!(set(&keys), Err(JwksFault::TooMany { keys: KEYS_MAX + 1 }));
    let mut text = br#"{"keys":[]}"#.to_vec();
    text.resize(JWKS_BYTES_MAX, b' ');
    assert!(Jwks::parse(&text).is_ok());
    text.push(b' ');
    assert_eq!(Jwks::parse(&text), Err(JwksFault::TooLong { bytes: JWKS_BYTES_MAX + 1 }));
}

#[test]
fn the_fuzz_property_holds_for_sets_like_these() {
    for text in [jwks(), jwks().replace("eddsa", "rs256"), jwks().replace("256", "512")] {
        for end in 0..=text.len() {
            dataplane_auth::fuzz::jwks(&text.as_bytes()[..end]);
        }
    }
}

#[test]
fn providers_that_could_be_read_two_ways_are_refused() {
    let fault = |providers: Vec<Provider>| Verifier::new(providers, ApiKeys::default()).err();
    let okta = || provider("okta", ISSUER);
    let issuer = ISSUER.to_owned();
    assert_eq!(fault(vec![okta(), okta()]), Some(ProviderFault::IssuerTwice { issuer }));
    let name = || "okta".to_owned();
    let empty = Provider { issuer: String::new(), ..okta() };
    assert_eq!(fault(vec![empty]), Some(ProviderFault::Issuer { provider: name() }));
    let slow = Provider { clock_skew_s: 301, ..okta() };
    assert_eq!(fault(vec![slow]), Some(ProviderFault::Skew { provider: name(), seconds: 301 }));
    assert_eq!(fault(vec![Provider { clock_skew_s: 300, ..okta() }]), None);
    let mut twice = okta();
    twice.keys.push(Key::ed25519("rs256", &[9; 32]).unwrap());
    let key_id = "rs256".to_owned();
    assert_eq!(fault(vec![twice]), Some(ProviderFault::KeyTwice { provider: name(), key_id }));
    let mut slash = okta();
    slash.claims.tenant = TenantFrom::Fixed("a/b".to_owned());
    assert_eq!(fault(vec![slash]), Some(ProviderFault::Tenant { provider: name() }));
    let many = |count: usize| (0..count).map(|n| provider("p", &format!("i{n}"))).collect();
    assert_eq!(fault(many(PROVIDERS_MAX)), None);
    let providers = PROVIDERS_MAX + 1;
    assert_eq!(fault(many(providers)), Some(ProviderFault::TooMany { providers }));
}

fn api_key(id: &str, secret: &str) -> ApiKey {
    ApiKey {
        id: id.to_owned(),
        secret_sha256: secret_sha256(secret.as_bytes()),
        tenant: "acme".to_owned(),
        kind: CallerKind::Agent,
        user: None,
        agent: Some("nightly".to_owned()),
        roles: vec!["b".to_owned(), "a".to_owned(), "b".to_owned()],
        groups: vec![],
        expires_at: Some(WallNanos(now().0 + 5)),
    }
}

#[test]
fn an_api_key_is_its_holder_until_it_ends() {
    let minted = mint([7; 8], &[0xfe; 32]);
    let (_, secret) = minted.text.rsplit_once("pck_0707070707070707_").unwrap();
    assert_eq!((minted.secret_sha256, secret.len()), (secret_sha256(secret.as_bytes()), 43));
    let shown = format!("{minted:?}");
    assert!(shown.contains(&minted.id) && !shown.contains(secret), "{shown}");
    let keys = ApiKeys::new(vec![api_key(&minted.id, secret), api_key("zzzz", "x")]).unwrap();
    let mut verifier = Verifier::new(Vec::new(), keys).unwrap();
    let mut at = |text: &str, wall| verifier.verify(text.as_bytes(), AUDIENCE, wall);
    let caller = at(&minted.text, now()).unwrap();
    assert_eq!((&*caller.tenant, caller.kind), ("acme", CallerKind::Agent));
    assert_eq!((caller.agent.as_deref(), caller.user), (Some("nightly"), None));
    assert_eq!(
        (caller.credential, caller.roles),
        (CredentialKind::ApiKey, vec!["a".into(), "b".into()])
    );
    assert_eq!(caller.token_id.as_deref(), Some(&*minted.id));
    let end = WallNanos(now().0 + 5);
    assert_eq!(caller.expires_at, end);
    assert!(at(&minted.text, WallNanos(end.0 - 1)).is_ok());
    assert_eq!(at(&minted.text, end), Err(Refused::Expired { at: end }));
    // Any single changed character of it is refused.
    for place in 0..minted.text.len() {
        for byte in *b"aZ0-_. " {
            let mut changed = minted.text.clone().into_bytes();
            if changed[place] != byte {
                changed[place] = byte;
                let refused = at(&String::from_utf8(changed).unwrap(), now()).unwrap_err();
                assert!(!refused.cost_a_check(), "{refused}");
            }
        }
    }
}

#[test]
fn forged_api_keys() {
    let secret = "s".repeat(43);
    let keys = ApiKeys::new(vec![api_key("abcd", &secret)]).unwrap();
    let mut verifier = Verifier::new(Vec::new(), keys).unwrap();
    let mut refused = |text: String| verifier.verify(text.as_bytes(), AUDIENCE, now()).err();
    assert_eq!(refused(format!("pck_abcd_{secret}")), None);
    for text in [
        "pck_".to_owned(),
        "pck__".to_owned(),
        "pck_abcd".to_owned(),
        "pck_abcd_".to_owned(),
        format!("pck__{secret}"),
        format!("pck_abc_{secret}"),
        format!("pck_ABCD_{secret}"),
        format!("pck_{}_{secret}", "a".repeat(33)),
        format!("pck_abcd__{secret}"),
        format!("pck_abcd_{secret}s"),
        format!("pck_abcd_{}", &secret[1..]),
        format!("pck_abcd_{secret} "),
        format!("pck_abcd_{}\0", &secret[1..]),
        format!("pck_abcd_{}é", &secret[2..]),
    ] {
        assert_eq!(refused(text.clone()), Some(Refused::ApiKeyShape), "{text:?}");
    }
    // An unknown id and a wrong secret are told alike.
    for text in [format!("pck_abce_{secret}"), format!("pck_abcd_{}", "t".repeat(43))] {
        assert_eq!(refused(text.clone()), Some(Refused::UnknownApiKey), "{text:?}");
    }
    // Another case of the prefix is a token, and no good one.
    assert_eq!(refused(format!("PCK_abcd_{secret}")), Some(Refused::Parts));
}

#[test]
fn api_keys_that_could_be_read_two_ways_are_refused() {
    let fault = |keys: Vec<ApiKey>| ApiKeys::new(keys).err();
    let key = |id: &str| api_key(id, "x");
    let id = || "abcd".to_owned();
    assert_eq!(fault(vec![key("abcd"), key("zzzz"), key("abcd")]), Some(ApiKeyFault::Twice(id())));
    for bad in ["", "abc", "ABCD", "ab_d", "ab d", &"a".repeat(33)] {
        assert_eq!(fault(vec![key(bad)]), Some(ApiKeyFault::Id(bad.to_owned())));
    }
    for tenant in ["", "a/b"] {
        let key = ApiKey { tenant: tenant.to_owned(), ..key("abcd") };
        assert_eq!(fault(vec![key]), Some(ApiKeyFault::Tenant { id: id() }));
    }
    for kind in [CallerKind::User, CallerKind::Service] {
        let key = ApiKey { kind, ..key("abcd") };
        assert_eq!(fault(vec![key]), Some(ApiKeyFault::Nobody { id: id() }));
    }
    let many = |count: usize| (0..count).map(|number| key(&format!("{number:08}"))).collect();
    assert_eq!(fault(many(API_KEYS_MAX)), None);
    let keys = API_KEYS_MAX + 1;
    assert_eq!(fault(many(keys)), Some(ApiKeyFault::TooMany { keys }));
}
