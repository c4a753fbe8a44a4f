//! JSON of signed documents: parsed after the signature was checked, never before.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Refused;
use crate::names::shown;

pub(crate) fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Refused> {
    // simd-json writes unescaped strings over its input.
    read_over(what, &mut bytes.to_vec())
}

/// As `read`, and leaves anything in `bytes`.
pub(crate) fn read_over<T: DeserializeOwned>(
    what: &'static str,
    bytes: &mut [u8],
) -> Result<T, Refused> {
    simd_json::serde::from_slice(bytes).map_err(|fault| refused(what, &fault))
}

pub(crate) fn write<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, Refused> {
    simd_json::serde::to_vec(value).map_err(|fault| refused(what, &fault))
}

fn refused(what: &'static str, fault: &simd_json::Error) -> Refused {
    Refused::Json { what, reason: shown(&fault.to_string()) }
}
