//! A ladder's rule: how much ignoring leads to what, and for how long.
//!
//! Written per quota. The defaults close connections and delay handshakes of who ignores fifty
//! refusals in ten seconds, and drop nothing: dropping is there only where [`LadderRule::drop`] is.
//! [`LadderRule::check`] is the one way to a [`Rule`]; every bound is a constant here.

use serde::{Deserialize, Serialize};

/// Ignored refusals that lead a step up. More than this is no ladder.
pub const IGNORED_MAX: u32 = 100_000;
/// A window, a calm: a day is longer than any refusal is remembered by people.
pub const WINDOW_MS_MAX: u64 = 24 * 3_600_000;
/// A round trip around the earth by satellite, and a slow client's thinking.
pub const GRACE_MS_MAX: u64 = 10_000;
/// Below the 5 s that a connection has for its first head: a delayed handshake must still fit.
pub const DELAY_MS_MAX: u64 = 4_000;
/// Shorter is not worth two changes of the card's maps.
pub const DROP_MS_MIN: u64 = 100;
/// No entry that nobody holds by hand lives longer.
pub const DROP_MS_MAX: u64 = 3_600_000;
/// Ten times the last time.
pub const GROWTH_PERCENT_MAX: u32 = 1_000;
/// After so many drops the time grows no more, whatever the cap.
pub const LEVEL_MAX: u8 = 32;

/// What an operator writes for a quota. Every key has a default.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LadderRule {
    /// So many ignored refusals in `window_ms` lead from telling to slowing.
    pub ignored_refusals: u32,
    pub window_ms: u64,
    /// What a caller has for reading a refusal: calls that were under way ignore nothing.
    pub grace_ms: u64,
    /// The first delay of a handshake, its growth with each further `ignored_refusals`, its cap.
    pub delay_ms_first: u64,
    pub delay_growth_percent: u32,
    pub delay_ms_max: u64,
    /// Without an ignored refusal for so long: a step down.
    pub calm_ms: u64,
    /// Absent: nobody is dropped by this quota.
    pub drop: Option<DropRule>,
}

/// When and for how long the network card refuses.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DropRule {
    /// So many further ignored refusals in `window_ms`, while slowed, lead to dropping.
    pub ignored_refusals: u32,
    /// The first drop, what each further one grows to in percent of the last, and the cap.
    pub drop_ms_first: u64,
    pub drop_growth_percent: u32,
    pub drop_ms_max: u64,
    /// After so many flows of one drop, new connections of an unshared source are dropped as well.
    /// Zero: never.
    pub flows_before_source: u32,
}

impl Default for LadderRule {
    fn default() -> Self {
        Self {
            ignored_refusals: 50,
            window_ms: 10_000,
            grace_ms: 100,
            delay_ms_first: 100,
            delay_growth_percent: 200,
            delay_ms_max: 2_000,
            calm_ms: 60_000,
            drop: None,
        }
    }
}

impl Default for DropRule {
    fn default() -> Self {
        Self {
            ignored_refusals: 50,
            drop_ms_first: 5_000,
            drop_growth_percent: 200,
            drop_ms_max: 300_000,
            flows_before_source: 3,
        }
    }
}

impl LadderRule {
    /// A rule that can be carried out. `counts_every_call` says that the quota names no server and
    /// no tool: a card cannot tell calls apart, so only such a quota may drop.
    ///
    /// # Errors
    /// The field, and what it may be.
    pub fn check(self, counts_every_call: bool) -> Result<Rule, RuleFault> {
        within("ignored_refusals", self.ignored_refusals.into(), 1, IGNORED_MAX.into())?;
        within("window_ms", self.window_ms, 1, WINDOW_MS_MAX)?;
        within("grace_ms", self.grace_ms, 0, GRACE_MS_MAX)?;
        within("delay_ms_max", self.delay_ms_max, 0, DELAY_MS_MAX)?;
        within("delay_ms_first", self.delay_ms_first, 0, self.delay_ms_max)?;
        growth("delay_growth_percent", self.delay_growth_percent)?;
        within("calm_ms", self.calm_ms, 1_000, WINDOW_MS_MAX)?;
        if let Some(drop) = &self.drop {
            if !counts_every_call {
                return Err(RuleFault::Selective);
            }
            let ignored = u64::from(drop.ignored_refusals);
            within("drop.ignored_refusals", ignored, 1, IGNORED_MAX.into())?;
            within("drop.drop_ms_max", drop.drop_ms_max, DROP_MS_MIN, DROP_MS_MAX)?;
            within("drop.drop_ms_first", drop.drop_ms_first, DROP_MS_MIN, drop.drop_ms_max)?;
            growth("drop.drop_growth_percent", drop.drop_growth_percent)?;
            let flows = u64::from(drop.flows_before_source);
            within("drop.flows_before_source", flows, 0, IGNORED_MAX.into())?;
        }
        Ok(Rule(self))
    }
}

