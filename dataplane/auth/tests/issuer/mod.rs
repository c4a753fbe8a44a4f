//! An issuer for tests. Its keys are the published examples of RFC 7515 (RS256, ES256) and RFC 8037
//! (EdDSA), so they are nobody's secret.

#![allow(dead_code, reason = "each test file uses a part")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dataplane_auth::{ApiKeys, ClaimMap, ClaimPath, Jwks, Key, Provider, TenantFrom, Verifier};
use dataplane_telemetry::WallNanos;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};

pub(crate) const ISSUER: &str = "https://idp.example.com";
pub(crate) const AUDIENCE: &str = "https://gateway.example.com/servers/crm/mcp";
pub(crate) const NOW_S: u64 = 1_800_000_000;
pub(crate) const SKEW_S: u32 = 30;

/// RFC 7515 appendix A.2.1.
pub(crate) const RSA_N: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qP\
    CJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bS\
    f63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT\
    6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
pub(crate) const RSA_D: &str = "Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEAeP88vLNO97IjlA7_GQ5sLKMgv\
    fTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-GjBVaYLU6f3l9kJfFNS3E0QbVdxzubSu\
    3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2QvXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT\
    5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_RQyGWSeWjnczT0QU91p1DhOVRuOopznQ";
const RSA_P: &str = "4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn6QLvnEtfdUdiYrqBdss1l58BQ3KhooK\
    eQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc";
const RSA_Q: &str = "uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFY\
    Hj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLtXlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc";
const RSA_DP: &str = "BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZvnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBf\
    pT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0";
const RSA_DQ: &str = "h_96-mK1R_7glhsum81dZxjTnYynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrm\
    I2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-kyNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU";
const RSA_QI: &str = "IYd7DHOhrWvxkwPQsRM2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7\
    fhd_QJQ3ydy5cY7YIBi87w93IKLEdfnbJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U";
/// RFC 7515 appendix A.3.1.
pub(crate) const EC_X: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
pub(crate) const EC_Y: &str = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
pub(crate) const EC_D: &str = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
/// RFC 8037 appendix A.1.
pub(crate) const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
pub(crate) const ED_D: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";

/// Which of the issuer's keys. Its `kid` is the algorithm's name in lower case.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum With {
    Rs256,
    Es256,
    EdDsa,
}

pub(crate) const ALL: [With; 3] = [With::Rs256, With::Es256, With::EdDsa];

