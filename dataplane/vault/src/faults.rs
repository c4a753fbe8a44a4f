//! Why a secret could not be lent or kept, in sentences that an operator can act on.
//!
//! No fault holds or shows a value.

use std::fmt::{Display, Formatter, Result};

use dataplane_telemetry::WallNanos;

use crate::{NAME_BYTES_MAX, SECRETS_MAX, VALUE_BYTES_MAX};

/// A secret that cannot be lent: the call is refused, nothing is sent without it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LeaseFault<'a> {
    /// Empty where the index is not of this table.
    pub secret: &'a str,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Why {
    /// Named by the catalog; the control plane has not lent it yet.
    Missing,
    /// Over since this time, and not renewed.
    Expired { since: WallNanos },
    /// Taken back by the control plane.
    Revoked,
}

impl Display for LeaseFault<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let Self { secret, why } = self;
        match why {
            Why::Missing => write!(
                out,
                "secret {secret:?} is not on this appliance: set it with `portcullis secrets set \
                 {secret}` and check that the control plane is connected"
            ),
            Why::Expired { since } => {
                write!(out, "the lease of secret {secret:?} ended at ")?;
                instant(out, *since)?;
                write!(out, " and was not renewed: check that the control plane is connected")
            }
            Why::Revoked => write!(out, "secret {secret:?} was taken back by the control plane"),
        }
    }
}

impl std::error::Error for LeaseFault<'_> {}

/// A lease that could not be kept. What was held before is untouched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PutFault {
    /// Not 1 to [`NAME_BYTES_MAX`] bytes of printable ASCII without spaces.
    Name,
    /// No bytes: an empty secret would be sent as an empty credential.
    Empty,
    TooLong {
        bytes: usize,
    },
    /// A control character: it could end the header that it is put into.
    Control {
        place: usize,
    },
    TooMany,
    Full {
        bytes: usize,
        free_bytes: usize,
    },
    /// Older than what is held.
    Older {
        held: u64,
        offered: u64,
    },
    /// Already over when it came.
    Over {
        since: WallNanos,
    },
    /// A renewal of what is not held, or of another revision of it: the value must be sent.
    NotHeld,
}

impl Display for PutFault {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Name => write!(
                out,
                "a secret's name is 1 to {NAME_BYTES_MAX} printable ASCII characters, no spaces"
            ),
            Self::Empty => write!(out, "the secret has no value"),
            Self::TooLong { bytes } => write!(
                out,
                "the secret has {bytes} bytes; the limit is {VALUE_BYTES_MAX} (VALUE_BYTES_MAX)"
            ),
            Self::Control { place } => write!(
                out,
                "the secret's byte {place} is a control character, which no header may hold"
            ),
            Self::TooMany => {
                write!(out, "the limit of {SECRETS_MAX} secrets (SECRETS_MAX) is reached")
            }
            Self::Full { bytes, free_bytes } => write!(
                out,
                "{bytes} bytes do not fit: {free_bytes} of locked memory are free; raise the \
                 gateway's vault size"
            ),
            Self::Older { held, offered } => {
                write!(out, "revision {held} of this secret is held; {offered} is older")
            }
            Self::Over { since } => {
                write!(out, "the lease was already over, since ")?;
                instant(out, *since)?;
                write!(out, ", when it came: compare the clocks")
            }
            Self::NotHeld => {
                write!(out, "this revision of the secret is not held; send its value again")
            }
        }
    }
}

impl std::error::Error for PutFault {}

/// RFC 3339 in UTC, to the second. Days to a date by Howard Hinnant's `civil_from_days`.
fn instant(out: &mut Formatter<'_>, at: WallNanos) -> Result {
    let (days, second) = (at.secs() / 86_400, at.secs() % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_secret_time_and_remedy() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            let why = Why::Expired { since: WallNanos::from_secs(seconds) };
            assert_eq!(
                LeaseFault { secret: "crm-key", why }.to_string(),
                format!(
                    "the lease of secret \"crm-key\" ended at {text} and was not renewed: check \
                     that the control plane is connected"
                )
            );
        }
    }
}
