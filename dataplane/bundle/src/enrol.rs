//! The one-time token that lets a new appliance in.
//!
//! `pce_<secret>_<CA digest>`: 32 hexadecimal digits of secret, and the SHA-256 of the control
//! plane's certificate authority, so that a new box knows whom it talks to before it says anything.

use std::fmt;
use std::str::FromStr;

use crate::Refused;
use crate::names::wrong;

/// A token as an operator carries it to the box. `Display` shows all of it: it is shown once.
#[derive(Clone, Eq, PartialEq)]
pub struct EnrolmentToken {
    /// 32 lower-case hexadecimal digits; the control plane keeps a digest of them.
    pub secret: String,
    /// SHA-256 of the DER of the control plane's CA certificate.
    pub ca_sha256: [u8; 32],
}

impl EnrolmentToken {
    /// `random` is 16 secret random bytes.
    #[must_use]
    pub fn new(random: [u8; 16], ca_sha256: [u8; 32]) -> Self {
        Self { secret: hex(&random), ca_sha256 }
    }
}

impl fmt::Display for EnrolmentToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "pce_{}_{}", self.secret, hex(&self.ca_sha256))
    }
}

impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "EnrolmentToken(pce_…_{})", hex(&self.ca_sha256))
    }
}

impl FromStr for EnrolmentToken {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let rule = "is not an enrolment token: pce_, 32 digits, _, 64 digits, all hexadecimal";
        // The text is a secret: the refusal does not repeat it.
        let fault = || wrong("enrolment token", "…", rule);
        let rest = text.trim().strip_prefix("pce_").ok_or_else(fault)?;
        let (secret, digest) = rest.split_once('_').ok_or_else(fault)?;
        let random: [u8; 16] = unhex(secret).ok_or_else(fault)?;
        Ok(Self::new(random, unhex(digest).ok_or_else(fault)?))
    }
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The reverse of [`hex`]; `None` for anything else, upper-case digits included.
#[must_use]
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let half = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (to, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *to = half(*high)? << 4 | half(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_as_it_was_written() {
        let token = EnrolmentToken::new([0xab; 16], [0x01; 32]);
        assert_eq!(token.to_string().parse::<EnrolmentToken>().unwrap(), token);
        assert!(!format!("{token:?}").contains("abab"));
    }

    #[test]
    fn what_is_not_a_token_is_refused_without_repeating_it() {
        let good = EnrolmentToken::new([0xab; 16], [0x01; 32]).to_string();
        for bad in ["", "pce_", &good.to_uppercase(), &good[1..], &good[..good.len() - 1]] {
            let refused = bad.parse::<EnrolmentToken>().unwrap_err().to_string();
            assert!(!refused.contains("abab"), "{refused}");
        }
    }
}
