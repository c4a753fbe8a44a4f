//! JSON of signed documents: parsed after the signature was checked, never before.

use serde::Serialize;
use serde::de::DeserializeOwned;
use simd_json::{Buffers, Deserializer};

use crate::Refused;
use crate::names::shown;

/// What simd-json reads beyond its input.
pub(crate) const PADDING_BYTES: usize = simd_json::INPUT_PADDING;

pub(crate) fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Refused> {
    let mut padded = Vec::with_capacity(bytes.len() + PADDING_BYTES);
    padded.extend_from_slice(bytes);
    padded.resize(bytes.len() + PADDING_BYTES, 0);
    read_over(what, &mut padded, bytes.len())
}

/// As `read`, of the first `len` bytes, and leaves anything in them: simd-json writes unescaped strings over
/// its input. After them [`PADDING_BYTES`] of anything have to follow.
pub(crate) fn read_over<T: DeserializeOwned>(
    what: &'static str,
    padded: &mut [u8],
    len: usize,
) -> Result<T, Refused> {
    let mut tape = simd_json::Tape::null();
    simd_json::fill_tape_padded(padded, len, &mut Buffers::new(len), &mut tape)
        .and_then(|()| T::deserialize(&mut Deserializer::from_tape(tape)))
        .map_err(|fault| refused(what, &fault))
}

pub(crate) fn write<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, Refused> {
    simd_json::serde::to_vec(value).map_err(|fault| refused(what, &fault))
}

fn refused(what: &'static str, fault: &simd_json::Error) -> Refused {
    Refused::Json { what, reason: shown(&fault.to_string()) }
}