/// A rule whose every value is within its bounds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rule(LadderRule);

impl Rule {
    /// As it was written.
    #[must_use]
    pub const fn written(&self) -> &LadderRule {
        &self.0
    }

    /// How long a new connection waits for its handshake after `strikes` rounds of ignoring.
    #[must_use]
    pub fn delay_ms(&self, strikes: u8) -> u64 {
        let rule = &self.0;
        grown(rule.delay_ms_first, rule.delay_growth_percent, rule.delay_ms_max, strikes)
    }

    /// How long the drop after `level` others lasts; `None` where this rule drops nobody.
    #[must_use]
    pub fn drop_ms(&self, level: u8) -> Option<u64> {
        let rule = self.0.drop?;
        Some(grown(rule.drop_ms_first, rule.drop_growth_percent, rule.drop_ms_max, level))
    }
}

/// `first × (percent / 100)^times`, rounded down at each step, at most `max`.
fn grown(first: u64, percent: u32, max: u64, times: u8) -> u64 {
    let mut value = first.min(max);
    for _ in 0..times.min(LEVEL_MAX) {
        value = (value.saturating_mul(percent.into()) / 100).min(max);
    }
    value
}

fn growth(field: &'static str, found: u32) -> Result<(), RuleFault> {
    within(field, found.into(), 100, GROWTH_PERCENT_MAX.into())
}

fn within(field: &'static str, found: u64, min: u64, max: u64) -> Result<(), RuleFault> {
    let fits = (min..=max).contains(&found);
    if fits { Ok(()) } else { Err(RuleFault::Bounds { field, found, min, max }) }
}

/// What is wrong with a rule that somebody wrote.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RuleFault {
    Bounds {
        field: &'static str,
        found: u64,
        min: u64,
        max: u64,
    },
    /// A quota that counts some calls only may slow, not drop.
    Selective,
}

impl std::fmt::Display for RuleFault {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bounds { field, found, min, max } => {
                write!(out, "{field} is {found}; it may be from {min} to {max}")
            }
            Self::Selective => out.write_str(
                "a quota that names a server or a tool cannot drop: a network card cannot tell calls \
                 apart, and would drop what the quota allows; leave out `drop`, or the server",
            ),
        }
    }
}

