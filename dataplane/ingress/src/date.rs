//! The `Date` header, as RFC 9110 §5.6.7 asks: `Sun, 06 Nov 1994 08:49:37 GMT`.

use dataplane_telemetry::WallNanos;

/// A moment, ready to be written. Build one a second, not one an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HttpDate([u8; 29]);

impl HttpDate {
    /// The second that `wall` lies in; clocks of this kind end in 2554.
    #[must_use]
    pub fn at(wall: WallNanos) -> Self {
        let (days, second) = (wall.secs() / 86_400, wall.secs() % 86_400);
        let (year, month, day) = civil(days);
        let mut text = *b"Thu, 00 Jan 0000 00:00:00 GMT";
        put(&mut text, 0, WEEKDAYS.get(days as usize % 7).copied().unwrap_or(b"Thu"));
        put(&mut text, 5, &digits(day));
        put(&mut text, 8, MONTHS.get(month as usize - 1).copied().unwrap_or(b"Jan"));
        put(&mut text, 12, &digits(year / 100));
        put(&mut text, 14, &digits(year % 100));
        put(&mut text, 17, &digits(second / 3_600));
        put(&mut text, 20, &digits(second / 60 % 60));
        put(&mut text, 23, &digits(second % 60));
        Self(text)
    }

    #[must_use]
    pub const fn bytes(&self) -> &[u8; 29] {
        &self.0
    }
}

/// 1970-01-01 was a Thursday.
const WEEKDAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// Year, month from 1 and day from 1 of a day since 1970-01-01, in the Gregorian calendar. Years are
/// counted from March, so that the leap day is the last of its year.
const fn civil(days: u64) -> (u64, u64, u64) {
    let since_march_0000 = days + 719_468;
    let (era, day_of_era) = (since_march_0000 / 146_097, since_march_0000 % 146_097);
    let leap_days = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era + year_of_era / 100 - 365 * year_of_era - year_of_era / 4;
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let (month, next) = if march_month < 10 { (march_month + 3, 0) } else { (march_month - 9, 1) };
    (era * 400 + year_of_era + next, month, day)
}

/// Two digits of a number below 100.
const fn digits(number: u64) -> [u8; 2] {
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

fn put(text: &mut [u8], at: usize, part: &[u8]) {
    for (place, byte) in text.iter_mut().skip(at).zip(part) {
        *place = *byte;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_date_1() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            let date = HttpDate::at(WallNanos::from_secs(second));
            assert_eq!(str::from_utf8(date.bytes()).unwrap(), text);
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = (1969, 12, 31);
        for days in 0..200_000 {
            let here = civil(days);
            let (year, month, day) = before;
            let next = [(year, month, day + 1), (year, month + 1, 1), (year + 1, 1, 1)];
            assert!(next.contains(&here) && here.2 <= 31 && here.1 <= 12, "{before:?} {here:?}");
            before = here;
        }
    }
}
