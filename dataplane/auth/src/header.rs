//! A token's header (RFC 7515 §4): what may stand in it, which is little.

use crate::json::{Json, Object};
use crate::refused::shown;
use crate::{Part, Refused};

/// Keys that a token brings along, pointers to keys, encodings that we do not undo, and extensions
/// that must be understood (we understand none). Refused even where a key of ours would verify.
const REFUSED_ALWAYS: [&str; 10] =
    ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty", "epk"];

/// What is left of a header.
#[derive(Debug)]
pub(crate) struct Header<'a> {
    pub(crate) alg: &'a str,
    pub(crate) key_id: &'a str,
}

impl<'a> Header<'a> {
    pub(crate) fn read(header: &'a Object) -> Result<Self, Refused> {
        if let Some(name) = REFUSED_ALWAYS.iter().find(|name| header.contains_key(**name)) {
            return Err(Refused::Parameter(name));
        }
        match header.get("typ") {
            None => {}
            Some(Json::Text(typ)) if is_access_token(typ) => {}
            Some(Json::Text(typ)) => return Err(Refused::Type(shown(typ))),
            Some(_) => return Err(wrong("its typ is not a text")),
        }
        let alg = match header.get("alg") {
            None => return Err(Refused::NoAlgorithm),
            Some(alg) => alg.text().ok_or_else(|| wrong("its alg is not a text"))?,
        };
        let key_id = match header.get("kid") {
            None => return Err(Refused::NoKeyId),
            Some(key_id) => key_id.text().ok_or_else(|| wrong("its kid is not a text"))?,
        };
        Ok(Self { alg, key_id })
    }
}

/// RFC 9068 §2.1 names `at+jwt`; older providers write `JWT` or nothing. Everything else is another
/// kind of token: an ID-JAG (`oauth-id-jag+jwt`), a log-out token, a DPoP proof.
fn is_access_token(typ: &str) -> bool {
    ["JWT", "at+jwt", "application/at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known))
}

fn wrong(why: &str) -> Refused {
    Refused::Json { part: Part::Header, why: why.into() }
}
