//! Properties that the fuzz targets check.

use std::num::NonZeroU32;

use dataplane_telemetry::Nanos;

use crate::{Buckets, Limit, Refusal};

/// Reading a rate never panics, and what is read is a limit that keeps its own promise: a full
/// bucket grants its burst at once, then nothing, then one unit exactly when it said.
///
/// # Panics
/// Where the property does not hold.
pub fn rate(text: &[u8]) {
    let Ok(text) = str::from_utf8(text) else { return };
    let Some(burst) = NonZeroU32::new(u32::try_from(text.len()).unwrap_or(1)) else { return };
    let Ok(limit) = Limit::parse(text, burst) else { return };
    let buckets = Buckets::new(1, [0; 16]);
    let key = buckets.key(0, &[]);
    assert_eq!(buckets.take(key, &limit, burst.get(), Nanos(1)), Ok(()), "{limit:?}");
    let refused = buckets.take(key, &limit, 1, Nanos(1));
    assert!(matches!(refused, Err(Refusal::Wait(_))), "{limit:?}");
    let Err(Refusal::Wait(until)) = refused else { return };
    assert_eq!(buckets.take(key, &limit, 1, Nanos(until.0 - 1)), refused, "{limit:?}");
    assert_eq!(buckets.take(key, &limit, 1, until), Ok(()), "{limit:?}");
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_property_holds_for_what_people_write() {
        for text in ["600/min", "10/s", "1000000000/s", "1/day", "999999937/min", "x", "\u{0}/s"] {
            super::rate(text.as_bytes());
        }
    }
}
