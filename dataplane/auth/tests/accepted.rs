//! Right tokens are accepted, to the second, and say who calls.

mod issuer;

use dataplane_auth::{
    AUDIENCES_MAX, ApiKeys, Caller, CallerKind, ClaimPath, CredentialKind, JSON_DEPTH_MAX,
    NAME_BYTES_MAX, ROLES_MAX, Refused, TOKEN_BYTES_MAX, TOKEN_HEADER_BYTES_MAX, TenantFrom,
    Verifier,
};
use dataplane_telemetry::WallNanos;
use issuer::{
    ALL, AUDIENCE, EC_D, EC_X, EC_Y, ED_D, ISSUER, Issuer, NOW_S, SKEW_S, With, claims, decode,
    now, provider, verifier,
};

fn caller(header: &str, claims: &str) -> Result<Caller, Refused> {
    let token = Issuer::new().token(With::EdDsa, header, claims);
    verifier().verify(token.as_bytes(), AUDIENCE, now())
}

fn accepted(claims: &str) -> Caller {
    caller(&With::EdDsa.header(), claims).unwrap()
}

#[test]
fn a_token_says_who_calls() {
    let issuer = Issuer::new();
    for with in ALL {
        let token = issuer.good(with);
        let caller = verifier().verify(token.as_bytes(), AUDIENCE, now()).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let expected = Caller {
            tenant: "acme".to_owned(),
            kind: CallerKind::User,
            user: text("ann"),
            agent: None,
            roles: vec![],
            groups: vec!["staff".to_owned(), "support".to_owned()],
            client_id: text("ide"),
            token_id: text("t1"),
            subject: text("ann"),
            credential: CredentialKind::Token,
            provider: "okta".to_owned(),
            issued_at: Some(WallNanos::from_secs(NOW_S - 60)),
            expires_at: WallNanos::from_secs(NOW_S + 600 + u64::from(SKEW_S)),
        };
        assert_eq!(caller, expected, "{with:?}");
    }
}

#[test]
fn headers_as_providers_write_them() {
    for header in [
        r#"{"alg":"EdDSA","kid":"eddsa"}"#,
        r#"{"kid":"eddsa","typ":"JWT","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","kid":"eddsa","typ":"jwt"}"#,
        r#"{"alg":"EdDSA","kid":"eddsa","typ":"application/at+jwt"}"#,
        r#"{"alg":"Ed25519","kid":"eddsa","typ":"AT+JWT"}"#,
        r#"{"alg":"EdDSA","kid":"eddsa","x5t":"abc","x5t#S256":"def","nonce":"n"}"#,
        " { \"alg\" : \"EdDSA\" ,\r\n\t\"kid\" : \"\\u0065ddsa\" } ",
    ] {
        assert!(caller(header, &claims("")).is_ok(), "{header}");
    }
}

