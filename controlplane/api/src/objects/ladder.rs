//! What ignoring refusals leads to: told, slowed, dropped at the network card.
//!
//! Every key has a default; nobody is dropped where no `drop` is written. The bounds are the
//! dataplane's own.

use dataplane_drops::{DropRule, LadderRule, RuleFault};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Problem;

/// `[quotas.NAME.ladder]`, `[gateway.kill_ladder]`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ladder {
    /// So many calls that came before the time that their caller was told, in `window_ms`, lead from
    /// telling to slowing: connections are closed, handshakes delayed. 1 to 100,000; 50 unless told.
    #[schema(minimum = 1, maximum = 100_000)]
    pub ignored_refusals: u32,
    /// 1 to 86,400,000; 10,000 unless told.
    #[schema(minimum = 1, maximum = 86_400_000)]
    pub window_ms: u64,
    /// What a caller has for reading a refusal: calls that were under way ignore nothing. 0 to 10,000;
    /// 100 unless told.
    #[schema(maximum = 10_000)]
    pub grace_ms: u64,
    /// The first delay of a handshake; at most `delay_ms_max`; 100 unless told.
    #[schema(maximum = 4_000)]
    pub delay_ms_first: u64,
    /// What each further delay grows to, in percent of the last. 100 to 1,000; 200 unless told.
    #[schema(minimum = 100, maximum = 1_000)]
    pub delay_growth_percent: u32,
    /// 0 to 4,000; 2,000 unless told.
    #[schema(maximum = 4_000)]
    pub delay_ms_max: u64,
    /// Without an ignored refusal for so long: a step down. 1,000 to 86,400,000; 60,000 unless told.
    #[schema(minimum = 1_000, maximum = 86_400_000)]
    pub calm_ms: u64,
    /// Absent: nobody is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drop: Option<DropStep>,
}

/// When and for how long the network card refuses. Only for a quota that names no server and no tool:
/// a card cannot tell calls apart.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DropStep {
    /// So many further ignored refusals in `window_ms`, while slowed, lead to dropping. 1 to 100,000;
    /// 50 unless told.
    #[schema(minimum = 1, maximum = 100_000)]
    pub ignored_refusals: u32,
    /// The first drop; 100 to `drop_ms_max`; 5,000 unless told.
    #[schema(minimum = 100, maximum = 3_600_000)]
    pub drop_ms_first: u64,
    /// What each further drop grows to, in percent of the last. 100 to 1,000; 200 unless told.
    #[schema(minimum = 100, maximum = 1_000)]
    pub drop_growth_percent: u32,
    /// 100 to 3,600,000; 300,000 unless told.
    #[schema(minimum = 100, maximum = 3_600_000)]
    pub drop_ms_max: u64,
    /// After so many connections of one drop, new ones of an unshared source are dropped as well.
    /// Zero: never. Up to 100,000; 3 unless told.
    #[schema(maximum = 100_000)]
    pub flows_before_source: u32,
}

impl Default for Ladder {
    fn default() -> Self {
        let rule = LadderRule::default();
        Self {
            ignored_refusals: rule.ignored_refusals,
            window_ms: rule.window_ms,
            grace_ms: rule.grace_ms,
            delay_ms_first: rule.delay_ms_first,
            delay_growth_percent: rule.delay_growth_percent,
            delay_ms_max: rule.delay_ms_max,
            calm_ms: rule.calm_ms,
            drop: None,
        }
    }
}

impl Default for DropStep {
    fn default() -> Self {
        let rule = DropRule::default();
        Self {
            ignored_refusals: rule.ignored_refusals,
            drop_ms_first: rule.drop_ms_first,
            drop_growth_percent: rule.drop_growth_percent,
            drop_ms_max: rule.drop_ms_max,
            flows_before_source: rule.flows_before_source,
        }
    }
}

impl Ladder {
    /// As the dataplane reads it.
    #[must_use]
    pub fn rule(&self) -> LadderRule {
        LadderRule {
            ignored_refusals: self.ignored_refusals,
            window_ms: self.window_ms,
            grace_ms: self.grace_ms,
            delay_ms_first: self.delay_ms_first,
            delay_growth_percent: self.delay_growth_percent,
            delay_ms_max: self.delay_ms_max,
            calm_ms: self.calm_ms,
            drop: self.drop.map(|step| DropRule {
                ignored_refusals: step.ignored_refusals,
                drop_ms_first: step.drop_ms_first,
                drop_growth_percent: step.drop_growth_percent,
                drop_ms_max: step.drop_ms_max,
                flows_before_source: step.flows_before_source,
            }),
        }
    }

    /// `field` is where it is written; `counts_every_call`: the quota names no server and no tool, and
    /// has no bucket for each tool.
    ///
    /// # Errors
    /// Names the field, and what it may be.
    pub(crate) fn check(&self, field: &str, counts_every_call: bool) -> Result<(), Problem> {
        self.rule().check(counts_every_call).map(drop).map_err(|fault| match fault {
            RuleFault::Bounds { field: part, found, min, max } => {
                Problem::invalid(format!("`{part}` is {found}"))
                    .field(format!("{field}.{part}"))
                    .help(format!("write a number from {min} to {max}"))
            }
            RuleFault::Selective => Problem::invalid(
                "a quota that counts some calls only cannot drop: a network card cannot tell calls \
                 apart, and would drop what the quota allows",
            )
            .field(format!("{field}.drop"))
            .help("leave out `drop` here, or give a quota without `server` and `tool` the ladder"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Ladder {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_is_left_out_is_as_the_dataplane_has_it() {
        assert_eq!(read("").rule(), LadderRule::default());
        let with = LadderRule { drop: Some(DropRule::default()), ..LadderRule::default() };
        assert_eq!(read("[drop]").rule(), with);
        assert!(toml::from_str::<Ladder>("clam_ms = 1").is_err());
        assert!(toml::from_str::<Ladder>("[drop]\nms = 1").is_err());
    }

    #[test]
    fn every_field_reaches_the_dataplane() {
        let text = "ignored_refusals = 1\nwindow_ms = 2\ngrace_ms = 3\ndelay_ms_first = 4\n\
                    delay_growth_percent = 105\ndelay_ms_max = 6\ncalm_ms = 1007\n[drop]\n\
                    ignored_refusals = 8\ndrop_ms_first = 109\ndrop_growth_percent = 110\n\
                    drop_ms_max = 111\nflows_before_source = 12\n";
        let written: LadderRule = toml::from_str(text).unwrap();
        assert_eq!(read(text).rule(), written);
        assert!(read(text).check("ladder", true).is_ok());
    }

    #[test]
    fn one_past_a_bound_names_the_field_and_what_it_may_be() {
        let problem = read("[drop]\ndrop_ms_max = 3_600_001").check("ladder", true).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("ladder.drop.drop_ms_max"));
        assert_eq!(problem.help.as_deref(), Some("write a number from 100 to 3600000"));
        let problem = read("calm_ms = 999").check("ladder", true).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("ladder.calm_ms"));
        let problem = read("[drop]").check("ladder", false).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("ladder.drop"));
        assert!(read("").check("ladder", false).is_ok());
    }
}
