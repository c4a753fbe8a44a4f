//! Arguments as values: decimals, dates, durations and addresses out of JSON strings and numbers.
//!
//! Each is exact or refused. What is taken is what JSON Schema's `format` names (RFC 3339, ISO 8601)
//! and, where policies spell it otherwise, that too; nothing is rounded, and a value that two
//! programs could read two ways (an IPv4 address inside an IPv6 one, a leap second, a fraction finer
//! than a millisecond) is no value. No allocation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::value::DAY_MS;

/// Decimals have four places.
const SCALE: i64 = 10_000;

/// Doubles below this have one nearest four-place decimal each, so the number's text is not needed.
const NUMBER_SCALED_MAX: f64 = 1e15;

/// The policy language's decimal syntax: `-?[0-9]+\.[0-9]{1,4}`, in ten-thousandths.
#[must_use]
pub fn decimal(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.')?;
    let numeric = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !numeric(whole) || !numeric(fraction) || fraction.len() > 4 {
        return None;
    }
    let padding = 4 - fraction.len();
    let mut scaled: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', padding)) {
        scaled = scaled.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    i64::try_from(if negative { -scaled } else { scaled }).ok()
}

/// A JSON number that was not an integer, in ten-thousandths; `None` unless it is the double of a
/// decimal with at most four places.
#[must_use]
pub fn number(double: f64) -> Option<i64> {
    let scaled = (double * SCALE as f64).round();
    // Division of two exact doubles is correctly rounded, so equality means: the same double that
    // the decimal's text would give. NaN fails the first comparison.
    (scaled.abs() < NUMBER_SCALED_MAX && scaled / SCALE as f64 == double).then_some(scaled as i64)
}

/// An integer in ten-thousandths.
pub(crate) fn number_of_integer(integer: i64) -> Option<i64> {
    integer.checked_mul(SCALE)
}

/// RFC 3339 `date-time`, in milliseconds since 1970. An offset may also lack its colon, as policies
/// writes it; digits finer than a millisecond must be zeros.
#[must_use]
pub fn datetime(text: &str) -> Option<i64> {
    let (day, rest) = text.split_once('T')?;
    let midnight_ms = date(day)?;
    let mut cursor = Cursor(rest.as_bytes());
    let hours = cursor.number(2, 23)?;
    cursor.expect(b':')?;
    let minutes = cursor.number(2, 59)?;
    cursor.expect(b':')?;
    let seconds = cursor.number(2, 59)?;
    let millis = cursor.fraction_ms()?;
    let offset_minutes = cursor.offset_minutes()?;
    let local_ms = ((hours * 60 + minutes) * 60 + seconds) * 1_000 + millis;
    cursor.0.is_empty().then_some(midnight_ms + local_ms - offset_minutes * 60_000)
}

/// RFC 3339 `full-date`: its midnight in UTC, in milliseconds since 1970.
#[must_use]
pub fn date(text: &str) -> Option<i64> {
    let mut cursor = Cursor(text.as_bytes());
    let year = cursor.number(4, 9_999)?;
    cursor.expect(b'-')?;
    let month = cursor.number(2, 12)?;
    cursor.expect(b'-')?;
    let day = cursor.number(2, 31)?;
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let last = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (cursor.0.is_empty() && (1..=last).contains(&day))
        .then(|| days_since_1970(year, month, day) * DAY_MS)
}

/// Days by the proleptic Gregorian calendar; years begin in March, so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// ISO 8601 durations of a fixed length, in milliseconds: `P2W`, or days and `T` hours, minutes and
/// seconds in that order. Years and months have no fixed length and are refused.
#[must_use]
pub fn duration(text: &str) -> Option<i64> {
    let body = text.strip_prefix('P')?;
    if let Some(weeks) = body.strip_suffix('W') {
        let mut cursor = Cursor(weeks.as_bytes());
        let count = cursor.digits()?;
        return if cursor.0.is_empty() { count.checked_mul(7 * DAY_MS) } else { None };
    }
    let (days, time) = match body.split_once('T') {
        Some((days, time)) => (days, Some(time)),
        None => (body, None),
    };
    if time.is_some_and(str::is_empty) || (days.is_empty() && time.is_none()) {
        return None;
    }
    let mut cursor = Cursor(days.as_bytes());
    let mut total_ms = cursor.part(b'D', DAY_MS)?;
    if !cursor.0.is_empty() {
        return None;
    }
    let mut cursor = Cursor(time.unwrap_or_default().as_bytes());
    for (unit, unit_ms) in [(b'H', 3_600_000), (b'M', 60_000), (b'S', 1_000)] {
        total_ms = total_ms.checked_add(cursor.part(unit, unit_ms)?)?;
    }
    cursor.0.is_empty().then_some(total_ms)
}

