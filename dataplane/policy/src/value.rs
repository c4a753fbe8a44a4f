//! Values while a program runs, and what the policy language's operators do with them.
//!
//! A [`Value`] is `Copy` and borrows from the table or from the parsed call, so a decision allocates
//! nothing. Operators answer `None` for an error, which the evaluator turns into a denial.

use std::net::IpAddr;

/// Milliseconds of a day; `toDate` and `toTime` cut here.
pub(crate) const DAY_MS: i64 = 86_400_000;

/// A value: 24 bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// An optional argument or attribute that is not there.
    Absent,
    Bool(bool),
    Long(i64),
    Text(&'a str),
    /// An interned entity. Names that the table does not know get numbers of their own per caller.
    Entity(u32),
    /// Ten-thousandths: decimals have four places.
    Decimal(i64),
    /// Milliseconds since 1970.
    Datetime(i64),
    /// Milliseconds.
    Duration(i64),
    Ip(Ip),
    /// An array of the call: its place on the tape, elements already checked by the guard.
    Array(u32),
    /// An object that is there; nobody compares it as a whole.
    Record,
    /// A set of the table: its first constant and how many.
    Set(u32, u32),
    /// Texts between wildcards: the first constant and how many.
    Pattern(u32, u32),
}

/// An address with a prefix, as policies' `ipaddr`. The bits lie in two halves to keep values small.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ip {
    high: [u32; 2],
    low: [u32; 2],
    v6: bool,
    prefix: u8,
}

impl Ip {
    /// From the stored halves; `None` for a prefix or bits that the family has not.
    #[must_use]
    pub fn from_bits(high: u64, low: u64, v6: bool, prefix: u8) -> Option<Self> {
        let fits = if v6 { prefix <= 128 } else { prefix <= 32 && high == 0 && low >> 32 == 0 };
        let halves = |word: u64| [(word >> 32) as u32, word as u32];
        fits.then_some(Self { high: halves(high), low: halves(low), v6, prefix })
    }

    /// One address, without a range.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        let (bits, v6, prefix) = match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)), false, 32),
            IpAddr::V6(v6) => (u128::from(v6), true, 128),
        };
        let halves = |word: u64| [(word >> 32) as u32, word as u32];
        Self { high: halves((bits >> 64) as u64), low: halves(bits as u64), v6, prefix }
    }

    /// All bits, right aligned.
    #[must_use]
    pub fn bits(&self) -> u128 {
        let [a, b] = self.high.map(u128::from);
        let [c, d] = self.low.map(u128::from);
        a << 96 | b << 64 | c << 32 | d
    }

    /// Whether this is IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.v6
    }

    /// The prefix length as written.
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Every address of this range is in the other; families never mix.
    pub(crate) fn in_range(&self, other: &Self) -> bool {
        if self.v6 != other.v6 {
            return false;
        }
        let (first, last) = self.bounds();
        let (other_first, other_last) = other.bounds();
        other_first <= first && last <= other_last
    }

    fn bounds(&self) -> (u128, u128) {
        let (all, width) = if self.v6 { (u128::MAX, 128) } else { (u128::from(u32::MAX), 32) };
        let host = if self.prefix >= width { 0 } else { all >> self.prefix };
        (self.bits() & (all ^ host), self.bits() | host)
    }

    pub(crate) fn is_loopback(&self) -> bool {
        if self.v6 {
            self.bits() == 1 && self.prefix >= 128
        } else {
            self.bits() >> 24 == 127 && self.prefix >= 8
        }
    }

    pub(crate) fn is_multicast(&self) -> bool {
        if self.v6 {
            self.bits() >> 120 == 0xff && self.prefix >= 8
        } else {
            self.bits() >> 28 == 14 && self.prefix >= 4
        }
    }
}

/// `a < b` or `a <= b` for the types that have an order.
pub(crate) fn compare(a: Value<'_>, b: Value<'_>) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Value::Long(x), Value::Long(y))
        | (Value::Datetime(x), Value::Datetime(y))
        | (Value::Duration(x), Value::Duration(y)) => Some(x.cmp(&y)),
        _ => None,
    }
}

/// The same for decimals, which policies compare by methods.
pub(crate) fn compare_decimal(a: Value<'_>, b: Value<'_>) -> Option<std::cmp::Ordering> {
    match (a, b) {
        (Value::Decimal(x), Value::Decimal(y)) => Some(x.cmp(&y)),
        _ => None,
    }
}

/// Start of the day of a time, which may be before 1970.
pub(crate) fn to_date(ms: i64) -> Option<i64> {
    ms.div_euclid(DAY_MS).checked_mul(DAY_MS)
}

/// Time within the day.
pub(crate) fn to_time(ms: i64) -> i64 {
    ms.rem_euclid(DAY_MS)
}

/// `text like pattern`, the pattern as its pieces between wildcards: the first is anchored at the
/// start, the last at the end, and each between is taken as early as it comes.
pub(crate) fn like<'p>(text: &str, mut pieces: impl ExactSizeIterator<Item = &'p str>) -> bool {
    let count = pieces.len();
    let Some(first) = pieces.next() else { return false };
    if count == 1 {
        return text == first;
    }
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for piece in pieces.by_ref().take(count - 2) {
        let Some((_, after)) = split_at_piece(rest, piece) else { return false };
        rest = after;
    }
    pieces.next().is_some_and(|last| rest.ends_with(last))
}

fn split_at_piece<'t>(text: &'t str, piece: &str) -> Option<(&'t str, &'t str)> {
    if piece.is_empty() { Some(("", text)) } else { text.split_once(piece) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_small() {
        assert_eq!(size_of::<Value<'_>>(), 24);
    }

    #[test]
    fn patterns_do_not_overlap() {
        let like = |text, pieces: &[&str]| like(text, pieces.iter().copied());
        assert!(like("aba", &["a", "a"]));
        assert!(!like("a", &["a", "a"]));
        assert!(!like("aba", &["ab", "ba"]));
        assert!(like("src/x.rs", &["src/", ".rs"]));
        assert!(!like("src/../x", &["src/", "\u{0}", ""]));
        assert!(like("", &["", ""]) && like("anything", &["", "", ""]));
        assert!(like("x", &["x"]) && !like("xy", &["x"]));
        assert!(like("aXbXc", &["a", "b", "c"]) && !like("acb", &["a", "b", "c"]));
    }
}