#[test]
fn audiences_as_providers_write_them() {
    let endpoint = format!(r#""aud":"{AUDIENCE}""#);
    for aud in [
        endpoint.clone(),
        format!(r#""aud":["{AUDIENCE}"]"#),
        format!(r#""aud":["https://userinfo.example.com","{AUDIENCE}"]"#),
        r#""aud":"api://gateway""#.to_owned(),
    ] {
        accepted(&claims("").replace(&endpoint, &aud));
    }
}

#[test]
fn times_hold_to_the_second() {
    let exp = format!(r#""exp":{}"#, NOW_S + 600);
    let last = NOW_S + 600 + u64::from(SKEW_S);
    let token = Issuer::new().good(With::EdDsa);
    let mut verifier = verifier();
    let mut at = |wall| verifier.verify(token.as_bytes(), AUDIENCE, wall);
    assert!(at(WallNanos(WallNanos::from_secs(last).0 - 1)).is_ok());
    let expired = Err(Refused::Expired { at: WallNanos::from_secs(NOW_S + 600) });
    assert_eq!(at(WallNanos::from_secs(last)), expired);
    let first = WallNanos::from_secs(NOW_S - 60 - u64::from(SKEW_S));
    assert!(at(first).is_ok());
    let from = WallNanos::from_secs(NOW_S - 60);
    assert_eq!(at(WallNanos(first.0 - 1)), Err(Refused::NotYet { from }));
    // Fractions are cut off; times that are not written do not limit.
    accepted(&claims("").replace(&exp, &format!("{exp}.5")));
    let bare = format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}",{exp},"sub":"a","org":"t"}}"#);
    assert_eq!(accepted(&bare).issued_at, None);
}

#[test]
fn an_agent_a_service_and_an_agent_on_its_own() {
    let agent = accepted(&claims(r#""act":{"sub":"claude"},"#));
    assert_eq!((agent.kind, agent.agent.as_deref()), (CallerKind::User, Some("claude")));
    // A client with a token of its own is its own subject (RFC 9068 §2.2).
    let own = claims("").replace(r#""sub":"ann""#, r#""sub":"ide""#);
    let service = accepted(&own);
    assert_eq!((service.kind, service.user.as_deref()), (CallerKind::Service, Some("ide")));
    let own_agent = accepted(&own.replacen('{', r#"{"act":{"sub":"claude"},"#, 1));
    assert_eq!((own_agent.kind, own_agent.user), (CallerKind::Agent, None));
    assert_eq!(own_agent.agent.as_deref(), Some("claude"));
    // `azp` where there is no `client_id`.
    let azp = accepted(&claims("").replace("client_id", "azp"));
    assert_eq!(azp.client_id.as_deref(), Some("ide"));
}

#[test]
fn roles_as_a_list_a_text_or_null() {
    let roles =
        |value: &str| accepted(&claims(&format!(r#""realm_access":{{"roles":{value}}},"#))).roles;
    assert_eq!(roles(r#"["b","a","b"]"#), ["a", "b"]);
    assert_eq!(roles(r#""b  a b ""#), ["a", "b"]);
    assert_eq!(roles(r#"["with space"]"#), ["with space"]);
    assert!(roles("[]").is_empty() && roles("\"\"").is_empty() && roles("null").is_empty());
    assert!(accepted(&claims(r#""realm_access":7,"#)).roles.is_empty());
}

#[test]
fn what_is_just_within_the_limits() {
    let name = "x".repeat(NAME_BYTES_MAX);
    let groups = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("\"g{number}\"")).collect();
        claims("").replace(r#"["support","staff"]"#, &format!("[{}]", names.join(",")))
    };
    assert_eq!(accepted(&groups(ROLES_MAX)).groups.len(), ROLES_MAX);
    assert!(caller(&With::EdDsa.header(), &groups(ROLES_MAX + 1)).is_err());
    let long = accepted(&claims("").replace("\"ann\"", &format!("\"{name}\"")));
    assert_eq!(long.user.as_deref(), Some(&*name));
    let others = "\"x\",".repeat(AUDIENCES_MAX - 1);
    let endpoint = format!("\"{AUDIENCE}\"");
    accepted(&claims("").replace(&endpoint, &format!("[{others}{endpoint}]")));
    let deep =
        format!("\"deep\":{}1{},", "[".repeat(JSON_DEPTH_MAX - 1), "]".repeat(JSON_DEPTH_MAX - 1));
    accepted(&claims(&deep));
}

#[test]
fn one_past_the_length() {
    let issuer = Issuer::new();
    // Blanks after the JSON are part of it: they fill each part up.
    let filled = |header: usize, claims_len: usize| {
        let header = format!("{:header$}", With::EdDsa.header());
        let claims = format!("{:claims_len$}", claims(""));
        issuer.token(With::EdDsa, header, claims)
    };
    let verify = |token: &str| verifier().verify(token.as_bytes(), AUDIENCE, now());
    let header = filled(TOKEN_HEADER_BYTES_MAX / 4 * 3, 0);
    assert_eq!(header.find('.'), Some(TOKEN_HEADER_BYTES_MAX));
    assert!(verify(&header).is_ok());
    let bytes_max = TOKEN_HEADER_BYTES_MAX;
    let bytes = bytes_max + 2;
    let longer = filled(TOKEN_HEADER_BYTES_MAX / 4 * 3 + 1, 0);
    assert_eq!(verify(&longer), Err(Refused::TooLong { bytes, bytes_max }));
    // 86 characters of signature, two dots.
    let rest = TOKEN_BYTES_MAX - 86 - 2 - 80;
    let token = filled(60, rest / 4 * 3);
    assert_eq!(token.len(), TOKEN_BYTES_MAX);
    assert!(verify(&token).is_ok());
    let bytes_max = TOKEN_BYTES_MAX;
    let longer = format!("{token}A");
    assert_eq!(verify(&longer), Err(Refused::TooLong { bytes: bytes_max + 1, bytes_max }));
}

#[test]
fn a_fixed_tenant_and_a_mapped_user() {
    let mut fixed = provider("okta", ISSUER);
    fixed.claims.tenant = TenantFrom::Fixed("solo".to_owned());
    fixed.claims.user = Some(ClaimPath::parse("https://example.com/mail").unwrap());
    let mut verifier = Verifier::new(vec![fixed], ApiKeys::default()).unwrap();
    let claims = claims(r#""https://example.com/mail":"ann@example.com","#);
    let token = Issuer::new().token(With::EdDsa, With::EdDsa.header(), claims);
    let caller = verifier.verify(token.as_bytes(), AUDIENCE, now()).unwrap();
    assert_eq!((&*caller.tenant, caller.user.as_deref()), ("solo", Some("ann@example.com")));
}

/// An issuer that is not ours: another crate's encoder, JSON and signatures.
#[test]
fn tokens_of_the_jsonwebtoken_crate() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    // PKCS#8 around the RFCs' keys.
    let mut ed = decode("MC4CAQAwBQYDK2VwBCIEIA");
    ed.extend(decode(ED_D));
    let mut ec = decode("MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg");
    ec.extend(decode(EC_D));
    ec.extend([0xa1, 0x44, 0x03, 0x42, 0x00, 0x04]);
    ec.extend(decode(EC_X));
    ec.extend(decode(EC_Y));
    let rsa = issuer::rsa_private_der();
    for (with, algorithm, key) in [
        (With::EdDsa, Algorithm::EdDSA, EncodingKey::from_ed_der(&ed)),
        (With::Es256, Algorithm::ES256, EncodingKey::from_ec_der(&ec)),
        (With::Rs256, Algorithm::RS256, EncodingKey::from_rsa_der(&rsa)),
    ] {
        let header = Header { kid: Some(with.kid()), ..Header::new(algorithm) };
        let claims: serde_json::Value = serde_json::from_str(&claims("")).unwrap();
        let token = encode(&header, &claims, &key).unwrap();
        let caller = verifier().verify(token.as_bytes(), AUDIENCE, now());
        assert_eq!(caller.unwrap().user.as_deref(), Some("ann"), "{with:?}");
    }
}
