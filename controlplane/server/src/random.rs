//! Random bytes and hashes for tokens, keys and names.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

use crate::fault::Fault;

/// Secret random bytes.
pub(crate) fn bytes<const N: usize>() -> Result<[u8; N], Fault> {
    let mut out = [0; N];
    SystemRandom::new().fill(&mut out).map_err(|_| Fault::ours("the system gave no randomness"))?;
    Ok(out)
}

/// `N` secret random bytes as `2 N` lower-case hexadecimal digits.
pub(crate) fn hex<const N: usize>() -> Result<String, Fault> {
    Ok(to_hex(&bytes::<N>()?))
}

/// SHA-256 as 64 lower-case hexadecimal digits.
pub(crate) fn sha256_hex(data: &[u8]) -> String {
    to_hex(digest(&SHA256, data).as_ref())
}

pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Equal or not, in a time that does not tell where they differ.
pub(crate) fn equal(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |seen, (a, b)| seen | (a ^ b)) == 0
}