impl With {
    pub(crate) fn alg(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(crate) fn kid(self) -> String {
        self.alg().to_lowercase()
    }

    pub(crate) fn header(self) -> String {
        format!(r#"{{"alg":"{}","kid":"{}","typ":"at+jwt"}}"#, self.alg(), self.kid())
    }
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Signs whatever it is given.
pub(crate) struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    random: SystemRandom,
}

impl Issuer {
    pub(crate) fn new() -> Self {
        let random = SystemRandom::new();
        let rsa = ring::rsa::KeyPairComponents {
            public_key: ring::rsa::PublicKeyComponents { n: decode(RSA_N), e: vec![1, 0, 1] },
            d: decode(RSA_D),
            p: decode(RSA_P),
            q: decode(RSA_Q),
            dP: decode(RSA_DP),
            dQ: decode(RSA_DQ),
            qInv: decode(RSA_QI),
        };
        let mut point = vec![4];
        point.extend(decode(EC_X));
        point.extend(decode(EC_Y));
        let ec = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &decode(EC_D),
            &point,
            &random,
        );
        Self {
            rsa: RsaKeyPair::from_components(&rsa).unwrap(),
            ec: ec.unwrap(),
            ed: Ed25519KeyPair::from_seed_and_public_key(&decode(ED_D), &decode(ED_X)).unwrap(),
            random,
        }
    }

    pub(crate) fn signature(&self, with: With, message: &[u8]) -> Vec<u8> {
        match with {
            With::Rs256 => {
                let mut out = vec![0; self.rsa.public().modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut out).unwrap();
                out
            }
            With::Es256 => self.ec.sign(&self.random, message).unwrap().as_ref().to_vec(),
            With::EdDsa => self.ed.sign(message).as_ref().to_vec(),
        }
    }

    /// A token over these very bytes, well-formed or not.
    pub(crate) fn token(
        &self,
        with: With,
        header: impl AsRef<[u8]>,
        claims: impl AsRef<[u8]>,
    ) -> String {
        self.compact(with, &format!("{}.{}", encode(header), encode(claims)))
    }

    /// `signed` is what stands before the second dot.
    pub(crate) fn compact(&self, with: With, signed: &str) -> String {
        format!("{signed}.{}", encode(self.signature(with, signed.as_bytes())))
    }

    pub(crate) fn good(&self, with: With) -> String {
        self.token(with, with.header(), claims(""))
    }
}

/// Good claims, with more of them (`"a":1,`) in front.
pub(crate) fn claims(more: &str) -> String {
    format!(
        r#"{{{more}"iss":"{ISSUER}","aud":"{AUDIENCE}","exp":{},"iat":{},"nbf":{},"sub":"ann","org":"acme","client_id":"ide","jti":"t1","groups":["support","staff"]}}"#,
        NOW_S + 600,
        NOW_S - 60,
        NOW_S - 60,
    )
}

pub(crate) fn now() -> WallNanos {
    WallNanos::from_secs(NOW_S)
}

pub(crate) fn jwks() -> String {
    format!(
        r#"{{"keys":[
        {{"kty":"RSA","kid":"rs256","use":"sig","alg":"RS256","n":"{RSA_N}","e":"AQAB"}},
        {{"kty":"EC","kid":"es256","crv":"P-256","x":"{EC_X}","y":"{EC_Y}"}},
        {{"kty":"OKP","kid":"eddsa","crv":"Ed25519","x":"{ED_X}","key_ops":["verify"]}}]}}"#
    )
}

pub(crate) fn keys() -> Vec<Key> {
    let jwks = Jwks::parse(jwks().as_bytes()).unwrap();
    assert_eq!(jwks.skipped, []);
    jwks.keys
}

pub(crate) fn provider(name: &str, issuer: &str) -> Provider {
    let path = |text| Some(ClaimPath::parse(text).unwrap());
    Provider {
        name: name.to_owned(),
        issuer: issuer.to_owned(),
        audiences: vec!["api://gateway".to_owned()],
        keys: keys(),
        claims: ClaimMap {
            tenant: TenantFrom::Claim(ClaimPath::parse("org").unwrap()),
            user: None,
            agent: path("/act/sub"),
            roles: path("realm_access.roles"),
            groups: path("groups"),
        },
        clock_skew_s: SKEW_S,
    }
}

pub(crate) fn verifier() -> Verifier {
    // The other provider has one key of its own, under a name that the first one uses too.
    let mut other = provider("other", "https://other.example.com");
    other.keys = vec![Key::ed25519("eddsa", &[7; 32]).unwrap()];
    let providers = vec![provider("okta", ISSUER), other];
    Verifier::new(providers, ApiKeys::default()).unwrap()
}

/// RFC 8017 appendix A.1.2.
pub(crate) fn rsa_private_der() -> Vec<u8> {
    let numbers = [RSA_N, "AQAB", RSA_D, RSA_P, RSA_Q, RSA_DP, RSA_DQ, RSA_QI];
    let mut body = vec![2, 1, 0];
    for number in numbers {
        // Positive: a leading bit would be a sign.
        let mut number = decode(number);
        if number[0] >= 0x80 {
            number.insert(0, 0);
        }
        body.extend(tagged(2, &number));
    }
    tagged(0x30, &body)
}

/// RFC 8017 appendix A.1.1: what an attacker would use as an HMAC key.
pub(crate) fn rsa_public_der() -> Vec<u8> {
    let mut modulus = vec![0];
    modulus.extend(decode(RSA_N));
    tagged(0x30, &[tagged(2, &modulus), tagged(2, &[1, 0, 1])].concat())
}

fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap().to_be_bytes();
    let mut out = match length {
        [0, short] if short < 0x80 => vec![tag, short],
        [0, long] => vec![tag, 0x81, long],
        [high, low] => vec![tag, 0x82, high, low],
    };
    out.extend(value);
    out
}