impl std::error::Error for RuleFault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropping(edit: impl Fn(&mut DropRule)) -> Result<Rule, RuleFault> {
        let mut drop = DropRule::default();
        edit(&mut drop);
        LadderRule { drop: Some(drop), ..LadderRule::default() }.check(true)
    }

    #[test]
    fn the_defaults_are_valid_and_drop_nobody() {
        let rule = LadderRule::default().check(false).unwrap();
        assert_eq!(rule.drop_ms(0), None);
        assert_eq!(rule.drop_ms(32), None);
        assert!(dropping(|_| ()).is_ok());
    }

    #[test]
    fn a_quota_of_some_calls_cannot_drop() {
        let rule = LadderRule { drop: Some(DropRule::default()), ..LadderRule::default() };
        assert_eq!(rule.check(false), Err(RuleFault::Selective));
        assert!(rule.check(true).is_ok());
    }

    #[test]
    fn one_past_each_bound() {
        type Edit = fn(&mut LadderRule);
        let (good, bad): (Vec<Edit>, Vec<Edit>) = (
            vec![
                |rule| rule.ignored_refusals = IGNORED_MAX,
                |rule| rule.window_ms = WINDOW_MS_MAX,
                |rule| rule.grace_ms = GRACE_MS_MAX,
                |rule| rule.delay_ms_max = DELAY_MS_MAX,
                |rule| rule.delay_ms_first = rule.delay_ms_max,
                |rule| rule.delay_growth_percent = GROWTH_PERCENT_MAX,
                |rule| rule.calm_ms = WINDOW_MS_MAX,
            ],
            vec![
                |rule| rule.ignored_refusals = IGNORED_MAX + 1,
                |rule| rule.ignored_refusals = 0,
                |rule| rule.window_ms = WINDOW_MS_MAX + 1,
                |rule| rule.window_ms = 0,
                |rule| rule.grace_ms = GRACE_MS_MAX + 1,
                |rule| rule.delay_ms_max = DELAY_MS_MAX + 1,
                |rule| rule.delay_ms_first = rule.delay_ms_max + 1,
                |rule| rule.delay_growth_percent = GROWTH_PERCENT_MAX + 1,
                |rule| rule.delay_growth_percent = 99,
                |rule| rule.calm_ms = WINDOW_MS_MAX + 1,
                |rule| rule.calm_ms = 999,
            ],
        );
        let check = |edit: &Edit| {
            let mut rule = LadderRule::default();
            edit(&mut rule);
            rule.check(true)
        };
        assert!(good.iter().all(|edit| check(edit).is_ok()));
        for (place, edit) in bad.iter().enumerate() {
            assert!(matches!(check(edit), Err(RuleFault::Bounds { .. })), "{place}");
        }
    }

    #[test]
    fn one_past_each_bound_of_a_drop() {
        assert!(dropping(|drop| drop.drop_ms_max = DROP_MS_MAX).is_ok());
        assert!(dropping(|drop| drop.drop_ms_max = DROP_MS_MAX + 1).is_err());
        assert!(dropping(|drop| drop.drop_ms_first = DROP_MS_MIN).is_ok());
        assert!(dropping(|drop| drop.drop_ms_first = DROP_MS_MIN - 1).is_err());
        assert!(dropping(|drop| drop.drop_ms_first = drop.drop_ms_max + 1).is_err());
        assert!(dropping(|drop| drop.drop_growth_percent = 99).is_err());
        assert!(dropping(|drop| drop.drop_growth_percent = GROWTH_PERCENT_MAX + 1).is_err());
        assert!(dropping(|drop| drop.ignored_refusals = 0).is_err());
        assert!(dropping(|drop| drop.flows_before_source = IGNORED_MAX + 1).is_err());
    }

    #[test]
    fn the_growth_table() {
        let seconds = |rule: Rule| -> Vec<u64> {
            (0..9).filter_map(|level| rule.drop_ms(level)).map(|ms| ms / 1_000).collect()
        };
        let doubling = dropping(|_| ()).unwrap();
        assert_eq!(seconds(doubling), [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        let flat = dropping(|drop| drop.drop_growth_percent = 100).unwrap();
        assert_eq!(seconds(flat), [5; 9]);
        let half_more = dropping(|drop| drop.drop_growth_percent = 150).unwrap();
        assert_eq!(seconds(half_more), [5, 7, 11, 16, 25, 37, 56, 85, 128]);
        assert_eq!(half_more.drop_ms(255), Some(300_000));
        let delays: Vec<u64> = (0..7).map(|strikes| doubling.delay_ms(strikes)).collect();
        assert_eq!(delays, [100, 200, 400, 800, 1_600, 2_000, 2_000]);
    }

    #[test]
    fn what_people_write_is_read_with_defaults_and_without_surprises() {
        let read = |text: &str| serde_json::from_str::<LadderRule>(text);
        assert_eq!(read("{}").unwrap(), LadderRule::default());
        let drop = Some(DropRule { drop_ms_first: 1_000, ..DropRule::default() });
        let written = read(r#"{"calm_ms": 5000, "drop": {"drop_ms_first": 1000}}"#).unwrap();
        assert_eq!(written, LadderRule { calm_ms: 5_000, drop, ..LadderRule::default() });
        assert!(read(r#"{"clam_ms": 5000}"#).is_err());
    }
}