/// One address of the family asked for. IPv4 inside IPv6 is refused: it would slip past a range that
/// is written as IPv4.
#[must_use]
pub fn ip_address(text: &str, v6: bool) -> Option<IpAddr> {
    if !v6 {
        return text.parse::<Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let address = text.parse::<Ipv6Addr>().ok()?;
    (!text.contains('.') && address.to_ipv4_mapped().is_none()).then_some(IpAddr::V6(address))
}

/// What is left of a text.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn digit(&mut self) -> Option<i64> {
        let byte = self.next()?;
        byte.is_ascii_digit().then(|| i64::from(byte - b'0'))
    }

    /// Exactly `width` digits, at most `max`.
    fn number(&mut self, width: usize, max: i64) -> Option<i64> {
        let mut value = 0;
        for _ in 0..width {
            value = value * 10 + self.digit()?;
        }
        (value <= max).then_some(value)
    }

    /// One digit or more, within 64 bits.
    fn digits(&mut self) -> Option<i64> {
        let mut value = self.digit()?;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            value = value.checked_mul(10)?.checked_add(self.digit()?)?;
        }
        Some(value)
    }

    /// `.` and digits: the first three count, the rest must be zeros. Nothing is zero.
    fn fraction_ms(&mut self) -> Option<i64> {
        if self.peek() != Some(b'.') {
            return Some(0);
        }
        self.next();
        let (mut millis, mut weight) = (self.digit()? * 100, 10);
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            let digit = self.digit()?;
            if weight == 0 && digit != 0 {
                return None;
            }
            millis += digit * weight;
            weight /= 10;
        }
        Some(millis)
    }

    fn offset_minutes(&mut self) -> Option<i64> {
        let sign = match self.next()? {
            b'Z' => return Some(0),
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let hours = self.number(2, 23)?;
        if self.peek() == Some(b':') {
            self.next();
        }
        Some(sign * (hours * 60 + self.number(2, 59)?))
    }

    /// A count before this unit, or nothing.
    fn part(&mut self, unit: u8, unit_ms: i64) -> Option<i64> {
        let end = self.0.iter().position(|byte| !byte.is_ascii_digit());
        let here = end.and_then(|at| self.0.get(at)) == Some(&unit);
        if !here {
            return Some(0);
        }
        let count = self.digits()?;
        self.next();
        count.checked_mul(unit_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(decimal("12.5"), Some(125_000));
        assert_eq!(decimal("-3.25"), Some(-32_500));
        assert_eq!(decimal("922337203685477.5807"), Some(i64::MAX));
        assert_eq!(decimal("-922337203685477.5808"), Some(i64::MIN));
        for wrong in ["1", ".5", "+1.0", "0.12345", "1.", "922337203685477.5808", "1e3", "", "-.1"]
        {
            assert_eq!(decimal(wrong), None, "{wrong}");
        }
        assert_eq!(decimal(&format!("{}.0", "9".repeat(4_000))), None);
    }

    #[test]
    fn numbers_are_four_place_decimals() {
        assert_eq!(number(19.99), Some(199_900));
        assert_eq!(number(-0.0001), Some(-1));
        assert_eq!(number(5.0), Some(50_000));
        for wrong in [0.1 + 0.2, 0.000_01, 1e12, f64::NAN, f64::INFINITY, 19.990_000_000_000_002] {
            assert_eq!(number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn dates_follow_rfc_3339() {
        assert_eq!(datetime("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(datetime("2026-05-01T12:30:00.5+02:00"), Some(1_777_631_400_500));
        assert_eq!(datetime("2026-05-01T12:30:00.500000+0200"), Some(1_777_631_400_500));
        assert_eq!(date("2024-02-29"), Some(1_709_164_800_000));
        assert_eq!(date("0000-01-01"), Some(-62_167_219_200_000));
        for wrong in [
            "2026-05-01",
            "2026-05-01T24:00:00Z",
            "2026-05-01T23:59:60Z",
            "2026-05-01T00:00:00",
            "2026-05-01t00:00:00z",
            "2026-05-01T00:00:00.0001Z",
            "2026-05-01T00:00:00.Z",
            "2026-05-01T00:00:00+24:00",
            "2026-05-01T00:00:00Zx",
            "+026-05-01T00:00:00Z",
        ] {
            assert_eq!(datetime(wrong), None, "{wrong}");
        }
        for wrong in
            ["2023-02-29", "2026-13-01", "2026-00-01", "2026-04-31", "2026-4-1", "2026-01-00"]
        {
            assert_eq!(date(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_have_a_fixed_length() {
        assert_eq!(duration("PT1H30M"), Some(5_400_000));
        assert_eq!(duration("P1DT1S"), Some(86_401_000));
        assert_eq!(duration("P2W"), Some(1_209_600_000));
        let huge = format!("P{}D", u64::MAX);
        for wrong in
            ["P", "PT", "P1Y", "P1M", "PT1M1H", "P1DT", "1h", "P-1D", "PT1.5S", "P1WT1S", &huge]
        {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn ipv4_does_not_hide_in_ipv6() {
        assert!(ip_address("10.0.0.1", false).is_some());
        assert!(ip_address("fe80::1", true).is_some());
        for (wrong, v6) in [
            ("::ffff:10.0.0.1", true),
            ("::ffff:a00:1", true),
            ("::10.0.0.1", true),
            ("10.0.0.01", false),
            ("10.0.0.0/8", false),
            ("fe80::1%eth0", true),
            ("::1", false),
        ] {
            assert_eq!(ip_address(wrong, v6), None, "{wrong}");
        }
    }
}
