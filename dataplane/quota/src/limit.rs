//! A limit: so many units each period, saved up to a burst.
//!
//! One unit's time is rounded *up* to 1/64 ns, so a caller never gets more than the limit says. It
//! gets less by at most one part in `64 × period_ns / units`: 2 in 100,000 at a million a second,
//! nothing at any rate whose unit takes a whole number of 1/64 ns (600/min, 10/s, 5000/hour).

use std::num::{NonZeroU32, NonZeroU64};

use crate::grains::GRAINS_PER_NS;

/// A unit takes at least a nanosecond, or rounding up would cost more than 1 part in 64.
pub const RATE_PER_SECOND_MAX: u64 = 1_000_000_000;

/// An empty bucket is full again within 400 days: a year of saving up, and bucket times that
/// cannot reach the end of 64 bits within eight years of uptime.
pub const REFILL_NS_MAX: u64 = 400 * 86_400 * 1_000_000_000;

/// `units` each `period_ns`, saved up to `burst` units.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    units: NonZeroU32,
    period_ns: NonZeroU64,
    burst: NonZeroU32,
    /// What one unit costs.
    pub(crate) unit_grains: u64,
    /// What a full bucket holds.
    pub(crate) burst_grains: u64,
}

impl Limit {
    /// # Errors
    /// A rate above [`RATE_PER_SECOND_MAX`], or a burst that takes longer than [`REFILL_NS_MAX`].
    pub fn new(
        units: NonZeroU32,
        period_ns: NonZeroU64,
        burst: NonZeroU32,
    ) -> Result<Self, LimitFault> {
        if u64::from(units.get()) > period_ns.get() {
            return Err(LimitFault::TooFast);
        }
        let period_grains = u128::from(period_ns.get()) * u128::from(GRAINS_PER_NS);
        let unit_grains = period_grains.div_ceil(u128::from(units.get()));
        let burst_grains = unit_grains * u128::from(burst.get());
        if burst_grains > u128::from(REFILL_NS_MAX) * u128::from(GRAINS_PER_NS) {
            return Err(LimitFault::TooSlow);
        }
        let narrow = |grains: u128| u64::try_from(grains).map_err(|_| LimitFault::TooSlow);
        let (unit_grains, burst_grains) = (narrow(unit_grains)?, narrow(burst_grains)?);
        Ok(Self { units, period_ns, burst, unit_grains, burst_grains })
    }

    /// Reads `600/min`, `10/s`, `5000/hour`, `100000/day` (also `sec`, `second`, `minute`, `h`,
    /// `m`, `d`). Nothing else: no spaces, signs or fractions.
    ///
    /// # Errors
    /// Says which half is wrong, or what [`Limit::new`] says.
    pub fn parse(rate: &str, burst: NonZeroU32) -> Result<Self, LimitFault> {
        let (units, period) = rate.split_once('/').ok_or(LimitFault::NoSlash)?;
        let plain = units.bytes().all(|byte| byte.is_ascii_digit()) && !units.starts_with('0');
        let units = units.parse().ok().filter(|_| plain).ok_or(LimitFault::Units)?;
        let seconds: u64 = match period {
            "s" | "sec" | "second" => 1,
            "m" | "min" | "minute" => 60,
            "h" | "hour" => 3_600,
            "d" | "day" => 86_400,
            _ => return Err(LimitFault::Period),
        };
        let period_ns = NonZeroU64::new(seconds * 1_000_000_000).ok_or(LimitFault::Period)?;
        Self::new(units, period_ns, burst)
    }

    #[must_use]
    pub const fn units(&self) -> u32 {
        self.units.get()
    }

    #[must_use]
    pub const fn period_ns(&self) -> u64 {
        self.period_ns.get()
    }

    #[must_use]
    pub const fn burst(&self) -> u32 {
        self.burst.get()
    }
}

/// What is wrong with a limit that somebody wrote.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LimitFault {
    NoSlash,
    Units,
    Period,
    TooFast,
    TooSlow,
}

impl std::fmt::Display for LimitFault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::NoSlash => "a rate is written as units/period, for example 600/min",
            Self::Units => "the units before the slash are a whole number from 1 to 4294967295",
            Self::Period => "the period after the slash is s, min, hour or day",
            Self::TooFast => "the rate is above 1000000000 units a second",
            Self::TooSlow => {
                "an empty bucket would take more than 400 days to fill; lower the burst"
            }
        })
    }
}

impl std::error::Error for LimitFault {}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    fn parse(rate: &str) -> Result<(u32, u64), LimitFault> {
        Limit::parse(rate, ONE).map(|limit| (limit.units(), limit.period_ns() / 1_000_000_000))
    }

    #[test]
    fn reads_what_people_write() {
        assert_eq!(parse("600/min"), Ok((600, 60)));
        assert_eq!(parse("10/s"), Ok((10, 1)));
        assert_eq!(parse("5000/hour"), Ok((5000, 3_600)));
        assert_eq!(parse("100000/day"), Ok((100_000, 86_400)));
    }

    #[test]
    fn refuses_what_could_be_read_two_ways() {
        for (rate, fault) in [
            ("600", LimitFault::NoSlash),
            ("", LimitFault::NoSlash),
            ("0/s", LimitFault::Units),
            ("010/s", LimitFault::Units),
            ("+1/s", LimitFault::Units),
            ("-1/s", LimitFault::Units),
            ("1.5/s", LimitFault::Units),
            ("1e3/s", LimitFault::Units),
            (" 1/s", LimitFault::Units),
            ("/s", LimitFault::Units),
            ("4294967296/s", LimitFault::Units),
            ("1/", LimitFault::Period),
            ("1/ s", LimitFault::Period),
            ("1/S", LimitFault::Period),
            ("1/week", LimitFault::Period),
            ("1/s/s", LimitFault::Period),
        ] {
            assert_eq!(parse(rate), Err(fault), "{rate:?}");
        }
    }

    #[test]
    fn one_past_the_rate() {
        assert!(Limit::parse("1000000000/s", ONE).is_ok());
        assert_eq!(Limit::parse("1000000001/s", ONE), Err(LimitFault::TooFast));
    }

    #[test]
    fn one_past_the_refill() {
        let days = |burst| Limit::parse("1/day", NonZeroU32::new(burst).unwrap());
        assert!(days(400).is_ok());
        assert_eq!(days(401), Err(LimitFault::TooSlow));
    }

    #[test]
    fn the_stated_shortfall() {
        for rate in ["600/min", "10/s", "5000/hour", "1/s", "1000/s"] {
            let limit = Limit::parse(rate, ONE).unwrap();
            let grains = u128::from(limit.period_ns()) * 64;
            let rounded = u128::from(limit.unit_grains) * u128::from(limit.units());
            assert_eq!(grains, rounded, "{rate} is exact");
        }
        for units in 1..3_000_u32 {
            let period = NonZeroU64::new(1_000_000).unwrap();
            let limit = Limit::new(units.try_into().unwrap(), period, ONE).unwrap();
            let exact = 64_000_000_u128;
            let rounded = u128::from(limit.unit_grains) * u128::from(units);
            // Slower by less than one part in 64 × period / units, and never faster.
            assert!(rounded >= exact && (rounded - exact) < u128::from(units), "{units}");
        }
    }
}
