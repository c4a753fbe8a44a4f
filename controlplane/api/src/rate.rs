//! Rates as operators write them: `600/min`.

use crate::Problem;
use crate::names::shown;

/// So many units each period.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// At least one.
    pub units: u32,
    pub period_ms: u64,
}

const PERIODS: [(&str, u64); 10] = [
    ("s", 1_000),
    ("sec", 1_000),
    ("second", 1_000),
    ("min", 60_000),
    ("m", 60_000),
    ("minute", 60_000),
    ("h", 3_600_000),
    ("hour", 3_600_000),
    ("d", 86_400_000),
    ("day", 86_400_000),
];

impl Rate {
    /// Reads `units/period`; periods are s, min, h and day, and their long forms.
    ///
    /// # Errors
    /// Names the part that cannot be read and shows a right one.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let refused = |why: &str| {
            Problem::invalid(format!("`{}` is no rate: {why}", shown(text)))
                .help("write units/period, for example `600/min` (periods: s, min, h, day)")
        };
        let (units, period) = text.split_once('/').ok_or_else(|| refused("there is no `/`"))?;
        let period = period.trim();
        let period_ms = PERIODS.iter().find(|(name, _)| *name == period).map(|(_, ms)| *ms);
        let period_ms = period_ms.ok_or_else(|| refused("the period is not known"))?;
        let units: u32 =
            units.trim().parse().map_err(|_| refused("the units are not a number below 2^32"))?;
        if units == 0 {
            return Err(refused("zero units would refuse every call; write a policy or a kill"));
        }
        Ok(Self { units, period_ms })
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let period = match self.period_ms {
            1_000 => "s",
            60_000 => "min",
            3_600_000 => "h",
            86_400_000 => "day",
            other => return write!(out, "{} in {other} ms", self.units),
        };
        write!(out, "{}/{period}", self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_of_the_first_page() {
        assert_eq!(Rate::parse("600/min"), Ok(Rate { units: 600, period_ms: 60_000 }));
        assert_eq!(Rate::parse("1 / day"), Ok(Rate { units: 1, period_ms: 86_400_000 }));
        for (written, said) in
            [("600/minute", "600/min"), ("2/sec", "2/s"), ("1/hour", "1/h"), ("7/d", "7/day")]
        {
            assert_eq!(Rate::parse(written).unwrap().to_string(), said);
        }
        for bad in ["", "600", "0/min", "-1/min", "1/fortnight", "4294967296/s", "1.5/s", "/s"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }
}
